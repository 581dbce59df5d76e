# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.build import (
    find,
    parse_devices,
    parse_help,
    parse_version,
)
from hypothesis import given
from hypothesis import strategies as st

# What Debian's llama-server 0.7.0 (build 11669) prints.
DEBIAN = parse_help((Path(__file__).parent / "data/help-b11669.txt").read_text())

# (option, how many values, choices, environment variable)
OPTIONS: list[tuple[str, int, list[str] | None, str | None]] = [
    ("--flash-attn", 1, ["on", "off", "auto"], "LLAMA_ARG_FLASH_ATTN"),
    ("-fa", 1, ["on", "off", "auto"], "LLAMA_ARG_FLASH_ATTN"),
    ("--n-gpu-layers", 1, None, "LLAMA_ARG_N_GPU_LAYERS"),
    ("--no-kv-offload", 0, None, "LLAMA_ARG_KV_OFFLOAD"),
    ("--device", 1, None, "LLAMA_ARG_DEVICE"),
    ("--rope-scaling", 1, ["none", "linear", "yarn"], "LLAMA_ARG_ROPE_SCALING_TYPE"),
    ("--load-mode", 1, ["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"], "LLAMA_ARG_LOAD_MODE"),
    ("--reasoning-format", 1, ["none", "deepseek", "deepseek-legacy", "auto"], "LLAMA_ARG_THINK"),
    ("--log-verbosity", 1, None, "LLAMA_ARG_LOG_VERBOSITY"),
    ("--control-vector-layer-range", 2, None, None),
    ("--override-tensor", 1, None, "LLAMA_ARG_OVERRIDE_TENSOR"),
    ("--poll-batch", 1, None, None),
    ("--hf-repo", 1, None, "LLAMA_ARG_HF_REPO"),
    ("--tensor-split", 1, None, "LLAMA_ARG_TENSOR_SPLIT"),
    ("--metrics", 0, None, "LLAMA_ARG_ENDPOINT_METRICS"),
    ("--no-webui", 0, None, "LLAMA_ARG_UI"),
    ("--fim-qwen-1.5b-default", 0, None, None),
    ("--spec-default", 0, None, None),
]


@pytest.mark.parametrize(("name", "values", "choices", "environment"), OPTIONS)
def test_debians_help(name: str, values: int, choices: list[str] | None, environment: str | None) -> None:
    option = find(DEBIAN, name)
    assert option
    told = (option["values"], option["choices"], option["environment"], option["removed"])
    assert told == (values, choices, environment, None)


def test_debians_help_is_read_to_its_end() -> None:
    assert len(DEBIAN) == 258
    assert len([option for option in DEBIAN if option["removed"]]) == 5
    assert not [option for option in DEBIAN if option["values"] > 2]


def test_types_of_the_cache() -> None:
    option = find(DEBIAN, "-ctk")
    assert option
    assert option["choices"] == ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]


def test_types_of_speculation() -> None:
    option = find(DEBIAN, "--spec-type")
    assert option
    assert option["choices"][:3] == ["none", "draft-simple", "draft-eagle3"]
    assert option["choices"][-1] == "ngram-cache"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("--draft-max", "use --spec-draft-n-max or --spec-ngram-mod-n-max"),
        ("--draft-n-min", "use --spec-draft-n-min or --spec-ngram-mod-n-min"),
    ],
)
def test_what_was_removed_says_what_to_use(name: str, instead: str) -> None:
    option = find(DEBIAN, name)
    assert option
    assert option["removed"] == instead


@pytest.mark.parametrize(("name", "automatic"), [("-ngl", True), ("-fa", True), ("-c", False), ("--port", False)])
def test_what_has_an_automatic_value(name: str, automatic: bool) -> None:
    option = find(DEBIAN, name)
    assert option
    assert option["automatic"] is automatic


def test_an_older_help() -> None:
    text = (
        "----- common params -----\n\n"
        "-fa,   --flash-attn                     enable Flash Attention (default: disabled)\n"
        "                                        (env: LLAMA_ARG_FLASH_ATTN)\n"
        "-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM\n"
        "--no-mmap                               do not memory-map model (slower load but may reduce pageouts)\n"
    )
    found = [(option["names"], option["values"], option["automatic"]) for option in parse_help(text)]
    assert found == [
        (["-fa", "--flash-attn"], 0, False),
        (["-ngl", "--gpu-layers", "--n-gpu-layers"], 1, False),
        (["--no-mmap"], 0, False),
    ]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("version: 0.7.0 (build 11669, commit Debian)\nbuilt with GNU 16.2.0 for Linux x86_64\n", "b11669"),
        ("version: 6324 (a1b2c3d4)\nbuilt with cc (Ubuntu) for x86_64-linux-gnu\n", "b6324"),
        ("load_backend: loaded CPU backend\nversion: 10488 (0cafe0)\n", "b10488"),
        # Built from a folder that is no git repository.
        ("version: 0 (unknown)\n", None),
        ("", None),
    ],
)
def test_version(text: str, version: str | None) -> None:
    assert parse_version(text) == version


GIB = 1 << 30

LISTS: list[tuple[str, list[dict[str, Any]]]] = [
    ("Available devices:\n  (none)\n", []),
    (
        "Available devices:\n  Vulkan0: llvmpipe (LLVM 21.1.8, 256 bits) (24576 MiB, 23552 MiB free)\n",
        [
            {
                "name": "Vulkan0",
                "description": "llvmpipe (LLVM 21.1.8, 256 bits)",
                "total_bytes": 24 * GIB,
                "free_bytes": 23 * GIB,
            }
        ],
    ),
    (
        "ggml_cuda_init: found 1 ROCm devices:\n"
        "  Device 0: AMD Radeon RX 7800 XT, gfx1101 (0x1101), VMM: no, Wave Size: 32\n"
        "Available devices:\n  ROCm0: AMD Radeon RX 7800 XT (16384 MiB, 16000 MiB free)\n",
        [
            {
                "name": "ROCm0",
                "description": "AMD Radeon RX 7800 XT",
                "total_bytes": 16 * GIB,
                "free_bytes": 16000 << 20,
            }
        ],
    ),
    ("error: invalid argument: --list-devices\n", []),
]


@pytest.mark.parametrize(("text", "devices"), LISTS)
def test_devices(text: str, devices: list[dict[str, Any]]) -> None:
    assert parse_devices(text) == devices


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for option in parse_help(text):
        assert option["names"]
        assert option["values"] >= 0
    assert all(device["total_bytes"] >= 0 for device in parse_devices(text))
    assert parse_version(text) is None or parse_version(text) != "b0"


NAMES = st.lists(st.from_regex(r"--?[a-z][a-z0-9-]{0,12}", fullmatch=True), min_size=1, max_size=6)


@given(NAMES, st.booleans())
def test_names_survive(names: list[str], value: bool) -> None:
    line = ", ".join(names) + (" N" if value else "")
    # As the engine prints it: beside the names where they leave room, else below them.
    text = f"{line:<40}what it does\n" if len(line) < 40 else f"{line}\n{' ' * 40}what it does\n"
    if len(line) == 41 and value:
        return  # not to be told from a value of one letter
    found = parse_help(text)
    assert [(option["names"], option["values"]) for option in found] == [(names, int(value))]
