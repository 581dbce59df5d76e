# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama import api
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import Api, ApiError, parse_lines
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.models import Wanted, ensure, manifest_path
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ollama_api import Engine


def wanted(name: str = "tiny", state: str = "present", source: str = "registry", **options: str) -> Wanted:
    return Wanted(name, state, source, options.get("path"), options.get("sha256"), options.get("store"))


def has(engine: Engine, want: Wanted, check_mode: bool = False) -> bool:
    return ensure(engine.api, want, 0, check_mode)[0]


def test_registry(engine: Engine) -> None:
    assert has(engine, wanted(), check_mode=True)
    assert engine.calls == []
    assert has(engine, wanted())
    assert not has(engine, wanted())
    assert engine.calls == ["/api/pull"]
    assert not has(engine, wanted(state="latest"))
    engine.registry["tiny:latest"] = "d2"
    assert not has(engine, wanted())
    assert has(engine, wanted(state="latest"))
    assert has(engine, wanted(state="absent"))
    assert not has(engine, wanted(state="absent"))


def test_an_error_inside_a_good_answer_is_an_error(engine: Engine) -> None:
    with pytest.raises(ApiError, match="file does not exist"):
        has(engine, wanted("unknown"))


@pytest.mark.parametrize("end", ['{"status": "verifying sha256 digest"}', "<html>"])
def test_a_pull_that_does_not_end_in_success_is_an_error(engine: Engine, end: str) -> None:
    engine.pull_ends_with = end
    with pytest.raises(ApiError, match=r"ended without success|cannot be read"):
        has(engine, wanted())


def test_gguf(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF one")
    want = wanted("mine:1", source="gguf", path=str(path))
    assert has(engine, want, check_mode=True)
    assert has(engine, want)
    assert list(engine.blobs.values()) == [b"GGUF one"]
    assert not has(engine, wanted("mine:1", source="gguf", path=str(path)))
    path.write_bytes(b"GGUF two")
    assert has(engine, wanted("mine:1", source="gguf", path=str(path)))
    assert len(engine.blobs) == 2


def test_gguf_with_another_checksum_is_refused(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(ApiError, match="nothing was created"):
        has(engine, wanted(source="gguf", path=str(path), sha256="0" * 64))
    assert engine.calls == []


def test_an_engine_that_does_not_answer() -> None:
    nobody = Api("http://127.0.0.1:1", timeout=1)
    with pytest.raises(ApiError, match=r"http://127\.0\.0\.1:1 does not answer"):
        ensure(nobody, wanted(), 0, check_mode=False)
    assert ensure(nobody, wanted(), 0, check_mode=True) == (True, "", False)
    assert ensure(nobody, wanted(state="absent"), 0, check_mode=True) == (False, "", False)


def store(folder: Path, name: str, *contents: bytes) -> list[str]:
    """A models directory with one model; returns the names of its blobs."""
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    (folder / "blobs").mkdir(parents=True)
    for digest, content in zip(digests, contents):
        (folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        os.utime(folder / "blobs" / f"sha256-{digest}", (0, 0))
    config, *layers = [{"digest": f"sha256:{digest}"} for digest in digests]
    manifest = folder / manifest_path(name)
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"config": config, "layers": layers}))
    return [f"sha256-{digest}" for digest in digests]


def test_a_stopped_engine_has_what_is_on_the_disk(tmp_path: Path) -> None:
    store(tmp_path, "tiny:latest", b"config", b"layer")
    nobody = Api("http://127.0.0.1:1", timeout=1)
    assert ensure(nobody, wanted(state="absent", store=str(tmp_path)), 0, check_mode=True) == (True, "", False)
    other = wanted("other", state="absent", store=str(tmp_path))
    assert ensure(nobody, other, 0, check_mode=True) == (False, "", False)


def test_blobs(engine: Engine, tmp_path: Path) -> None:
    blobs = store(tmp_path / "from", "tiny:latest", b"config", b"layer")
    (tmp_path / "to").mkdir()
    want = wanted(source="blobs", path=str(tmp_path / "from"), store=str(tmp_path / "to"))
    # This engine does not read the directory, so that it cannot agree afterwards.
    with pytest.raises(ApiError, match="not there although"):
        has(engine, want)
    assert sorted(os.listdir(tmp_path / "to/blobs")) == sorted(blobs)
    assert (tmp_path / "to" / manifest_path("tiny:latest")).exists()
    assert all((tmp_path / "to/blobs" / blob).stat().st_mtime > 0 for blob in blobs)


def test_a_blob_that_is_not_what_its_name_says_is_not_copied(engine: Engine, tmp_path: Path) -> None:
    blobs = store(tmp_path / "from", "tiny:latest", b"config", b"layer")
    (tmp_path / "from/blobs" / blobs[1]).write_bytes(b"other")
    (tmp_path / "to").mkdir()
    with pytest.raises(ApiError, match="not the content that its name promises"):
        has(engine, wanted(source="blobs", path=str(tmp_path / "from"), store=str(tmp_path / "to")))
    assert os.listdir(tmp_path / "to/blobs") == [blobs[0]]
    with pytest.raises(ApiError, match="holds no model other:latest"):
        has(engine, wanted("other", source="blobs", path=str(tmp_path / "from"), store=str(tmp_path / "to")))


def test_a_full_disk_gets_back_what_a_copy_took(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "from", "tiny:latest", b"config", b"layer")
    (tmp_path / "to").mkdir()

    def full(_source: str, target: str) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        has(engine, wanted(source="blobs", path=str(tmp_path / "from"), store=str(tmp_path / "to")))
    assert os.listdir(tmp_path / "to/blobs") == []


MANIFESTS: list[tuple[str, str]] = [
    ("tiny:latest", "manifests/registry.ollama.ai/library/tiny/latest"),
    ("me/tiny:1", "manifests/registry.ollama.ai/me/tiny/1"),
    ("host.lan:5000/me/tiny:1", "manifests/host.lan:5000/me/tiny/1"),
]


@pytest.mark.parametrize(("tag", "path"), MANIFESTS)
def test_manifest_path(tag: str, path: str) -> None:
    assert manifest_path(tag) == path
    assert wanted(tag).tag == tag


@pytest.mark.parametrize("tag", ["../x:1", "a//b:1", "a:..", "a/../b:1", ":1"])
def test_manifest_path_stays_inside(tag: str) -> None:
    with pytest.raises(ApiError, match="is not the name"):
        manifest_path(tag)


def test_a_name_without_a_tag_is_latest() -> None:
    assert wanted("host.lan:5000/me/tiny").tag == "host.lan:5000/me/tiny:latest"


LISTED: list[tuple[str, str]] = [
    ("library/tiny", "tiny:latest"),
    ("registry.ollama.ai/library/tiny:1", "tiny:1"),
    ("Registry.Ollama.ai/Library/Tiny:1", "Tiny:1"),
    ("registry.ollama.ai/me/tiny", "me/tiny:latest"),
    ("host.lan:5000/library/tiny", "host.lan:5000/library/tiny:latest"),
    ("hf.co/someone/Tiny-GGUF:Q4_K_M", "hf.co/someone/Tiny-GGUF:Q4_K_M"),
    ("librarytiny", "librarytiny:latest"),
]


@pytest.mark.parametrize(("name", "tag"), LISTED)
def test_a_name_is_what_the_engine_lists(name: str, tag: str) -> None:
    assert wanted(name).tag == tag


@pytest.mark.parametrize("name", ["registry.ollama.ai/library/tiny:latest", "Tiny", "library/TINY"])
def test_a_model_that_is_there_by_another_name_is_there(engine: Engine, name: str) -> None:
    assert has(engine, wanted())
    assert not has(engine, wanted(name))
    engine.registry["tiny:latest"] = "d2"
    assert has(engine, wanted(name, state="latest"))
    assert has(engine, wanted(name, state="absent"))
    assert engine.models == {}


def test_a_proxy_does_not_come_between_a_host_and_its_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    # The host's own address in the network, as OLLAMA_HOST may say it.
    address = Api(f"http://[::ffff:127.0.0.1]:{engine.server_port}", timeout=5)
    assert ensure(address, wanted(), 0, check_mode=False) == (True, "d1", False)


def test_what_is_answered_at_once_is_not_waited_for_as_long_as_a_pull(engine: Engine) -> None:
    asked: list[float] = []
    real = api.open_url
    api_of_engine = Api(engine.api.url, timeout=3600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "open_url", lambda *a, **o: asked.append(o["timeout"]) or real(*a, **o))
        ensure(api_of_engine, wanted(), 0, check_mode=False)
    assert asked == [10, 300, 3600, 300]


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_answer_is_read_or_refused(lines: list[bytes]) -> None:
    try:
        list(parse_lines(lines))
    except ApiError:
        return


def test_a_file_is_shared_by_a_hard_link(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF one")
    path.chmod(0o644)
    digest = hashlib.sha256(b"GGUF one").hexdigest()
    (tmp_path / "store/blobs").mkdir(parents=True)
    want = wanted("mine:1", source="gguf", path=str(path), store=str(tmp_path / "store"))
    assert has(engine, want)
    assert os.listdir(tmp_path / "store/blobs") == []
    want.name, want.link = "mine:2", True
    assert has(engine, want)
    assert (tmp_path / f"store/blobs/sha256-{digest}").stat().st_ino == path.stat().st_ino


def test_a_file_that_the_engine_may_not_read_is_not_linked(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF one")
    path.chmod(0o600)
    (tmp_path / "store/blobs").mkdir(parents=True)
    want = wanted("mine:1", source="gguf", path=str(path), store=str(tmp_path / "store"))
    want.link = True
    assert has(engine, want)
    assert os.listdir(tmp_path / "store/blobs") == []


def test_blobs_that_were_there_are_read_after_a_pull(engine: Engine, tmp_path: Path) -> None:
    blobs = store(tmp_path, "tiny:latest", b"config", b"layer")
    want = wanted(store=str(tmp_path))
    assert ensure(engine.api, want, 0, False) == (True, "d1", True)
    engine.models.clear()
    (tmp_path / "blobs" / blobs[1]).write_bytes(b"other")
    with pytest.raises(ApiError, match="was removed: run this again"):
        ensure(engine.api, want, 0, False)
    assert os.listdir(tmp_path / "blobs") == [blobs[0]]


def test_a_pull_tells_how_far_it_is(engine: Engine, tmp_path: Path) -> None:
    engine.pull_ends_with = '{"status": "pulling abc", "total": 10, "completed": 4}\n{"status": "success"}'
    ensure(engine.api, wanted(store=str(tmp_path)), 0, False, Progress(str(tmp_path / "progress")))
    assert json.loads((tmp_path / "progress").read_text()) == {
        "stage": "download",
        "name": "tiny:latest",
        "done": 4,
        "total": 10,
    }


def test_a_full_disk_says_what_to_do(engine: Engine) -> None:
    engine.pull_ends_with = '{"error": "write /m/blobs/x-partial: no space left on device"}'
    with pytest.raises(ApiError, match="what has come stays for the next run: free some space"):
        has(engine, wanted())
