# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules rocm_facts and rocm_repository as Ansible runs them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.openpgp import public_keys
from ansible_collections.lamplighter.fleet.plugins.modules import rocm_facts, rocm_repository


def run(capsys: pytest.CaptureFixture[str], module: ModuleType, **args: Any) -> dict[str, Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_is_returned_is_what_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, rocm_facts, sysroot=str(tmp_path), packages=["no-such-package"])
    fields = yaml.safe_load(rocm_facts.RETURN)["ansible_facts"]["contains"]["rocm_facts"]["contains"]
    assert set(result["ansible_facts"]["rocm_facts"]) == set(fields)
    assert result["ansible_facts"]["rocm_facts"]["missing"] == ["no-such-package"]
    assert result["changed"] is False


def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> dict[str, Any]:
    """A repository that apt finds good, with a key that the network gives."""
    monkeypatch.setattr(rocm_repository, "fetch", lambda _url: data)
    monkeypatch.setattr(rocm_repository, "try_apt", lambda _wanted, _key: None)
    source = {"path": str(tmp_path / "etc/amdrocm.sources"), "content": "URIs: http://example.org\n"}
    return {
        "key_url": "http://example.org/key",
        "fingerprint": "0123456789ABCDEF0123456789ABCDEF01234567",
        "keyring": str(tmp_path / "etc/amdrocm.gpg"),
        "files": [source],
    }


def test_a_repository_is_written_and_shown(tmp_path, capsys, monkeypatch) -> None:
    # A key packet of one byte is enough for a fingerprint.
    key = b"\x98\x01\x04"
    one = repository(tmp_path, monkeypatch, key)
    one["fingerprint"] = next(iter(public_keys(key)))
    args = {"repositories": [one], "state_dir": str(tmp_path / "state")}
    predicted = run(capsys, rocm_repository, _ansible_check_mode=True, _ansible_diff=True, **args)
    assert not (tmp_path / "etc").exists()
    done = run(capsys, rocm_repository, _ansible_diff=True, **args)
    assert predicted == done
    assert (done["changed"], done["paths"]) == (True, [one["files"][0]["path"]])
    assert done["diff"][0]["after"] == "URIs: http://example.org\n"
    assert (tmp_path / "etc/amdrocm.gpg").read_bytes() == key
    assert run(capsys, rocm_repository, **args)["changed"] is False


def test_a_wrong_key_fails_with_one_message(tmp_path, capsys, monkeypatch) -> None:
    one = repository(tmp_path, monkeypatch, b"\x98\x01\x04")
    result = run(capsys, rocm_repository, repositories=[one], state_dir=str(tmp_path / "state"))
    assert result["failed"] is True
    assert "has the fingerprint" in result["msg"]
    assert list(tmp_path.iterdir()) == []
