# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.action import host_evidence as action
from ansible_collections.lamplighter.fleet.plugins.modules import host_evidence
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import SignaturesAction, load

from tests.unit.machines import MINIPC, write


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args({"signatures": load(), **arguments}), pytest.raises(SystemExit):
        host_evidence.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_is_returned_is_documented_and_check_mode_is_the_same(tmp_path: Path, capsys):
    root = write(tmp_path, MINIPC)
    result = run(capsys, sysroot=root)
    assert set(result["evidence"]) == set(yaml.safe_load(host_evidence.RETURN)["evidence"]["contains"])
    assert not result.get("changed")
    again = run(capsys, sysroot=root, _ansible_check_mode=True, bundle=str(tmp_path / "x.tar.gz"))
    assert again["evidence"]["gpu_facts"] == result["evidence"]["gpu_facts"]
    assert "files" not in again


def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, capsys):
    assert "There is no" in run(capsys, read=str(tmp_path / "none"))["msg"]
    assert "unknown key" in run(capsys, catalogue={"arches": {"gfx1103": {"integratd": True}}})["msg"]


def test_the_texts_of_a_bundle_go_into_an_archive_and_not_into_the_result(tmp_path: Path, capsys, monkeypatch):
    result = run(capsys, sysroot=write(tmp_path / "tree", MINIPC), bundle="later", names=["box"])
    assert "evidence.json" in result["files"]
    monkeypatch.setattr(SignaturesAction, "run", lambda *_arguments: dict(result))
    plugin = action.ActionModule.__new__(action.ActionModule)
    target = tmp_path / "new folder" / "box.tar.gz"
    plugin._task = type("Task", (), {"args": {"bundle": str(target)}})()
    written = plugin.run()
    assert (written["bundle"], written["changed"], "files" in written) == (str(target), True, False)
    with tarfile.open(target) as archive:
        assert "box/evidence.json" in archive.getnames()
