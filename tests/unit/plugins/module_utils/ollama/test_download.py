# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import (
    Progress,
    download,
    fetch_text,
    parse_checksums,
    remote_size,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import ReleaseError

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the path says how: /plain ignores ranges, /cut ends early once, /busy fails once."""

    requests: ClassVar[list[tuple[str, str | None]]] = []

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_response(404 if "missing" in self.path else 403 if "closed" in self.path else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        first_time = self.path not in [path for path, _range in self.requests]
        self.requests.append((self.path, asked))
        if "missing" in self.path or ("busy" in self.path and first_time):
            self.send_error(404 if "missing" in self.path else 503)
            return
        offset = int(asked[len("bytes=") : -1]) if asked and "plain" not in self.path else 0
        if offset >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if offset else 200)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - offset))
        self.end_headers()
        end = 100_000 if "cut" in self.path and first_time else len(CONTENT)
        self.wfile.write(CONTENT[offset:end])


@pytest.fixture
def mirror() -> Iterator[str]:
    Mirror.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def fetch(url: str, target: Path, sha256: str = SHA256, attempts: int = 4) -> None:
    download(url, str(target), sha256, Progress(None), timeout=5, attempts=attempts, pause=0)


@pytest.mark.parametrize("left", [0, 1000, len(CONTENT)], ids=["nothing", "a part", "all of it"])
@pytest.mark.parametrize("path", ["range", "plain", "cut", "busy"])
def test_download_ends_with_the_whole_file(mirror: str, tmp_path: Path, path: str, left: int) -> None:
    target = tmp_path / "a.tar.zst"
    if left:
        (tmp_path / "a.tar.zst.part").write_bytes(CONTENT[:left])
    fetch(f"{mirror}/{path}", target)
    assert target.read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a.tar.zst"]


def test_an_interrupted_download_is_continued(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    fetch(f"{mirror}/range", tmp_path / "a")
    assert Mirror.requests == [("/range", "bytes=1000-")]


def test_a_server_without_ranges_is_asked_once(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    fetch(f"{mirror}/plain", tmp_path / "a")
    assert len(Mirror.requests) == 1


def test_what_continues_into_wrong_content_is_fetched_anew(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    fetch(f"{mirror}/range", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_finished_file_is_verified_and_not_fetched(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    fetch(f"{mirror}/range", tmp_path / "a")
    assert Mirror.requests == []


def test_a_damaged_finished_file_is_fetched_anew(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT[:-1] + b"x")
    fetch(f"{mirror}/range", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"sha256 .* expected 0000"):
        fetch(f"{mirror}/range", tmp_path / "a", sha256="0" * 64)
    assert os.listdir(tmp_path) == []
    assert len(Mirror.requests) == 1


@pytest.mark.parametrize(
    ("path", "message"), [("/missing", "404"), ("/cut-for-ever", "after 1 attempts: the connection ended")]
)
def test_a_download_that_cannot_be_had(mirror: str, tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        fetch(mirror + path, tmp_path / "a", attempts=1)


def test_an_unreachable_mirror_is_named() -> None:
    with pytest.raises(ReleaseError, match=r"cannot fetch http://127.0.0.1:1/sha256sum.txt.*check the address"):
        fetch_text("http://127.0.0.1:1/sha256sum.txt", 5)
    with pytest.raises(ReleaseError, match=r"cannot reach http://127\.0\.0\.1:1/a"):
        remote_size("http://127.0.0.1:1/a", 5)


def test_remote_size(mirror: str) -> None:
    assert remote_size(f"{mirror}/a", 5) == len(CONTENT)
    assert remote_size(f"{mirror}/closed", 5) is None
    with pytest.raises(ReleaseError, match="does not exist"):
        remote_size(f"{mirror}/missing", 5)


A, B = "a" * 64, "B" * 64
CHECKSUMS: list[tuple[str, dict[str, str]]] = [
    (f"{A}  ./x.tar.zst\n", {"x.tar.zst": A}),
    (f"{A}  x.tgz\r\n{B} *y.tgz\r\n", {"x.tgz": A, "y.tgz": "b" * 64}),
    ("<html>not found</html>", {}),
    (f"{A[:-1]}  ./x\n", {}),
    ("", {}),
]


@pytest.mark.parametrize(("text", "expected"), CHECKSUMS)
def test_parse_checksums(text: str, expected: dict[str, str]) -> None:
    assert parse_checksums(text) == expected


def test_progress_is_readable_at_any_time(tmp_path: Path) -> None:
    progress = Progress(str(tmp_path / "progress"))
    progress.report("download", "a", 1, 10)
    progress.report("download", "a", 2, 10)
    assert (tmp_path / "progress").read_text() == '{"stage": "download", "name": "a", "done": 1, "total": 10}'
