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
    "ggml_vulkan:",
    "MiB free)",
    "model loaded",
    "load_backend: loaded",
    *BUILD_NEEDLES,
)

_OFFLOADED = re.compile(r"offloaded (\d{1,6})/(\d{1,6}) layers to GPU")
_BUFFER = re.compile(
    r"\b(CPU|ROCm\d+|CUDA\d+|Vulkan\d+|Metal|MTL\d+|SYCL\d+|ROCm|CUDA|Vulkan)(?:_(\w+))? +"
    r"(model |compute |KV |output |RS )?buffer size *="
)
_USING_DEVICE = re.compile(
    r"using device (ROCm|CUDA|Vulkan|Metal|MTL|SYCL)\d{0,3} \((.{1,200}?)\)(?: \([0-9a-z:. ]{1,40}\))? - (\d{1,9}) MiB"
)
_LISTED_DEVICE = re.compile(
    r"(?:^|[\s-])(ROCm|CUDA|Vulkan|Metal|MTL)\d{0,3} {0,9}: (.{1,200}?) \((\d{1,9}) MiB, (\d{1,9}) MiB free\)"
)
_GGML_DEVICE = re.compile(r"Device \d{1,3}: ([^,]{1,200}), (?:compute capability [\d.]+|(gfx[0-9a-f]+))")
_GGML_MEMORY = re.compile(r"VRAM: (\d{1,9}) MiB")
_VULKAN_DEVICE = re.compile(r"ggml_vulkan: \d{1,3} = (.{1,200}?) \| uma: ([01]) ")
_FOUND = re.compile(r"ggml_\w{1,40}: [Ff]ound \d{1,4} (ROCm|CUDA|Vulkan) devices")
_LOADED = re.compile(r"load_backend: loaded (\w{1,20}) backend from")
_BUILD = re.compile(r"\bbuild(?::| =|_info:)? *b?(\d{3,6})[ -]\(?(?:[0-9a-f]{7,12}|unknown)\b|\bversion: (\d{3,6}) \(")
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
    return "b" + (match.group(1) or match.group(2)) if match else None


def offloaded(start: Start, text: str) -> None:
    """How many layers are on the GPU; the last word counts."""
    for match in _OFFLOADED.finditer(text):
        start.load.offload(match.group(1), match.group(2), text)


def read(start: Start, text: str) -> None:
    """Take in what one line tells."""
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
    for match in _LOADED.finditer(text):
        start.load.loaded.setdefault(backend_name(match.group(1)), text)
    if "model loaded" in text:
        start.load.finished = True
    for match in _FOUND.finditer(text):
        start.found.add(backend_name(match.group(1)))
    _devices(start, text)


def _buffer(start: Start, device: str, kind: str | None, use: str | None) -> None:
    """Memory of a device; ROCm_Host and CUDA_Host are the host's."""
    library = backend_name(device)
    if kind and library != "cpu":
        library = "cpu"
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
    vulkan = _VULKAN_DEVICE.search(text) if "ggml_vulkan:" in text else None
    if using:
        library, name = backend_name(using.group(1)), using.group(2)
        start.load.hint = start.load.hint or library
        start.add_device(library, name, available=int(using.group(3)) << 20, gfx=radv_gfx(name))
    elif listed:
        library, name = backend_name(listed.group(1)), listed.group(2)
        start.add_device(library, name, int(listed.group(3)) << 20, int(listed.group(4)) << 20, radv_gfx(name))
    elif device:
        name, gfx = device.groups()
        memory = _GGML_MEMORY.search(text)
        library = "rocm" if gfx or "AMD" in name or "rocm" in start.found else "cuda"
        start.found.add(library)
        start.add_device(library, name, int(memory.group(1)) << 20 if memory else None, gfx=gfx)
    elif vulkan:
        name = vulkan.group(1)
        start.found.add("vulkan")
        start.add_device("vulkan", name, gfx=radv_gfx(name), integrated=vulkan.group(2) == "1")
