# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_facts as Ansible runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import gpu_facts

from tests.unit.machines import DESKTOP, MINIPC, write


def run(capsys: pytest.CaptureFixture[str], **args: Any) -> dict[str, Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        gpu_facts.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def documented(fields: dict[str, Any], found: Any) -> None:
    """Every key that is returned is documented, and the other way round."""
    for entry in found if isinstance(found, list) else [found]:
        if entry is None:
            continue
        assert set(entry) == set(fields)
        for key, field in fields.items():
            if "contains" in field:
                documented(field["contains"], entry[key])


def test_what_is_returned_is_what_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, sysroot=write(tmp_path, {**DESKTOP, "dev/kfd": ""}))
    documented(yaml.safe_load(gpu_facts.RETURN)["ansible_facts"]["contains"], result["ansible_facts"])
    assert not result.get("changed")


def test_what_is_returned_of_wsl_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path, {"proc/sys/kernel/osrelease": "6.6.87.2-microsoft-standard-WSL2\n"})
    result = run(capsys, sysroot=root, interop=True)
    documented(yaml.safe_load(gpu_facts.RETURN)["ansible_facts"]["contains"], result["ansible_facts"])
    assert result["ansible_facts"]["gpu_facts"]["wsl"]["version"] == 2


def test_check_mode_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path, MINIPC)
    assert (
        run(capsys, sysroot=root, _ansible_check_mode=True)["ansible_facts"]
        == run(capsys, sysroot=root)["ansible_facts"]
    )


def test_a_wrong_catalogue_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, sysroot=str(tmp_path), catalogue={"arches": {"gfx1103": {"integratd": True}}})
    assert result["failed"] is True
    assert "unknown key 'integratd'" in result["msg"]
