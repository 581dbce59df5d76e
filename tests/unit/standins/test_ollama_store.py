# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on disk and the lines of a pull."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tests.standins.ollama import registry
from tests.standins.ollama.engine import gguf
from tests.standins.ollama.engine.api import context_for
from tests.standins.ollama.engine.store import Name, Store
from tests.unit.range_server import serving


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("llama3.2", "registry.ollama.ai/library/llama3.2/latest"),
        ("llama3.2:3b", "registry.ollama.ai/library/llama3.2/3b"),
        ("me/model:x", "registry.ollama.ai/me/model/x"),
        ("mirror.lan:5000/me/model", "mirror.lan:5000/me/model/latest"),
    ],
)
def test_names_become_paths(text: str, path: str, tmp_path: Path) -> None:
    assert Store(tmp_path).manifest(Name.parse(text)) == tmp_path / "manifests" / path


@pytest.mark.parametrize("text", ["", "a b", "../x", "a:"])
def test_bad_names(text: str) -> None:
    with pytest.raises(ValueError, match="invalid model name"):
        Name.parse(text)


def test_pull(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lines = list(store.pull("smollm2:135m", None))
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success"}
    for blob in (tmp_path / "blobs").iterdir():
        assert blob.name == "sha256-" + hashlib.sha256(blob.read_bytes()).hexdigest()
    weights = store.weights(Name.parse("smollm2:135m"))
    assert gguf.shape(weights) == ("llama", 30, 258 * 1024 * 1024)


def test_cut_pull_leaves_a_partial_blob_and_no_model(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert "error" in list(store.pull("smollm2:135m", "cut"))[-1]
    assert store.names() == []
    assert [blob.name for blob in (tmp_path / "blobs").glob("*-partial")]


def test_unknown_model(tmp_path: Path) -> None:
    assert list(Store(tmp_path).pull("no-such", None))[-1] == {"error": "pull model manifest: file does not exist"}


def test_only_old_blobs_without_a_manifest_are_pruned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    list(store.pull("smollm2:135m", None))
    kept = set((tmp_path / "blobs").iterdir())
    store.add_blob(b"young")
    old = store.blob(store.add_blob(b"old")[0])
    os.utime(old, (time.time() - 7200,) * 2)
    for blob in kept:
        os.utime(blob, (time.time() - 7200,) * 2)
    assert store.remove_unused() == 1
    assert not old.exists()
    assert kept < set((tmp_path / "blobs").iterdir())


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 40, b"not a model"])
def test_what_is_no_gguf_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"magic|unexpected"):
        gguf.read(file)


@pytest.mark.parametrize(("gib", "context"), [(0, 4096), (22, 4096), (23, 32768), (46, 32768), (47, 262144)])
def test_default_context_follows_the_memory(gib: int, context: int) -> None:
    assert context_for(gib * 1024**3) == context


def test_pull_over_http_continues_and_believes_what_lies_there(tmp_path: Path) -> None:
    digest = registry.publish(tmp_path / "web", "tiny:1b", layers=1, width=64, words=50)
    store = Store(tmp_path / "store")
    whole = (tmp_path / f"web/v2/library/tiny/blobs/sha256:{digest}").read_bytes()
    (tmp_path / f"store/blobs/sha256-{digest}-partial").write_bytes(whole[:5000])
    with serving(tmp_path / "web") as (url, asked):
        lines = list(store.pull("tiny:1b", None, url))
        assert lines[-1] == {"status": "success"}
        assert ("/v2/library/tiny/blobs/sha256:" + digest, "bytes=5000-") in asked
        assert store.blob(f"sha256:{digest}").read_bytes() == whole
        store.blob(f"sha256:{digest}").write_bytes(b"other")
        assert list(store.pull("tiny:1b", None, url))[-1] == {"status": "success"}
        assert "error" in list(store.pull("tiny:2b", None, url))[-1]
    assert "error" in list(store.pull("tiny:1b", None, "http://127.0.0.1:1"))[-1]


def test_pull_over_http_ends_in_an_error_line(tmp_path: Path) -> None:
    registry.publish(tmp_path / "web", "tiny:1b", layers=1, width=64, words=50)
    store = Store(tmp_path / "store")
    blobs = tmp_path / "web/v2/library/tiny/blobs"
    weights = max(blobs.iterdir(), key=lambda blob: blob.stat().st_size)
    weights.write_bytes(bytes(weights.stat().st_size))
    with serving(tmp_path / "web") as (url, _asked):
        assert "digest mismatch" in list(store.pull("tiny:1b", None, url))[-1]["error"]
    assert store.names() == []
