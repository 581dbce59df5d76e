# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of a llama-server by itself, from 2024 to late 2026, and what they went through before they are read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load
from hypothesis import given, settings
from hypothesis import strategies as st

SIGNATURES = load("engine")
MIB = 1 << 20


class Case(NamedTuple):
    """A log and what must be read from it."""

    lines: list[str]
    version: str | None
    backend: str
    offloaded: list[int] | None = None
    codes: frozenset[str] | set[str] = frozenset()
    source: str | None = "load"
    starts: int = 1
    devices: tuple[tuple[str, str | None, str], ...] = ()


LOADED = "load_backend: loaded {} backend from /usr/lib/x86_64-linux-gnu/ggml/backends0/libggml-{}.so"
CPU_LISTED = "cmn  common_param:   - CPU     : AMD Ryzen 7 (64220 MiB, 64220 MiB free)"
RX_7800 = "AMD Radeon RX 7800 XT (RADV NAVI32)"


def banner(build: str = "11669 (Debian)", *listed: str) -> list[str]:
    """How a server of late 2026 begins, at any verbosity."""
    return [
        "srv  llama_server: initializing ...",
        f"cmn  common_param: common_params_print_info: build {build} with GNU 16.2.0 for Linux x86_64",
        "cmn  common_param: device_info:",
        *(f"cmn  common_param:   - {device}" for device in listed),
        CPU_LISTED,
        "cmn  common_param: system_info: n_threads = 8 (n_threads_batch = 8) / 16 | CPU : SSE3 = 1 |",
        "srv    load_model: loading model '/m/toy.gguf'",
    ]


VULKAN0 = f"Vulkan0 : {RX_7800} (16368 MiB, 15900 MiB free)"
USING = f"llama_prepare_model_devices: using device Vulkan0 ({RX_7800}) (0000:03:00.0) - 15900 MiB free"
ON_VULKAN = [
    "load_tensors: offloaded 29/29 layers to GPU",
    "load_tensors:   CPU_Mapped model buffer size =   281.81 MiB",
    "load_tensors:      Vulkan0 model buffer size =  4155.99 MiB",
    "llama_context: Vulkan_Host  output buffer size =     0.58 MiB",
    "llama_kv_cache:    Vulkan0 KV buffer size =   224.00 MiB",
]
ON_CPU = [
    "load_tensors:   CPU_Mapped model buffer size =  4437.80 MiB",
    "llama_kv_cache:        CPU KV buffer size =   224.00 MiB",
]
MODEL_LOADED = "srv  llama_server: model loaded"
READY = [MODEL_LOADED, "srv  llama_server: listening on http://127.0.0.1:8080"]
NO_VULKAN = "ggml_vulkan: No devices found."
UNREADABLE = [
    "gguf_init_from_reader: invalid magic characters: '<htm', expected 'GGUF'",
    "llama_model_load_from_file_impl: failed to load model",
    "srv  llama_server: exiting due to model loading error",
]

CASES = {
    "late 2026, Vulkan": Case(
        [LOADED.format("Vulkan", "vulkan"), *banner("11669 (Debian)", VULKAN0), USING, *ON_VULKAN, *READY],
        "b11669",
        "vulkan",
        [29, 29],
        devices=(("vulkan", None, RX_7800),),
    ),
    "late 2026, default verbosity: no lines of the load": Case(
        [*banner("11669 (Debian)", VULKAN0), *READY],
        "b11669",
        "vulkan",
        source="discovery",
        devices=(("vulkan", None, RX_7800),),
    ),
    "late 2026, CPU, default verbosity": Case([*banner(), *READY], "b11669", "cpu", source="discovery"),
    "late 2026, CPU, the fit says so": Case(
        [*banner(), "common_params_fit_impl: projected to use 5 MiB of host memory vs. 24105 MiB", *READY],
        "b11669",
        "cpu",
    ),
    "late 2026, CPU": Case([NO_VULKAN, *banner(), *ON_CPU, *READY], "b11669", "cpu", codes={"no_devices_enumerated"}),
    "devices are left alone, yet layers are counted": Case(
        [*banner("11669 (Debian)", VULKAN0), "load_tensors: offloaded 29/29 layers to GPU", *ON_CPU, *READY],
        "b11669",
        "cpu",
        [29, 29],
        devices=(("vulkan", None, RX_7800),),
    ),
    "no layer on a prepared GPU": Case(
        [
            *banner("10145 (ad256ded3)", VULKAN0),
            USING,
            "load_tensors: offloaded 0/37 layers to GPU",
            *ON_CPU,
            "sched_reserve:    Vulkan0 compute buffer size =   565.81 MiB",
            *READY,
        ],
        "b10145",
        "cpu",
        [0, 37],
        {"zero_layers_offloaded", "gpu_detected_but_model_on_cpu"},
        devices=(("vulkan", None, RX_7800),),
    ),
    "a part, on one of two devices": Case(
        [
            *banner(
                "10145 (ad256ded3)", VULKAN0, "Vulkan1 : AMD Radeon Graphics (RADV RAPHAEL) (12000 MiB, 11000 MiB free)"
            ),
            USING,
            "load_tensors: offloaded 20/29 layers to GPU",
            *ON_VULKAN[1:],
            *READY,
        ],
        "b10145",
        "vulkan",
        [20, 29],
        {"partial_offload"},
        devices=(("vulkan", None, RX_7800),),
    ),
    "a small model guesses for the large one": Case(
        [
            *banner("11669 (Debian)", VULKAN0),
            USING,
            *ON_VULKAN,
            "common_speculative_init_result: loading draft model '/m/draft.gguf'",
            "load_tensors: offloaded 2/2 layers to GPU",
            "load_tensors:      Vulkan0 model buffer size =     0.30 MiB",
            *READY,
        ],
        "b11669",
        "vulkan",
        [29, 29],
        devices=(("vulkan", None, RX_7800),),
    ),
    "2025, ROCm, the version shown first": Case(
        [
            "ggml_cuda_init: found 1 ROCm devices:",
            "  Device 0: AMD Radeon RX 7900 XT, gfx1100 (0x1100), VMM: no, Wave Size: 32",
            "version: 6297 (1cf123a3)",
            "built with clang version 19.0.0git for x86_64-unknown-linux-gnu",
            "ggml_cuda_init: found 1 ROCm devices:",
            "  Device 0: AMD Radeon RX 7900 XT, gfx1100 (0x1100), VMM: no, Wave Size: 32",
            "build: 6297 (1cf123a3) with clang version 19.0.0git for x86_64-unknown-linux-gnu",
            "system info: n_threads = 12, n_threads_batch = 12, total_threads = 24",
            "",
            "system_info: n_threads = 12 (n_threads_batch = 12) / 24 | ROCm : NO_VMM = 1 |",
            "main: HTTP server is listening, hostname: 127.0.0.1, port: 8080, http threads: 23",
            "main: loading model",
            "srv    load_model: loading model '/m/toy.gguf'",
            "llama_model_load_from_file_impl: using device ROCm0 (AMD Radeon RX 7900 XT) - 20424 MiB free",
            "load_tensors: offloaded 25/25 layers to GPU",
            "load_tensors:        ROCm0 model buffer size = 10949.38 MiB",
            "main: model loaded",
        ],
        "b6297",
        "rocm",
        [25, 25],
        devices=(("rocm", "gfx1100", "AMD Radeon RX 7900 XT"),),
    ),
    "2026, build_info, split by rows": Case(
        [
            "ggml_cuda_init: found 2 CUDA devices (Total VRAM: 48318 MiB):",
            "  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes, VRAM: 24159 MiB",
            "  Device 1: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes, VRAM: 24159 MiB",
            "main: n_parallel is set to auto, using n_parallel = 4 and kv_unified = true",
            "build_info: b9026-a817a22bc",
            "system_info: n_threads = 6 (n_threads_batch = 6) / 12 | CUDA : ARCHS = 860 |",
            "load_tensors: offloaded 65/65 layers to GPU",
            "load_tensors:   CUDA_Split model buffer size = 15345.00 MiB",
            "main: model loaded",
        ],
        "b9026",
        "cuda",
        [65, 65],
        devices=(("cuda", None, "NVIDIA GeForce RTX 3090"), ("cuda", None, "NVIDIA GeForce RTX 3090")),
    ),
    "2024, Vulkan": Case(
        [
            'INFO [                    main] build info | tid="1" timestamp=1725256058 build=3091 commit="2b338967"',
            "ggml_vulkan: Found 1 Vulkan devices:",
            "Vulkan0: AMD Radeon RX 7600 (RADV GFX1102) (radv) | uma: 0 | fp16: 1 | warp size: 64",
            "llm_load_tensors: offloaded 33/33 layers to GPU",
            "llm_load_tensors:        CPU buffer size =    70.31 MiB",
            "llm_load_tensors: AMD Radeon RX 7600 (RADV GFX1102) buffer size =  3577.56 MiB",
        ],
        "b3091",
        "vulkan",
        [33, 33],
        devices=(("vulkan", "gfx1102", "AMD Radeon RX 7600 (RADV GFX1102)"),),
    ),
    "2024, JSON, two GPUs": Case(
        [
            '{"tid":"1","level":"INFO","function":"main","msg":"build info","build":2517,"commit":"d0a7140"}',
            '{"tid":"1","level":"INFO","function":"main","msg":"system info","n_threads":8,"total_threads":16}',
            "ggml_cuda_init: found 2 ROCm devices:",
            "  Device 0: AMD Radeon RX 7900 XTX, compute capability 11.0, VMM: no",
            "  Device 1: AMD Radeon RX 7900 XTX, compute capability 11.0, VMM: no",
            "llm_load_tensors: offloaded 33/33 layers to GPU",
            "llm_load_tensors:      ROCm0 buffer size =  2000.00 MiB",
            "llm_load_tensors:      ROCm1 buffer size =  2000.00 MiB",
            "llm_load_tensors:        CPU buffer size =    70.31 MiB",
        ],
        "b2517",
        "rocm",
        [33, 33],
        devices=(("rocm", None, "AMD Radeon RX 7900 XTX"), ("rocm", None, "AMD Radeon RX 7900 XTX")),
    ),
    "2024, text, CPU": Case(
        [
            'INFO [                    main] build info | tid="1" timestamp=1717171717 build=2961 commit="b18532a4"',
            'INFO [                    main] system info | tid="1" timestamp=1717171717 n_threads=8',
            "llm_load_tensors:        CPU buffer size =  4437.80 MiB",
            "llama_kv_cache_init:        CPU KV buffer size =    64.00 MiB",
        ],
        "b2961",
        "cpu",
    ),
    "a router and the server that it has started": Case(
        [
            *banner("11317 (abcdef123)", "ROCm0   : AMD Radeon RX 7900 XTX (24560 MiB, 24500 MiB free)")[:-1],
            "srv          load: spawning server instance with name=lite on port 49823",
            "[49823] srv  llama_server: initializing ...",
            "[49823] cmn  common_param: common_params_print_info: build 11317 (abcdef123) with GNU for Linux x86_64",
            "[49823] cmn  common_param: device_info:",
            "[49823] llama_prepare_model_devices: using device ROCm0 (AMD Radeon RX 7900 XTX) - 24500 MiB free",
            "[49823] load_tensors: offloaded 29/29 layers to GPU",
            "[49823] load_tensors:      ROCm0 model buffer size =     600.64 MiB",
            "[49823] srv  llama_server: model loaded",
        ],
        "b11317",
        "rocm",
        [29, 29],
        devices=(("rocm", None, "AMD Radeon RX 7900 XTX"),),
    ),
    "no build with a GPU": Case(
        [
            "warning: no usable GPU found, --gpu-layers option will be ignored",
            "warning: one possible reason is that llama.cpp was compiled without GPU support",
            *banner("9608 (70b54e1)"),
            *READY,
        ],
        "b9608",
        "cpu",
        codes={"no_devices_enumerated"},
        source="discovery",
    ),
    "an option that the build does not know": Case(
        ['error while handling argument "--draft-max": the argument has been removed.'],
        None,
        "unknown",
        codes={"argument_invalid"},
        source=None,
    ),
    "started three times, the model is no GGUF": Case(
        [*banner(), *UNREADABLE] * 3,
        "b11669",
        "cpu",
        codes={"model_unreadable", "server_exit"},
        source="discovery",
        starts=3,
    ),
    "started again on Vulkan": Case(
        [*banner(), *ON_CPU, *READY, *banner("11669 (Debian)", VULKAN0), USING, *ON_VULKAN, *READY],
        "b11669",
        "vulkan",
        [29, 29],
        starts=2,
        devices=(("vulkan", None, RX_7800),),
    ),
    "the port is taken": Case(
        [
            *banner(),
            "srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
            "srv  llama_server: exiting due to HTTP server error",
        ],
        "b11669",
        "cpu",
        codes={"port_in_use", "server_exit"},
        source="discovery",
    ),
    "out of memory on Vulkan": Case(
        [
            *banner("11669 (Debian)", VULKAN0),
            USING,
            "ggml_vulkan: Device memory allocation of size 9000000000 failed.",
            "alloc_tensor_range: failed to allocate Vulkan0 buffer of size 9000000000",
            "srv  llama_server: exiting due to model loading error",
        ],
        "b11669",
        "vulkan",
        codes={"gpu_oom", "server_exit"},
        source="discovery",
        devices=(("vulkan", None, RX_7800),),
    ),
}


def stamped(lines: list[str]) -> list[str]:
    """As the server writes them since 2026: the time since its start, and a level."""
    return [f"0.00.{at // 1000:03}.{at % 1000:03} I {line}" for at, line in enumerate(lines)]


def read(lines: list[str]) -> dict[str, Any]:
    return read_engine_log(lines, SIGNATURES)


def judged(result: dict[str, Any]) -> tuple[Any, ...]:
    devices = tuple((device["library"], device["gfx"], device["name"]) for device in result["devices"])
    codes = {failure["code"] for failure in result["failures"]}
    return (
        result["engine"],
        result["version"],
        result["backend"],
        result["backend_source"],
        result["offloaded"],
        result["starts"],
        devices,
        codes,
    )


def expected(case: Case) -> tuple[Any, ...]:
    found = (case.version, case.backend, case.source, case.offloaded, case.starts, case.devices, set(case.codes))
    return ("llama_server", *found)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_generations(case: Case) -> None:
    assert judged(read(case.lines)) == expected(case)


PREFIXES: dict[str, Callable[[str], str]] = {
    "level": lambda line: f"I {line}",
    "journald": lambda line: f"Nov 21 05:20:37 host llama-server[861]: {line}",
    "journald, ISO": lambda line: f"2026-11-21T05:20:37+0100 host llama-server[861]: {line}",
    "docker compose": lambda line: f"llama-server  | {line}",
    "docker with timestamps": lambda line: f"2026-11-21T05:20:37.166262Z {line}",
    "a program that passes it on": lambda line: f"2026-11-21 05:20:37.652 [Info] (Process) {line}",
    "Windows line ends": lambda line: line + "\r",
    "colours": lambda line: f"\x1b[34m{line}\x1b[0m",
    "journalctl as JSON": lambda line: json.dumps({"MESSAGE": line, "_PID": "861"}),
}
# A line of JSON inside another prefix is not what any llama-server writes.
PLAIN = {name: case for name, case in CASES.items() if "JSON" not in name}


@pytest.mark.parametrize("dress", PREFIXES.values(), ids=PREFIXES.keys())
@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN.keys())
def test_prefixes(case: Case, dress: Callable[[str], str]) -> None:
    lines = [line if line.startswith(("  Device", "[49823]")) else stamped([line])[0] for line in case.lines if line]
    assert judged(read([dress(line) for line in lines])) == expected(case)


def test_looking_at_the_version_is_no_start() -> None:
    assert read(CASES["2025, ROCm, the version shown first"].lines * 2)["starts"] == 2


def test_what_is_told_of_a_device_adds_up() -> None:
    lines = [
        "ggml_vulkan: Found 1 Vulkan devices:",
        f"ggml_vulkan: 0 = {RX_7800} (radv) | uma: 0 | fp16: 1 | warp size: 64 | int dot: 1 |",
        *banner("11669 (Debian)", VULKAN0),
        USING,
    ]
    assert read(lines)["devices"] == [
        {
            "library": "vulkan",
            "gfx": None,
            "name": RX_7800,
            "total_bytes": 16368 * MIB,
            "available_bytes": 15900 * MIB,
            "integrated": False,
        }
    ]


def test_a_remedy_fits_the_engine_and_the_backend() -> None:
    crash = ["ggml_cuda.cu:90: ROCm error", "Memory access fault by GPU node-1 on address 0x7f"]
    on_vulkan = {one["code"]: one["remedy"] for one in read([*banner("1 (abc)", VULKAN0), USING, *crash])["failures"]}
    assert "use ROCm or the processor" in on_vulkan["memory_access_fault"]
    assert "Mesa" in on_vulkan["runner_crashed"]
    on_rocm = {one["code"]: one["remedy"] for one in read([*banner("1 (abc)"), *crash])["failures"]}
    assert "OLLAMA_" not in on_rocm["runner_crashed"]
    assert "use Vulkan" in on_rocm["memory_access_fault"]


@pytest.mark.parametrize(
    "line",
    [
        "main: server is listening on http://0.0.0.0:8080",
        "main: HTTP server is listening, hostname: 127.0.0.1, port: 8080, http threads: 31",
        "0.00.056.149 I srv  llama_server: listening on http://127.0.0.1:45727",
        "srv          main: model loaded",
        "0.08.462.473 I llama_kv_cache:      ROCm0 KV buffer size =   224.00 MiB",
    ],
)
def test_a_server_is_known_by_its_last_words(line: str) -> None:
    cut = ["load_tensors: offloaded 65/65 layers to GPU", "load_tensors:      ROCm0 model buffer size = 21504.49 MiB"]
    result = read([*cut, line])
    assert (result["engine"], result["backend"]) == ("llama_server", "rocm")
    assert read(cut)["engine"] is None


def test_an_ollama_is_known_by_its_unit_and_by_lines_that_tell_nothing() -> None:
    build = "build_info: b1-dd9280a66"
    assert read([build])["engine"] == "llama_server"
    assert read([f"Nov 13 19:54:51 host ollama[2930]: {build}"])["engine"] == "ollama"
    told = 'time=2026-05-13T16:59:45.551Z level=DEBUG source=runner.go:320 msg="unable to refresh all GPUs"'
    assert (read([told, build])["engine"], read([told, build])["version"]) == ("ollama", None)


FRAGMENTS = st.sampled_from(
    [line for case in CASES.values() for line in case.lines]
    + ["", "device_info:", "build 1 (", "[12345] ", "- CPU :", "loading draft model", "vk::", "Vulkan0 : (", "\x1b["]
)


@settings(max_examples=200)
@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=60)), max_size=30))
def test_nothing_makes_it_raise(lines: list[str]) -> None:
    result = read(lines)
    assert (result["backend"] == "unknown") == (result["backend_source"] is None)
    assert result["starts"] >= 0


@settings(max_examples=300)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 4000))
def test_a_cut_log_is_never_more_confident(name: str, tail: int) -> None:
    rank = {None: 0, "discovery": 1, "load": 2}
    text = "\n".join(CASES[name].lines)
    cut = read(text[: len(text) - tail % (len(text) + 1)].split("\n"))
    last = read(text.split("\n"))
    # With the last start's lines cut off, an earlier one is the last.
    assert cut["starts"] < last["starts"] or rank[cut["backend_source"]] <= rank[last["backend_source"]]


@pytest.mark.parametrize(
    "unit",
    [
        "vk::a:",
        "using device Vulkan0 (",
        "Vulkan0 : ",
        "ggml_vulkan: 0 = a (",
        "build 1 (",
        "version: 1 (build ",
        "[12345] ",
    ],
)
@pytest.mark.parametrize("line_end", ["", "\n"])
def test_no_text_takes_long(unit: str, line_end: str) -> None:
    lines = ((unit + line_end) * (200_000 // len(unit + line_end))).split("\n")
    begin = time.process_time()
    read(lines)
    assert time.process_time() - begin < 2
