# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.build import parse_help
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.command import (
    Build,
    CommandError,
    compose,
)

NEW = Build("b11669", parse_help((Path(__file__).parent / "data/help-b11669.txt").read_text()))
# As a build of early 2025 had it.
OLD = Build(
    "b4800",
    parse_help(
        "-m,    --model FNAME                    model path\n"
        "--host HOST                             ip address to listen\n"
        "--port PORT                             port to listen\n"
        "-c,    --ctx-size N                     size of the prompt context\n"
        "-fa,   --flash-attn                     enable Flash Attention (default: disabled)\n"
        "-dev,  --device <dev1,dev2,..>          comma-separated list of devices to use for offloading\n"
        "-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM\n"
        "--mlock                                 force system to keep model in RAM\n"
        "--no-mmap                               do not memory-map model\n"
        "-md,   --model-draft FNAME              draft model for speculative decoding\n"
        "--draft-max, --draft, --draft-n N       number of tokens to draft\n"
        "--draft-min, --draft-n-min N            minimum number of draft tokens\n"
        "--draft-p-min P                         minimum speculative decoding probability\n"
        "--metrics                               enable prometheus compatible metrics endpoint\n"
        "-lv,   --verbosity, --log-verbosity N   Set the verbosity threshold\n"
    ),
)
# Before devices could be named.
OLDEST = Build("b3800", [option for option in OLD.options if "--device" not in option["names"]])
BASE: dict[str, Any] = {
    "name": "chat",
    "model": "/m.gguf",
    "host": "127.0.0.1",
    "port": 8080,
    "metrics": False,
    "arguments": [],
}


def argv(build: Build, devices: list[str], **given: Any) -> str:
    """The command line without what every instance has."""
    line = " ".join(compose({**BASE, **given}, build, devices))
    assert line.startswith("--model /m.gguf --host 127.0.0.1 --port 8080 ")
    return line[len("--model /m.gguf --host 127.0.0.1 --port 8080 ") :].replace(" --log-verbosity 4", "")


def refusal(build: Build, **given: Any) -> str:
    with pytest.raises(CommandError) as error:
        compose({**BASE, **given}, build, ["Vulkan0"])
    return str(error.value)


DRAFT = {"model": "/d.gguf", "n_max": 8, "n_min": 2, "p_min": 0.5}

LINES: list[tuple[Build, list[str], dict[str, Any], str]] = [
    (NEW, [], {}, "--device none"),
    (NEW, ["Vulkan0"], {}, "--device Vulkan0"),
    (NEW, ["ROCm0", "ROCm1"], {}, "--device ROCm0,ROCm1"),
    (NEW, ["Vulkan0"], {"gpu_layers": 12}, "--device Vulkan0 --gpu-layers 12"),
    (NEW, ["Vulkan0"], {"gpu_layers": "all"}, "--device Vulkan0 --gpu-layers all"),
    (NEW, ["Vulkan0"], {"gpu_layers": "auto"}, "--device Vulkan0"),
    # Layers have no place to go to.
    (NEW, [], {"gpu_layers": 12}, "--device none"),
    (NEW, [], {"context": 4096, "parallel": 2}, "--device none --ctx-size 4096 --parallel 2"),
    (NEW, [], {"context": 0}, "--device none --ctx-size 0"),
    (NEW, [], {"cache_type_k": "q8_0"}, "--device none --cache-type-k q8_0"),
    (NEW, [], {"flash_attention": "off"}, "--device none --flash-attn off"),
    (NEW, [], {"load_mode": "none"}, "--device none --load-mode none"),
    (NEW, [], {"metrics": True}, "--device none --metrics"),
    (
        NEW,
        [],
        {"speculative": DRAFT},
        "--device none --spec-type draft-simple --spec-draft-model /d.gguf --spec-draft-n-max 8 --spec-draft-n-min 2"
        " --spec-draft-p-min 0.5",
    ),
    (NEW, [], {"speculative": {"type": "ngram-mod,ngram-cache"}}, "--device none --spec-type ngram-mod,ngram-cache"),
    (
        NEW,
        [],
        {"arguments": ["--seed", "-1", "--no-warmup", "-fitt", "512,1024", "--control-vector-layer-range", "1", "2"]},
        "--device none --seed -1 --no-warmup -fitt 512,1024 --control-vector-layer-range 1 2",
    ),
    # The default of an older build is to offload nothing.
    (OLD, ["Vulkan0"], {}, "--device Vulkan0 --gpu-layers 999"),
    (OLD, ["Vulkan0"], {"gpu_layers": "all"}, "--device Vulkan0 --gpu-layers 999"),
    (OLD, ["Vulkan0"], {"gpu_layers": 3}, "--device Vulkan0 --gpu-layers 3"),
    (OLD, [], {"flash_attention": "on"}, "--device none --flash-attn"),
    (OLD, [], {"flash_attention": "off"}, "--device none"),
    (OLD, [], {"load_mode": "none"}, "--device none --no-mmap"),
    (OLD, [], {"load_mode": "mlock"}, "--device none --no-mmap --mlock"),
    (OLD, [], {"load_mode": "mmap+mlock"}, "--device none --mlock"),
    (OLD, [], {"load_mode": "mmap"}, "--device none"),
    (
        OLD,
        [],
        {"speculative": DRAFT},
        "--device none --model-draft /d.gguf --draft-max 8 --draft-min 2 --draft-p-min 0.5",
    ),
    (OLDEST, [], {}, "--gpu-layers 0"),
]


@pytest.mark.parametrize(("build", "devices", "given", "line"), LINES)
def test_line(build: Build, devices: list[str], given: dict[str, Any], line: str) -> None:
    assert argv(build, devices, **given) == line


@pytest.mark.parametrize("word", ["--api-key=SECRET", "--api-key SECRET", "--api-key\tSECRET"])
def test_a_value_in_the_same_entry_is_not_told(word: str) -> None:
    message = "arguments has --api-key and its value in one: write the option and its value as two entries."
    assert refusal(NEW, arguments=[word]).partition(", chat: ")[2] == message


def test_the_log_tells_where_the_layers_went() -> None:
    assert compose(BASE, NEW, [])[-2:] == ["--log-verbosity", "4"]


REFUSALS: list[tuple[Build, dict[str, Any], str]] = [
    (NEW, {"arguments": ["--frobnicate"]}, "--frobnicate, which llama-server b11669 does not know."),
    (NEW, {"arguments": ["--top-kk", "4"]}, "--top-kk, which llama-server b11669 does not know; is it --top-k."),
    (
        NEW,
        {"arguments": ["--draft-max", "4"]},
        "--draft-max, which llama-server b11669 has removed: use --spec-draft-n-max or --spec-ngram-mod-n-max.",
    ),
    (NEW, {"arguments": ["--top-k"]}, "--top-k without its value."),
    (NEW, {"arguments": ["--top-k=4"]}, "write the option and its value as two entries."),
    (NEW, {"arguments": ["--no-warmup", "x"]}, "'x' behind --no-warmup, which takes no value."),
    (NEW, {"arguments": ["40"]}, "begins with '40'"),
    (NEW, {"arguments": ["--numa", "all"]}, "--numa 'all'; llama-server b11669 takes distribute, isolate, numactl."),
    (NEW, {"arguments": ["-c", "512"]}, "-c: use the key context."),
    (NEW, {"arguments": ["--api-key", "x"]}, "--api-key: use the key api_key."),
    (NEW, {"arguments": ["-m", "/other.gguf"]}, "-m: use the key model."),
    (NEW, {"arguments": ["-lv", "0"]}, "-lv: the role sets it to 4"),
    (NEW, {"arguments": ["--log-disable"]}, "--log-disable: without a log nothing is proven."),
    (NEW, {"arguments": ["--version"]}, "--version: it prints and ends."),
    (NEW, {"cache_type_k": "q3_0"}, "cache_type_k is 'q3_0'; llama-server b11669 takes f32, f16"),
    (NEW, {"flash_attention": "perhaps"}, "flash_attention is 'perhaps'; llama-server b11669 takes on, off, auto."),
    (NEW, {"load_mode": "floppy"}, "load_mode is 'floppy'; llama-server b11669 takes auto, none"),
    (NEW, {"speculative": {"type": "ngram-mod,magic"}}, "speculative.type is 'magic'"),
    (OLD, {"flash_attention": "auto"}, "flash_attention is auto, but llama-server b4800 only has on and off."),
    (OLD, {"load_mode": "dio"}, "load_mode needs --load-mode, which llama-server b4800 does not know."),
    (OLD, {"cache_type_k": "q8_0"}, "cache_type_k needs --cache-type-k, which llama-server b4800 does not know."),
    (OLD, {"speculative": {"type": "ngram-mod"}}, "speculative.type needs --spec-type, which llama-server b4800"),
    (OLD, {"parallel": 2}, "parallel needs --parallel"),
]


@pytest.mark.parametrize(("build", "given", "message"), REFUSALS)
def test_refusal(build: Build, given: dict[str, Any], message: str) -> None:
    said = refusal(build, **given)
    assert message in said
    assert said.startswith("llama_server_instances, chat: ")
    assert "\n" not in said


def test_a_removed_option_of_a_key_says_what_the_build_says() -> None:
    build = Build("b9", [option for option in NEW.options if "--spec-draft-n-max" not in option["names"]])
    said = refusal(build, speculative={"type": "draft-simple", "n_max": 3})
    assert "(it says: use --spec-draft-n-max or --spec-ngram-mod-n-max)" in said


def test_all_problems_are_told_at_once() -> None:
    assert len(refusal(NEW, arguments=["--a", "--b"], cache_type_v="x").splitlines()) == 3
