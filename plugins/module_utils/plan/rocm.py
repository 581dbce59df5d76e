# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of ROCm the host itself gets; the decision is module_utils/rocm/decide.py's."""

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Machine
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError, Policy
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.decide import Chip, Host, decide
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.wishes import RocmError, read_wishes


def _host(gpus: list, machine: Machine, policy: Policy) -> Host:
    chips = [
        Chip(gpu.gfx, gpu.name, gpu.integrated, catalogue.arch(gpu.gfx, policy.catalogue).get("official") or {})
        for gpu in gpus
        if gpu.gfx
    ]
    return Host(
        platform=machine.platform,
        distribution=machine.distribution,
        chips=tuple(chips),
        rocm_version=machine.rocm_version,
        rocm_path=machine.rocm_path,
        kernel_release=machine.kernel_release,
    )


def _gpus(candidates: list, rungs: list, machine: Machine) -> list:
    """Those that a ROCm rung uses; without one, every AMD GPU that is not set aside."""
    used = {index for rung in rungs if rung["backend"] == "rocm" for index in rung["devices"]}
    if used:
        return [gpu for gpu in machine.gpus if gpu.index in used]
    return [one.gpu for one in candidates if one.gpu.vendor == "amd" and not one.masked]


def plan_rocm(candidates: list, rungs: list, machine: Machine, engine: dict, policy: Policy) -> dict:
    """Raises PlanError when the inventory wants a ROCm that this host cannot have."""
    on_rocm = any(rung["backend"] == "rocm" for rung in rungs)
    needs, reason = "", "no rung uses ROCm"
    if on_rocm and engine["name"] == "llama_server":
        needs = "llama-server's ROCm build uses the host's ROCm libraries"
        reason = f"ROCm {machine.rocm_version} is installed"
    elif on_rocm:
        reason = f"{engine['title']} brings ROCm {engine['rocm']}; the kernel's own amdgpu driver is enough"
    try:
        decided = decide(
            _host(_gpus(candidates, rungs, machine), machine, policy), read_wishes(policy.rocm), needs, engine["rocm"]
        )
    except RocmError as error:
        raise PlanError(str(error)) from error
    # Kernels for the silicon are of no use to a rung that makes ROCm take it for another.
    native = [
        rung for rung in rungs if rung["backend"] == "rocm" and "HSA_OVERRIDE_GFX_VERSION" not in rung["environment"]
    ]
    for rung in native:
        rung["environment"].update(decided["environment"])
    if decided["environment"] and not native:
        unused = {
            "option": "rocm_tensile_libpath",
            "reason": f"{engine['title']} has no code for this GPU to go with it",
        }
        decided = {**decided, "environment": {}, "refused": [*decided["refused"], unused]}
    return {**decided, "reason": decided["reason"] or reason}
