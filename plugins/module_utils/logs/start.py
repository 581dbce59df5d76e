# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of one start of an engine, and of each model that it loaded."""

from __future__ import annotations

import re
from typing import Any

BACKENDS = ("rocm", "vulkan", "cuda")

_SIZE = re.compile(r"^(\d{1,9}(?:\.\d{1,9})?) ?(?:([KMGTP])(i?))?B$")


def parse_size(text: str) -> int | None:
    """Bytes from "24.0 GiB", None where the text is no size."""
    match = _SIZE.match(text.strip())
    if not match:
        return None
    power = " KMGTP".index(match.group(2) or " ")
    return int(float(match.group(1)) * (1024 if match.group(3) else 1000) ** power)


def backend_name(library: str) -> str:
    """Our name of a backend from the name of a library or of a device ("ROCm", "ROCm0", "cublas")."""
    name = library.rstrip("0123456789").lower()
    return {"hip": "rocm", "cublas": "cuda"}.get(name, name)


class Load:
    """What the log says of one model's load."""

    def __init__(self, hint: str = "", draft: bool = False) -> None:
        self.hint = hint
        self.draft = draft  # a small model that only guesses for the other
        self.offloaded: list[int] | None = None
        self.line = ""
        self.libraries: list[str] = []
        self.estimated: list[str] = []  # where Ollama meant to put it
        self.loaded: dict[str, str] = {}  # ggml's libraries, and the line that names them
        self.finished = False

    def offload(self, layers: str, of: str, line: str) -> None:
        """So many layers went to the GPU."""
        self.offloaded = [int(layers), int(of)]
        self.line = line

    def memory(self, library: str, estimated: bool = False) -> None:
        """A part of the model went into memory of this library's device."""
        libraries = self.estimated if estimated else self.libraries
        if library not in libraries:
            libraries.append(library)

    def backend(self, discovered: list[str]) -> str | None:
        """The backend that the model runs on, None where the lines do not tell."""
        libraries = self.libraries or self.estimated
        gpus = [name for name in libraries if name != "cpu"]
        # llama-server counts layers as offloaded even where it was given no device to put them on.
        on_cpu = self.finished and not gpus and "cpu" in libraries
        if self.offloaded and not on_cpu:
            if self.offloaded[0] == 0:
                return "cpu"
            candidates = gpus or [self.hint] * bool(self.hint) or sorted(set(discovered))
            return candidates[0] if gpus or len(candidates) == 1 else None
        if gpus:
            return gpus[0]
        # The CPU's buffers are listed beside the GPU's: only a finished load without any of those is on the CPU.
        if on_cpu or (self.finished and self.hint == "cpu"):
            return "cpu"
        return None


class Start:
    """All that one start of the engine has said."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.listening = False
        self.opened_by: set[str] = set()
        self.devices: dict[str, dict[str, Any]] = {}
        self.used: set[str] = set()  # the devices that a model was loaded for, where the log names them
        self.cpu_listed = False
        # libraries of the GPUs in `inference compute` lines, and of those that older lines or the runner name
        self.computes: dict[str, bool] = {}
        self.found: set[str] = set()
        self.cpu_only = False
        self.gfx: list[str] = []
        self.runners: str | None = None
        self.meant = ""  # the backend that the next load is announced for
        self.load = Load()
        self.loads = [self.load]
        self.failures: dict[str, dict[str, Any]] = {}

    def new_load(self, hint: str, draft: bool = False) -> None:
        """A runner starts for a model."""
        self.load = Load(hint, draft)
        self.loads = [*self.loads[-7:], self.load]

    def add_device(
        self,
        key: str,
        library: str,
        name: str | None,
        total: int | None = None,
        available: int | None = None,
        gfx: str | None = None,
        integrated: bool | None = None,
    ) -> None:
        """A GPU; what an earlier line left open of it is filled in."""
        said = {
            "library": library,
            "gfx": gfx,
            "name": name,
            "total_bytes": total,
            "available_bytes": available,
            "integrated": integrated,
        }
        known = self.devices.get(key)
        if known is not None:
            known.update({field: value for field, value in said.items() if known[field] is None})
        elif len(self.devices) < 64:
            self.devices[key] = said

    def fail(
        self,
        known: dict[str, dict[str, Any]],
        code: str,
        line: str,
        void_if_found: str | None = None,
        at_work: bool = False,
    ) -> None:
        """A line shows this fault: void if in the end that library did find a GPU; or shown by a GPU at work."""
        if code not in known:
            return
        failure = self.failures.setdefault(
            code,
            {
                "code": code,
                "severity": known[code]["severity"],
                "line": line[:2000],
                "meaning": known[code]["meaning"],
                "remedy": known[code]["remedy"],
                "count": 0,
                "void_if_found": void_if_found,
                "at_work": False,
            },
        )
        failure["count"] += 1
        failure["at_work"] |= at_work

    def kept_devices(self) -> list[dict[str, Any]]:
        """The GPUs that models are loaded for, or all where the log does not tell which."""
        kept = [device for key, device in self.devices.items() if key in self.used]
        return kept or list(self.devices.values())
