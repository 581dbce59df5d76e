# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import GgufError
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.remote import (
    RemoteError,
    RemoteFile,
    fetch_manifest,
    parse_manifest,
    read_remote,
    registry_folder,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.standins.gguf_files import header, llama
from tests.standins.ollama import registry
from tests.unit.range_server import serving

SMALL, SMALL_DATA = header(*llama(layers=1, width=64, words=50))
# Two blocks of header: 60000 words and more.
LARGE, LARGE_DATA = header(*llama(layers=1, width=64, words=90_000))
Server = tuple[str, list[tuple[str, "str | None"]]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "small").write_bytes(SMALL + bytes(SMALL_DATA))
    (tmp_path / "large").write_bytes(LARGE + bytes(LARGE_DATA))
    (tmp_path / "short").write_bytes(SMALL + bytes(SMALL_DATA - 1))
    registry.publish(tmp_path, "tiny:1b", layers=1, width=64, words=50)
    (tmp_path / "v2/library/page/manifests").mkdir(parents=True)
    (tmp_path / "v2/library/page/manifests/1").write_text("<html>")
    with serving(tmp_path) as found:
        yield found


@pytest.mark.parametrize("how", ["", "plain/", "cut/"])
@pytest.mark.parametrize(
    ("name", "content", "data"), [("small", SMALL, SMALL_DATA), ("large", LARGE, LARGE_DATA)], ids=["small", "large"]
)
def test_read_remote(server: Server, how: str, name: str, content: bytes, data: int) -> None:
    metadata, size = read_remote(f"{server[0]}/{how}{name}", 5)
    assert size == len(content) + data
    assert metadata.header_bytes == len(content)


def test_only_the_header_is_asked_for(server: Server) -> None:
    assert len(LARGE) > 1 << 20
    read_remote(f"{server[0]}/large", 5)
    assert [asked for _path, asked in server[1]] == ["bytes=0-1048575", "bytes=1048576-2097151"]


def test_bytes_come_in_order(server: Server) -> None:
    stream = RemoteFile(f"{server[0]}/large", 5)
    content = b""
    while piece := stream.read(100_000):
        content += piece
    assert content == LARGE + bytes(LARGE_DATA)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("missing/small", RemoteError, "cannot be had: HTTP Error 404"),
        ("short", RemoteError, "is cut: it has"),
        ("v2/library/tiny/manifests/1b", GgufError, "not a GGUF file"),
    ],
)
def test_what_cannot_be_read(server: Server, path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_remote(f"{server[0]}/{path}", 5)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(RemoteError, match=r"http://127\.0\.0\.1:1/m does not answer"):
        read_remote("http://127.0.0.1:1/m", 1)


def test_manifest(server: Server) -> None:
    manifest = fetch_manifest("tiny:1b", server[0], 5)
    assert manifest.weights.blob == f"sha256-{manifest.weights.sha256}"
    assert manifest.bytes == sum(layer.bytes for layer in manifest.layers) > manifest.weights.bytes
    with pytest.raises(RemoteError, match="404"):
        fetch_manifest("tiny:2b", server[0], 5)
    with pytest.raises(RemoteError, match="is no manifest of a model"):
        fetch_manifest("page:1", server[0], 5)


FOLDERS: list[tuple[str, str, tuple[str, str]]] = [
    ("llama3.2:3b", "https://mirror/", ("https://mirror/v2/library/llama3.2", "3b")),
    ("me/m:1", "https://mirror", ("https://mirror/v2/me/m", "1")),
    ("hf.co/me/m:Q4", "https://mirror", ("https://hf.co/v2/me/m", "Q4")),
    ("host:5000/me/m:1", "https://mirror", ("https://host:5000/v2/me/m", "1")),
]


@pytest.mark.parametrize(("tag", "url", "expected"), FOLDERS)
def test_registry_folder(tag: str, url: str, expected: tuple[str, str]) -> None:
    assert registry_folder(tag, url) == expected


LAYER = {"mediaType": registry.MODEL_TYPE, "digest": "sha256:" + "a" * 64, "size": 5}
BAD: list[tuple[object, str]] = [
    ([], "is no manifest"),
    ({"layers": []}, "is no manifest"),
    ({"layers": [LAYER], "config": {}}, "is no manifest"),
    ({"layers": [{**LAYER, "digest": "sha256:../../x"}], "config": LAYER}, "is no sha256"),
    ({"layers": [{**LAYER, "size": -1}], "config": LAYER}, "is no sha256"),
    ({"layers": [], "config": {**LAYER, "mediaType": "x"}}, "names no weights"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_manifests(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_manifest(json.dumps(content).encode())


@given(st.binary(max_size=60))
def test_any_answer_is_a_manifest_or_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="manifest"):
        parse_manifest(content)
