# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""llama.cpp's own lines: printed by llama-server alone, and passed on by every Ollama."""

from __future__ import annotations

import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.start import Start, backend_name

BUILD_NEEDLES = ("build", "version: ")
NEEDLES = (
    " layers to GPU",
    "buffer size",
    "ext_server",
    "using device",
    "acceleration",
    " devices",
    "Device ",
    "| uma: ",
    "MiB free)",
    "of host memory",
    "model loaded",
    "listening on http",
    "HTTP server is listening",
    "load_backend: loaded",
    "llama_server: initializing",
    "device_info:",
    "- CPU",
    "system_info: n_threads",
    "system info",
    "usable GPU",
    "loading model",
    "draft model",
    " argument",
    *BUILD_NEEDLES,
)

_LIBRARIES = "ROCm|CUDA|Vulkan|Metal|MTL|SYCL|OpenCL|CANN|MUSA|HTP|WebGPU|RPC"
_OFFLOADED = re.compile(r"offloaded (\d{1,6})/(\d{1,6}) layers to GPU")
_BUFFER = re.compile(
    rf"\b(CPU|(?:{_LIBRARIES})\d{{0,3}})(?:\[[^\]\s]{{1,100}}\])?(?:_(\w{{1,40}}))? +"
    r"(model |compute |KV |output |RS )?buffer size *="
)
_USING_DEVICE = re.compile(
    rf"using device ((?:{_LIBRARIES})\d{{0,3}}) \((.{{1,200}}?)\)(?: \([0-9a-z:. ]{{1,40}}\))? - (\d{{1,9}}) MiB"
)
_LISTED_DEVICE = re.compile(
    rf"(?:^|[\s-])((?:{_LIBRARIES})\d{{0,3}}) {{0,9}}: (.{{1,200}}?) \((\d{{1,9}}) MiB, (\d{{1,9}}) MiB free\)"
)
_LISTED_CPU = re.compile(r"(?:^|\s)- CPU {0,9}: ")
_GGML_DEVICE = re.compile(r"Device (\d{1,3}): ([^,]{1,200}), {1,9}(?:compute capability [\d.]+|(gfx[0-9a-f]+))")
_GGML_MEMORY = re.compile(r"VRAM: (\d{1,9}) MiB")
# The last parenthesis is the name of the driver.
_VULKAN_DEVICE = re.compile(
    r"(?:ggml_vulkan: (?=\d)|\bVulkan)(\d{1,3})(?: =|:) (.{1,200}?)(?: \([^()|]{1,80}\))? \| uma: ([01]) "
)
_FOUND = re.compile(r"ggml_\w{1,40}: [Ff]ound \d{1,4} (ROCm|CUDA|Vulkan) devices")
_LOADED = re.compile(r"load_backend: loaded (\w{1,20}) backend from")
_BUILD = re.compile(
    r"\bbuild(?::| =)? *b?(\d{1,6}) \([\w.+-]{3,40}\)"  # "build: 6510 (703f9e32) with cc", "build 11669 (Debian)"
    r"|\bbuild_info: b(\d{1,6})-[\w.+-]{3,40}"
    r'|\bbuild"?[=:](\d{1,6}),? ?"?commit'  # structured logs of 2024
    r"|\bversion: (\d{1,6}) \([0-9a-f]{6,40}\)|\bversion: [\w.+-]{1,30} \(build (\d{1,6}), commit "
)
_ARGUMENT = re.compile(r"error while handling argument|error: invalid argument: ")
_SERVER = re.compile(
    r"(?:main|llama_server): (?:model loaded|(?:server is )?listening on http)|main: HTTP server is listening"
    r"|(?:^|\s)\d{1,6}\.\d\d\.\d{3}\.\d{3} [DIWE] "
)
# A model server that a router has started: its lines are passed on behind its port.
_CHILD = re.compile(r"(?:^|\s)\[\d{4,5}\] ")
_RADV_GFX = re.compile(r"\bRADV (GFX[0-9A-F]+)\b")
_RUNNER_DIRECTORY = re.compile(
    r"[/\\](cpu|cuda|rocm|vulkan)[\w.]{0,20}[/\\]{1,4}\w{0,20}(?:ollama_llama_server|ext_server)"
)


def radv_gfx(name: str) -> str | None:
    """The architecture that Mesa's Vulkan driver puts into the name of newer GPUs."""
    match = _RADV_GFX.search(name)
    return match.group(1).lower() if match else None


def runner_library(text: str) -> str | None:
    """The backend of a runner program, by the directory that it lies in (Ollama up to 0.5.7)."""
    match = _RUNNER_DIRECTORY.search(text)
    return match.group(1) if match else None


def build(text: str) -> str | None:
    """The build of llama.cpp, which it says once when it starts ("b11669")."""
    if "build" not in text and "version: " not in text:
        return None
    match = _BUILD.search(text)
    return "b" + next(filter(None, match.groups())) if match else None


def opener(text: str) -> str | None:
    """The name of what llama-server says only once in its life, before it loads a model; None for all else."""
    if build(text):
        return "version" if "version: " in text else "build"
    if "llama_server: initializing" in text:
        return "server"
    if "device_info:" in text:
        return "devices"
    if "system_info: n_threads" in text:
        return "system"
    if "system info" in text:  # up to 2025 one more line, before the other
        return "system info"
    if "no usable GPU found" in text:
        return "no GPU"
    if _ARGUMENT.search(text):
        return "argument"
    match = _FOUND.search(text) or _LOADED.search(text)
    return match.group(0) if match else None


def is_server(text: str) -> bool:
    """Whether only llama-server says this, though an Ollama may pass it on."""
    return bool(_SERVER.search(text))


def is_child(text: str) -> bool:
    """Whether a router passes this line on from the server of one model."""
    return bool(_CHILD.search(text))


def offloaded(start: Start, text: str) -> None:
    """How many layers are on the GPU; the last word counts."""
    for match in _OFFLOADED.finditer(text):
        start.load.offload(match.group(1), match.group(2), text)


def read(start: Start, text: str, alone: bool) -> None:
    """Take in what one line tells. `alone` is llama-server without an Ollama, which announces loads itself."""
    if "offloaded " in text:
        offloaded(start, text)
    if "buffer size" in text:
        for match in _BUFFER.finditer(text):
            _buffer(start, *match.groups())
    if "for GPU acceleration" in text:
        start.load.hint = "rocm" if "using ROCm" in text else "cuda"
    if "ext_server" in text and "oading" in text:
        library = runner_library(text)
        if library:
            start.new_load(library)
    if "loading draft model" in text:
        start.new_load("", draft=True)
    elif alone and "load_model: loading model" in text:
        start.new_load("")
    if "of host memory" in text and "projected to use" in text:
        start.load.hint = "cpu"
    for match in _LOADED.finditer(text):
        start.load.loaded.setdefault(backend_name(match.group(1)), text)
    if "model loaded" in text:
        for load in start.loads:
            load.finished = True
    for match in _FOUND.finditer(text):
        start.found.add(backend_name(match.group(1)))
    if _LISTED_CPU.search(text) or "no usable GPU found" in text:
        start.cpu_listed = True
    _devices(start, text)


def _buffer(start: Start, device: str, kind: str | None, use: str | None) -> None:
    """Memory of a device; ROCm_Host and CUDA_Host are the host's."""
    library = "cpu" if kind == "Host" else backend_name(device)
    if library != "cpu" or use in ("model ", None):
        start.load.memory(library)
    if use in ("compute ", "KV "):
        start.load.finished = True


def _devices(start: Start, text: str) -> None:
    if start.computes or start.cpu_only:
        return  # Ollama's own `inference compute` lines are the better source
    using = _USING_DEVICE.search(text) if "using device" in text else None
    listed = _LISTED_DEVICE.search(text) if "MiB free)" in text else None
    device = _GGML_DEVICE.search(text) if "Device " in text else None
    vulkan = _VULKAN_DEVICE.search(text) if "| uma: " in text else None
    if using:
        key, name = using.group(1).lower(), using.group(2)
        library = backend_name(key)
        start.load.hint = start.load.hint or library
        start.found.add(library)
        start.used.add(key)
        start.add_device(key, library, name, available=int(using.group(3)) << 20, gfx=radv_gfx(name))
    elif listed:
        key, name = listed.group(1).lower(), listed.group(2)
        start.found.add(backend_name(key))
        sizes = (int(listed.group(3)) << 20, int(listed.group(4)) << 20)
        start.add_device(key, backend_name(key), name, *sizes, radv_gfx(name))
    elif device:
        index, name, gfx = device.groups()
        memory = _GGML_MEMORY.search(text)
        library = "rocm" if gfx or "AMD" in name or "rocm" in start.found else "cuda"
        start.found.add(library)
        start.add_device(library + index, library, name, int(memory.group(1)) << 20 if memory else None, gfx=gfx)
    elif vulkan:
        index, name, shared = vulkan.groups()
        start.found.add("vulkan")
        start.add_device(f"vulkan{index}", "vulkan", name, gfx=radv_gfx(name), integrated=shared == "1")
