# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why Windows does not answer: one row for each cause, by the evidence with and without interop."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.reach import REMEDIES, judge_reach

URL = "http://172.22.16.1:11434"
NAT: dict[str, Any] = {"way": "gateway", "mode": "nat", "url": URL}
MIRRORED: dict[str, Any] = {"way": "loopback", "mode": "mirrored", "url": "http://127.0.0.1:11434"}


BLOCKS = [{"name": "ollama.exe", "id": "TCP{2C}C:\\it's"}, {"name": "mine", "id": "{3D}"}]


def windows(*addresses: str, installed: bool = True, running: bool = True, **more: Any) -> dict[str, Any]:
    processes = [{"name": "ollama", "pid": 7, "path": "ollama.exe"}] if running else []
    listeners = [{"address": address, "port": 11434, "pid": 7} for address in addresses]
    return {"installed": installed, "running": processes, "listeners": listeners, **more}


CAUSES: list[tuple[str, dict[str, Any]]] = [
    ("ok", {**NAT, "http": "0.32.15"}),
    ("no_way", {"way": "none", "mode": "none", "url": None}),
    ("no_gateway", {**NAT, "url": None}),
    ("unknown_host", {"way": "given", "url": "http://desk:11434", "tcp": "unknown_host"}),
    ("not_running_or_loopback", {**NAT, "tcp": "refused"}),
    ("not_running", {**MIRRORED, "tcp": "refused"}),
    ("not_running", {"way": "given", "url": "http://desk:11434", "tcp": "refused"}),
    ("host_loopback", {**MIRRORED, "mode": "consomme", "tcp": "refused"}),
    ("host_loopback", {**MIRRORED, "mode": "virtioproxy", "tcp": "refused"}),
    ("firewall", {**NAT, "tcp": "timeout"}),
    ("firewall", {**NAT, "tcp": "timeout", "neighbour": True}),
    ("vpn", {**NAT, "tcp": "timeout", "neighbour": False}),
    ("vpn", {**NAT, "tcp": "unreachable"}),
    ("vpn", {**NAT, "tcp": "timeout", "neighbour": False, "windows": windows("0.0.0.0")}),
    ("proxy", {**NAT, "tcp": "open", "proxy": "http://proxy:3128", "http_error": "HTTP 503"}),
    ("not_ollama", {**NAT, "tcp": "open", "http_error": "HTTP 404"}),
    ("not_installed", {**NAT, "tcp": "timeout", "windows": windows(installed=False, running=False)}),
    ("not_running", {**NAT, "tcp": "timeout", "windows": windows(running=False)}),
    ("bound_to_loopback", {**NAT, "tcp": "timeout", "windows": windows("127.0.0.1", "::1")}),
    ("bound_to_loopback", {**NAT, "tcp": "refused", "windows": windows("127.0.0.1")}),
    ("firewall", {**NAT, "tcp": "timeout", "windows": windows("0.0.0.0")}),
    ("firewall", {**NAT, "tcp": "timeout", "windows": windows("127.0.0.1", "172.22.16.1")}),
    ("firewall", {**NAT, "tcp": "timeout", "windows": windows("0.0.0.0", installed=False)}),
    ("firewall_blocks", {**NAT, "tcp": "timeout", "windows": windows("0.0.0.0", blocking=BLOCKS)}),
    # What blocks is told when the rest is right, and only where the firewall is in between.
    ("bound_to_loopback", {**NAT, "tcp": "timeout", "windows": windows("127.0.0.1", blocking=BLOCKS)}),
    ("firewall", {**MIRRORED, "tcp": "timeout", "windows": windows("0.0.0.0", blocking=BLOCKS)}),
    # Running, and not listening yet: nothing that Windows says explains it.
    ("firewall", {**NAT, "tcp": "timeout", "windows": windows()}),
]


@pytest.mark.parametrize(("code", "evidence"), CAUSES)
def test_cause(code: str, evidence: dict[str, Any]) -> None:
    judged = judge_reach(evidence)
    assert judged["code"] == code
    assert judged["remedy"].startswith(REMEDIES.get(code, ""))
    if evidence.get("url"):
        assert evidence["url"] in judged["message"]


def test_the_rules_that_block_are_named_with_what_removes_them() -> None:
    judged = judge_reach({**NAT, "tcp": "timeout", "windows": windows("0.0.0.0", blocking=BLOCKS)})
    assert "firewall rule ollama.exe, mine blocks it" in judged["message"]
    commands = ["Remove-NetFirewallRule -Name 'TCP{2C}C:\\it''s'", "Remove-NetFirewallRule -Name '{3D}'"]
    assert judged["remedy"].endswith(": " + "; ".join(commands))


def test_every_remedy_is_given_for_some_cause() -> None:
    assert {code for code, _evidence in CAUSES} == {"ok", *REMEDIES}
