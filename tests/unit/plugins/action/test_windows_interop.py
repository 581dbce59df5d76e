# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way over the network: the same operations, with ansible.windows in the place of powershell.exe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.lamplighter.fleet.plugins.action.windows_interop import ActionModule

from tests.standins.windows.session import Session
from tests.unit.windows_host import Windows


class Task(SimpleNamespace):
    def __getattr__(self, name: str) -> None:
        return None


class Action(ActionModule):
    """With a Windows at the other end that runs what win_powershell is given."""

    def __init__(self, windows: Windows | None, arguments: dict[str, Any], check: bool = False) -> None:
        self.windows = windows
        self.modules: list[tuple[str, bool]] = []
        shell = SimpleNamespace(_IS_WINDOWS=windows is not None, tmpdir=None)
        self._connection = SimpleNamespace(_shell=shell)
        self._task = Task(args=arguments, check_mode=check, async_val=0, diff=False)
        self._display = SimpleNamespace(vvvv=lambda *_: None)

    def _execute_module(self, module_name: str | None = None, module_args: Any = None, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        self.modules.append((module_name or self._task.action or "own", self._task.check_mode))
        if self.windows is None:
            return {"changed": False, "own": True}
        done = Session(self.windows.machine).run(module_args["script"])
        # With check mode on, the real one would run nothing.
        output = [] if self._task.check_mode else [done["stdout"]]
        return {"changed": True, "output": output, "host_out": "", "error": [], "failed": done["code"] != 0}


@pytest.fixture(autouse=True)
def no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})


ARGUMENTS = {"operation": "apply", "bind": "auto", "scope": "machine", "environment": {"OLLAMA_VULKAN": "1"}}


def test_a_windows_host_gets_the_same_as_through_interop(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True, service="ollama")
    result = Action(windows, dict(ARGUMENTS)).run()
    assert result["changed"]
    assert windows.server()["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert len(windows.state["rules"]) == 1
    assert not Action(windows, dict(ARGUMENTS)).run()["changed"]
    assert Action(windows, {"operation": "undo"}).run()["changed"]
    assert windows.state["rules"] == []


def test_check_mode_reads_and_changes_nothing(tmp_path: Path) -> None:
    windows = Windows(tmp_path, elevated=True)
    action = Action(windows, dict(ARGUMENTS), check=True)
    result = action.run()
    assert result["changed"]
    assert result["diff"]["after"]["machine.OLLAMA_VULKAN"] == "1"
    assert action.modules == [("ansible.windows.win_powershell", False)]
    assert action._task.check_mode is True
    assert windows.state["rules"] == []


def test_without_a_service_the_start_is_left_to_the_person(tmp_path: Path) -> None:
    result = Action(Windows(tmp_path, elevated=True), dict(ARGUMENTS)).run()
    assert [one["command"][:11] for one in result["pending"]] == ["Quit Ollama"]


def test_another_host_gets_the_module() -> None:
    action = Action(None, {"operation": "gpus"})
    assert action.run()["own"]
    assert [name for name, _check in action.modules] == ["own"]


def test_a_missing_collection_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    action = Action(Windows(tmp_path), dict(ARGUMENTS))

    def fail(**_: Any) -> dict[str, Any]:
        raise AnsibleError("The module ansible.windows.win_powershell was not found")

    monkeypatch.setattr(action, "_execute_module", fail)
    result = action.run()
    assert result["failed"]
    assert "ansible-galaxy collection install ansible.windows" in result["msg"]


def test_what_windows_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    action = Action(Windows(tmp_path), dict(ARGUMENTS))
    monkeypatch.setattr(action, "_execute_module", lambda **_: {"failed": True, "msg": "Zugriff verweigert"})
    assert "Zugriff verweigert" in action.run()["msg"]


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AnsibleError, match="must be one of"):
        Action(Windows(tmp_path), {"operation": "format"}).run()
