# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's rules for a WSL2 host that uses Ollama on Windows."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose

from tests.unit.plan_hosts import machine

URL = "http://172.22.16.1:11434"
OK = {"code": "ok", "message": "", "remedy": "", "http": "0.32.15"}
SILENT = {"code": "firewall", "message": "no reply", "remedy": "open it", "http": None}
BLOCKED = {"code": "firewall_blocks", "message": "blocked", "remedy": "remove it", "http": None}
WIDE = {"name": "Ollama", "id": "Ollama-In", "reason": "it admits Any on Any"}
BLOCKS = [
    {"name": "ollama.exe", "id": "TCP Query User{2C}C:\\it's\\ollama.exe"},
    {"name": "ollama.exe", "id": "UDP Query User{3D}C:\\it's\\ollama.exe"},
]


def evidence(mode: str = "nat", **client: Any) -> dict[str, Any]:
    wsl = {"version": 2, "networking_mode": mode, "interop": True, "windows_gpus": []}
    told = {"wired": True, "expected": URL, "written": URL, "others": [], "reach": OK, "wide": [], **client}
    return {"gpu_facts": {**machine(platform="wsl2"), "wsl": wsl}, "windows_client": told}


def value(text: str, alone: bool = True) -> list[dict[str, Any]]:
    said = f"/etc/profile.d/mine.sh says OLLAMA_HOST={text}"
    return [{"path": "/etc/profile.d/mine.sh", "value": text, "said": said, "alone": alone}]


CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("all is well", evidence(), []),
    ("no answer", evidence(reach=SILENT), ["windows_silent"]),
    ("a wide rule", evidence(wide=[WIDE]), ["windows_firewall_wide"]),
    ("rules that block", evidence(reach=BLOCKED, blocking=BLOCKS), ["windows_firewall_blocks"] * 2),
    (
        "a rule that blocks, and no answer for another reason",
        evidence(reach=SILENT, blocking=BLOCKS[:1]),
        ["windows_silent", "windows_firewall_blocks"],
    ),
    ("a rule that would block elsewhere", evidence(blocking=BLOCKS[:1]), ["windows_firewall_blocks"]),
    ("not wired", evidence(wired=False, written=None), ["client_not_wired"]),
    ("stale", evidence(written="http://172.30.64.1:11434"), ["client_address_stale"]),
    ("written down, wrong", evidence(others=value("172.17.0.1")), ["client_address_stale"]),
    ("written down, right for now", evidence(others=value("172.22.16.1")), ["client_address_static"]),
    ("another port", evidence(others=value("172.22.16.1:8080")), ["client_address_stale"]),
    ("written down by itself", evidence(wired=False, written=None, others=value(URL)), ["client_address_static"]),
    ("a command", evidence(others=value("$(ip")), []),
    (
        "loopback stays right",
        evidence("mirrored", expected="http://127.0.0.1:11434", written=None, others=value("localhost")),
        [],
    ),
    (
        "loopback as an address stays right",
        evidence("mirrored", expected="http://127.0.0.1:11434", written=None, others=value("127.0.0.1:11434")),
        [],
    ),
    ("no way", evidence(expected=None, reach={**SILENT, "code": "no_gateway"}), ["windows_silent"]),
    ("nobody looked", {"gpu_facts": evidence()["gpu_facts"]}, []),
]


@pytest.mark.parametrize(("seen", "codes"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_findings(seen: dict[str, Any], codes: list[str]) -> None:
    assert [finding["code"] for finding in diagnose(seen)["findings"]] == codes


def test_a_rule_of_windows_is_named_with_the_command_that_removes_it() -> None:
    found = diagnose(evidence(wide=[WIDE]))["findings"][0]
    assert "it admits Any on Any" in str(found)
    assert "Remove-NetFirewallRule -Name 'Ollama-In'" in str(found)


@pytest.mark.parametrize(("alone", "remedy"), [(True, "wsl_client_replace: true"), (False, "by hand")])
def test_what_the_role_cannot_take_out_is_left_to_a_person(alone: bool, remedy: str) -> None:
    assert remedy in diagnose(evidence(others=value("172.17.0.1", alone)))["findings"][0]["remedy"]


@pytest.mark.parametrize(("reach", "severity"), [(BLOCKED, "error"), (SILENT, "error"), (OK, "info")])
def test_a_rule_that_blocks_is_named_with_the_command_that_removes_it(reach: dict[str, Any], severity: str) -> None:
    found = diagnose(evidence(reach=reach, blocking=BLOCKS[:1]))["findings"][-1]
    assert found["severity"] == severity
    assert "rule ollama.exe keeps WSL2 from Ollama" in found["message"]
    assert found["command"].startswith("Remove-NetFirewallRule -Name 'TCP Query User{2C}C:\\it''s\\ollama.exe'")


def test_an_engine_of_this_host_is_judged_as_well() -> None:
    here = {
        **evidence(wide=[WIDE]),
        "ollama_facts": {"binary": {"path": "/usr/local/bin/ollama", "version": "0.32.15"}},
    }
    codes = [finding["code"] for finding in diagnose(here)["findings"]]
    assert "windows_firewall_wide" in codes
    assert len(codes) > 1
