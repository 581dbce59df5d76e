# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import interop
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.arguments import OPERATIONS
from ansible_collections.lamplighter.fleet.plugins.modules import windows_interop

from tests.unit.windows_host import WAN_RULE, Windows

STANDIN = str(Path(__file__).parents[4] / "tests/standins/windows/powershell.exe")


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Windows:
    found = Windows(tmp_path, elevated=True, rules=[WAN_RULE])
    monkeypatch.setenv("STANDIN_WINDOWS", str(found.path))
    monkeypatch.setattr(interop, "find_powershell", lambda root: STANDIN)
    return found


def call(capsys: pytest.CaptureFixture, **arguments: Any) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        windows_interop.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_apply_says_what_it_changed_and_warns(
    windows: Windows, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    # Where the controller's code is loaded too, Ansible shows a warning and does not return it.
    monkeypatch.setattr(windows_interop.AnsibleModule, "warn", lambda _self, text: warned.append(text))
    result = call(capsys, operation="apply", bind="any", environment={"OLLAMA_DEBUG": "1"}, _ansible_check_mode=True)
    assert result["changed"]
    assert result["after"]["user.OLLAMA_HOST"] == "0.0.0.0:11434"
    assert result["diff"] == {"before": result["before"], "after": result["after"]}
    assert [text.partition("opens")[2] for text in warned if "opens" in text] == [
        " Ollama to more than WSL2: it admits Any on Any."
    ]


def test_every_returned_key_is_documented(windows: Windows, capsys: pytest.CaptureFixture) -> None:
    documented = yaml.safe_load(windows_interop.RETURN)
    returned: set[str] = set()
    for operation in OPERATIONS:
        returned |= set(call(capsys, operation=operation, environment={"OLLAMA_DEBUG": "1"}))
    assert returned - {"changed", "diff", "invocation", "warnings"} == set(documented)


def test_state_is_one_fact(windows: Windows, capsys: pytest.CaptureFixture) -> None:
    result = call(capsys)
    assert not result["changed"]
    assert result["state"]["version"] == "0.32.15"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operation": "format"}, "must be one of"),
        ({"operation": "apply", "bind": "any", "firewall": "present"}, "mutually exclusive"),
        ({"operation": "apply", "environment": {"PATH": "x"}}, "PATH is no variable"),
        ({"operation": "apply", "install": {"url": "https://x"}}, "missing required arguments"),
        ({"powershell": "/nowhere/powershell.exe"}, "cannot be started"),
    ],
)
def test_bad_input_is_one_message(
    windows: Windows, capsys: pytest.CaptureFixture, arguments: dict[str, Any], message: str
) -> None:
    result = call(capsys, **arguments)
    assert result["failed"]
    assert message in result["msg"]


def test_where_there_is_no_windows_that_is_said(capsys: pytest.CaptureFixture) -> None:
    assert "mount the drives of Windows" in call(capsys, operation="gpus")["msg"]
