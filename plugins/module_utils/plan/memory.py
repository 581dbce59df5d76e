# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fits: bytes that a model can use on the first rung, in words too."""

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Machine
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.kernel import GIB, gib

# llama-server leaves this much of each GPU free (LLAMA_ARG_FIT_TARGET, 1024 MiB).
FIT_TARGET = GIB
# Of the rest, a tenth goes to the context and to compute buffers.
FOR_WEIGHTS = 0.9
# A 4-bit quantisation (Q4_K_M) takes about 0.6 bytes for each parameter.
BYTES_PER_PARAMETER = 0.6
# Ollama's context size by the sum of all GPUs' memory (server/routes.go, since 0.15.5).
CONTEXT_TIERS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))
# System memory that a model on the processor must leave.
CPU_RESERVE = 2 * GIB


def plan_memory(rung: dict, gpus: list, machine: Machine, engine: dict) -> dict:
    """usable_bytes, free_bytes, largest_model_bytes, default_context_length (each null if unknown) and advice."""
    used = [gpu for gpu in gpus if gpu.index in rung["devices"]]
    if rung["backend"] == "cpu":
        where, usable = "system memory", machine.memory_bytes
        free = None if usable is None else usable - max(CPU_RESERVE, usable // 5)
    else:
        where = f"memory of {len(used)} GPUs" if len(used) > 1 else "GPU memory"
        sizes = [gpu.memory(rung["backend"]) for gpu in used]
        known = bool(sizes) and None not in sizes
        usable = sum(size for size in sizes if size is not None) if known else None
        free = None if usable is None else usable - FIT_TARGET * len(used)
    largest = None if free is None else max(int(free * FOR_WEIGHTS), 0)
    context = None
    if engine["context_by_vram"]:
        total = 0 if rung["backend"] == "cpu" else usable
        context = next((size for tier, size in CONTEXT_TIERS if total >= tier), None) if total is not None else None
    return {
        "usable_bytes": usable,
        # For weights, context and compute buffers together.
        "free_bytes": None if free is None else max(free, 0),
        "largest_model_bytes": largest,
        "default_context_length": context,
        "advice": _advice(where, usable, largest),
    }


def _advice(where: str, usable: int | None, largest: int | None) -> str:
    if usable is None or largest is None:
        return f"how much {where} a model can use is not known"
    billions = largest / BYTES_PER_PARAMETER / 1e9
    if billions < 0.5:
        return f"{gib(usable)} of {where}: too little for a language model of use"
    size = f"{billions:.0f}" if billions >= 2 else f"{billions:.1f}"
    return f"{gib(usable)} of {where}: models of up to {gib(largest)}, about {size} billion parameters at 4 bits"
