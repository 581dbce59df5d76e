# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend chosen by measurement: which one is the fastest, and for how long that stays known."""

from __future__ import annotations

import time
from typing import Any

# Which share of a host's tokens is read from prompts and which is generated.
PURPOSES = {"generation": (0.0, 1.0), "prompt": (1.0, 0.0), "mixed": (0.8, 0.2)}
# Runs differ by some percent: a rung must be faster by more than this to go before one that the plan prefers.
NOISE = 1.05


def installed_parts(found: Any) -> dict:
    """The parts of a fingerprint that are not the inventory's word: the build, and which files its models are."""
    known = found if isinstance(found, dict) else {}
    files = [one for one in known.get("models") or [] if isinstance(one, dict)]
    told = [
        f"{one['path']} ({one['size']} bytes of {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(one['modified']))})"
        for one in files
        if one.get("size") is not None
    ]
    return {
        "engine_version": known.get("version") or "",
        # Of a file that is yet to come nothing can be said.
        "model_files": ", ".join(told) if len(told) == len(files) else "",
    }


def fingerprint(machine: Any, engine: str, version: str, model: str, found: Any = None) -> dict:
    """What a measurement, or the failure of a better rung, holds for: another kernel or driver may change it."""
    parts = installed_parts(found)
    gpus = [gpu for gpu in machine.gpus if gpu.vendor != "other"]
    drivers = [f"amdgpu {machine.amdgpu_version}"] * bool(machine.amdgpu_version)
    drivers += [f"nvidia {machine.nvidia_driver}"] * bool(machine.nvidia_driver)
    return {
        "engine": engine,
        "engine_version": version or parts["engine_version"],
        "kernel": machine.kernel_release or "",
        "driver": ", ".join(drivers),
        "firmware": machine.linux_firmware or "",
        # No names: those change with the list of names that happens to be installed.
        "gpu": ", ".join(f"{gpu.gfx or gpu.vendor} {_gib(gpu.vram_bytes)} at {gpu.pci_address}" for gpu in gpus),
        "model": model,
        "model_files": parts["model_files"],
    }


def _gib(size: int | None) -> str:
    return "of unknown size" if size is None else f"{size / 1024**3:.0f} GiB"


def changes(then: Any, now: dict) -> list:
    """The parts that differ, in words. What is not known on one side does not differ."""
    known = then if isinstance(then, dict) else {}
    return [
        f"{name} was {known[name]} and is {value}"
        for name, value in now.items()
        if value and known.get(name) and known[name] != value
    ]


def speed(figures: Any, purpose: str) -> float:
    """Tokens per second of the mix that the host is for; 0 where a figure is missing that it needs."""
    seconds = 0.0
    for share, name in zip(PURPOSES[purpose], ("prompt", "generation")):
        figure = figures.get(name) if isinstance(figures, dict) else None
        if not share:
            continue
        if not isinstance(figure, (int, float)) or figure <= 0:
            return 0.0
        seconds += share / figure
    return 1 / seconds


def choose(measured: dict, purpose: str, order: list) -> str | None:
    """The id of the fastest of these rungs; of those that are as fast, the first in the plan's order."""
    speeds = {name: speed(measured[name], purpose) for name in order if name in measured}
    best = max(speeds.values(), default=0.0)
    return next((name for name, value in speeds.items() if value and value * NOISE >= best), None)


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}".replace(".0", "")


def told(measured: dict, purpose: str, kept: str) -> str:
    """ "measured: rocm 41 t/s, vulkan 52 t/s: vulkan kept"."""
    speeds = [f"{name} {_rounded(speed(figures, purpose))} t/s" for name, figures in measured.items()]
    return f"measured ({purpose}): {', '.join(speeds)}: {kept} kept"
