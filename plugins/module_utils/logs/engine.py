# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a log of Ollama or of llama-server says: version, devices, the backend in use, and what went wrong.

Three generations of Ollama log differently (up to 0.12.3, up to 0.24, since 0.30 with llama-server's own lines);
one reader serves all, because each fact has its own lines and a log only ever has those of its generation.
Only the last start counts. What models were loaded with outweighs what discovery promised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.records import Record, joined, parse
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.signatures import Signatures

_BACKENDS = ("rocm", "vulkan", "cuda")

# Every line that can tell something has one of these in it, or a signature's text: the others are not looked at.
_NEEDLES = (
    "inference compute",
    "server config",
    "total blobs",
    "Listening on",
    " layers to GPU",
    "buffer size",
    "starting llama",
    "starting runner",
    "llm server:",
    "loading library",
    "runner started",
    "server started in",
    "using device",
    "gpu memory",
    "offload to",
    "offload library",
    "acceleration",
    "overflowing",
    " devices",
    "Device ",
    "ggml_vulkan:",
    "load_backend",
    "MiB free)",
    "GPU detected",
    "Dynamic LLM",
    "build: ",
    "build = ",
    "build_info",
    "version: ",
    "vram-based",
    "amdgpu",
)

_SIZE = re.compile(r"^([\d.]+) ?([KMGT]i?)?B$")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

_LISTENING = re.compile(r"^Listening on \S+ \(version ([^\s)]+)\)")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUFFER = re.compile(r"\b(CPU|ROCm\d+|CUDA\d+|Vulkan\d+|Metal|MTL\d+|SYCL\d+)(?:_(\w+))? +(model |compute |KV |output |RS )?buffer size *=")
_USING_DEVICE = re.compile(
    r"using device (ROCm|CUDA|Vulkan|Metal|MTL|SYCL)(\d*) \((.*)\)(?: \(([0-9a-f:.]+|unknown id)\))? - (\d+) MiB free"
)
_LISTED_DEVICE = re.compile(r"(?:^|[\s-])(ROCm|CUDA|Vulkan|Metal|MTL)(\d*) ?: (.+?) \((\d+) MiB, (\d+) MiB free\)")
_GGML_DEVICE = re.compile(r"Device (\d+): ([^,]+), (?:compute capability ([\d.]+)|(gfx[0-9a-f]+)\S*)")
_GGML_MEMORY = re.compile(r"VRAM: (\d+) MiB")
_VULKAN_DEVICE = re.compile(r"ggml_vulkan: (\d+) = (.+?) \| uma: ([01]) ")
_GGML_FOUND = re.compile(r"(?:ggml_init_cublas|ggml_cuda_init|ggml_vulkan): [Ff]ound (\d+) (ROCm|CUDA|Vulkan) devices")
_RUNNER_DIR = re.compile(r"(?:runners[/\\]+|[/\\])(cpu|cuda|rocm|vulkan)[\w.]*[/\\]+\w*(?:ollama_llama_server|ext_server)")
_RADV_GFX = re.compile(r"\bRADV (GFX[0-9A-F]+)\b")
_LLAMA_BUILD = re.compile(r"\bbuild(?::| =|_info:) *(?:b?)(\d{3,6})[ -]\(?([0-9a-f]{7,12})|\bversion: (\d{3,6}) \(")


def parse_size(text: str) -> int | None:
    """Bytes from "24.0 GiB", None where the text is no size."""
    match = _SIZE.match(text.strip())
    if not match:
        return None
    unit = match.group(2) or ""
    return int(float(match.group(1)) * (_BINARY.get(unit) or _UNITS[unit]))


def _backend(library: str) -> str:
    name = library.lower()
    return {"hip": "rocm", "cublas": "cuda"}.get(name, name)


class _Load:
    """What is known of one model's load."""

    def __init__(self) -> None:
        self.offloaded: list[int] | None = None
        self.offloaded_line = ""
        self.buffers: dict[str, str] = {}
        self.hint = ""
        self.finished = False

    def backend(self, discovered: list[str]) -> str | None:
        """The backend that the model runs on, None where the lines do not tell."""
        gpus = [name for name in self.buffers if name != "cpu"]
        if self.offloaded:
            if self.offloaded[0] == 0:
                return "cpu"
            candidates = gpus or [self.hint] * bool(self.hint) or sorted(set(discovered))
            return candidates[0] if len(candidates) == 1 or gpus else None
        if gpus:
            return gpus[0]
        if self.finished and ("cpu" in self.buffers or self.hint == "cpu"):
            return "cpu"
        return None


class _Start:
    """All that one start of the engine has said."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.listening = False
        self.opened_by: set[str] = set()
        self.devices: list[dict[str, Any]] = []
        self.discovery: list[str] = []
        self.cpu_only = False
        self.found: list[str] = []
        self.runners: str | None = None
        self.load = _Load()
        self.loads: list[_Load] = [self.load]
        self.failures: dict[str, dict[str, Any]] = {}

    def new_load(self, hint: str) -> None:
        """A runner starts for a model."""
        self.load = _Load()
        self.load.hint = hint
        self.loads = [*self.loads[-7:], self.load]


class _Reader:
    def __init__(self, signatures: list[dict[str, Any]]) -> None:
        self.signatures = Signatures(signatures, "engine")
        self.needles = tuple(sorted({*_NEEDLES, *self.signatures.needles}))
        self.start = _Start()
        self.starts = 0
        self.is_ollama = False
        self.is_llama = False

    # --- reading -----------------------------------------------------------------------------------------------

    def interesting(self, line: str) -> bool:
        """Whether a line can tell anything."""
        return any(map(line.__contains__, self.needles))

    def feed(self, record: Record) -> None:
        """Take one record in."""
        if record.message is not None:
            self.is_ollama = True
            self._structured(record.message, record.attributes or {}, record.text)
        self._output(record)
        for form in self.signatures.matching(record):
            if form.scope == "discovery" and (self.start.discovery or self.start.cpu_only):
                continue
            self._fail(form.code, record.text, scope=form.scope, library=_library_of(record))

    def _fail(self, code: str, line: str, scope: str | None = None, library: str | None = None) -> None:
        known = self.signatures.known.get(code)
        if known is None:
            return
        failure = self.start.failures.get(code)
        if failure:
            failure["count"] += 1
            return
        self.start.failures[code] = {
            "code": code,
            "severity": known["severity"],
            "line": line[:2000],
            "meaning": known["meaning"],
            "remedy": known["remedy"],
            "count": 1,
            "_scope": scope,
            "_library": library,
        }

    def _open(self, opener: str) -> None:
        start = self.start
        if start.listening or opener in start.opened_by or (not self.starts):
            self.start = start = _Start()
            self.starts += 1
        start.opened_by.add(opener)

    def _structured(self, message: str, attributes: dict[str, str], text: str) -> None:
        start = self.start
        if message.startswith("server config"):
            self._open("server config")
        elif message.startswith("total blobs"):
            self._open("total blobs")
        elif message.startswith("Listening on"):
            listening = _LISTENING.match(message)
            if listening:
                if start.listening or not self.starts:
                    self.start = start = _Start()
                    self.starts += 1
                start.listening = True
                start.version = listening.group(1)
        elif message == "inference compute":
            self._compute(attributes)
        elif message.startswith(("starting llama", "starting runner")):
            runner = _RUNNER_DIR.search(attributes.get("cmd", ""))
            start.new_load(_backend(runner.group(1)) if runner else "")
        elif message.startswith(("Loading Dynamic llm server", "loading library")):
            runner = _RUNNER_DIR.search(text)
            start.new_load(_backend(runner.group(1)) if runner else "")
        elif message == "gpu memory":
            start.load.hint = _backend(attributes.get("library", start.load.hint))
        elif message.startswith("offload"):
            self._offload(message, attributes, text)
        elif message.startswith(("llama runner started", "llama-server started")):
            start.load.finished = True
        elif message.startswith("Dynamic LLM"):
            start.runners = text
        elif message in ("Nvidia GPU detected", "Radeon GPU detected"):
            start.found.append("cuda" if message.startswith("N") else "rocm")

    def _offload(self, message: str, attributes: dict[str, str], text: str) -> None:
        load = self.start.load
        count = _OFFLOADED.search(message)
        if count:
            self._offloaded(count, text)
        elif message.startswith("offload to "):
            load.hint = {"gpu": load.hint}.get(message[11:], _backend(message[11:]))
        elif message == "offload" and "library" in attributes:
            load.hint = _backend(attributes["library"])

    def _offloaded(self, count: re.Match[str], text: str) -> None:
        load = self.start.load
        load.offloaded = [int(count.group(1)), int(count.group(2))]
        load.offloaded_line = text

    def _compute(self, attributes: dict[str, str]) -> None:
        if "total" not in attributes or "library" not in attributes:
            return  # a cut line
        library = _backend(attributes["library"])
        start = self.start
        if library == "cpu":
            start.cpu_only = True
            return
        start.discovery.append(library)
        name = attributes.get("description") or attributes.get("name") or None
        gfx = attributes.get("compute", "") if attributes.get("compute", "").startswith("gfx") else None
        radv = _RADV_GFX.search(name or "")
        self._device(
            library=library,
            gfx=gfx or (radv.group(1).lower() if radv else None),
            name=name,
            total_bytes=parse_size(attributes["total"]),
            available_bytes=parse_size(attributes.get("available", "")),
            integrated={"iGPU": True, "discrete": False}.get(attributes.get("type", "")),
        )

    def _device(self, **device: Any) -> None:
        if device not in self.start.devices:
            self.start.devices.append(device)

    def _output(self, record: Record) -> None:
        """Lines of the runner: llama.cpp's own."""
        text, start = record.text, self.start
        if record.message is None:
            build = _LLAMA_BUILD.search(text) if "build" in text or "version: " in text else None
            if build:
                self._llama_start(build)
                start = self.start
            for count in _OFFLOADED.finditer(text) if "offloaded " in text else ():
                self._offloaded(count, text)
        if "buffer size" in text:
            for buffer in _BUFFER.finditer(text):
                self._buffer(*buffer.groups())
        if "acceleration" in text and "for GPU acceleration" in text:
            start.load.hint = "rocm" if "using ROCm" in text else "cuda"
        if record.message is not None:
            return
        runner = _RUNNER_DIR.search(text) if "ext_server" in text and "oading" in text else None
        if runner:
            start.new_load(_backend(runner.group(1)))
        self._devices_of_output(text)

    def _llama_start(self, build: re.Match[str]) -> None:
        """llama-server says which build it is once, when it starts."""
        self.is_llama = True
        if not self.is_ollama and (self.start.opened_by or not self.starts):
            self.start = _Start()
            self.starts += 1
            self.start.opened_by.add("build")
            self.start.version = "b" + (build.group(1) or build.group(3))

    def _buffer(self, device: str, kind: str | None, use: str | None) -> None:
        load = self.start.load
        library = _backend(device.rstrip("0123456789"))
        if kind == "Host" or kind is not None and library != "cpu":
            library = "cpu"
        if use in ("model ", None) or library != "cpu":
            load.buffers.setdefault(library, device)
        if use in ("compute ", "KV "):
            load.finished = True

    def _devices_of_output(self, text: str) -> None:
        start = self.start
        for match in _GGML_FOUND.finditer(text):
            start.found.append(_backend(match.group(2)))
        listed = _LISTED_DEVICE.search(text) if "MiB free)" in text else None
        using = _USING_DEVICE.search(text) if "using device" in text else None
        if using:
            library = _backend(using.group(1))
            start.load.hint = start.load.hint or library
            self._found(library, using.group(3), None, int(using.group(5)) << 20)
        elif listed:
            self._found(_backend(listed.group(1)), listed.group(3), int(listed.group(4)) << 20, int(listed.group(5)) << 20)
        elif "Device " in text:
            device = _GGML_DEVICE.search(text)
            if device:
                memory = _GGML_MEMORY.search(text)
                amd = device.group(4) or "AMD" in device.group(2) or "rocm" in start.found
                library = "rocm" if amd else "cuda"
                start.found.append(library)
                self._found(library, device.group(2), int(memory.group(1)) << 20 if memory else None, None, device.group(4))
        elif "ggml_vulkan:" in text:
            device = _VULKAN_DEVICE.search(text)
            if device:
                start.found.append("vulkan")
                self._found("vulkan", device.group(2), None, None, None, device.group(3) == "1")

    def _found(
        self,
        library: str,
        name: str,
        total: int | None = None,
        available: int | None = None,
        gfx: str | None = None,
        integrated: bool | None = None,
    ) -> None:
        """A device as llama.cpp names it; Ollama's own `inference compute` lines are the better source."""
        if self.start.discovery or self.start.cpu_only:
            return
        for device in self.start.devices:
            if device["library"] == library and device["name"] == name:
                device["total_bytes"] = device["total_bytes"] or total
                device["available_bytes"] = device["available_bytes"] or available
                device["gfx"] = device["gfx"] or gfx
                return
        self._device(
            library=library, gfx=gfx, name=name, total_bytes=total, available_bytes=available, integrated=integrated
        )

    # --- judging -----------------------------------------------------------------------------------------------

    def result(self) -> dict[str, Any]:
        """The engine_log."""
        start = self.start
        discovered = start.discovery or list(dict.fromkeys(start.found))
        backend, source, load = None, None, None
        for load in reversed(start.loads):
            backend = load.backend(discovered)
            if backend:
                source = "load"
                break
        if not backend and (start.discovery or start.cpu_only):
            backend, source = (start.discovery or ["cpu"])[0], "discovery"
            load = None
        self._derive(discovered, backend, source, load)
        on_gpu = backend in _BACKENDS
        failures = []
        for failure in start.failures.values():
            scope, library = failure.pop("_scope"), failure.pop("_library")
            if scope == "discovery" and library in start.discovery:
                continue  # the devices of this library were found after all
            if on_gpu and self.signatures.known[failure["code"]].get("harmless_on_gpu"):
                failure["severity"] = "info"
            failures.append(failure)
        return {
            "engine": "ollama" if self.is_ollama else "llama_server" if self.is_llama else None,
            "version": start.version,
            "starts": self.starts,
            "backend": backend if on_gpu or backend == "cpu" else "unknown",
            "backend_source": source if on_gpu or backend == "cpu" else None,
            "devices": start.devices,
            "offloaded": load.offloaded if load else None,
            "failures": failures,
        }

    def _derive(self, discovered: list[str], backend: str | None, source: str | None, load: _Load | None) -> None:
        """The failures that no single line shows."""
        start = self.start
        gpus = [library for library in discovered if library in _BACKENDS]
        offloaded = load.offloaded if load else None
        if load and offloaded and load.offloaded_line:
            if offloaded[0] == 0 and (gpus or start.failures or not start.cpu_only):
                self._fail("zero_layers_offloaded", load.offloaded_line)
            elif 0 < offloaded[0] < offloaded[1]:
                self._fail("partial_offload", load.offloaded_line)
        if gpus and backend == "cpu" and source == "load" and load:
            self._fail("gpu_detected_but_model_on_cpu", load.offloaded_line or "CPU model buffer only")
        if start.runners and gpus and not re.search(r"cuda|rocm|vulkan", start.runners):
            self._fail("gpu_runner_missing", start.runners)
        for device in start.devices:
            total, available = device["total_bytes"], device["available_bytes"]
            if total and available is not None and available * 4 < total:
                self._fail("low_available_vram", f"{device['name']}: {available >> 20} MiB of {total >> 20} MiB are free")


def _library_of(record: Record) -> str | None:
    """The backend whose library directory a discovery failure names."""
    attributes = record.attributes or {}
    text = attributes.get("OLLAMA_LIBRARY_PATH") or attributes.get("libDirs") or attributes.get("libdirs") or ""
    for name, backend in (("rocm", "rocm"), ("cuda", "cuda"), ("vulkan", "vulkan")):
        if name in text:
            return backend
    return None


def read_engine_log(lines: Iterable[str], signatures: list[dict[str, Any]]) -> dict[str, Any]:
    """The engine_log of design section 4 from the lines of a log, in one pass and without keeping them."""
    reader = _Reader(signatures)
    output_needles = reader.signatures.output_needles
    for line in joined(lines, lambda text: any(map(text.__contains__, output_needles))):
        if reader.interesting(line):
            for record in parse(line):
                reader.feed(record)
    return reader.result()
