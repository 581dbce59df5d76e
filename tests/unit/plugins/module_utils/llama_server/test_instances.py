# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lamplighter.fleet.plugins.filter.llama_server_units import FilterModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.build import parse_help
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.command import CommandError
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.instances import (
    devices_for,
    model_files,
    plan_units,
    planned_devices,
    read_instances,
    unit_word,
    url_of,
    wanted_files,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import split_words
from hypothesis import given
from hypothesis import strategies as st

MIB = 1 << 20
GIB = 1 << 30
HELP = parse_help((Path(__file__).parent / "data/help-b11669.txt").read_text())
FACTS: dict[str, Any] = {"binary": "/usr/bin/llama-server", "version": "b11669", "options": HELP, "devices": []}
CPU = {"backend": "cpu", "id": "cpu"}
CHAT = {"name": "chat", "model": "/m.gguf"}


def units(
    wanted: Any, facts: dict[str, Any] | None = None, rung: dict[str, Any] | None = None, **rest: Any
) -> list[dict[str, Any]]:
    return plan_units(wanted, facts or FACTS, rung or CPU, [], "/models", **rest)


def refusal(wanted: Any, **rest: Any) -> list[str]:
    with pytest.raises(CommandError) as error:
        units(wanted, **rest)
    return str(error.value).splitlines()


def test_an_instance_is_completed() -> None:
    (unit,) = units([{"name": "chat", "model": "qwen3", "context": None, "flash_attention": True, "port": "8081"}])
    assert unit["exec_start"] == (
        "/usr/bin/llama-server --model /models/qwen3.gguf --host 127.0.0.1 --port 8081 --device none --flash-attn on"
        " --metrics --log-verbosity 4"
    )
    assert (unit["unit"], unit["url"], unit["keyed"]) == ("llama-server-chat.service", "http://127.0.0.1:8081", False)


def test_a_key_stays_out() -> None:
    (unit,) = units([{**CHAT, "api_key": "s3cret/+="}])
    assert unit["keyed"]
    assert "s3cret" not in repr(unit)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("gpu.lan", "http://gpu.lan:1"),
    ],
)
def test_address(host: str, url: str) -> None:
    assert url_of(host, 1) == url


WRONG: list[tuple[Any, list[str]]] = [
    ({}, ["llama_server_instances is not a list of dictionaries"]),
    (["chat"], ["llama_server_instances is not a list of dictionaries"]),
    ([], ["llama_server_instances is empty"]),
    ([{"name": "chat"}], ["llama_server_instances, chat: model is missing."]),
    ([{"model": "/m.gguf"}], ["llama_server_instances, entry 1: name is missing."]),
    ([{**CHAT, "name": "a\nExecStart=/bin/sh"}], ["name is 'a\\nExecStart=/bin/sh': write up to 40"]),
    ([{**CHAT, "name": "../x"}], ["name is '../x'"]),
    ([{**CHAT, "model": "/m\n.gguf"}], ["model is '/m\\n.gguf'"]),
    ([{**CHAT, "port": 0}], ["port is 0: write a number from 1 to 65535."]),
    ([{**CHAT, "port": 65536}], ["port is 65536"]),
    ([{**CHAT, "port": "http"}], ["port is 'http'"]),
    ([{**CHAT, "port": True}], ["port is True"]),
    ([{**CHAT, "host": "a b"}], ["host is 'a b'"]),
    ([{**CHAT, "contxt": 1}], ["contxt is no key of an instance: did you mean context?"]),
    ([{**CHAT, "zzz": 1}], ["zzz is no key of an instance: known are name, model"]),
    ([{**CHAT, "parallel": 0}], ["parallel is 0"]),
    ([{**CHAT, "gpu_layers": "most"}], ["gpu_layers is 'most': write a number, auto or all."]),
    ([{**CHAT, "metrics": "maybe"}], ["metrics is 'maybe': write true or false."]),
    ([{**CHAT, "arguments": "--top-k 4"}], ["arguments is '--top-k 4': write a list"]),
    ([{**CHAT, "arguments": ["--grammar", "a\nb"]}], ["arguments is ['--grammar', 'a\\nb']"]),
    ([{**CHAT, "arguments": "--api-key s3cret"}], ["arguments is not shown here: write a list"]),
    ([{**CHAT, "speculative": {"n_maxx": 3}}], ["speculative.n_maxx is no key of an instance: did you mean n_max?"]),
    ([{**CHAT, "speculative": {"p_min": 2}}], ["speculative.p_min is 2: write a number from 0 to 1."]),
    ([{**CHAT, "speculative": "ngram"}], ["speculative is 'ngram': write a dictionary."]),
    ([CHAT, CHAT], ["chat, chat have the name chat", "chat, chat listen on port 8080"]),
    ([CHAT, {**CHAT, "name": "code"}], ["llama_server_instances: chat, code listen on port 8080: give each its own."]),
]


@pytest.mark.parametrize(("wanted", "messages"), WRONG)
def test_what_no_instance_can_be(wanted: Any, messages: list[str]) -> None:
    said = refusal(wanted)
    assert len(said) == len(messages)
    for line, message in zip(said, messages, strict=True):
        assert message in line


@pytest.mark.parametrize("key", ["a\nb", "a,b", "a b", "a'b", 'a"b', "a\\b", "\u00e4", "", 5])
def test_keys_that_cannot_be_given_safely(key: Any) -> None:
    said = refusal([{**CHAT, "api_key": key}])
    assert said == [
        "llama_server_instances, chat: api_key is not shown here: write printable ASCII without spaces, commas, quotes"
        " and backslashes."
    ]


def test_the_filter_says_what_is_wrong() -> None:
    with pytest.raises(AnsibleFilterError, match="is empty: name at least one server"):
        FilterModule().filters()["llama_server_units"]([], FACTS, CPU, [], "/models")  # type: ignore[operator]


# What of the host stands against it.

HOST: list[tuple[dict[str, Any], str | None]] = [
    (
        {"listeners": {"8080": {"pid": 7, "command": "nginx", "unit": "nginx.service"}}},
        "taken by nginx (process 7, nginx.service)",
    ),
    ({"listeners": {"8080": {"pid": 7, "command": "nginx", "unit": None}}}, "taken by nginx (process 7): stop it"),
    # Nobody else may see whose it is.
    ({"listeners": {"8080": {"pid": None, "command": None, "unit": None}}}, None),
    ({"listeners": {"8080": None}}, None),
    (
        {
            "listeners": {"8080": {"pid": 7, "command": "llama-server", "unit": None}},
            "units": [{"name": "llama-server-old.service", "path": "/p", "ours": True, "main_pid": 7}],
        },
        None,
    ),
    (
        {
            "listeners": {"8080": {"pid": 7, "command": "llama-server", "unit": None}},
            "units": [{"name": "llama-server-old.service", "path": "/p", "ours": False, "main_pid": 7}],
        },
        "port 8080 is taken by llama-server",
    ),
    (
        {"units": [{"name": "llama-server-chat.service", "path": "/p", "ours": False, "main_pid": None}]},
        "/p is somebody else's",
    ),
    ({"models": [{"path": "/m.gguf", "problem": "is not a GGUF."}]}, "the model /m.gguf is not a GGUF."),
    ({"models": [{"path": "/m.gguf", "problem": None}]}, None),
]


@pytest.mark.parametrize(("facts", "message"), HOST)
def test_what_the_host_has_against_it(facts: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert units([CHAT], {**FACTS, **facts})
    else:
        (said,) = refusal([CHAT], facts={**FACTS, **facts})
        assert said.startswith("llama_server_instances, chat: ")
        assert message in said


def test_a_service_with_a_tmp_of_its_own_does_not_see_the_other() -> None:
    assert "has a /tmp of its own" in refusal([{**CHAT, "model": "/tmp/m.gguf"}])[0]


def test_a_model_that_is_yet_to_come_is_no_problem() -> None:
    facts = {**FACTS, "models": [{"path": "/models/new.gguf", "problem": "does not exist"}]}
    wanted = [{"name": "chat", "model": "new"}]
    assert units(wanted, facts, expected=["new"])
    assert refusal(wanted, facts=facts, expected=["other"])


def test_who_leaves_holds_no_port() -> None:
    facts = {**FACTS, "listeners": {"8080": {"pid": 7, "command": "ollama", "unit": "ollama.service"}}}
    assert units([CHAT], facts, leaving=["ollama.service"])
    assert "taken by ollama (process 7, ollama.service)" in refusal([CHAT], facts=facts, leaving=["other.service"])[0]


FILES: list[tuple[Any, list[str]]] = [
    ([CHAT, {**CHAT, "name": "b"}], ["/m.gguf"]),
    ([{"model": "qwen3", "speculative": {"model": "/d.gguf"}}], ["/models/qwen3.gguf", "/d.gguf"]),
    ([{"model": None}, {"model": 5}, {"model": ""}, {"speculative": "x"}, "chat", {}], []),
    ("chat", []),
    ({"model": "chat"}, []),
]


@pytest.mark.parametrize(("wanted", "files"), FILES)
def test_files_of_what_may_be_wrong(wanted: Any, files: list[str]) -> None:
    assert wanted_files(wanted, "/models") == files


def test_without_a_build_only_the_rest_is_judged() -> None:
    bare: dict[str, Any] = {"binary": None, "version": None, "options": []}
    assert units([{**CHAT, "arguments": ["--frobnicate"]}], bare)
    assert refusal([{**CHAT, "port": 0}], facts=bare)


def test_the_draft_model_is_a_file_too() -> None:
    instances, _problems = read_instances([{**CHAT, "speculative": {"model": "draft"}}], "/models")
    assert model_files(instances) == ["/m.gguf", "/models/draft.gguf"]


# Devices.

CARD = {"index": 0, "vendor": "amd", "product": "Radeon RX 7800 XT", "integrated": False, "vram_bytes": 16 * GIB}
INSIDE = {"index": 1, "vendor": "amd", "product": "Radeon Graphics", "integrated": True, "usable_bytes": 14 * GIB}
TWIN = {**CARD, "index": 2}
OTHER = {"index": 3, "vendor": "other", "product": "ASPEED", "integrated": False, "vram_bytes": None}


def device(name: str, description: str, mib: int) -> dict[str, Any]:
    return {"name": name, "description": description, "total_bytes": mib * MIB, "free_bytes": mib * MIB}


RADV_CARD = device("Vulkan0", "AMD Radeon RX 7800 XT (RADV NAVI32)", 16368)
RADV_INSIDE = device("Vulkan1", "AMD Radeon Graphics (RADV RAPHAEL_MENDOCINO)", 14800)

PLANNED: list[tuple[str, list[int], list[dict[str, Any]], list[dict[str, Any]], list[str]]] = [
    ("the card beside an integrated GPU", [0], [CARD, INSIDE], [RADV_CARD, RADV_INSIDE], ["Vulkan0"]),
    ("the integrated GPU beside a card", [1], [CARD, INSIDE], [RADV_CARD, RADV_INSIDE], ["Vulkan1"]),
    ("the card has no driver", [0], [CARD, INSIDE], [RADV_INSIDE], []),
    ("both", [0, 1], [CARD, INSIDE], [RADV_CARD, RADV_INSIDE], ["Vulkan0", "Vulkan1"]),
    ("an unnamed card", [0], [{**CARD, "product": None}, INSIDE], [RADV_CARD, RADV_INSIDE], ["Vulkan0"]),
    ("twins", [0, 2], [CARD, TWIN], [RADV_CARD, {**RADV_CARD, "name": "Vulkan1"}], ["Vulkan0", "Vulkan1"]),
    ("a display adapter is not compared", [0], [CARD, OTHER], [RADV_CARD], ["Vulkan0"]),
    ("a software device", [], [], [device("Vulkan0", "llvmpipe", 24000)], ["Vulkan0"]),
]


@pytest.mark.parametrize(
    ("used", "gpus", "listed", "names"), [row[1:] for row in PLANNED], ids=[row[0] for row in PLANNED]
)
def test_devices_of_the_plan(
    used: list[int], gpus: list[dict[str, Any]], listed: list[dict[str, Any]], names: list[str]
) -> None:
    assert planned_devices({"backend": "vulkan", "devices": used}, gpus, listed) == names


def test_devices_that_an_instance_names() -> None:
    listed = [RADV_CARD, RADV_INSIDE]
    one = {**CHAT, "devices": ["Vulkan1"]}
    vulkan = {"backend": "vulkan", "devices": [0]}
    assert devices_for(one, vulkan, [CARD, INSIDE], listed) == ["Vulkan1"]
    assert devices_for(one, CPU, [CARD, INSIDE], listed) == []
    # They are those of another backend: the plan's count.
    assert devices_for({**CHAT, "devices": ["ROCm0"]}, vulkan, [CARD, INSIDE], listed) == ["Vulkan0"]
    with pytest.raises(CommandError, match=r"has Vulkan7, but this build lists Vulkan0 \(AMD Radeon RX 7800"):
        devices_for({**CHAT, "devices": ["Vulkan7"]}, vulkan, [CARD, INSIDE], listed)


def test_a_backend_without_a_device_fails_at_its_start() -> None:
    assert devices_for(CHAT, {"backend": "rocm", "devices": [0]}, [CARD], []) == ["ROCm0"]


# Nothing gets out of its word.


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_systemd_reads_the_same_words(words: list[str]) -> None:
    line = " ".join(map(unit_word, words))
    assert [word.replace("%%", "%").replace("$$", "$") for word in split_words(line)] == words


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("plain-1.gguf", "plain-1.gguf"),
        ("a b", '"a b"'),
        ("100%", "100%%"),
        ("$HOME", "$$HOME"),
        ('say "x"', '"say \\"x\\""'),
        ("a;b", '"a;b"'),
        ("", '""'),
    ],
)
def test_word(text: str, word: str) -> None:
    assert unit_word(text) == word
