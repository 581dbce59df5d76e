# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.models import files
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.files import (
    ModelError,
    Outcome,
    Request,
    ensure,
    free_bytes,
    known_sha256,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama import download
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress

from tests.standins.gguf_files import header, llama
from tests.unit.range_server import serving

HEADER, DATA = header(*llama(layers=1, width=64, words=50))
MODEL = HEADER + os.urandom(DATA)
SHA256 = hashlib.sha256(MODEL).hexdigest()
PAGE = b"<html>sign in</html>"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/m").write_bytes(MODEL)
    (tmp_path / "web/page").write_bytes(PAGE)
    with serving(tmp_path / "web") as found:
        yield found


def have(tmp_path: Path, check_mode: bool = False, **options: Any) -> Outcome:
    request = Request(str(tmp_path / "models/m.gguf"), timeout=5, **options)
    return ensure(request, Progress(None), check_mode)


def left(tmp_path: Path) -> set[str]:
    folder = tmp_path / "models"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_download(server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    url, asked = server
    wanted = {"url": f"{url}/m", "sha256": SHA256}
    assert have(tmp_path, check_mode=True, **wanted) == Outcome(True, "downloaded", SHA256, None)
    assert not (tmp_path / "models").exists()
    assert have(tmp_path, **wanted) == Outcome(True, "downloaded", SHA256, len(MODEL))
    assert (tmp_path / "models/m.gguf").read_bytes() == MODEL
    assert left(tmp_path) == {"m.gguf", ".m.gguf.json", ".lock"}
    before = len(asked)
    assert have(tmp_path, **wanted) == Outcome(False, "kept", SHA256, len(MODEL))
    assert len(asked) == before


def test_the_mode_lets_engines_read(server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        have(tmp_path, url=f"{server[0]}/m", sha256=SHA256)
    finally:
        os.umask(old)
    assert (tmp_path / "models/m.gguf").stat().st_mode & 0o777 == 0o644


def test_a_download_is_continued(server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    url, asked = server
    (tmp_path / "models/.arriving").mkdir(parents=True)
    (tmp_path / "models/.arriving/m.gguf.part").write_bytes(MODEL[:5000])
    have(tmp_path, url=f"{url}/m", sha256=SHA256)
    assert asked[-1] == ("/m", "bytes=5000-")
    assert (tmp_path / "models/m.gguf").read_bytes() == MODEL


def test_what_is_no_model_is_not_downloaded(server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    url, asked = server
    with pytest.raises(ModelError, match=r"not a GGUF file: it begins with .*; nothing was downloaded"):
        have(tmp_path, url=f"{url}/page", sha256=hashlib.sha256(PAGE).hexdigest())
    assert len(asked) == 1
    assert left(tmp_path) == {".lock"}


REFUSED: list[tuple[str, str]] = [
    ("missing/m", "cannot be had: HTTP Error 404"),
    ("m", "has the sha256 .* expected 0000"),
]


@pytest.mark.parametrize(("path", "message"), REFUSED)
def test_what_is_refused_leaves_what_was_there(
    server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path, path: str, message: str
) -> None:
    old = HEADER + bytes(DATA)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.gguf").write_bytes(old)
    with pytest.raises(ModelError, match=message):
        have(tmp_path, url=f"{server[0]}/{path}", sha256="0" * 64)
    assert (tmp_path / "models/m.gguf").read_bytes() == old


def test_another_file_of_that_name_is_replaced(
    server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.gguf").write_bytes(PAGE)
    assert have(tmp_path, url=f"{server[0]}/m", sha256=SHA256).changed


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models/m.gguf"
    path.write_bytes(MODEL)
    assert have(tmp_path, sha256=SHA256) == Outcome(False, "kept", SHA256, len(MODEL))
    assert known_sha256(Request(str(path))) == SHA256
    assert known_sha256(Request(str(path), verify=True)) is None
    path.write_bytes(MODEL[:-1] + bytes([MODEL[-1] ^ 1]))
    os.utime(path, ns=(0, 0))
    assert known_sha256(Request(str(path))) is None
    with pytest.raises(ModelError, match="neither url nor src tells where to get it"):
        have(tmp_path, sha256=SHA256)


def test_a_cut_file_on_disk_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.gguf").write_bytes(MODEL[:-1])
    with pytest.raises(ModelError, match=r"m\.gguf cannot be used as a model: it is cut"):
        have(tmp_path)


def test_a_file_of_the_host_is_linked(tmp_path: Path) -> None:
    src = tmp_path / "src"
    src.write_bytes(MODEL)
    assert have(tmp_path, check_mode=True, src=str(src)).changed
    assert have(tmp_path, src=str(src)) == Outcome(True, "linked", SHA256, len(MODEL))
    assert src.stat().st_ino == (tmp_path / "models/m.gguf").stat().st_ino
    assert not have(tmp_path, src=str(src)).changed
    src.unlink()
    src.write_bytes(HEADER + bytes(DATA))
    assert have(tmp_path, src=str(src)).changed


def test_a_file_of_another_file_system_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError("Invalid cross-device link")

    src = tmp_path / "src"
    src.write_bytes(MODEL)
    monkeypatch.setattr(os, "link", refuse)
    assert have(tmp_path, src=str(src), sha256=SHA256).how == "copied"
    assert (tmp_path / "models/m.gguf").read_bytes() == MODEL


@pytest.mark.parametrize(
    ("content", "sha256", "message"),
    [(PAGE, None, "not a GGUF"), (MODEL[:-1], None, "it is cut"), (MODEL, "0" * 64, "it was not taken")],
)
def test_a_bad_file_of_the_host_is_not_taken(tmp_path: Path, content: bytes, sha256: str | None, message: str) -> None:
    (tmp_path / "src").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        have(tmp_path, src=str(tmp_path / "src"), sha256=sha256)
    assert left(tmp_path) == {".lock"}


def test_absent(server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    have(tmp_path, url=f"{server[0]}/m", sha256=SHA256)
    (tmp_path / "models/.arriving/m.gguf.part").write_bytes(b"begun")
    assert have(tmp_path, check_mode=True, state="absent") == Outcome(True, "removed", None, None)
    assert have(tmp_path, state="absent").changed
    assert left(tmp_path) == {".lock"}
    assert have(tmp_path, state="absent") == Outcome(False, "absent", None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "m.gguf"}, "not the absolute path of a .gguf file"),
        ({"path": "/x/m"}, "not the absolute path of a .gguf file"),
        ({"path": "/x/m.gguf", "url": "http://x/y"}, "not fetched without the sha256"),
        ({"path": "/x/m.gguf", "sha256": "xyz"}, "64 hexadecimal digits"),
        ({"path": "/x/m.gguf", "src": "/no/such"}, "is no file on this host"),
    ],
)
def test_bad_requests(options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options["path"] = options["path"].replace("/x/m.gguf", str(tmp_path / "m.gguf"))
    with pytest.raises(ModelError, match=message):
        ensure(Request(**options), Progress(None), False)


def test_too_little_space_is_told_before_the_download(
    server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda _folder: 1000)
    with pytest.raises(ModelError, match=r"needs .* more in .*, which has 1000 B free|needs .* 1 kB free"):
        have(tmp_path, url=f"{server[0]}/m", sha256=SHA256)
    assert [where for _path, where in server[1]] == ["bytes=0-1048575"]


@pytest.mark.parametrize(("size", "kept"), [(7000, 0), ((1 << 16) + 7000, 7000)])
def test_a_disk_that_fills_keeps_what_came_but_for_some_room(
    server: tuple[str, list[tuple[str, str | None]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    kept: int,
) -> None:
    def full(_url: str, partial: str, *_arguments: object) -> None:
        Path(partial).write_bytes(bytes(size))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_fetch", full)
    with pytest.raises(ModelError, match=rf"has no room left for m\.gguf: .* the {kept} bytes that are there wait"):
        have(tmp_path, url=f"{server[0]}/m", sha256=SHA256)
    assert left(tmp_path) == {".arriving/m.gguf.part", ".lock"}
    assert (tmp_path / "models/.arriving/m.gguf.part").stat().st_size == kept


def test_a_disk_without_room_for_a_first_byte(
    server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_fetch", full)
    with pytest.raises(ModelError, match="the 0 bytes that are there wait"):
        have(tmp_path, url=f"{server[0]}/m", sha256=SHA256)


def test_a_long_download_of_another_is_waited_for(
    server: tuple[str, list[tuple[str, str | None]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 GB at 100 Mbit/s take 55 minutes."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) >= 5 * 3600:
            fcntl.flock(held, fcntl.LOCK_UN)

    monkeypatch.setattr(time, "sleep", sleep)
    (tmp_path / "models").mkdir()
    with (tmp_path / "models/.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert have(tmp_path, url=f"{server[0]}/m", sha256=SHA256).changed
    assert sum(slept) == 5 * 3600


def test_nothing_but_a_model_takes_the_name(tmp_path: Path) -> None:
    request = Request(str(tmp_path / "m.gguf"), sha256=SHA256)
    (tmp_path / ".arriving").mkdir()
    Path(request.arriving).write_bytes(MODEL[:-1])
    with pytest.raises(ModelError, match="it is cut"):
        files.put_in_place(request)
    assert not (tmp_path / "m.gguf").exists()


def test_free_bytes_of_a_directory_to_be(tmp_path: Path) -> None:
    assert free_bytes(str(tmp_path / "a/b/c")) == pytest.approx(free_bytes(str(tmp_path)), rel=0.01)
