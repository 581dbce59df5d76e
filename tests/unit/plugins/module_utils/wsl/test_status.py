# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor reads of a WSL2 host that uses Ollama on Windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.status import PROGRAM, status

from tests.unit.machines import write

WSL = {"version": 2, "networking_mode": "nat", "gateway": "172.22.16.1"}
RULE = {"name": "x", "display_name": "Everybody", "remote_address": ["Any"], "interface_alias": ["Any"]}
STATE = {
    "installed": True,
    "running": [],
    "listeners": [],
    "firewall": [RULE],
    "blocking": [{"name": "ollama.exe", "id": "{2C}"}],
    "wsl": {"address": "172.22.16.1", "prefix": 20},
}
OURS = "# BEGIN lamplighter: x\nOLLAMA_HOST=http://172.30.64.1:11434\n# END lamplighter\n"


class Engine:
    def __init__(self, _url: str) -> None:
        pass

    def version(self, _timeout: float) -> str:
        return "0.32.15"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")


def test_a_host_that_nobody_wired(tmp_path: Path) -> None:
    found = status(WSL, root=str(tmp_path), make_engine=Engine)
    assert (found["wired"], found["expected"], found["written"]) == (False, "http://172.22.16.1:11434", None)
    assert found["reach"]["code"] == "ok"
    assert (found["wide"], found["blocking"]) == ([], [])


def test_a_wired_host_is_asked_where_windows_is(tmp_path: Path) -> None:
    root = write(tmp_path, {PROGRAM.lstrip("/"): "", "etc/environment": OURS})
    (tmp_path / PROGRAM.lstrip("/")).chmod(0o755)
    found = status(WSL, run=lambda command, seconds: (0, "http://desk:11434\n"), root=root, make_engine=Engine)
    assert (found["wired"], found["expected"], found["written"]) == (
        True,
        "http://desk:11434",
        "http://172.30.64.1:11434",
    )


def test_windows_tells_whom_it_lets_in(tmp_path: Path) -> None:
    found = status(WSL, lambda port: lambda operation: STATE, root=str(tmp_path), make_engine=Engine)
    assert [rule["name"] for rule in found["wide"]] == ["Everybody"]
    assert found["blocking"] == [{"name": "ollama.exe", "id": "{2C}"}]


def test_no_firewall_is_between_wsl2_and_a_loopback_address_that_is_shared(tmp_path: Path) -> None:
    mirrored = {**WSL, "networking_mode": "mirrored"}
    found = status(mirrored, lambda port: lambda operation: STATE, root=str(tmp_path), make_engine=Engine)
    assert found["blocking"] == []


def test_windows_is_asked_for_the_port_that_is_used(tmp_path: Path) -> None:
    root = write(tmp_path, {PROGRAM.lstrip("/"): ""})
    (tmp_path / PROGRAM.lstrip("/")).chmod(0o755)
    ports: list[int] = []

    def run(command: list[str], seconds: float) -> tuple[int, str]:
        return 0, "http://desk:12000\n"

    status(WSL, ports.append, run=run, root=root, make_engine=Engine)
    status(WSL, ports.append, root=str(tmp_path / "bare"), make_engine=Engine)
    assert ports == [12000, 11434]


def test_a_windows_that_cannot_be_asked_is_no_error(tmp_path: Path) -> None:
    def ask(_operation: str) -> dict[str, Any]:
        raise WindowsError("interop is off")

    found = status(WSL, lambda port: ask, root=str(tmp_path), make_engine=Engine)
    assert found["reach"]["interop_error"] == "interop is off"
    assert found["wide"] == []
