# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all that one start of an engine has said amounts to."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.start import BACKENDS, Load, Start

# What a machine without any GPU says as well.
_NO_GPU_AT_ALL = {"zero_vram_reported", "no_devices_enumerated"}


def engine_log(
    start: Start, known: dict[str, dict[str, Any]], is_ollama: bool, is_llama: bool, starts: int
) -> dict[str, Any]:
    """The engine_log of design section 4 from the last start; `known` are the signatures by code."""
    if start.cpu_listed and not start.found and not is_ollama:
        start.cpu_only = True
    discovered = list(start.computes)
    # What a probe of Ollama found that did not come back in time is not used.
    if not discovered and not start.cpu_only and not (is_ollama and "gpu_discovery_timeout" in start.failures):
        discovered = [name for name in BACKENDS if name in start.found]
    backend, source, load = _backend(start, discovered)
    _derive(start, known, discovered, backend, load, is_ollama)
    known_backend = backend in BACKENDS or backend == "cpu"
    return {
        "engine": "ollama" if is_ollama else "llama_server" if is_llama else None,
        "version": start.version,
        "starts": starts,
        "backend": backend if known_backend else "unknown",
        "backend_source": source if known_backend else None,
        "devices": start.kept_devices(),
        "offloaded": load.offloaded if load else None,
        "failures": _failures(start, known, backend, "ollama" if is_ollama else "llama_server"),
    }


def _backend(start: Start, discovered: list[str]) -> tuple[str | None, str | None, Load | None]:
    """The backend in use, whether a load or discovery tells so, and the load."""
    for load in reversed([load for load in start.loads if not load.draft]):
        backend = load.backend(discovered)
        if backend:
            return backend, "load", load
    if discovered:
        return discovered[0], "discovery", None
    return ("cpu", "discovery", None) if start.cpu_only else (None, None, None)


def _failures(start: Start, known: dict[str, dict[str, Any]], backend: str | None, engine: str) -> list[dict[str, Any]]:
    failures = []
    for failure in start.failures.values():
        entry = known[failure["code"]]
        library, at_work = failure.pop("void_if_found"), failure.pop("at_work")
        if library and library in start.computes:
            continue
        if not at_work and backend in entry.get("noise_on", ()):
            continue
        if not at_work and backend in BACKENDS and entry.get("harmless_on_gpu"):
            failure["severity"] = "info"
        remedies = entry.get("remedy_for", {})
        failure["remedy"] = remedies.get(backend) or remedies.get(engine) or failure["remedy"]
        failures.append(failure)
    return failures


def _derive(
    start: Start,
    known: dict[str, dict[str, Any]],
    discovered: list[str],
    backend: str | None,
    load: Load | None,
    is_ollama: bool,
) -> None:
    """The failures that no single line shows."""
    gpus = [library for library in discovered if library in BACKENDS]
    if load and load.offloaded:
        layers, of = load.offloaded
        if layers == 0 and (gpus or not start.cpu_only or set(start.failures) - _NO_GPU_AT_ALL):
            start.fail(known, "zero_layers_offloaded", load.line)
        elif 0 < layers < of:
            start.fail(known, "partial_offload", load.line)
    # A llama-server that was told to leave the GPUs alone prepares none.
    if gpus and backend == "cpu" and load and (is_ollama or start.used):
        start.fail(known, "gpu_detected_but_model_on_cpu", load.line or "the model has memory on the CPU only")
        if set(load.loaded) == {"cpu"}:
            start.fail(known, "gpu_libraries_missing", load.loaded["cpu"])
    if start.runners and gpus and not re.search("cuda|rocm|vulkan", start.runners):
        start.fail(known, "gpu_runner_missing", start.runners)
    for device in start.kept_devices():
        total, available = device["total_bytes"], device["available_bytes"]
        if total and available is not None and available * 4 < total:
            text = f"{device['name']}: {available >> 20} MiB of {total >> 20} MiB are free"
            start.fail(known, "low_available_vram", text)
