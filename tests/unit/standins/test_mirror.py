# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror serves whole files, parts of files, and cut answers."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.standins.mirror import Mirror

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    (tmp_path / "file").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, server.server_address[1]
        server.shutdown()


def get(port: int, path: str = "/file", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("", 200, CONTENT),
        ("bytes=1000-", 206, CONTENT[1000:]),
        ("bytes=10-19", 206, CONTENT[10:20]),
        (f"bytes={len(CONTENT)}-", 416, b""),
    ],
)
def test_ranges(server: tuple[Path, int], asked: str, status: int, expected: bytes) -> None:
    answer = get(server[1], Range=asked) if asked else get(server[1])
    assert (answer.status, answer.read()) == (status, expected)


def test_missing_file(server: tuple[Path, int]) -> None:
    assert get(server[1], "/absent").status == 404


def test_cut_answer_is_shorter_than_promised(server: tuple[Path, int]) -> None:
    folder, port = server
    (folder / ".mirror.json").write_text(json.dumps({"cut_after": 5000}))
    answer = get(port)
    with pytest.raises(http.client.IncompleteRead) as problem:
        answer.read()
    assert len(problem.value.partial) == 5000
