# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on disk and the lines of a pull."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import Api
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.models import Wanted, ensure

from tests.standins.ollama import registry
from tests.standins.ollama.engine import gguf
from tests.standins.ollama.engine.api import Engine, Server, context_for
from tests.standins.ollama.engine.environ import Environment
from tests.standins.ollama.engine.store import Name, Store
from tests.standins.ollama.registry import write_gguf
from tests.unit.range_server import serving


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("llama3.2", "registry.ollama.ai/library/llama3.2/latest"),
        ("llama3.2:3b", "registry.ollama.ai/library/llama3.2/3b"),
        ("me/model:x", "registry.ollama.ai/me/model/x"),
        ("mirror.lan:5000/me/model", "mirror.lan:5000/me/model/latest"),
        ("http://mirror.lan:5000/me/model", "mirror.lan:5000/me/model/latest"),
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


def test_a_partial_download_is_gone_after_an_hour(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert "error" in list(store.pull("smollm2:135m", "cut"))[-1]
    assert store.remove_unused() == 0
    for blob in (tmp_path / "blobs").iterdir():
        os.utime(blob, (time.time() - 7200,) * 2)
    store.remove_unused()
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_deleted_model_takes_its_own_blobs_along_and_no_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("smollm2:135m", "smollm2:360m"):
        list(store.pull(name, None))
    other, young = store.layers(Name.parse("smollm2:360m")), store.add_blob(b"young")[0]
    store.delete(store.existing(Name.parse("SmolLM2:135m")))
    assert {blob.name for blob in (tmp_path / "blobs").iterdir()} == other | {young.replace(":", "-")}


def ask(url: str, method: str = "GET", data: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=10) as answer:
            return answer.status
    except HTTPError as problem:
        return problem.code


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server("0.0.0.0", 0)
    server.engine = Engine(Environment({}), tmp_path, Store(tmp_path / "store"), "0.32.15", {})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_blobs_over_http_on_every_address(server: Server) -> None:
    port = server.server_address[1]
    assert server.address() == f"[::]:{port}"
    digest = hashlib.sha256(b"blob").hexdigest()
    blob = f"http://127.0.0.1:{port}/api/blobs/sha256:{digest}"
    said = [ask(blob, "HEAD"), ask(blob, "POST", b"other"), ask(blob, "POST", b"blob"), ask(blob, "POST", b"blob")]
    assert said == [404, 400, 201, 200]
    assert ask(f"http://[::1]:{port}/api/blobs/sha256:{digest}", "HEAD") == 200
    assert ask(f"http://127.0.0.1:{port}/api/blobs/..%2f..%2fsecret", "HEAD") == 400


def test_the_module_has_its_models(server: Server, tmp_path: Path) -> None:
    def change(name: str, state: str = "present", **more: str) -> bool:
        source = "gguf" if more else "registry"
        store = str(tmp_path / "store")
        api = Api(f"http://127.0.0.1:{server.server_address[1]}", 10)
        return ensure(api, Wanted(name, state, source, more.get("path"), None, store), 0, False)[0]

    assert change("registry.ollama.ai/library/smollm2:135m")
    assert not change("SmolLM2:135m")
    file, other = tmp_path / "m.gguf", tmp_path / "n.gguf"
    write_gguf(file, layers=1, width=64, words=50)
    write_gguf(other, layers=2, width=64, words=50)
    assert change("house", path=str(file))
    assert not change("House:latest", path=str(file))
    assert change("house", path=str(other)), "its Modelfile tells from which file a model was made"
    assert change("library/SMOLLM2:135m", "absent")
    assert not change("smollm2:135m", "absent")


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
