# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import llama_server_facts

# What the real program does: the version goes to standard error.
PROGRAM = """#!/bin/sh
case $1 in
--version) echo 'version: 11669 (abc)' >&2 ;;
--help) cat "{help}" ;;
--list-devices) [ -z "$GGML_VK_VISIBLE_DEVICES" ] || echo '  Vulkan0: soft (100 MiB, 90 MiB free)' ;;
esac
"""
HELP = Path(__file__).parents[1] / "module_utils/llama_server/data/help-b11669.txt"


def facts(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit) as end:
        llama_server_facts.main()
    assert end.value.code == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["changed"] is False
    found: dict[str, Any] = result["ansible_facts"]["llama_server_facts"]
    return found


def test_a_build_tells_of_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "llama-server"
    program.write_text(PROGRAM.format(help=HELP))
    program.chmod(0o755)
    environment = {"GGML_VK_VISIBLE_DEVICES": "0"}
    user = pwd.getpwuid(os.getuid()).pw_name
    found = facts(capsys, binary=str(program), environment=environment, user=user, ports=[1], models=["/no"])
    told = (found["version"], len(found["options"]), found["source"], found["problem"])
    assert told == ("b11669", 258, "binary", None)
    assert [device["name"] for device in found["devices"]] == ["Vulkan0"]
    assert found["listeners"] == {"1": None}
    assert [(model["path"], model["size"]) for model in found["models"] if model["problem"]] == [("/no", None)]


def test_the_environment_is_the_rungs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "llama-server"
    program.write_text(PROGRAM.format(help=HELP))
    program.chmod(0o755)
    assert facts(capsys, binary=str(program))["devices"] == []


def test_nothing_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys, binary=str(tmp_path / "llama-server"), root=str(tmp_path))
    assert (found["binary"], found["version"], found["source"], found["options"]) == (None, None, "none", [])
    assert (found["current"], found["versions"]) == (None, [])
