# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.records import pairs, read_text_lines
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load
from hypothesis import given, settings
from hypothesis import strategies as st

SIGNATURES = load("engine")
GIB = 1 << 30


def slog(message: str, level: str = "INFO", source: str = "x.go:1") -> str:
    """A line as Ollama's logger writes it."""
    return f"time=2026-06-28T20:51:02.166+02:00 level={level} source={source} msg={message}"


CONFIG = slog('"server config" env="map[CUDA_VISIBLE_DEVICES: HSA_OVERRIDE_GFX_VERSION: OLLAMA_DEBUG:INFO]"')
GIN = '[GIN] 2026/06/28 - 20:51:17 | 200 |   15.37s |       127.0.0.1 | POST     "/api/generate"'


def listening(version: str) -> str:
    return slog(f'"Listening on 127.0.0.1:11434 (version {version})"')


def compute(library: str, gfx: str = "", total: str = "16.0 GiB", available: str = "15.5 GiB", **more: str) -> str:
    """The `inference compute` line since 0.12.4."""
    kind, name = more.get("type", "discrete"), more.get("name", "AMD Radeon RX 7800 XT")
    return slog(
        f'"inference compute" id=0 filter_id="" library={library} compute={gfx} name={library}0 description="{name}" '
        f'libdirs=ollama driver=0.0 pci_id=0000:03:00.0 type={kind} total="{total}" available="{available}"'
    )


CPU_ONLY = slog(
    '"inference compute" id=cpu library=cpu compute="" name=cpu description=cpu libdirs=ollama driver="" pci_id="" '
    'type="" total="31.2 GiB" available="28.9 GiB"'
)
ZERO_VRAM = slog('"vram-based default context" total_vram="0 B" default_num_ctx=4096')
START_SERVER = slog('"starting llama-server" cmd="/usr/lib/ollama/llama-server --model /m/blobs/sha256-c898 -np 1"')
START_RUNNER = slog('"starting runner" cmd="/usr/bin/ollama runner --ollama-engine --model /m/blobs/sha256-c898"')
STARTED = slog('"llama-server started in 15.37 seconds"')


class Case(NamedTuple):
    """A log and what must be read from it."""

    lines: list[str]
    version: str | None
    backend: str
    offloaded: list[int] | None = None
    codes: frozenset[str] | set[str] = frozenset()
    source: str | None = "load"


CASES = {
    "0.1.20, NVIDIA, runner in process": Case(
        [
            "2024/01/18 13:22:47 images.go:808: total blobs: 3",
            "2024/01/18 13:22:47 routes.go:930: Listening on 127.0.0.1:11434 (version 0.1.20)",
            "2024/01/18 13:22:48 gpu.go:88: Nvidia GPU detected",
            "2024/01/18 13:22:48 gpu.go:135: CUDA Compute Capability detected: 8.6",
            "ggml_init_cublas: found 1 CUDA devices:",
            "  Device 0: NVIDIA GeForce RTX 3060, compute capability 8.6",
            "llm_load_tensors: using CUDA for GPU acceleration",
            "llm_load_tensors: offloaded 33/33 layers to GPU",
        ],
        "0.1.20",
        "cuda",
        [33, 33],
    ),
    "0.1.20, no permission for the GPU": Case(
        [
            "2024/01/18 13:22:47 images.go:808: total blobs: 0",
            "2024/01/18 13:22:47 routes.go:930: Listening on 127.0.0.1:11434 (version 0.1.20)",
            "Error: unable to initialize llm library Radeon card detected, but permissions not set up properly.  "
            "Either run ollama as root, or add you user account to the render group.",
        ],
        "0.1.20",
        "unknown",
        codes={"kfd_permission", "server_exit"},
        source=None,
    ),
    "0.1.30, ROCm": Case(
        [
            slog('"total blobs: 2"'),
            listening("0.1.30"),
            slog('"detected amdgpu versions [gfx1100]"'),
            slog('"amdgpu [0] gfx1100 is supported"'),
            slog('"[0] amdgpu totalMemory 24560M"'),
            slog('"Loading Dynamic llm server: /tmp/ollama2312906070/runners/rocm_v60002/libext_server.so"'),
            "llm_load_tensors: offloaded 27/27 layers to GPU",
            "llm_load_tensors:      ROCm0 buffer size =  1832.60 MiB",
            "llm_load_tensors:        CPU buffer size =    54.93 MiB",
        ],
        "0.1.30",
        "rocm",
        [27, 27],
    ),
    "0.1.29, falls back to the CPU's runner": Case(
        [
            slog('"total blobs: 11"'),
            listening("0.1.29"),
            slog('"no GPU detected"'),
            slog('"Loading Dynamic llm server: /tmp/ollama3662053751/cpu_avx2/libext_server.so"'),
            "llm_load_tensors:        CPU buffer size =  3647.87 MiB",
            "llama_kv_cache_init:        CPU KV buffer size =   256.00 MiB",
        ],
        "0.1.29",
        "cpu",
        codes={"no_devices_enumerated"},
    ),
    "0.3.6 on Windows, ROCm, iGPU beside it": Case(
        [
            '2024/10/26 14:35:43 routes.go:1170: INFO server config env="map[HSA_OVERRIDE_GFX_VERSION: '
            'OLLAMA_MODELS:C:\\\\Users\\\\u\\\\.ollama\\\\models ROCR_VISIBLE_DEVICES:]"\r',
            slog('"total blobs: 4"') + "\r",
            listening("0.3.14-0-gc692dfd") + "\r",
            slog('"amdgpu is not supported (supported types:[gfx1032])" gpu_type=gfx1035 gpu=0 library=C:\\Users')
            + "\r",
            slog(
                '"inference compute" id=1 library=rocm variant="" compute=gfx1032 driver=6.2 '
                'name="AMD Radeon RX 6700S" total="8.0 GiB" available="7.8 GiB"'
            )
            + "\r",
            slog('"offload to rocm" layers.requested=-1 layers.model=17 layers.offload=17') + "\r",
            slog(
                '"starting llama server" cmd="C:\\\\Users\\\\u\\\\Ollama\\\\ollama_runners\\\\rocm_v6.1\\\\'
                'ollama_llama_server.exe --model C:\\\\x --n-gpu-layers 17"'
            )
            + "\r",
            "llm_load_tensors: offloaded 17/17 layers to GPU\r",
        ],
        "0.3.14-0-gc692dfd",
        "rocm",
        [17, 17],
        {"unsupported_gfx"},
    ),
    "0.5.7, GPU found, CPU runner": Case(
        [
            CONFIG,
            listening("0.5.7"),
            slog('"Dynamic LLM libraries" runners="[cpu cpu_avx cpu_avx2]"'),
            slog(
                '"inference compute" id=GPU-1 library=cuda variant=v12 compute=8.6 driver=12.4 '
                'name="NVIDIA GeForce RTX 3060" total="11.8 GiB" available="11.2 GiB"'
            ),
            slog(
                '"starting llama server" cmd="/usr/lib/ollama/runners/cpu_avx2/ollama_llama_server runner --model /m"'
            ),
            "llm_load_tensors:   CPU_Mapped model buffer size =  1918.35 MiB",
            "llama_kv_cache_init:        CPU KV buffer size =   896.00 MiB",
        ],
        "0.5.7",
        "cpu",
        codes={"gpu_runner_missing", "gpu_detected_but_model_on_cpu"},
    ),
    "0.9.6, 0 layers": Case(
        [
            CONFIG,
            listening("0.9.6"),
            slog('"skipping rocm gfx compatibility check" HSA_OVERRIDE_GFX_VERSION=11.0.2'),
            slog(
                '"inference compute" id=0 library=rocm variant="" compute=gfx1103 driver=0.0 name=1002:1900 '
                'total="16.0 GiB" available="14.5 GiB"'
            ),
            slog('"entering low vram mode" "total vram"="16.0 GiB" threshold="20.0 GiB"'),
            slog('"starting llama server" cmd="/usr/bin/ollama runner --model /m/blobs/sha256-1 --port 1"'),
            slog('"offloaded 0/35 layers to GPU"', source="ggml.go:375"),
            slog('"model weights" buffer=CPU size="3.3 GiB"'),
        ],
        "0.9.6",
        "cpu",
        [0, 35],
        {"zero_layers_offloaded", "gpu_detected_but_model_on_cpu"},
    ),
    "0.11, AMD noise on an NVIDIA box": Case(
        [
            CONFIG,
            listening("0.11.4"),
            slog('"looking for compatible GPUs"'),
            slog(
                '"ollama recommends running the https://www.amd.com/en/support/linux-drivers" error="amdgpu version '
                'file missing: /sys/module/amdgpu/version"',
                level="WARN",
            ),
            slog('"unsupported Radeon iGPU detected skipping" id=0 total="512.0 MiB"'),
            slog('"amdgpu too old gfx000" gpu=0', level="WARN"),
            slog('"no compatible amdgpu devices detected"'),
            slog(
                '"inference compute" id=GPU-9 library=cuda variant=v12 compute=8.9 driver=12.8 '
                'name="NVIDIA GeForce RTX 4090" total="23.5 GiB" available="23.1 GiB"'
            ),
        ],
        "0.11.4",
        "cuda",
        source="discovery",
    ),
    "0.12.5, discovery fails, later refreshes are no starts": Case(
        [
            CONFIG,
            listening("0.12.5"),
            slog('"discovering available GPUs..."'),
            slog(
                '"failure during GPU discovery" OLLAMA_LIBRARY_PATH="[/usr/lib/ollama /usr/lib/ollama/rocm]" '
                'extra_envs="map[]" error="failed to finish discovery before timeout"'
            ),
            CPU_ONLY,
            slog('"failure during GPU discovery" OLLAMA_LIBRARY_PATH="[/usr/lib/ollama]" error="runner crashed"'),
        ],
        "0.12.5",
        "cpu",
        codes={"gpu_discovery_timeout"},
        source="discovery",
    ),
    "0.12.10, one library fails, its device is found through another directory": Case(
        [
            CONFIG,
            listening("0.12.10"),
            slog('"failure during GPU discovery" OLLAMA_LIBRARY_PATH="[/l /l/cuda_v13]" error="runner crashed"'),
            compute("CUDA", "8.6", name="NVIDIA GeForce RTX 3060"),
            slog(
                '"failure during GPU discovery" OLLAMA_LIBRARY_PATH="[/l /l/cuda_v12]" error="failed to finish '
                'discovery before timeout"'
            ),
        ],
        "0.12.10",
        "cuda",
        source="discovery",
    ),
    "0.24, Ollama's own engine": Case(
        [
            CONFIG,
            listening("0.24.0"),
            compute("ROCm", "gfx1101"),
            START_RUNNER,
            slog(
                '"gpu memory" id=0 library=ROCm available="15.1 GiB" free="15.5 GiB" minimum="457.0 MiB" overhead="0 B"'
            ),
            slog('"offloaded 20/37 layers to GPU"', source="ggml.go:494"),
            slog('"model weights" device=ROCm0 size="9.1 GiB"', source="device.go:240"),
            slog('"model weights" device=CPU size="4.1 GiB"', source="device.go:245"),
            slog('"llama runner started in 7.41 seconds"'),
        ],
        "0.24.0",
        "rocm",
        [20, 37],
        {"partial_offload"},
    ),
    "0.30, iGPU dropped": Case(
        [
            CONFIG,
            slog('"Ollama cloud disabled: false"'),
            listening("0.30.6"),
            slog(
                '"dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1" id=0 library=Vulkan compute=0.0 '
                'name=Vulkan0 description="AMD Radeon 780M Graphics (RADV PHOENIX)" pci_id=0000:c5:00.0'
            ),
            CPU_ONLY,
            ZERO_VRAM,
            START_SERVER,
            "load_tensors:          CPU model buffer size =   635.54 MiB",
            "load_tensors:   CPU_REPACK model buffer size =  1404.00 MiB",
            "srv  llama_server: model loaded",
            STARTED,
        ],
        "0.30.6",
        "cpu",
        codes={"igpu_dropped", "zero_vram_reported"},
    ),
    "0.30, ROCm drops the GPU, Vulkan takes it": Case(
        [
            CONFIG,
            listening("0.31.2"),
            slog(
                '"dropping ROCm device — no rocblas support for gfx target" device=ROCm0 gfx_target=gfx1010 '
                'supported="map[gfx1030:true]"',
                level="WARN",
            ),
            compute("Vulkan", "0.0", name="AMD Radeon RX 5700 XT (RADV NAVI10)"),
            START_SERVER,
            "load_tensors: offloaded 33/33 layers to GPU",
            "load_tensors:   CPU_Mapped model buffer size =   281.81 MiB",
            "load_tensors:      Vulkan0 model buffer size =  4155.99 MiB",
        ],
        "0.31.2",
        "vulkan",
        [33, 33],
        {"rocm_device_dropped"},
    ),
    "0.32, partial, with the fit's own lines": Case(
        [
            CONFIG,
            listening("0.32.15"),
            compute("CUDA", "7.5", "5.6 GiB", "5.0 GiB", name="NVIDIA GeForce RTX 2060"),
            START_SERVER,
            "common_params_print_info: build 1 (74ade5274) with GNU 16.1.1 for Linux x86_64",
            "device_info:",
            "  - CPU     : AMD Ryzen 7 5700X 8-Core Processor (64220 MiB, 64220 MiB free)",
            "  - CUDA0   : NVIDIA GeForce RTX 2060 (5738 MiB, 5141 MiB free)",
            "common_params_fit_impl:   - CUDA0 (NVIDIA GeForce RTX 2060): 15 layers,   4089 MiB used,   1052 MiB free",
            "llama_prepare_model_devices: using device CUDA0 (NVIDIA GeForce RTX 2060) (0000:2b:00.0) - 5141 MiB free",
            "load_tensors: offloaded 15/33 layers to GPU",
            "load_tensors:   CPU_Mapped model buffer size =  2676.44 MiB",
            "load_tensors:        CUDA0 model buffer size =  2049.43 MiB",
            STARTED,
        ],
        "0.32.15",
        "cuda",
        [15, 33],
        {"partial_offload"},
    ),
    "0.32, experts spill": Case(
        [
            CONFIG,
            listening("0.32.15"),
            compute("ROCm", "gfx1030"),
            START_SERVER,
            "common_params_fit_impl:   - ROCm0 (AMD Radeon RX 6700 XT): 25 layers ( 5 overflowing),  11065 MiB used",
            "load_tensors: offloaded 25/25 layers to GPU",
            "load_tensors:        ROCm0 model buffer size =  10049.43 MiB",
        ],
        "0.32.15",
        "rocm",
        [25, 25],
        {"partial_offload"},
    ),
    "0.33, driver too old": Case(
        [
            CONFIG,
            listening("0.33.2"),
            slog(
                '"NVIDIA driver too old" device="NVIDIA GeForce RTX 3060 Laptop GPU" compute=8.6 driver=546 '
                'required_driver="550 or newer"',
                level="WARN",
            ),
            CPU_ONLY,
            ZERO_VRAM,
        ],
        "0.33.2",
        "cpu",
        codes={"nvidia_driver_too_old", "zero_vram_reported"},
        source="discovery",
    ),
    "0.33, the runner dies": Case(
        [
            CONFIG,
            listening("0.33.2"),
            compute("ROCm", "gfx1151", "96.0 GiB", "95.0 GiB", type="iGPU"),
            START_SERVER,
            "load_tensors: offloaded 49/49 layers to GPU",
            "load_tensors:        ROCm0 model buffer size =  10049.43 MiB",
            "Memory access fault by GPU node-1 (Agent handle: 0x7d83) on address 0x7d84. Reason: Page not present.",
            slog('"Load failed" model=/m error="llama-server process has terminated: signal: aborted (core dumped)"'),
        ],
        "0.33.2",
        "rocm",
        [49, 49],
        {"memory_access_fault", "runner_crashed"},
    ),
    "0.6.2, GPU found, its library not": Case(
        [
            CONFIG,
            listening("0.6.2"),
            slog(
                '"inference compute" id=GPU-1 library=rocm variant="" compute=gfx1100 driver=6.12 name=1002:744c '
                'total="24.0 GiB" available="23.0 GiB"'
            ),
            slog('"starting llama server" cmd="/usr/bin/ollama runner --model /m --n-gpu-layers 49 --port 1"'),
            "load_backend: loaded CPU backend from /usr/lib/ollama/libggml-cpu-haswell.so",
            "load_tensors:   CPU_Mapped model buffer size =  8566.04 MiB",
            "llama_kv_cache_init:        CPU KV buffer size =  1536.00 MiB",
        ],
        "0.6.2",
        "cpu",
        codes={"gpu_detected_but_model_on_cpu", "gpu_libraries_missing"},
    ),
    "copied from a web interface, without blanks and quotes": Case(
        [
            "time=2024-11-13T17:36:40.865Zlevel=INFOsource=routes.go:1240msg=Listening on [::]:11434 (version 0.4.1)",
            "time=2024-11-13T17:36:41.865Zlevel=INFOsource=types.go:123msg=inference computeid=GPU-a9library=cuda"
            "variant=v12compute=8.6driver=12.4name=NVIDIA RTX A4000total=15.8 GiBavailable=15.5 GiB",
            "time=2024-11-13T17:36:49.865Zlevel=INFOsource=server.go:383msg=starting llama servercmd=/usr/lib/ollama/"
            "runners/cuda_v12/ollama_llama_server --model /m",
            "llm_load_tensors: offloaded 33/33 layers to GPU",
        ],
        "0.4.1",
        "cuda",
        [33, 33],
    ),
    "0.1.27, too little memory": Case(
        [
            slog('"total blobs: 5"'),
            listening("0.1.27"),
            slog('"Radeon GPU detected"'),
            slog('"not enough vram available, falling back to CPU only"'),
        ],
        "0.1.27",
        "cpu",
        codes={"not_enough_vram", "gpu_detected_but_model_on_cpu"},
    ),
    "0.20, the runners that look for GPUs load nothing": Case(
        [
            CONFIG,
            listening("0.20.2"),
            compute("ROCm", "gfx1201"),
            START_RUNNER,
            slog('"offloaded 43/43 layers to GPU"'),
            slog('"model weights" device=ROCm0 size="9.1 GiB"'),
            *[slog('"starting runner" cmd="/usr/bin/ollama runner --ollama-engine --port 42569"')] * 9,
        ],
        "0.20.2",
        "rocm",
        [43, 43],
    ),
    "0.12.4 with traces, a device that is not used": Case(
        [
            CONFIG,
            listening("0.12.4"),
            "ggml_cuda_init: found 1 ROCm devices:",
            "  Device 0: AMD Radeon RX 6700 XT, gfx1031 (0x1031), VMM: no, Wave Size: 32",
            slog(
                '"filtering device which didn\'t fully initialize" id=0 libdir=/l/rocm pci_id=0d:00.0 library=ROCm',
                "DEBUG",
            ),
            CPU_ONLY,
        ],
        "0.12.4",
        "cpu",
        codes={"rocm_device_dropped"},
        source="discovery",
    ),
    "macOS": Case(
        [
            CONFIG,
            listening("0.32.0"),
            compute("Metal", "0.0", name="Apple M3 Max"),
            START_SERVER,
            "load_tensors: offloaded 33/33 layers to GPU",
            "load_tensors: MTL0_Mapped model buffer size =  4155.99 MiB",
        ],
        "0.32.0",
        "unknown",
        [33, 33],
        source=None,
    ),
    "two starts, only the last counts": Case(
        [
            CONFIG,
            listening("0.30.0"),
            slog(
                '"failure during llama-server GPU discovery" error="llama-server --list-devices failed: exit status 1"'
            ),
            CPU_ONLY,
            CONFIG,
            listening("0.32.15"),
            compute("ROCm", "gfx1101"),
        ],
        "0.32.15",
        "rocm",
        source="discovery",
    ),
    "the beginning is cut off": Case(
        [
            START_SERVER,
            "load_tensors: offloaded 33/33 layers to GPU",
            "load_tensors: ROCm0 model buffer size = 1.0 MiB",
        ],
        None,
        "rocm",
        [33, 33],
    ),
    "nothing but requests": Case([GIN, GIN], None, "unknown", source=None),
    "empty": Case([], None, "unknown", source=None),
}


def read(lines: list[str]) -> dict[str, Any]:
    return read_engine_log(lines, SIGNATURES)


def codes_of(result: dict[str, Any]) -> set[str]:
    return {failure["code"] for failure in result["failures"]}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_generations(case: Case) -> None:
    result = read(case.lines)
    assert codes_of(result) == case.codes
    assert (result["version"], result["backend"], result["backend_source"], result["offloaded"]) == (
        case.version,
        case.backend,
        case.source,
        case.offloaded,
    )


# --- what logs go through before they are read ---

PREFIXES: dict[str, Callable[[str], str]] = {
    "journald": lambda line: f"Jun 28 20:51:02 host ollama[1067]: {line}",
    "journald, Russian": lambda line: f"июн 28 20:51:02 host ollama[1067]: {line}",
    "journald, German": lambda line: f"Mär 06 18:00:24 laptop ollama[8183]: {line}",
    "journald, Chinese": lambda line: f"7月 24 15:40:33 buaa-KVM ollama[458186]: {line}",
    "journald, ISO": lambda line: f"2026-06-28T20:51:02+0200 host ollama[1067]: {line}",
    "docker compose": lambda line: f"ollama  | {line}",
    "kubectl": lambda line: f"[pod/ollama-0/ollama] {line}",
    "docker with timestamps": lambda line: f"2026-06-28T20:51:02.166262Z {line}",
    "a name after the time": lambda line: f"2026-06-28T20:51:02.166Z [ollama] {line}",
    "TrueNAS, without a blank": lambda line: f"2026-06-28 20:51:02.166262+00:00{line}",
    "quoted in a mail": lambda line: f"> {line}",
    "a program that passes it on": lambda line: f"[stdout] {line}",
    "Windows line ends": lambda line: line + "\r",
    "colours": lambda line: "\x1b[2m" + line.replace("INFO", "\x1b[32mINFO\x1b[0m").replace("GPU", "\x1b[1mGPU\x1b[0m"),
    "NULs": lambda line: line[:9] + "\0" + line[9:],
    "docker's own files": lambda line: json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-06-28"}),
    "journalctl as JSON": lambda line: json.dumps({"MESSAGE": line, "_PID": "1"}),
}
# Where every line has a prefix a start's first line is not told from its raw text by what stands before it.
SINGLE = {name: case for name, case in CASES.items() if name not in ("two starts, only the last counts", "empty")}


@pytest.mark.parametrize("dress", PREFIXES.values(), ids=PREFIXES.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_prefixes(case: Case, dress: Callable[[str], str]) -> None:
    plain, dressed = read(case.lines), read([dress(line) for line in case.lines])
    for result in (plain, dressed):
        for failure in result["failures"]:
            del failure["line"]
    assert dressed == plain


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("width", [80, 100, 132])
def test_records_wrapped_by_a_terminal(case: Case, width: int) -> None:
    lines = []
    for line in case.lines:
        step = width if line.startswith("time=") and " level=" in line else 1000
        lines += [line[at : at + step] for at in range(0, len(line), step)] or [line]
    plain, wrapped = read(case.lines), read(lines)
    assert codes_of(wrapped) == codes_of(plain)
    assert {**wrapped, "failures": None, "devices": None} == {**plain, "failures": None, "devices": None}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_several_records_on_one_line(case: Case) -> None:
    lines = [line.rstrip("\r") for line in case.lines if line.startswith("time=") and " level=" in line]
    assert read([" ".join(lines)]) == {**read(lines), "failures": read([" ".join(lines)])["failures"]}
    assert codes_of(read([" ".join(lines)])) == codes_of(read(lines))


def test_a_start_may_show_by_its_listening_line_alone() -> None:
    result = read([listening("0.30.0"), compute("CUDA", "8.6"), listening("0.32.15"), CPU_ONLY])
    assert (result["starts"], result["version"], result["backend"]) == (2, "0.32.15", "cpu")


def test_memory_of_the_cpu_says_nothing_before_the_load_is_done() -> None:
    buffer = "load_tensors:   CPU_Mapped model buffer size =  2676.44 MiB"
    loading = [compute("CUDA", "8.6"), START_SERVER, buffer]
    assert (read(loading)["backend"], read(loading)["backend_source"]) == ("cuda", "discovery")
    assert read([*loading, STARTED])["backend"] == "cpu"


def test_a_prompt_in_the_log_is_no_fault() -> None:
    prompt = slog(
        '"completion request" prompt="why does it say dropping integrated GPU? and out of memory, CUDA error"'
    )
    request = 'srv  log_server_r: request: {"messages":[{"content":"CUDA error, offloaded 1/2 layers to GPU"}]}'
    result = read([CONFIG, listening("0.32.0"), prompt, request])
    assert (result["failures"], result["offloaded"]) == ([], None)


def test_a_device_is_described() -> None:
    device = read([listening("0.32.0"), compute("ROCm", "gfx1101", "16.0 GiB", "15.5 GiB")])["devices"]
    assert device == [
        {
            "library": "rocm",
            "gfx": "gfx1101",
            "name": "AMD Radeon RX 7800 XT",
            "total_bytes": 16 * GIB,
            "available_bytes": 16642998272,
            "integrated": False,
        }
    ]


def test_a_vulkan_device_may_name_its_architecture() -> None:
    device = read([compute("Vulkan", "0.0", type="iGPU", name="AMD BC-250 (RADV GFX1013)")])["devices"][0]
    assert (device["gfx"], device["integrated"]) == ("gfx1013", True)


def test_little_free_memory_is_told() -> None:
    assert codes_of(read([compute("ROCm", "gfx1101", "16.0 GiB", "3.9 GiB")])) == {"low_available_vram"}
    assert codes_of(read([compute("ROCm", "gfx1101", "16.0 GiB", "4.0 GiB")])) == set()


def test_a_dropped_gpu_matters_less_beside_a_working_one() -> None:
    dropped = slog('"dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1" id=1 library=ROCm compute=gfx1036')
    assert read([dropped, CPU_ONLY])["failures"][0]["severity"] == "warning"
    assert read([dropped, compute("ROCm", "gfx1101")])["failures"][0]["severity"] == "info"
    assert read([dropped, compute("CUDA", "8.6")])["failures"] == []


def test_a_line_counts_once_for_a_fault_that_it_shows_in_two_ways() -> None:
    line = (
        'level=INFO source=sched.go:1 msg="Load failed" error="reported out-of-memory: unable to allocate ROCm0 buffer"'
    )
    assert [(one["code"], one["count"]) for one in read([line])["failures"]] == [("gpu_oom", 1)]


def test_a_gpu_that_fails_at_work_is_no_harmless_one() -> None:
    crash = "CUDA error: device kernel image is invalid"
    failures = read([compute("CUDA", "7.0", name="Tesla V100"), crash])["failures"]
    assert [(one["code"], one["severity"]) for one in failures] == [
        ("unsupported_gfx", "error"),
        ("runner_crashed", "error"),
    ]
    left_out = slog('"amdgpu is not supported (supported types:[gfx1030])" gpu_type=gfx1036')
    assert codes_of(read([left_out, compute("CUDA", "7.0")])) == set()
    assert codes_of(read([left_out, compute("CUDA", "7.0"), crash])) == {"unsupported_gfx", "runner_crashed"}


def test_each_fault_comes_once_with_its_first_line_and_a_count() -> None:
    lines = [
        slog(f'"gpu VRAM usage didn\'t recover within timeout" seconds={number}', level="WARN") for number in range(5)
    ]
    (failure,) = read(lines)["failures"]
    assert (failure["count"], failure["line"]) == (5, lines[0])
    assert set(failure) == {"code", "severity", "line", "meaning", "remedy", "count"}


def test_llama_server_alone() -> None:
    lines = [
        "load_backend: loaded Vulkan backend from /usr/lib/libggml-vulkan.so",
        "ggml_vulkan: Found 1 Vulkan devices:",
        "ggml_vulkan: 0 = Radeon 8060S Graphics (RADV GFX1151) (radv) | uma: 1 | fp16: 1 | warp size: 64",
        "build: 6510 (703f9e32) with cc (Ubuntu 11.4.0-1ubuntu1~22.04.2) 11.4.0 for x86_64-linux-gnu",
        "main: HTTP server is listening, hostname: 127.0.0.1, port: 8080, http threads: 15",
        "llama_model_load_from_file_impl: using device Vulkan0 (Radeon 8060S Graphics (RADV GFX1151)) - 72341 MiB free",
        "load_tensors: offloaded 49/49 layers to GPU",
        "load_tensors:      Vulkan0 model buffer size = 17697.69 MiB",
    ]
    result = read(lines)
    assert (result["engine"], result["version"], result["backend"]) == ("llama_server", "b6510", "vulkan")
    assert result["offloaded"] == [49, 49]


# --- properties ---

RANK = {None: 0, "discovery": 1, "load": 2}
FRAGMENTS = st.sampled_from(
    [line for case in CASES.values() for line in case.lines]
    + ["", '"', "=", "msg=", "time=2026-06-28T", "offloaded 1/", "\x1b[31m", "buffer size =", "\\", "{", "ROCm0"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=60)), max_size=30))
def test_nothing_makes_it_raise(lines: list[str]) -> None:
    result = read(lines)
    assert result["backend"] in ("rocm", "vulkan", "cuda", "cpu", "unknown")
    assert (result["backend"] == "unknown") == (result["backend_source"] is None)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SINGLE)), st.integers(0, 4000), st.integers(0, 4000), st.booleans())
def test_a_cut_log_is_never_more_confident(name: str, head: int, tail: int, cut_head: bool) -> None:
    text = "\n".join(SINGLE[name].lines)
    part = text[head % (len(text) + 1) if cut_head else 0 : len(text) - tail % (len(text) + 1)]
    whole, cut = read(text.split("\n")), read(part.split("\n"))
    assert RANK[cut["backend_source"]] <= RANK[whole["backend_source"]]


@pytest.mark.parametrize(
    "unit",
    [
        "time=", 'level=INFO msg="', '"', "\\", "/cpu", "using device ROCm0 (", "ggml_", "offloaded 1/1 layers to GPU ",
        "ROCm0 : ", "2024/01/01 00:00:00 a.go:1: ", "rocblaslt ", "/dev/kfd ", "listen tcp ", "CUDA out of memory ",
        "x=1 ", "CPU_CPU", "{\"log\"", "\x1b[", "HIP error ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("line_end", ["", "\n"])
def test_no_text_takes_long(unit: str, line_end: str) -> None:
    """200 kB of what a regular expression might stumble over takes about as long as any other."""
    lines = ((unit + line_end) * (200_000 // len(unit + line_end))).split("\n")
    begin = time.process_time()
    read([*lines, "amdgpu ggml_vulkan: buffer size Device MiB free) using device ext_server loading build"])
    assert time.process_time() - begin < 2


def test_a_long_log_is_read_quickly_and_without_keeping_it(tmp_path: Any) -> None:
    """About 3 MB; docs/troubleshooting.md says what 100 MB take."""
    line = 'time=2026-06-28T20:51:02.167+02:00 level=INFO source=server.go:109 msg="using llama-server" n={}\n'
    log = tmp_path / "big.log"
    with open(log, "w", encoding="utf-8") as handle:
        handle.write("\n".join(CASES["0.32, partial, with the fit's own lines"].lines) + "\n")
        handle.writelines((GIN + "\n" + line.format(number)) for number in range(20_000))
    begin = time.process_time()
    result = read_engine_log(read_text_lines(str(log)), SIGNATURES)
    assert result["backend"] == "cuda"
    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a=1 b="x y" "total vram"="16.0 GiB"', {"a": "1", "b": "x y", "total vram": "16.0 GiB"}),
        (r'cmd="C:\\x \"y\"" n=', {"cmd": r'C:\x "y"', "n": ""}),
        ('a=1 b="cut of', {"a": "1"}),
        ("no pairs here", {}),
    ],
)
def test_pairs(text: str, expected: dict[str, str]) -> None:
    assert pairs(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_of_windows(tmp_path: Any, encoding: str) -> None:
    log = tmp_path / "server.log"
    log.write_bytes((listening("0.32.0") + "\r\n").encode(encoding))
    assert read_engine_log(read_text_lines(str(log)), SIGNATURES)["version"] == "0.32.0"
