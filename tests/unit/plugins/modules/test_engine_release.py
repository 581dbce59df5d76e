# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module engine_release as Ansible runs it."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import engine_release


def run(capsys: pytest.CaptureFixture[str], **args: Any) -> dict[str, Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        engine_release.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """Serves base.tgz with bin/ollama, and the sha256sum.txt of the release."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with tarfile.open(folder / "base.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("./bin/ollama")
        member.size, member.mode = 6, 0o755
        archive.addfile(member, io.BytesIO(b"engine"))
    digest = hashlib.sha256((folder / "base.tgz").read_bytes()).hexdigest()
    (folder / "sha256sum.txt").write_text(f"{digest}  ./base.tgz\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def arguments(tmp_path: Path, mirror: str) -> dict[str, Any]:
    return {
        "root": str(tmp_path / "opt"),
        "version": "0.32.15",
        "archives": [f"{mirror}/base.tgz"],
        "checksums_url": f"{mirror}/sha256sum.txt",
        "link": str(tmp_path / "bin/ollama"),
    }


def test_a_release_is_installed_once(tmp_path: Path, mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = arguments(tmp_path, mirror)
    foretold = run(capsys, **wanted, _ansible_check_mode=True)
    assert not (tmp_path / "opt").exists()
    done = run(capsys, **wanted)
    assert (done["changed"], done["downloaded"], done["previous_version"], done["link"]) == (
        True,
        ["base.tgz"],
        None,
        "ours",
    )
    assert foretold["diff"] == {**done["diff"], "after": foretold["diff"]["after"]}
    assert (tmp_path / "bin/ollama").read_bytes() == b"engine"
    assert os.readlink(tmp_path / "opt/current") == "versions/0.32.15"
    again = run(capsys, **wanted)
    assert (again["changed"], again["downloaded"]) == (False, [])


def test_a_wrong_checksum_stops_before_anything(
    tmp_path: Path, mirror: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, **arguments(tmp_path, mirror), sha256={"base.tgz": "0" * 64})
    assert result["failed"] is True
    assert "base.tgz" in result["msg"]
    assert not (tmp_path / "opt/current").is_symlink()


@pytest.mark.parametrize("version", ["latest", "v0.32.15", "0.32", "../0.32.15", "0.32.15\n"])
def test_a_version_that_is_none(version: str, tmp_path: Path, mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, **{**arguments(tmp_path, mirror), "version": version})
    assert result["failed"] is True
    assert "is not a version: write it like 0.32.15" in result["msg"]
    assert not (tmp_path / "opt").exists()


def test_a_controller_only_fetches(tmp_path: Path, mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {**arguments(tmp_path, mirror), "unpack": False}
    foretold = run(capsys, **wanted, _ansible_check_mode=True)
    assert not (tmp_path / "opt").exists()
    done = run(capsys, **wanted)
    assert (foretold["changed"], done["changed"], done["downloaded"]) == (True, True, ["base.tgz"])
    digest = hashlib.sha256((tmp_path / "opt/downloads/0.32.15/base.tgz").read_bytes()).hexdigest()
    assert done["archives"] == foretold["archives"] == {"base.tgz": digest}
    assert run(capsys, **wanted)["changed"] is False
    assert not (tmp_path / "bin/ollama").exists()
