# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules model_fit and model_file as Ansible runs them, and the action plugin of the first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.action.model_fit import host_of
from ansible_collections.lamplighter.fleet.plugins.modules import model_file, model_fit

from tests.standins.gguf_files import header, llama
from tests.unit.range_server import serving

HEADER, DATA = header(*llama(layers=1, width=64, words=50))
MODEL = HEADER + bytes(DATA)
SHA256 = hashlib.sha256(MODEL).hexdigest()


def run(module: Any, capsys: pytest.CaptureFixture[str], **args: Any) -> dict[str, Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_file_is_fetched_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m").write_bytes(MODEL)
    path = tmp_path / "models/m.gguf"
    with serving(tmp_path) as (url, _asked):
        wanted = {"path": str(path), "url": f"{url}/m", "sha256": SHA256.upper()}
        foretold = run(model_file, capsys, **wanted, _ansible_check_mode=True)
        assert (foretold["changed"], path.exists()) == (True, False)
        done = run(model_file, capsys, **wanted)
        assert done["diff"] == foretold["diff"]
        assert (done["how"], done["sha256"], done["size"]) == ("downloaded", SHA256, len(MODEL))
        again = run(model_file, capsys, **wanted)
    assert (again["changed"], again["how"]) == (False, "kept")
    assert again["diff"]["before"] == again["diff"]["after"] == f"sha256: {SHA256}\n"
    assert run(model_file, capsys, path=str(path), state="absent")["diff"]["after"] == "sha256: absent\n"
    assert not path.exists()


def test_what_cannot_be_had_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://me:s3cret@127.0.0.1:1/m"
    result = run(model_file, capsys, path=str(tmp_path / "m.gguf"), url=url, sha256=SHA256)
    assert result["failed"] is True
    assert "http://me:(hidden)@127.0.0.1:1/m does not answer" in result["msg"]
    (problem,) = run(model_fit, capsys, models=[{"name": "m", "url": url, "sha256": SHA256}])["problems"]
    assert "http://me:(hidden)@127.0.0.1:1/m does not answer" in problem
    assert "s3cret" not in problem


def test_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m").write_bytes(MODEL)
    folders = {"models_directory": str(tmp_path / "models"), "store": str(tmp_path / "store")}
    with serving(tmp_path) as (url, _asked):
        models = [{"name": "m", "url": f"{url}/m", "sha256": SHA256, "context": 512}]
        result = run(model_fit, capsys, models=models, available_bytes=1 << 30, **folders)
    assert (result["changed"], result["problems"]) == (False, [])
    (model,) = result["models"]
    assert (model["fits"], model["missing"], model["bytes"]) == (True, True, len(MODEL))


def test_bad_entries_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(model_fit, capsys, models=[{"name": "../x"}, "y"])
    assert result["models"] == []
    assert len(result["problems"]) == 2


def test_the_action_reads_what_is_templated() -> None:
    host = host_of({"models_directory": "/m", "available_bytes": "1000", "gpu": "no", "timeout": 5, "given": {}})
    assert (host.models_directory, host.available_bytes, host.gpu, host.timeout) == ("/m", 1000, False, 5)
    assert host_of({"available_bytes": None}).available_bytes is None
