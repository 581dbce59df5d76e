# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.wanted import (
    Entry,
    name_problem,
    read_entries,
    with_tag,
)
from hypothesis import given
from hypothesis import strategies as st

SHA = "a" * 64
URL = {"name": "m", "url": "https://models.example/m.gguf", "sha256": SHA}

GOOD: list[tuple[dict[str, Any], Entry]] = [
    ({"name": "llama3.2:3b"}, Entry("llama3.2:3b", engines=["ollama"])),
    ({"name": "m", "state": None, "engines": []}, Entry("m", engines=["ollama"])),
    ({**URL, "sha256": "A" * 64}, Entry("m", source="url", url=URL["url"], sha256=SHA, engines=["ollama"])),
    ({"name": "m", "src": "/srv/m.gguf"}, Entry("m", source="file", src="/srv/m.gguf", engines=["ollama"])),
    ({"name": "m", "context": "8192", "parallel": 2}, Entry("m", context=8192, parallel=2, engines=["ollama"])),
    ({"name": "m", "allow_oversize": "yes"}, Entry("m", allow_oversize=True, engines=["ollama"])),
    (
        {"name": "host.lan:5000/me/m:1", "engines": ["ollama"], "cache_type_k": "q8_0"},
        Entry("host.lan:5000/me/m:1", engines=["ollama"], cache_type_k="q8_0"),
    ),
]


@pytest.mark.parametrize(("given_", "entry"), GOOD)
def test_read_entries(given_: dict[str, Any], entry: Entry) -> None:
    assert read_entries([given_], "ollama") == ([entry], [])


BAD: list[tuple[Any, str]] = [
    ("llama3.2", "must be a dictionary with a name, not 'llama3.2'"),
    ({}, "a name of at most 200 characters"),
    ({"name": ""}, "a name of at most 200 characters"),
    ({"name": 7}, "a name of at most 200 characters"),
    ({"name": "m", "cpu": 1, "size": 2}, "cpu is no key of a model: known are name, state"),
    ({"name": "m", "state": "gone"}, "state must be one of present, absent, not 'gone'"),
    ({"name": "m", "engines": ["vllm"]}, "engines must be a list out of ollama, llama_server"),
    ({"name": "m", "engines": "ollama"}, "engines must be a list"),
    ({"name": "m", "context": 0}, "context must be a whole number from 1 to"),
    ({"name": "m", "context": "8k"}, "context must be a whole number"),
    ({"name": "m", "context": True}, "context must be a whole number"),
    ({"name": "m", "parallel": 257}, "parallel must be a whole number from 1 to 256, not 257"),
    ({"name": "m", "cache_type_v": "q3"}, "cache_type_v must be one of f32"),
    ({"name": "m", "source": "magnet"}, "source must be one of registry, url, file, not 'magnet'"),
    ({"name": "m", "source": "url"}, "url must be an address"),
    ({**URL, "url": "ftp://x/y"}, "url must be an address"),
    ({**URL, "url": "https://x/ y"}, "url must be an address"),
    ({**URL, "url": "https://x/y\n"}, "url must be an address"),
    ({**URL, "url": "https:///y"}, "url must be an address"),
    ({**URL, "sha256": None}, "a url needs the sha256"),
    ({**URL, "sha256": "abc"}, "64 hexadecimal digits"),
    ({**URL, "name": "me/m"}, "a name without a slash"),
    ({**URL, "src": "/x"}, "src is given, but its source is url"),
    ({"name": "m", "src": "x.gguf"}, "src must be the absolute path"),
    ({"name": "m", "source": "file"}, "src must be the absolute path"),
    ({"name": "m", "source": "registry", "url": "https://x/y"}, "url is given, but its source is registry"),
    ({"name": "me/m", "engines": ["llama_server"]}, "a name without a slash"),
]


@pytest.mark.parametrize(("entry", "message"), BAD)
def test_what_is_wrong_with_an_entry_is_told(entry: Any, message: str) -> None:
    entries, problems = read_entries([{"name": "good"}, entry], "ollama")
    assert [entry.name for entry in entries] == ["good"]
    assert any(message in problem for problem in problems)
    assert all(problem.startswith("models_list[1]") for problem in problems)


def test_one_name_twice() -> None:
    for pair in (["m", "m"], ["m", "m:latest"], ["M", "m"], ["m", "M"]):
        _entries, problems = read_entries([{"name": name} for name in pair], "ollama")
        assert problems == [f"models_list has one model twice, as {pair[0]!r} and {pair[1]!r}."]
    assert read_entries([{"name": "m:1"}, {"name": "m:2"}], "ollama")[1] == []


def test_what_is_no_list() -> None:
    assert read_entries("m", "ollama") == ([], ["models_list must be a list, not 'm'"])


NAMES: list[tuple[str, bool]] = [
    ("m", True),
    ("m:1b-q4_K_M", True),
    ("me/m:1", True),
    ("hf.co/me/m-GGUF:Q4_K_M", True),
    ("host:5000/me/m", True),
    ("..", False),
    (".", False),
    ("../m", False),
    ("me/../m", False),
    ("m:..", False),
    ("m:../../x", False),
    ("/m", False),
    ("/etc/passwd", False),
    ("a//b", False),
    ("a/b/c/d", False),
    ("-m", False),
    ("m m", False),
    ("m\n", False),
    ("m:1\n", False),
    ("m;x", False),
    ("{{ x }}", False),
    ("host:99999999/me/m", False),
    ("m:", False),
    ("x" * 201, False),
]


@pytest.mark.parametrize(("name", "good"), NAMES)
def test_names(name: str, good: bool) -> None:
    assert (name_problem(name) is None) == good


@given(st.text(alphabet="ab./:-_ \n", max_size=12))
def test_no_good_name_leads_out_of_a_directory(name: str) -> None:
    if name_problem(name) is None:
        parts = with_tag(name).replace(":", "/").split("/")
        assert not {"", ".", ".."} & set(parts)
        assert "\n" not in name


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*Entry.__dataclass_fields__, "x"]), inner, max_size=4)
)))  # fmt: skip
def test_anything_is_read_or_refused(wanted: Any) -> None:
    entries, problems = read_entries(wanted, "ollama")
    assert problems or len(entries) == len(wanted)


FILES: list[tuple[dict[str, Any], str | None]] = [
    ({"name": "m:1"}, None),
    ({"name": "m:1", "engines": ["llama_server"]}, "m:1.gguf"),
    (URL, "m.gguf"),
]


@pytest.mark.parametrize(("entry", "file"), FILES)
def test_file(entry: dict[str, Any], file: str | None) -> None:
    assert read_entries([entry], "ollama")[0][0].file == file
