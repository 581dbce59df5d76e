# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment that makes the engine take one rung and nothing else."""

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama import reached
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Machine, rocr_order
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError, Policy

# The plan's own levers: on these a rung's value wins, on all others the inventory's does.
_NOTHING = "-1"  # a mask that hides every GPU
_LEVERS = ("OLLAMA_VULKAN", "OLLAMA_IGPU_ENABLE", "HSA_OVERRIDE_GFX_VERSION")


def _igpu(used: list, machine: Machine, backend: str, engine: dict) -> dict:
    """Ollama drops integrated GPUs since 0.30.0, but for the few that it admits on ROCm."""
    if engine["igpu"] != "dropped":
        return {}
    # An unknown kind of GPU may be taken for an integrated one.
    doubtful = [gpu for gpu in used if gpu.shares_memory or (gpu.integrated is None and gpu.vendor != "nvidia")]
    admitted = [gpu for gpu in doubtful if backend == "rocm" and gpu.gfx in engine["igpu_admitted"]]
    if len(doubtful) > len(admitted):
        return {"OLLAMA_IGPU_ENABLE": "1"}
    if not doubtful and any(gpu.shares_memory for gpu in machine.gpus):
        return {"OLLAMA_IGPU_ENABLE": "0"}
    return {}


def _rocr_mask(used: list, machine: Machine) -> dict:
    order = rocr_order(machine)
    if not [gpu for gpu in order if gpu not in used]:
        return {}
    return {"ROCR_VISIBLE_DEVICES": ",".join(str(at) for at, gpu in enumerate(order) if gpu in used)}


def _library(name: str, engine: dict) -> dict:
    """The folder of lib/ollama to use; a newer release may have renamed ROCm's, which carries its version."""
    if not name or not engine["library_by_folder"]:
        return {}
    if name == engine["rocm_library"] and engine["newer_than_known"]:
        return {}
    return {"OLLAMA_LLM_LIBRARY": name}


def rung_environment(backend: str, used: list, machine: Machine, engine: dict, override: str = "") -> dict:
    vendors = {gpu.vendor for gpu in machine.gpus}
    if backend == "rocm":
        environment = {**_library(engine["rocm_library"], engine), **_rocr_mask(used, machine)}
        environment.update(_igpu(used, machine, backend, engine))
        if "nvidia" in vendors and "OLLAMA_LLM_LIBRARY" not in environment:
            # Named explicitly, because ROCm would follow CUDA_VISIBLE_DEVICES.
            order = rocr_order(machine)
            environment["ROCR_VISIBLE_DEVICES"] = ",".join(str(at) for at, gpu in enumerate(order) if gpu in used)
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        if override:
            environment["HSA_OVERRIDE_GFX_VERSION"] = override
        return environment
    if backend == "vulkan":
        environment = {**_library(engine["vulkan_library"] or "", engine), **_igpu(used, machine, backend, engine)}
        if engine["vulkan"] == "opt_in":
            environment["OLLAMA_VULKAN"] = "1"
        return environment
    if backend == "cuda":
        environment = {}
        if vendors & {"amd", "intel"} and engine["name"] == "ollama" and engine["vulkan"] in ("opt_in", "default"):
            environment["OLLAMA_VULKAN"] = "0"
        if "amd" in vendors:
            environment["ROCR_VISIBLE_DEVICES"] = "-1"
        return environment
    if engine["library_by_folder"]:
        return {"OLLAMA_LLM_LIBRARY": "cpu"}
    environment = {"ROCR_VISIBLE_DEVICES": "-1"} if "amd" in vendors else {}
    if "nvidia" in vendors:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return environment


def merge(rung: dict, policy: Policy) -> dict:
    """The inventory's environment comes last, except for the levers that make the rung what it is."""
    inventory = {
        name: value
        for name, value in policy.environment.items()
        if name not in rung or (name not in _LEVERS and rung[name] != _NOTHING)
        if name != "HSA_OVERRIDE_GFX_VERSION"
    }
    if "ROCR_VISIBLE_DEVICES" in rung and "HIP_VISIBLE_DEVICES" in inventory:
        raise PlanError(
            f"environment HIP_VISIBLE_DEVICES={inventory['HIP_VISIBLE_DEVICES']} counts among the GPUs that "
            f"ROCR_VISIBLE_DEVICES={rung['ROCR_VISIBLE_DEVICES']} leaves, which the plan sets. "
            "Remove it, or set ROCR_VISIBLE_DEVICES instead."
        )
    return dict(sorted({**rung, **inventory}.items()))


def vulkan_counts_igpu(machine: Machine, engine: dict, version: str) -> bool:
    """Before 0.30.0 nothing certain hides an integrated GPU from Vulkan: its numbering is its own."""
    return (
        engine["name"] == "ollama"
        and not reached(version, "0.30.0")
        and any(gpu.shares_memory for gpu in machine.gpus)
        and any(not gpu.shares_memory for gpu in machine.gpus)
    )
