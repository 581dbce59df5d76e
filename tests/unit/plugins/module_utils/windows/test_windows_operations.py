# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations against a simulated Windows: what is there before, between and after."""

from __future__ import annotations

import copy
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import firewall, interop, operations, state
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError

from tests.unit.windows_host import WAN_RULE, Windows

NAT = {"bind": "auto", "environment": {"OLLAMA_VULKAN": "1"}}
URL = "https://example.com/OllamaSetup.exe"
SETUP = "OllamaSetup 0.33.0"
INSTALL = {"url": URL, "sha256": hashlib.sha256(SETUP.encode()).hexdigest(), "version": "0.33.0"}


def lasting(windows: Windows) -> dict[str, Any]:
    """What of Windows is not a matter of the moment."""
    keys = ("environment", "rules", "hyperv_rules", "tasks", "ollama", "files")
    return copy.deepcopy({key: windows.state[key] for key in keys})


def names(windows: Windows) -> list[str]:
    return [rule["Name"] for rule in windows.state["rules"]]


def test_nat_is_wired_the_narrow_way_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    result = windows.run("apply", **NAT)
    assert result["changed"]
    assert result["pending"] == []
    assert windows.state["environment"]["user"]["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert windows.server()["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert windows.server()["OLLAMA_VULKAN"] == "1"
    rule = windows.state["rules"][0]
    assert (rule["Name"], rule["InterfaceAlias"]) == (firewall.RULE, windows.state["alias"])
    assert windows.run("firewall")["wide"] == []
    before, processes = lasting(windows), copy.deepcopy(windows.state["processes"])
    again = windows.run("apply", **NAT)
    assert not again["changed"]
    assert (lasting(windows), windows.state["processes"]) == (before, processes)


def test_check_mode_tells_the_same_and_changes_nothing(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    before = copy.deepcopy(windows.state)
    predicted = windows.run("apply", check=True, **NAT)
    assert windows.state == before
    done = windows.run("apply", **NAT)
    for key in ("changed", "before", "after", "what", "pending"):
        assert predicted[key] == done[key]
    before = copy.deepcopy(windows.state)
    assert not windows.run("apply", check=True, **NAT)["changed"]
    assert windows.run("undo", check=True)["changed"]
    assert windows.state == before


def test_the_rule_and_the_binding_hold_after_a_reboot_with_another_gateway(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", **NAT)
    windows.machine.reboot("172.30.64.1", None)
    assert windows.state["rules"][0]["adapter"] == windows.state["adapter"]
    assert windows.server()["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert not windows.run("apply", **NAT)["changed"]


def test_without_its_task_the_rule_would_name_an_adapter_that_is_gone(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", **NAT)
    windows.state["tasks"].clear()
    windows.machine.reboot("172.30.64.1", None)
    assert windows.state["rules"][0]["adapter"] != windows.state["adapter"]


@pytest.mark.parametrize("mode", ["mirrored", "consomme", "virtioproxy"])
def test_where_loopback_is_shared_nothing_is_opened(tmp_path: Path, mode: str) -> None:
    windows = Windows(tmp_path, elevated=True, mode=mode)
    result = windows.run("apply", bind="auto", environment={})
    assert not result["changed"]
    assert windows.state["rules"] == []
    assert windows.run("apply", bind="auto", environment={}, port=12000)["changed"]
    assert windows.server()["OLLAMA_HOST"] == "127.0.0.1:12000"


def test_a_change_from_nat_to_mirrored_takes_back_what_nat_needed(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", **NAT)
    windows.machine.reboot(None, "mirrored")
    assert windows.run("apply", **NAT)["changed"]
    assert "OLLAMA_HOST" not in windows.server()
    assert windows.server()["OLLAMA_VULKAN"] == "1"
    assert (windows.state["rules"], windows.state["tasks"]) == ([], [])
    assert not windows.run("apply", **NAT)["changed"]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("none", "cuts WSL2 off.*networkingMode=nat"),
        ("bridged", "no rule can admit it alone"),
        ("wsl1", "set-version"),
        ("odd", "not known"),
    ],
)
def test_modes_without_a_way_are_refused_before_any_change(tmp_path: Path, mode: str, message: str) -> None:
    windows = Windows(tmp_path, elevated=True, mode=mode)
    before = copy.deepcopy(windows.state)
    with pytest.raises(WindowsError, match=message):
        windows.run("apply", **NAT)
    assert windows.state == before


def test_the_mode_that_wsl_tells_counts_more_than_wslconfig(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", mode="mirrored", **NAT)
    assert windows.state["rules"] == []


def test_the_address_of_the_adapter_and_its_subnet(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", bind="vethernet", firewall_scope="subnet", environment={})
    assert windows.server()["OLLAMA_HOST"] == "172.22.16.1:11434"
    rule = windows.state["rules"][0]
    assert (rule["RemoteAddress"], rule["LocalAddress"]) == ("172.22.16.0/20", "172.22.16.1")
    assert windows.state["tasks"] == []
    assert windows.run("firewall")["wide"] == []
    assert not windows.run("apply", bind="vethernet", firewall_scope="subnet", environment={})["changed"]
    # From here to the interface and back, the rule is replaced, not doubled.
    windows.run("apply", bind="any", environment={})
    assert names(windows) == [firewall.RULE]
    assert len(windows.state["tasks"]) == 1
    windows.run("apply", bind="loopback", environment={})
    assert (windows.state["rules"], windows.state["tasks"]) == ([], [])
    assert windows.server()["OLLAMA_HOST"] == "127.0.0.1:11434"


def test_without_an_administrator_nothing_is_half_done(tmp_path: Path) -> None:
    windows = Windows(tmp_path)
    result = windows.run("apply", **NAT)
    assert result["changed"]
    assert windows.server()["OLLAMA_VULKAN"] == "1"
    assert "OLLAMA_HOST" not in windows.state["environment"]["user"]
    assert windows.state["rules"] == []
    assert [one["command"].split()[0] for one in result["pending"]] == [
        "New-NetFirewallRule",
        "Register-ScheduledTask",
        "Run",
    ]
    assert not windows.run("apply", **NAT)["changed"]
    # A person enters what was printed; the next run completes it, still without an administrator.
    for pending in result["pending"][:2]:
        assert windows.admin(pending["command"]) == {"stdout": "", "stderr": "", "code": 0}
    result = windows.run("apply", **NAT)
    assert (result["changed"], result["pending"]) == (True, [])
    assert windows.server()["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert not windows.run("apply", **NAT)["changed"]


def test_undo_without_an_administrator_closes_and_tells_the_rest(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    virgin = lasting(windows)
    windows.run("apply", **NAT)
    windows.state["elevated"] = False
    result = windows.run("undo")
    assert "OLLAMA_HOST" not in windows.server()
    assert [one["command"].split()[0] for one in result["pending"]] == [
        "Remove-NetFirewallRule",
        "Unregister-ScheduledTask",
    ]
    for pending in result["pending"]:
        windows.admin(pending["command"])
    windows.run("undo")
    assert lasting(windows) == virgin


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"OLLAMA_HOST": "192.168.1.2:11434", "OLLAMA_VULKAN": "0", "OLLAMA_MODELS": "D:\\it's"},
        {"ollama_host": "http://localhost"},
    ],
)
@pytest.mark.parametrize("scope", ["user", "machine"])
def test_undo_restores_exactly_what_was_there(tmp_path: Path, before: dict[str, str], scope: str) -> None:
    environment: dict[str, dict[str, str]] = {"user": {"Path": "x"}, "machine": {"OS": "y"}}
    environment[scope].update(before)
    windows = Windows(tmp_path, elevated=True, environment=environment, rules=[WAN_RULE])
    virgin = lasting(windows)
    arguments: dict[str, Any] = {"bind": "auto", "scope": scope, "hyperv_ports": [8080]}
    windows.run("apply", environment={"OLLAMA_VULKAN": "1", "OLLAMA_MODELS": "E:\\m"}, **arguments)
    windows.run("apply", environment={"OLLAMA_VULKAN": "0", "OLLAMA_KEEP_ALIVE": "1h"}, **arguments)
    assert lasting(windows) != virgin
    assert windows.run("undo")["changed"]
    assert {key.upper(): value for key, value in windows.state["environment"][scope].items()} == {
        key.upper(): value for key, value in virgin["environment"][scope].items()
    }
    assert {**lasting(windows), "environment": None} == {**virgin, "environment": None}
    assert not windows.run("undo")["changed"]


def test_a_variable_that_somebody_else_has_set_since_stays(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", **NAT)
    windows.state["environment"]["user"]["OLLAMA_VULKAN"] = "0"
    windows.run("undo")
    assert windows.state["environment"]["user"]["OLLAMA_VULKAN"] == "0"
    assert "OLLAMA_HOST" not in windows.state["environment"]["user"]


def test_what_is_not_asked_for_any_more_goes_back(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, environment={"user": {"OLLAMA_NUM_PARALLEL": "4"}, "machine": {}})
    windows.run("apply", environment={"OLLAMA_NUM_PARALLEL": "2"}, scope="user")
    windows.run("apply", environment={"OLLAMA_NUM_PARALLEL": "8"}, scope="machine")
    assert windows.state["environment"] == {
        "user": {"OLLAMA_NUM_PARALLEL": "4"},
        "machine": {"OLLAMA_NUM_PARALLEL": "8"},
    }
    windows.run("apply", environment={})
    assert windows.state["environment"] == {"user": {"OLLAMA_NUM_PARALLEL": "4"}, "machine": {}}


def test_a_restart_that_did_not_happen_is_made_up_for(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", environment={"OLLAMA_DEBUG": "1"}, restart=False)
    assert "OLLAMA_DEBUG" not in windows.server()
    result = windows.run("apply", environment={"OLLAMA_DEBUG": "1"})
    assert result["what"] == [operations.STARTED]
    assert windows.server()["OLLAMA_DEBUG"] == "1"


def test_an_ollama_that_does_not_run_is_started_with_the_stored_environment(tmp_path: Path) -> None:
    windows = Windows(tmp_path, environment={"user": {"OLLAMA_DEBUG": "1"}, "machine": {"OLLAMA_DEBUG": "2"}})
    windows.machine.stop_all()
    windows.state["session"] = {"OLLAMA_DEBUG": "old", "OLLAMA_ORIGINS": "old"}
    assert windows.run("apply", environment={})["changed"]
    assert windows.server()["OLLAMA_DEBUG"] == "1"


def test_only_the_servers_of_ollama_are_ended(tmp_path: Path) -> None:
    windows = Windows(tmp_path)
    ours = windows.machine.start("llama-server.exe", f"{windows.machine.folder}\\lib\\ollama\\llama-server.exe", {})
    others = windows.machine.start("llama-server.exe", "C:\\llama.cpp\\llama-server.exe", {})
    unknown = windows.machine.start("llama-server.exe", "", {})
    windows.run("apply", environment={"OLLAMA_DEBUG": "1"})
    left = [one["ProcessId"] for one in windows.state["processes"]]
    assert ours["ProcessId"] not in left
    assert {others["ProcessId"], unknown["ProcessId"]} <= set(left)


@pytest.mark.parametrize(
    ("elevated", "service", "restart", "told"),
    [
        (True, None, True, True),
        (False, None, True, False),
        (True, "ollama", True, False),
        (True, None, False, False),
    ],
)
def test_an_ollama_that_gets_an_administrators_rights_is_told(
    tmp_path: Path, elevated: bool, service: str | None, restart: bool, told: bool
) -> None:
    windows = Windows(tmp_path, elevated=elevated, service=service)
    result = windows.run("apply", environment={"OLLAMA_DEBUG": "1"}, restart=restart)
    assert any("from an administrator's session" in text for text in operations.warnings(result)) is told
    assert operations.warnings(windows.run("gpus")) == []


def test_a_service_is_restarted_in_the_place_of_the_tray_application(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, service="ollama")
    windows.run("apply", environment={"OLLAMA_DEBUG": "1"}, scope="machine", interactive=False)
    assert windows.server()["OLLAMA_DEBUG"] == "1"
    assert [one["Name"] for one in windows.state["processes"]] == ["ollama.exe"]


def test_a_service_needs_an_administrator_to_be_restarted(tmp_path: Path) -> None:
    windows = Windows(tmp_path, service="ollama")
    result = windows.run("apply", environment={"OLLAMA_DEBUG": "1"})
    assert [one["command"] for one in result["pending"]] == ["Restart-Service -Name 'ollama' -Force"]
    assert windows.state["environment"]["user"]["OLLAMA_DEBUG"] == "1"


@pytest.mark.parametrize(
    ("method", "message"), [("stop", "did not let Ollama be ended"), ("start_ollama", "does not run.*server.log")]
)
def test_a_restart_that_windows_does_not_make_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, message: str
) -> None:
    windows = Windows(tmp_path)
    monkeypatch.setattr(windows.machine, method, lambda *_: True)
    for _run in range(2):
        with pytest.raises(WindowsError, match=message):
            windows.run("apply", environment={"OLLAMA_DEBUG": "1"})


MSI = {"version": "0.32.15", "autostart": True, "msi": True}


def test_an_ollama_that_does_not_tell_its_folder_is_started_from_where_it_runs(tmp_path: Path) -> None:
    windows = Windows(tmp_path, ollama=MSI)
    assert windows.run("apply", environment={"OLLAMA_DEBUG": "1"})["pending"] == []
    assert windows.server()["OLLAMA_DEBUG"] == "1"


def test_an_msi_that_does_not_run_is_started_from_where_it_was_put(tmp_path: Path) -> None:
    windows = Windows(tmp_path, ollama={**MSI, "registered": True})
    windows.machine.stop_all()
    assert windows.run("apply", environment={"OLLAMA_DEBUG": "1"})["pending"] == []
    assert windows.server()["OLLAMA_DEBUG"] == "1"


def test_an_ollama_in_an_unknown_folder_is_left_to_its_person(tmp_path: Path) -> None:
    windows = Windows(tmp_path, ollama=MSI)
    for process in windows.state["processes"]:
        process["ExecutablePath"] = None
    before = copy.deepcopy(windows.state["processes"])
    result = windows.run("apply", environment={"OLLAMA_DEBUG": "1"})
    assert [one["command"] for one in result["pending"]] == [operations.BY_HAND]
    assert windows.state["processes"] == before
    assert windows.state["environment"]["user"]["OLLAMA_DEBUG"] == "1"


@pytest.mark.parametrize("name", ["Ollama", "Ollama 0.32.15", "Ollama version 0.32.15"])
def test_a_program_with_ollama_in_its_name_is_not_taken_for_it(tmp_path: Path, name: str) -> None:
    windows = Windows(tmp_path)
    answer = windows.ask(state.reading_script(state.questions(11434)))
    other = {"DisplayName": "Ollama Companion", "DisplayVersion": "9.9.9", "InstallLocation": "C:\\Companion\\"}
    found = state.facts({**answer, "installed": [other, {**answer["installed"][0], "DisplayName": name}]}, 11434)
    assert (found["version"], found["folder"]) == ("0.32.15", windows.machine.folder)
    assert not state.facts({**answer, "installed": [other]}, 11434)["installed"]


def test_programs_that_windows_does_not_tell_are_not_taken_for_none(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, missing=["Get-ItemProperty"])
    answer = windows.ask(state.reading_script(state.questions(11434)))
    assert "not recognized" in answer["installed"]
    with pytest.raises(WindowsError, match="does not tell its installed"):
        state.facts({**answer, "user": [], "machine": []}, 11434)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "nat"),
        ("[wsl2]\nnetworkingMode=mirrored\n", "mirrored"),
        ("[WSL2]\nNetworkingMode = Mirrored # why not", "mirrored"),
        ('[wsl2]\nnetworkingMode="none"', "none"),
        ("[experimental]\nnetworkingMode=mirrored", "mirrored"),
        ("[boot]\nnetworkingMode=mirrored", "nat"),
        ("[wsl2]\n#networkingMode=mirrored", "nat"),
    ],
)
def test_the_networking_mode_of_wslconfig(text: str, mode: str) -> None:
    assert state.networking_mode(text) == mode


def test_over_the_network_the_tray_application_is_left_to_its_person(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    result = windows.run("apply", environment={"OLLAMA_DEBUG": "1"}, interactive=False)
    assert [one["what"] for one in result["pending"]] == ["Ollama is started again with its new environment"]
    assert "OLLAMA_DEBUG" not in windows.server()
    again = windows.run("apply", environment={"OLLAMA_DEBUG": "1"}, interactive=False)
    assert (again["changed"], len(again["pending"])) == (False, 1)
    windows.machine.stop_all()
    windows.machine.start_ollama(windows.machine.stored_environment())
    assert windows.run("apply", environment={"OLLAMA_DEBUG": "1"}, interactive=False)["pending"] == []


def test_ports_of_wsl_in_the_hyperv_firewall(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, mode="mirrored")
    windows.run("apply", hyperv_ports=[8080, 22], hyperv_remote=["10.0.0.0/8"])
    assert windows.state["hyperv_rules"][0]["LocalPorts"] == ["8080", "22"]
    assert not windows.run("apply", hyperv_ports=[22, 8080], hyperv_remote=["10.0.0.0/8"])["changed"]
    windows.run("apply", hyperv_ports=[8080])
    assert windows.state["hyperv_rules"][0]["RemoteAddresses"] == "LocalSubnet"
    windows.run("apply", hyperv_ports=[])
    assert windows.state["hyperv_rules"] == []


@pytest.mark.parametrize(
    "remote", ["172.16.0.0/12", "172.16.4.5/12", "172.16.0.0/255.240.0.0", "FE80::1", "LocalSubnet"]
)
def test_networks_are_not_set_again_because_windows_writes_them_in_another_way(tmp_path: Path, remote: str) -> None:
    windows = Windows(tmp_path, elevated=True, mode="mirrored")
    arguments: dict[str, Any] = {"hyperv_ports": [8080], "hyperv_remote": [remote, "10.0.0.1"]}
    assert windows.run("apply", **arguments)["changed"]
    assert not windows.run("apply", **arguments)["changed"]
    assert windows.run("apply", **{**arguments, "hyperv_remote": [remote]})["changed"]


def test_a_hyperv_rule_that_somebody_has_switched_off_is_made_again(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, mode="mirrored")
    windows.run("apply", hyperv_ports=[8080])
    windows.state["hyperv_rules"][0]["Enabled"] = "False"
    assert windows.run("apply", hyperv_ports=[8080])["changed"]
    assert windows.state["hyperv_rules"][0]["Enabled"] == "True"


def test_a_windows_without_the_hyperv_firewall_needs_no_rule_there(tmp_path: Path) -> None:
    missing = [f"{verb}-NetFirewallHyperVRule" for verb in ("Get", "New", "Remove")]
    windows = Windows(tmp_path, elevated=True, missing=missing)
    assert not windows.run("apply", hyperv_ports=[])["changed"]
    with pytest.raises(WindowsError, match="not recognized"):
        windows.run("apply", hyperv_ports=[8080])


def test_a_windows_that_restricts_powershell_says_so(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, language="ConstrainedLanguage")
    before = copy.deepcopy(windows.state)
    with pytest.raises(WindowsError, match="language mode ConstrainedLanguage, by AppLocker"):
        windows.run("apply", **NAT)
    assert windows.state == before


@pytest.mark.parametrize("cmdlet", ["Get-NetFirewallRule", "Get-NetFirewallAddressFilter", "Get-CimInstance"])
def test_what_windows_does_not_tell_is_never_taken_for_nothing(tmp_path: Path, cmdlet: str) -> None:
    windows = Windows(tmp_path, elevated=True, missing=[cmdlet])
    with pytest.raises(WindowsError, match=f"Windows does not tell its .*{cmdlet}"):
        windows.run("apply", **NAT)


def test_rules_of_others_are_told_and_left(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, rules=[WAN_RULE])
    result = windows.run("apply", **NAT)
    assert result["wide"] == [{"name": "ollama.exe", "id": "{1B}", "reason": "it admits Any on Any"}]
    assert names(windows) == ["{1B}", firewall.RULE]


BLOCKS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"Program": "Any", "LocalPort": "11434"}, True),
    ({"RemoteAddress": ["10.0.0.1", "172.22.0.0/255.255.0.0"]}, True),
    ({"RemoteAddress": "172.22.31.0-172.22.32.9"}, True),
    ({"InterfaceAlias": "vEthernet (WSL (Hyper-V firewall))"}, True),
    ({"Profile": 0}, True),
    ({"Profile": 6}, True),
    ({"Profile": "Private, Public"}, True),
    ({"Profile": 3}, False),
    ({"Profile": "Private"}, False),
    ({"Action": "Allow"}, False),
    ({"Enabled": "False"}, False),
    ({"Direction": "Outbound"}, False),
    ({"Protocol": "UDP"}, False),
    ({"Program": "C:\\other.exe"}, False),
    ({"RemoteAddress": ["203.0.113.0/24", "fe80::/10", "Internet"]}, False),
    ({"RemoteAddress": "172.22.32.0-172.22.40.0"}, False),
    ({"LocalAddress": "192.168.178.20"}, False),
    ({"InterfaceAlias": "Ethernet"}, False),
]


@pytest.mark.parametrize(("rule", "blocks"), BLOCKS)
def test_a_rule_that_beats_ours_is_told_with_its_remedy(tmp_path: Path, rule: dict[str, Any], blocks: bool) -> None:
    name = "TCP Query User{2C}C:\\it's\\ollama.exe"
    blocked = {**WAN_RULE, "Name": name, "InstanceID": name, "Action": "Block", **rule}
    windows = Windows(tmp_path, elevated=True, rules=[blocked])
    told = [text for text in operations.warnings(windows.run("apply", **NAT)) if "keeps WSL2 from Ollama" in text]
    remedy = "administrator: Remove-NetFirewallRule -Name 'TCP Query User{2C}C:\\it''s\\ollama.exe'"
    assert [text.endswith(remedy) for text in told] == [True] * blocks
    windows.machine.reboot(None, "mirrored")
    assert windows.run("apply", **NAT)["blocking"] == []


@pytest.mark.parametrize("there", [None, {"version": "0.32.15", "autostart": True}])
def test_an_installer_with_the_right_checksum_is_run(tmp_path: Path, there: dict[str, Any] | None) -> None:
    windows = Windows(tmp_path, ollama=there, web={URL: {"content": SETUP}})
    virgin = lasting(windows)
    result = windows.run("apply", install=INSTALL, environment={"OLLAMA_DEBUG": "1"})
    assert (result["before"]["install"], result["after"]["install"]) == (there and "0.32.15", "0.33.0")
    assert windows.state["ollama"]["version"] == "0.33.0"
    assert windows.server()["OLLAMA_DEBUG"] == "1"
    assert not windows.run("apply", install=INSTALL, environment={"OLLAMA_DEBUG": "1"})["changed"]
    windows.run("undo")
    assert (windows.state["ollama"] is None) is (there is None)
    assert lasting(windows)["files"] == virgin["files"]


def test_an_installer_with_another_checksum_is_never_started(tmp_path: Path) -> None:
    windows = Windows(tmp_path, ollama=None, web={URL: {"content": "OllamaSetup 6.6.6"}})
    with pytest.raises(WindowsError, match="nothing was installed"):
        windows.run("apply", install=INSTALL)
    assert windows.state["ollama"] is None
    assert not [path for path in windows.state["files"] if "OllamaSetup" in path]


def test_an_installer_that_fails_is_told(tmp_path: Path) -> None:
    content = "OllamaSetup 0.33.0 exit 5"
    windows = Windows(tmp_path, ollama=None, web={URL: {"content": content}})
    checksum = hashlib.sha256(content.encode()).hexdigest()
    with pytest.raises(WindowsError, match="exit code 5"):
        windows.run("apply", install={**INSTALL, "sha256": checksum})


def test_another_version_than_promised_is_told(tmp_path: Path) -> None:
    windows = Windows(tmp_path, web={URL: {"content": SETUP}})
    with pytest.raises(WindowsError, match=r"it is not so: Ollama 0\.34\.0 is installed"):
        windows.run("apply", install={**INSTALL, "version": "0.34.0"})


BAD: list[tuple[dict[str, Any], str]] = [
    ({"environment": {"PATH": "x"}}, "PATH is no variable"),
    ({"environment": {"OLLAMA_X'; rm": "x"}}, "is no variable"),
    ({"environment": {"OLLAMA_DEBUG": 1}}, "no text"),
    ({"environment": {"OLLAMA_DEBUG": ""}}, "no text"),
    ({"environment": {"OLLAMA_HOST": "a b"}}, "OLLAMA_HOST is 'a b': write host"),
    ({"environment": {"OLLAMA_HOST": "ftp://x"}}, "write host"),
    ({"environment": {"OLLAMA_HOST": "x:99999999"}}, "write host"),
    ({"environment": {"OLLAMA_MODELS": "models"}}, "whole path"),
    ({"environment": {"OLLAMA_MODELS": "/models"}}, "whole path"),
    ({"environment": {"OLLAMA_HOST": "x"}, "bind": "any"}, "bind decides OLLAMA_HOST"),
    ({"environment": {"OLLAMA_DEBUG": "1\n2"}}, "control character"),
    ({"port": 0}, "0 is no port"),
    ({"hyperv_ports": [8080, 70000]}, "70000 is no port"),
    ({"install": {**INSTALL, "url": "http://example.com/x"}}, "install.url"),
    ({"install": {**INSTALL, "url": "https://x/'; x"}}, "install.url"),
    ({"install": {**INSTALL, "sha256": "abc"}}, "install.sha256"),
    ({"install": {**INSTALL, "version": "newest"}}, "install.version"),
    ({"hyperv_remote": ["LocalSubnet", "x'; y"], "hyperv_ports": [80]}, "nobody who may reach a port"),
    ({"hyperv_remote": ["10.0.0.300"], "hyperv_ports": [80]}, "nobody who may reach a port"),
    ({"nonsense": 1}, "nonsense: no argument"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_refused_before_any_change(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    windows = Windows(tmp_path, elevated=True)
    before = copy.deepcopy(windows.state)
    with pytest.raises(WindowsError, match=message):
        windows.run("apply", **arguments)
    assert windows.state == before


@pytest.mark.parametrize(
    "value", ["localhost", "http://10.0.0.1:11434/", "[::1]:11434", ":11434", "0.0.0.0", "https://pc.lan"]
)
def test_hosts_that_ollama_understands_are_taken(tmp_path: Path, value: str) -> None:
    windows = Windows(tmp_path)
    windows.run("apply", environment={"OLLAMA_HOST": value})
    assert windows.state["environment"]["user"]["OLLAMA_HOST"] == value


def test_a_damaged_record_is_not_taken_for_none(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    windows.run("apply", **NAT)
    path = next(path for path in windows.state["files"] if path.endswith("windows_host.json"))
    for text, message in (("{", "damaged"), ('{"schema": 2}', "another version")):
        windows.state["files"][path] = text
        for operation in ("apply", "undo"):
            with pytest.raises(WindowsError, match=message):
                windows.run(operation)


def test_an_operation_has_a_name(tmp_path: Path) -> None:
    with pytest.raises(WindowsError, match="no operation: state, gpus"):
        Windows(tmp_path).run("format")


def test_the_log_and_the_graphics_cards(tmp_path: Path) -> None:
    log = "C:\\Users\\Ada\\AppData\\Local\\Ollama\\server.log"
    windows = Windows(tmp_path, files={log: "one\r\ntwo\r\nthree\r\n"})
    assert windows.run("log", lines=2) == {"changed": False, "path": log, "lines": ["two", "three"]}
    assert windows.run("gpus")["gpus"] == windows.state["gpus"]
    windows.state["files"].clear()
    assert windows.run("log")["lines"] == []
    windows.state["missing"] = ["Get-CimInstance"]
    with pytest.raises(WindowsError, match="does not tell its gpus"):
        windows.run("gpus")


# The way there

STANDIN = str(Path(__file__).parents[5] / "tests/standins/windows/powershell.exe")


@pytest.mark.parametrize(
    ("user", "output"),
    [
        ("Jörg Müller", {"encoding": "utf-8", "newline": "\r\n"}),
        ("Miles O'Brien", {"encoding": "utf-8-sig", "newline": "\n", "clixml": True}),
        ("Zoë \u2018Z\u2019 K", {"encoding": "utf-16", "newline": "\r\n"}),
        ("李", {"encoding": "cp850", "newline": "\r\n", "clixml": True}),
    ],
)
def test_every_name_of_a_user_and_every_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, output: dict[str, Any]
) -> None:
    windows = Windows(tmp_path, user=user, elevated=True, output=output)
    monkeypatch.setenv("STANDIN_WINDOWS", str(windows.path))
    assert interop.run_operation("apply", dict(NAT), STANDIN)["changed"]
    assert not interop.run_operation("apply", dict(NAT), STANDIN)["changed"]
    state = interop.run_operation("state", {}, STANDIN)
    assert user in state["log"]
    assert state["record"]["environment"]["user"]["OLLAMA_VULKAN"] == {"before": None, "set": "1"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((124, "/mnt/c/powershell.exe did not end within 120 s"), "Windows did not end within 120 s: is it asleep"),
        ((127, "/mnt/c/powershell.exe: Exec format error"), "interop is off.*/etc/wsl.conf.*wsl --shutdown"),
        ((126, "sh: 1: cannot execute binary file"), "interop is off"),
        ((127, "/mnt/c/powershell.exe: No such file or directory"), "No such file or directory.*is this WSL2"),
        ((1, "\r\nNein\0\r\n"), "exit status 1: Nein"),
        ((1, ""), "exit status 1\\."),
        ((0, "hello"), "did not answer: hello"),
    ],
)
def test_what_is_in_the_way_is_named(answer: tuple[int, str], message: str) -> None:
    with pytest.raises(WindowsError, match=message):
        interop.run_operation("gpus", {}, "/mnt/c/powershell.exe", run=lambda command, seconds: answer)


@pytest.mark.parametrize(
    ("sockets", "given", "taken"),
    [
        ([], None, None),
        (["40_interop", "2_interop", "1_interop", "notes"], None, "1_interop"),
        (["40_interop", "2_interop"], None, "2_interop"),
        (["41_interop", "40_interop"], None, "40_interop"),
        (["40_interop", "1_interop"], "40_interop", "40_interop"),
        (["40_interop"], "gone_interop", "40_interop"),
    ],
)
def test_the_socket_to_windows_is_found(
    tmp_path: Path, sockets: list[str], given: str | None, taken: str | None
) -> None:
    for age, name in enumerate(sockets):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    environment = {"WSL_INTEROP": str(tmp_path / given)} if given else {}
    interop.interop_socket(environment, str(tmp_path))
    assert environment.get("WSL_INTEROP") == (str(tmp_path / taken) if taken else None)
    interop.interop_socket(environment, "/nowhere")


def test_a_download_has_more_time_than_a_question() -> None:
    seen: list[float] = []

    def run(command: list[str], seconds: float) -> tuple[int, str]:
        seen.append(seconds)
        return 124, ""

    for longer in (0, 3600):
        with pytest.raises(WindowsError):
            interop.asker("p", run, 20)("x", longer)
    assert seen == [20, 3600]


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("", "/mnt/"),
        ("[automount]\nroot = /\n", "/"),
        ("[automount]\nroot = /win # here\n", "/win/"),
        ('[Automount]\r\nRoot="/a b/"\r\n', "/a b/"),
        ("[network]\nroot = /x\n", "/mnt/"),
    ],
)
def test_the_drives_are_where_wsl_conf_says(text: str, root: str) -> None:
    assert interop.automount_root(text) == root
    path = root.rstrip("/") + "/c/Windows/System32/WindowsPowerShell/v1.0/powershell.exe"
    assert interop.find_powershell(root, lambda known: known == path) == path
    with pytest.raises(WindowsError, match="is not there: mount the drives"):
        interop.find_powershell(root, lambda known: False)
