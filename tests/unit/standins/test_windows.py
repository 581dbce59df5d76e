# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's own rules: what it must refuse, so that a typo in a script turns a test red."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.standins.windows import language
from tests.standins.windows.cmdlets import CMDLETS
from tests.standins.windows.effects import nft_rules
from tests.standins.windows.machine import Machine
from tests.standins.windows.parameters import PARAMETERS
from tests.standins.windows.session import Session

PROGRAM = Path(__file__).parents[2] / "standins/windows/powershell.exe"
RULE = "New-NetFirewallRule -Name 'a' -DisplayName 'A' -Protocol 'TCP' -LocalPort '11434'"
OTHER = RULE.replace("'a'", "'b'")

QUIET = "'/VERYSILENT','/NORESTART','/SUPPRESSMSGBOXES'"
FOLDER = "C:\\Users\\Ada\\AppData\\Local\\Programs\\Ollama"
REMOVER = f"{FOLDER}\\unins000.exe"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "state.json")
    machine.state["elevated"] = True
    machine.boot()
    return machine


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("New-NetFirewalRule -Name 'a'", "is not recognized"),
        ("New-NetFirewallRule -Nme 'a'", "cannot be found that matches parameter name 'Nme'"),
        ("New-NetFirewallRule -name 'a'", "cannot be found"),
        ("New-NetFirewallRule -Name 'a' -DisplayName 'A' -Action 'Alow'", "unable to match"),
        ("New-NetFirewallRule -Name -DisplayName 'A'", "Missing an argument"),
        ("New-NetFirewallRule -Name 'a' -DisplayName 'A' -LocalPort '1'", "Ports can only"),
        ("Get-NetFirewallRule -Name 'a'", "No objects found"),
        (
            "Get-NetFirewallRule -Direction 'Inbound' -Enabled 'True' -Action 'Block'",
            "No matching MSFT_NetFirewallRule",
        ),
        (
            "Get-ItemProperty -Path 'HKCU:\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*'",
            "cast is not valid",
        ),
        (f"Start-Process -FilePath '{FOLDER}\\ollama app.exe'", "window of Ollama opens"),
        ("Stop-Process -Id '1' -Force", "Cannot find a process"),
        ("Unregister-ScheduledTask -TaskName 'a'", "A question waits"),
        ("Register-ScheduledTask -TaskName 'a' -TaskPath '\\x\\' -Xml '<Task>' -Force", "malformed"),
        ("Get-CimInstance -ClassName 'Win32_VideoControler'", "Invalid class"),
        ("Invoke-WebRequest -Uri 'https://x' -OutFile 'y'", "404"),
        ("Set-Content -LiteralPath 'C:\\x\\y' -Value 'a'", "part of the path"),
        ("Get-ItemProperty -LiteralPath 'HKCU:\\Enviroment'", "Cannot find path"),
        ("[Environment]::SetEnvironmentVariable('A', 'b', 'Usr')", "Cannot convert"),
        ("[Environment]::SetEnvVariable('A', 'b', 'User')", "no method named"),
        (f"Start-Process -FilePath 'C:\\x.exe' -ArgumentList {QUIET} -PassThru -Wait", "-Wait waits for it, too"),
        (f"Start-Process -FilePath '{REMOVER}' -ArgumentList {QUIET} -PassThru", "in a copy of itself"),
        ("$process = Get-NetFirewallRule; $process.WaitForExit()", "ParserError"),
        ("Get-NetFirewallRule -Name 'a' 'b'", "ParserError"),
        ('Get-NetFirewallRule -Name "a"', "ParserError"),
        ("Get-NetFirewallRule -Name $x", "ParserError"),
        ("Get-NetFirewallRule -Name 'a'b'", "ParserError"),
        ("Get-NetFirewallRule -Name 'a", "ParserError"),
        ("Get-NetFirewallRule -Name 'a\u2019 -All 'b'", "one too many"),
        ("Get-NetFirewallRule -Name 'a' -Name 'b'", "given twice"),
        ("$x = 'a'", "ParserError"),
        ("iex 'a'", "ParserError"),
        ("try { $null = Get-NetFirewallRule }", "ParserError"),
        ("}", "ParserError"),
    ],
)
def test_what_it_does_not_know_is_an_error(machine: Machine, script: str, message: str) -> None:
    before = machine.path.read_text()
    result = Session(machine).run(script)
    assert result["code"] == 1
    assert message in result["stderr"]
    assert machine.path.read_text() == before


def test_a_broken_text_runs_nothing_of_it(machine: Machine) -> None:
    assert Session(machine).run(f"$null = {RULE}\n$null = Get-NetFirewallRule -Name 'a")["code"] == 1
    assert machine.state["rules"] == []


def test_the_first_error_ends_a_script_and_a_silenced_one_does_not(machine: Machine) -> None:
    Session(machine).run("Stop-Process -Id '1' -ErrorAction 'SilentlyContinue'; " + RULE)
    assert len(machine.state["rules"]) == 1
    Session(machine).run("Stop-Process -Id '1'; Remove-NetFirewallRule -Name 'a'")
    assert len(machine.state["rules"]) == 1


@pytest.mark.parametrize(
    "script",
    [
        RULE,
        "Register-ScheduledTask -TaskName 'a' -TaskPath '\\x\\' -Xml '<Task/>' -Force",
        "[Environment]::SetEnvironmentVariable('A', 'b', 'Machine')",
        "New-NetFirewallHyperVRule -Name 'a' -DisplayName 'A' -VMCreatorId '{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}'",
    ],
)
def test_what_needs_an_administrator(machine: Machine, script: str) -> None:
    machine.state["elevated"] = False
    assert Session(machine).run(script)["code"] == 1
    assert Session(machine, elevated=True).run(script)["code"] == 0


def test_a_process_keeps_the_environment_of_its_start(machine: Machine) -> None:
    def server() -> dict[str, str]:
        found: dict[str, str] = next(
            one["environment"] for one in machine.state["processes"] if one["Name"] == "ollama.exe"
        )
        return found

    Session(machine).run("[Environment]::SetEnvironmentVariable('OLLAMA_DEBUG', '1', 'User')")
    assert "OLLAMA_DEBUG" not in server()
    # A new process of this session inherits what the session started with.
    again = f"Start-Process -FilePath '{machine.folder}\\ollama app.exe' -ArgumentList 'hidden'"
    machine.stop_all()
    Session(machine).run(again)
    assert "OLLAMA_DEBUG" not in server()
    machine.stop_all()
    Session(machine).run(f"[Environment]::SetEnvironmentVariable('OLLAMA_DEBUG', '2', 'Process'); {again}")
    assert server()["OLLAMA_DEBUG"] == "2"
    machine.reboot(None, None)
    assert server()["OLLAMA_DEBUG"] == "1"


LAN = "10.77.66.0/24"


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ("", "meta l4proto tcp tcp dport { 11434 } accept"),
        (
            "-RemoteAddress 'LocalSubnet'",
            f"meta l4proto tcp ip saddr {{ 172.22.16.0/20, {LAN} }} tcp dport {{ 11434 }} accept",
        ),
        (
            "-RemoteAddress 'LocalSubnet' -InterfaceAlias 'vEthernet (WSL (Hyper-V firewall))'",
            "meta l4proto tcp ip saddr { 172.22.16.0/20 } ip daddr 172.22.16.1 tcp dport { 11434 } accept",
        ),
        (
            "-RemoteAddress '172.22.16.0/20' -LocalAddress '172.22.16.1'",
            "meta l4proto tcp ip saddr { 172.22.16.0/20 } ip daddr 172.22.16.1 tcp dport { 11434 } accept",
        ),
        ("-Enabled 'False'", None),
        ("-Action 'Block'", "meta l4proto tcp tcp dport { 11434 } drop"),
        ("-Direction 'Outbound'", None),
    ],
)
def test_a_rule_admits_what_it_says(machine: Machine, parameters: str, line: str | None) -> None:
    assert Session(machine).run(f"{RULE} {parameters}".strip())["stderr"] == ""
    assert nft_rules(machine.state, LAN) == ([line] if line else [])


def test_a_rule_that_blocks_comes_before_those_that_admit(machine: Machine) -> None:
    Session(machine).run(f"{RULE}; {OTHER} -Action 'Block'")
    assert [line.split()[-1] for line in nft_rules(machine.state, LAN)] == ["drop", "accept"]


def test_a_rule_for_an_adapter_that_is_gone_admits_nobody(machine: Machine) -> None:
    Session(machine).run(f"{RULE} -InterfaceAlias '{machine.state['alias']}'")
    assert len(nft_rules(machine.state, LAN)) == 1
    machine.reboot("172.30.64.1", None)
    assert nft_rules(machine.state, LAN) == []
    Session(machine).run(f"Set-NetFirewallRule -Name 'a' -InterfaceAlias '{machine.state['alias']}'")
    assert len(nft_rules(machine.state, LAN)) == 1


def test_every_cmdlet_has_its_documented_parameters() -> None:
    assert set(CMDLETS) <= set(PARAMETERS)


def run(*arguments: str, state: Path) -> Any:
    environment = {"STANDIN_WINDOWS": str(state), "PATH": "/usr/bin:/bin"}
    return subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-Command", "x"],
        ["-NoProfile", "-NonInteractive", "-EncodedCommand", "AA=="],
        ["-NoProfile", "-NonInteractive", "-InputFormat", "None", "-EncodedCommand", "no base64"],
    ],
)
def test_the_program_takes_our_arguments_only(machine: Machine, arguments: list[str]) -> None:
    result = run(*arguments, state=machine.path)
    assert result.returncode == 1
    assert "Cannot process the command" in result.stderr


def test_a_literal_ends_where_powershell_ends_it() -> None:
    assert language.Reader("'a''b\u2019\u2019c\u2018 'rest").string() == "a'b\u2019c"
