# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.models_text import models_text
from ansible_collections.lamplighter.fleet.plugins.module_utils.models import look as look_module
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.files import Request, write_record
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.look import Host, look, look_remotely
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.wanted import read_entries

from tests.standins.gguf_files import header, llama
from tests.standins.ollama import registry
from tests.unit.range_server import serving

SHAPE: dict[str, Any] = {"layers": 2, "width": 512, "words": 1000}
GIB = 1 << 30
Server = tuple[str, list[tuple[str, "str | None"]]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    registry.publish(tmp_path / "web", "tiny:1b", **SHAPE)
    registry.write_gguf(tmp_path / "web/m.gguf", **SHAPE)
    registry.write_gguf(tmp_path / "web/part.gguf", **SHAPE)
    values, tensors = llama(**SHAPE)
    (tmp_path / "web/part.gguf").write_bytes(header({**values, "split.count": 3}, tensors)[0] + bytes(20_000_000))
    with serving(tmp_path / "web") as found:
        yield found


def host(tmp_path: Path, server: Server, **more: Any) -> Host:
    described = {"available_bytes": GIB, "registry_url": server[0], "timeout": 5, **more}
    return Host(str(tmp_path / "models"), str(tmp_path / "store"), **described)


def see(one: Host, *wanted: dict[str, Any], **more: Any) -> tuple[list[dict[str, Any]], list[str]]:
    entries, problems = read_entries(list(wanted), "ollama")
    assert problems == []
    return look(entries, one, **more)


def install(tmp_path: Path, tag: str) -> None:
    """The registry's files as Ollama keeps them."""
    model, version = tag.split(":")
    base = tmp_path / "web/v2/library" / model
    (tmp_path / "store/blobs").mkdir(parents=True, exist_ok=True)
    for blob in (base / "blobs").iterdir():
        (tmp_path / "store/blobs" / blob.name.replace(":", "-")).write_bytes(blob.read_bytes())
    manifest = tmp_path / "store/manifests/registry.ollama.ai/library" / model / version
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_bytes((base / "manifests" / version).read_bytes())


def test_a_model_of_the_registry(tmp_path: Path, server: Server) -> None:
    (one,), problems = see(host(tmp_path, server), {"name": "tiny:1b", "context": 1024})
    assert problems == []
    assert one["missing"] is one["fits"] is True
    assert one["need"]["context"] == 1024
    assert one["bytes"] == sum(blob["bytes"] for blob in one["blobs"])
    assert one["url"] == f"{server[0]}/v2/library/tiny/blobs/sha256:{one['sha256']}"
    assert one["path"] is None
    assert one["largest_context"] == one["trained_context"] == 32768
    assert one["manifest_path"] == "manifests/registry.ollama.ai/library/tiny/1b"
    # The manifest, and one range of the weights.
    assert len(server[1]) == 2


def test_what_is_there_needs_no_server(tmp_path: Path, server: Server) -> None:
    install(tmp_path, "tiny:1b")
    (one,), problems = see(host(tmp_path, server), {"name": "tiny:1b"})
    assert (one["missing"], one["fits"], problems, server[1]) == (False, True, [], [])


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_model_with_a_damaged_blob_is_missing(tmp_path: Path, server: Server, damage: str) -> None:
    install(tmp_path, "tiny:1b")
    blob = max((tmp_path / "store/blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1]) if damage == "cut" else blob.unlink()
    (one,), _problems = see(host(tmp_path, server), {"name": "tiny:1b"})
    assert one["missing"]


def test_a_file_for_both_engines(tmp_path: Path, server: Server) -> None:
    wanted = {"name": "m", "url": f"{server[0]}/m.gguf", "sha256": "a" * 64, "engines": ["ollama", "llama_server"]}
    (one,), _problems = see(host(tmp_path, server), wanted)
    assert one["path"] == str(tmp_path / "models/m.gguf")
    assert one["there"] == {"ollama": False, "llama_server": False}
    (tmp_path / "models").mkdir()
    path = tmp_path / "models/m.gguf"
    path.write_bytes((tmp_path / "web/m.gguf").read_bytes())
    # Nobody has verified it yet.
    (one,), _problems = see(host(tmp_path, server), wanted)
    assert (one["there"], one["file_there"]) == ({"ollama": False, "llama_server": False}, False)
    write_record(Request(str(path)), "a" * 64)
    server[1].clear()
    (one,), _problems = see(host(tmp_path, server), wanted)
    assert (one["there"], one["file_there"]) == ({"ollama": False, "llama_server": True}, True)
    assert (one["fits"], one["sha256"], server[1]) == (True, "a" * 64, [])
    write_record(Request(str(path)), "b" * 64)
    (one,), _problems = see(host(tmp_path, server), wanted)
    assert one["file_there"] is False


def test_a_file_of_the_controller(tmp_path: Path, server: Server) -> None:
    wanted = {"name": "m", "src": str(tmp_path / "web/m.gguf")}
    one_host = host(tmp_path, server)
    (one,), problems = see(one_host, wanted)
    assert (one["asked"], one["need"], problems) == (False, None, [])
    given = asdict(look_remotely(read_entries([wanted], "ollama")[0][0], one_host))
    (one,), problems = see(one_host, wanted, given={"m": given})
    assert one["fits"] is True
    assert len(one["sha256"]) == 64
    # Before a copy of it has the model's name on a host.
    entry = read_entries([{**wanted, "sha256": "a" * 64, "allow_oversize": True}], "ollama")[0][0]
    _found, problems = look([entry], one_host, given={"m": asdict(look_remotely(entry, one_host))})
    assert problems == [f"{wanted['src']} has the sha256 {one['sha256']}, not {'a' * 64}: it is not taken."]


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"name": "tiny:1b", "context": 32768}, {"available_bytes": 40 << 20}, "With a context of "),
    (
        {"name": "tiny:1b"},
        {"available_bytes": 1 << 20},
        "Choose a smaller model or quantisation, or have it all the same",
    ),
    ({"name": "tiny:1b"}, {"available_bytes": None}, "how much memory this host has for models is not known"),
    ({"name": "none:1b"}, {}, "Whether none:1b fits is not known: none:1b: http"),
    ({"name": "p", "url": "SERVER/part.gguf", "sha256": "a" * 64}, {}, "one of 3 parts: join them"),
    ({"name": "p", "url": "SERVER/v2/library/tiny/manifests/1b", "sha256": "a" * 64}, {}, "it is not a GGUF file"),
    ({"name": "p", "url": "SERVER/cut/m.gguf", "sha256": "a" * 64}, {}, "cut/m.gguf"),
]


@pytest.mark.parametrize(("wanted", "more", "message"), REFUSED)
def test_refused(tmp_path: Path, server: Server, wanted: dict[str, Any], more: dict[str, Any], message: str) -> None:
    if wanted.get("url"):
        wanted = {**wanted, "url": wanted["url"].replace("SERVER", server[0])}
    if "cut/" in str(wanted.get("url")):
        (tmp_path / "web/m.gguf").write_bytes((tmp_path / "web/m.gguf").read_bytes()[:3000])
    (one,), problems = see(host(tmp_path, server, **more), wanted)
    assert problems == [one["refused"]]
    assert message in one["refused"]
    assert see(host(tmp_path, server, **more, allow_oversize=True), wanted)[1] == []
    assert see(host(tmp_path, server, **more), {**wanted, "allow_oversize": True})[1] == []


def test_what_is_there_and_does_not_fit_is_no_reason_to_stop(tmp_path: Path, server: Server) -> None:
    install(tmp_path, "tiny:1b")
    (one,), problems = see(host(tmp_path, server, available_bytes=1000), {"name": "tiny:1b"})
    assert (one["fits"], one["refused"], problems) == (False, None, [])


def test_nobody_is_asked_where_nobody_may(tmp_path: Path, server: Server) -> None:
    (one,), problems = see(host(tmp_path, server), {"name": "tiny:1b"}, ask=False)
    assert (one["asked"], one["need"], problems, server[1]) == (False, None, [], [])


def test_absent(tmp_path: Path, server: Server) -> None:
    wanted = {"name": "tiny:1b", "state": "absent"}
    assert see(host(tmp_path, server), wanted)[0][0]["removable"] == {}
    install(tmp_path, "tiny:1b")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/tiny:1b.gguf").touch()
    (one,), problems = see(host(tmp_path, server), {**wanted, "engines": ["ollama", "llama_server"]})
    assert set(one["removable"]) == {"ollama", "file"}
    assert (problems, server[1]) == ([], [])


def test_absent_is_what_was_begun_of_a_download(tmp_path: Path, server: Server) -> None:
    (tmp_path / "models/.arriving").mkdir(parents=True)
    (tmp_path / "models/.arriving/m.gguf.part").touch()
    (one,), _problems = see(host(tmp_path, server), {"name": "m", "state": "absent", "engines": ["llama_server"]})
    assert one["removable"] == {"file": str(tmp_path / "models/m.gguf")}


ABSENT: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"ollama"}),
    ({"engines": ["ollama"]}, {"ollama"}),
    ({"engines": ["llama_server"]}, {"file"}),
    ({"engines": ["ollama"], "url": "http://models.example/chat.gguf"}, {"ollama", "file"}),
    ({"engines": ["ollama"], "src": "/srv/chat.gguf"}, {"ollama", "file"}),
]


@pytest.mark.parametrize(("given", "gone"), ABSENT)
def test_absent_leaves_other_engines_theirs(
    tmp_path: Path, server: Server, given: dict[str, Any], gone: set[str]
) -> None:
    registry.publish(tmp_path / "web", "chat:latest", **SHAPE)
    install(tmp_path, "chat:latest")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/chat.gguf").touch()
    (one,), _problems = see(host(tmp_path, server), {"name": "chat", "state": "absent", **given})
    assert set(one["removable"]) == gone


def test_no_model_has_more_context_than_it_was_trained_for(tmp_path: Path, server: Server) -> None:
    (one,), _problems = see(host(tmp_path, server, default_context=262144), {"name": "tiny:1b"})
    assert one["need"]["context"] == 32768


def test_too_little_disk(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_module, "free_bytes", lambda _folder: 15 << 20)
    file = {"name": "m", "url": f"{server[0]}/m.gguf", "sha256": "a" * 64}
    assert see(host(tmp_path, server), file)[1] == []
    (problem,) = see(host(tmp_path, server), file, {"name": "tiny:1b"})[1]
    assert problem.startswith("The models to fetch take 21 MiB, and ")
    assert "have 15 MiB free" in problem


def fill(path: Path, size: int, length: int = 0) -> None:
    """The first bytes of a file; with a length the rest of it is a hole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as output:
        output.write(b"x" * size)
        output.flush()
        os.fsync(output.fileno())
        output.truncate(max(size, length))


def test_what_has_arrived_takes_no_more_room(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_module, "free_bytes", lambda _folder: 8 << 20)
    file = {"name": "m", "url": f"{server[0]}/m.gguf", "sha256": "a" * 64}
    assert len(see(host(tmp_path, server), file)[1]) == 1
    fill(tmp_path / "models/.arriving/m.gguf.part", 6 << 20)
    assert see(host(tmp_path, server), file)[1] == []
    model = {"name": "tiny:1b"}
    (one,), problems = see(host(tmp_path, server), model)
    assert len(problems) == 1
    partial = tmp_path / f"store/blobs/sha256-{one['sha256']}-partial"
    # As long as the whole, and nothing of it is there yet.
    fill(partial, 0, one["bytes"])
    assert len(see(host(tmp_path, server), model)[1]) == 1
    fill(partial, 6 << 20, one["bytes"])
    assert see(host(tmp_path, server), model)[1] == []


@pytest.mark.parametrize(
    ("more", "refused"), [({}, False), ({"share": False}, True), ({"share": False, "engine": "llama_server"}, False)]
)
def test_a_link_takes_no_room(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], refused: bool
) -> None:
    monkeypatch.setattr(look_module, "free_bytes", lambda _folder: 1 << 20)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models/m.gguf"
    path.write_bytes((tmp_path / "web/m.gguf").read_bytes())
    write_record(Request(str(path)), "a" * 64)
    file = {"name": "m", "url": f"{server[0]}/m.gguf", "sha256": "a" * 64, "engines": ["ollama", "llama_server"]}
    (one,), problems = see(host(tmp_path, server, **more), file)
    assert (one["there"]["ollama"], len(problems)) == (False, refused)


def test_models_text(tmp_path: Path, server: Server) -> None:
    install(tmp_path, "tiny:1b")
    one_host = host(tmp_path, server, available_bytes=60 << 20)
    file = {"name": "m", "url": f"{server[0]}/m.gguf", "sha256": "a" * 64, "context": 32768, "parallel": 4}
    models, problems = see(one_host, {"name": "tiny:1b"}, file, {"name": "old", "state": "absent"})
    text = models_text(models, problems)
    assert max(map(len, text.splitlines())) <= 92
    words = " ".join(text.split())
    assert "Models tiny:1b is here; takes 27 MiB (9 MiB of weights, 4 MiB" in words
    assert "for 1 x 4096 tokens of context" in words
    assert "; of 60 MiB, room for a context of 20736, or for 8 requests at once with 4096 each" in words
    assert "m will NOT be fetched (11 MB)" in words
    assert "60 MiB are free for it" in words
    assert "old is not here, as wanted." in words
    assert "Refused m does not fit: it takes" in words
    assert models_text([]) == ""


def test_a_closed_directory_is_not_an_empty_one(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_folder: str) -> list[str]:
        raise PermissionError

    assert see(host(tmp_path, server), {"name": "tiny:1b"})[0][0]["seen"] is True
    monkeypatch.setattr(look_module.os, "listdir", closed)
    models, _problems = see(host(tmp_path, server), {"name": "tiny:1b"})
    assert models[0]["seen"] is False
    assert "tiny:1b may be here, in Ollama's directory" in models_text(models)
