# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a log of Ollama or of llama-server says: version, devices, the backend in use, and what went wrong.

Three generations of Ollama log differently (up to 0.12.3, up to 0.24, since 0.30 with llama-server's own lines);
one reader serves all, because each fact has its own lines and a log only has those of its generation.
Only the last start counts. What models were loaded with outweighs what discovery promised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.logs import runner, verdict
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.records import Needles, Record, joined, parse
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.signatures import Form, Signatures
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.start import (
    BACKENDS,
    Start,
    backend_name,
    parse_size,
)

# Every line that can tell something has one of these in it, or a signature's text: the others are not looked at.
_NEEDLES = (
    "inference compute",
    "no compatible GPUs were discovered",
    "server config",
    "total blobs",
    "Listening on",
    "starting llama",
    "starting runner",
    "llm server:",
    "loading library",
    "runner started",
    "server started in",
    "gpu memory",
    "offload to",
    "offload library",
    "GPU detected",
    "CUDA GPU is too old",
    "not enough vram available",
    "selecting GPU backend",
    "updated VRAM based on",
    "Starting llama main loop",
    "Dynamic LLM",
    "amdgpu",
    "model weights",
    "kv cache",
    "compute graph",
)

# Of these, those that may begin a new start.
_OPENERS = frozenset({"server config", "total blobs", "Listening on", *runner.BUILD_NEEDLES})
_WAITING = 1 << 22  # characters
# What people and models say to each other, which a verbose server writes down: it may be about logs.
_TALK = ('"content":', '"prompt":')
# What only a server prints, and no look at its version or devices.
_LLAMA_OPENERS = frozenset({"build", "server", "devices", "system", "argument"})

# The name that journald and syslog write before a line.
_PROGRAM = re.compile(r"\b(ollama|llama-server)\[\d{1,9}\]: ")
_LISTENING = re.compile(r"^Listening on \S+ \(version ([^\s)]+)\)")
_AMDGPU_MEMORY = re.compile(r"^\[(\d{1,3})\] amdgpu totalMemory (\d{1,15})(M?)")
_AMDGPU_VERSIONS = re.compile(r"^detected amdgpu versions \[([^\]]*)\]")


class _Reader:
    def __init__(self, signatures: list[dict[str, Any]]) -> None:
        self.signatures = Signatures(signatures, "engine")
        self.needles = Needles([*_NEEDLES, *runner.NEEDLES, *self.signatures.by_needle])
        self.start = Start()
        self.starts = 0
        self.is_ollama = False
        self.is_llama = False

    # --- reading ---

    def read(self, lines: Iterable[str]) -> None:
        """Read a log to its end.

        Lines wait until it is known that no later start makes them void.
        """
        output_needles = self.signatures.output_needles
        waiting: list[tuple[str, list[str]]] = []
        size = 0
        for line in joined(self.needles.batches(lines), lambda text: any(map(text.__contains__, output_needles))):
            found = self.needles.found(line)
            if not found:
                if not self.is_ollama and ".go:" in line and any(record.message is not None for record in parse(line)):
                    self._take(waiting)
                    self._become_ollama()
                continue
            if not _OPENERS.isdisjoint(found):
                starts = self.starts
                if not self.is_ollama:
                    self._take(waiting)
                self._take([(line, found)])
                if self.starts > starts:
                    waiting.clear()
            else:
                waiting.append((line, found))
                size += len(line)
                if size > _WAITING:
                    self._take(waiting)
                    size = 0
        self._take(waiting)

    def _take(self, waiting: list[tuple[str, list[str]]]) -> None:
        for line, found in waiting:
            for record in parse(line):
                self._feed(record, found)
        waiting.clear()

    def _feed(self, record: Record, found: list[str]) -> None:
        """Take one record in."""
        if record.message is None:
            if any(part in record.text for part in _TALK):
                return
            self._output(record.text)
        else:
            self._become_ollama()
            self._structured(record.message, record.attributes or {}, record.text)
        shown: dict[str, Form] = {}
        for form in self.signatures.matching(record, found):
            if form.scope == "discovery" and (self.start.computes or self.start.cpu_only):
                continue  # a look at the GPUs in mid-life, not the one that decides
            if form.code not in shown or form.at_work:
                shown[form.code] = form
        for code, form in shown.items():
            library = _library_of(record) if form.scope == "discovery" else None
            self.start.fail(self.signatures.known, code, record.text, library, form.at_work)

    def _become_ollama(self) -> None:
        if not self.is_ollama:  # llama-server's lines before it were those of Ollama's runner
            self.is_ollama, self.starts, self.start.version = True, 0, None

    def _output(self, text: str) -> None:
        program = _PROGRAM.search(text[:200])
        if program and program.group(1) == "ollama":
            self._become_ollama()
        self.is_llama = self.is_llama or bool(program) or runner.is_server(text)
        opener = runner.opener(text)
        if opener and not self.is_ollama:
            self._open_llama(opener, text)
        runner.read(self.start, text, not self.is_ollama)

    def _open_llama(self, opener: str, text: str) -> None:
        """A line that llama-server prints once in its life: the second one comes from the next start."""
        self.is_llama = self.is_llama or opener in _LLAMA_OPENERS
        opened = self.start.opened_by
        if runner.is_child(text) and self.starts:
            if opener == "build":
                self.start.new_load("")
        elif opener in opened or (self.start.load.finished and opener in ("server", "build")):
            # `--version`, which people paste in front, is not yet a start.
            counted = bool(opened & _LLAMA_OPENERS)
            self.start = Start()
            self.starts += counted
        self.start.opened_by.add(opener)
        self.starts = self.starts or int(opener in _LLAMA_OPENERS)
        build = runner.build(text)
        # A build that does not know itself says 0.
        self.start.version = build if build and build != "b0" else self.start.version

    def _new_start(self) -> None:
        self.start = Start()
        self.starts += 1

    def _open(self, opener: str) -> None:
        """One of the lines that come before the server listens."""
        if self.start.listening or opener in self.start.opened_by or not self.starts:
            self._new_start()
        self.start.opened_by.add(opener)

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
                    self._new_start()
                self.start.listening = True
                self.start.version = listening.group(1)
        elif message == "inference compute":
            self._compute(attributes)
        elif message.startswith(("starting llama", "starting runner")):
            command = attributes.get("cmd", "--model")
            if "--model" in command:  # without a model it only looks for GPUs
                meant, library = start.load.hint, runner.runner_library(command) or start.meant
                start.new_load(library)
                start.meant = ""
                if library == "cpu":  # a program of its own, up to 0.5.7, that knows no GPU
                    start.load.finished = True
                    if meant in BACKENDS:
                        start.fail(self.signatures.known, "gpu_runner_missing", text)
        elif message.startswith(("Loading Dynamic llm server", "loading library")):
            start.new_load(runner.runner_library(text) or "")
        elif message == "no compatible GPUs were discovered":
            start.cpu_only = not start.computes and not start.found
        elif message.startswith("selecting GPU backend"):
            start.meant = self._announced(attributes.get("library", ""))
        elif message == "gpu memory" or message == "offload":
            start.load.hint = self._announced(attributes.get("library", start.load.hint))
        elif message.startswith("offload to ") and not message.endswith(" gpu"):
            start.load.hint = self._announced(message[len("offload to ") :])
        elif message.startswith("updated VRAM based on"):
            self._announced(attributes.get("library", ""))
        elif message.startswith("offloaded "):
            runner.offloaded(start, text)
        elif message.startswith(("llama runner started", "llama-server started", "Starting llama main loop")):
            start.load.finished = True
        elif message in ("model weights", "kv cache", "compute graph"):
            names = (attributes[name] for name in ("device", "buffer", "backend") if name in attributes)
            self._go_buffer(message, next(names, ""))
        elif message.startswith("Dynamic LLM"):
            start.runners = text
        elif message.startswith("not enough vram available"):
            start.new_load("cpu")
            start.load.finished = True
        elif "GPU detected" in message or "amdgpu" in message or "CUDA GPU" in message:
            self._old_discovery(message)

    def _announced(self, library: str) -> str:
        """The backend that a load is meant for, and which discovery has found then."""
        name = backend_name(library)
        if name in BACKENDS:
            self.start.found.add(name)
        return name

    def _go_buffer(self, message: str, device: str) -> None:
        """Ollama's own engine (0.9.6 to 0.24) names the device of each kind of memory."""
        load = self.start.load
        if device:
            load.memory("cpu" if device.endswith("_Host") else backend_name(device), estimated=True)
            load.finished = load.finished or message != "model weights"

    def _compute(self, attributes: dict[str, str]) -> None:
        if "total" not in attributes or "library" not in attributes:
            return  # a cut line
        library, start = backend_name(attributes["library"]), self.start
        if library == "cpu":  # said only where no GPU is left
            start.cpu_only = True
            start.devices = {}
            return
        if not start.computes:
            start.devices = {}
        start.computes[library] = True
        name = attributes.get("description") or attributes.get("name") or ""
        compute = attributes.get("compute", "")
        start.add_device(
            f"{library} {attributes.get('id', '')} {attributes.get('pci_id', '')}",
            library,
            name or None,
            parse_size(attributes["total"]),
            parse_size(attributes.get("available", "")),
            compute if compute.startswith("gfx") else runner.radv_gfx(name),
            {"iGPU": True, "discrete": False}.get(attributes.get("type", "")),
        )

    def _old_discovery(self, message: str) -> None:
        """Before 0.1.35 there is no `inference compute`."""
        start = self.start
        versions = _AMDGPU_VERSIONS.match(message)
        memory = _AMDGPU_MEMORY.match(message)
        if message.lower().startswith(("nvidia gpu detected", "radeon gpu detected")):
            start.found.add("cuda" if message[0] in "Nn" else "rocm")
        elif message.startswith("CUDA GPU is too old"):
            start.found.discard("cuda")
        elif message.startswith("no GPU detected"):
            start.cpu_only = True
            start.found.clear()
        elif versions:
            start.gfx = versions.group(1).split()
        elif memory:
            index = int(memory.group(1))
            gfx = start.gfx[index] if index < len(start.gfx) else None
            start.found.add("rocm")
            total = int(memory.group(2)) << (20 if memory.group(3) else 0)
            start.add_device(f"rocm{index}", "rocm", None, total, gfx=gfx)


def _library_of(record: Record) -> str | None:
    """The backend whose library directory a discovery failure names."""
    attributes = record.attributes or {}
    text = next((attributes[name] for name in ("library", "OLLAMA_LIBRARY_PATH", "libDirs") if name in attributes), "")
    return next((name for name in BACKENDS if name in text.lower()), None)


def read_engine_log(lines: Iterable[str], signatures: list[dict[str, Any]]) -> dict[str, Any]:
    """The engine_log of design section 4 from the lines of a log, in one pass and without keeping them."""
    reader = _Reader(signatures)
    reader.read(lines)
    return verdict.engine_log(reader.start, reader.signatures.known, reader.is_ollama, reader.is_llama, reader.starts)
