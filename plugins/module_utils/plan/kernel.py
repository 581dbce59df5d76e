# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much system memory an integrated GPU may borrow, and the kernel parameters that say so.

amdgpu's GTT is bounded by ttm.pages_limit (amdttm.pages_limit with amdgpu-dkms), half of the RAM by
default, and is sized when the driver loads: a change takes a reboot.
Source: drivers/gpu/drm/ttm/ttm_device.c and amdgpu_ttm.c of Linux 6.12 and 7.3.
"""

from __future__ import annotations

import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.memory import affordable
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Gpu, Machine
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError, Policy

GIB = 1024**3
PAGE = 4096
# What a parameter gives and takes, for those that only the inventory asks for.
# Source: kyuz0/amd-strix-halo-toolboxes, issue 66; drivers/iommu/amd/init.c of Linux 7.3.
COSTS = {
    "amd_iommu=off": "memory is 5-12 % faster on Strix Halo; it costs the NPU, PCI passthrough and interrupt remapping"
}
# A gain of less than this, or of less than a fifth, is not worth a reboot.
WORTHWHILE = 4 * GIB


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB".replace(".0 GiB", " GiB")


def parameters_on(cmdline: str) -> dict:
    """The kernel's command line by name: dashes are underscores to the kernel, and the last value counts."""
    pairs = (word.partition("=") for word in cmdline.split())
    return {name.replace("-", "_"): value for name, _equals, value in pairs}


def wanted_gtt(gpu: Gpu, machine: Machine, policy: Policy) -> int:
    """Bytes of system memory that the GPU should be able to borrow; 0 where nothing can be said."""
    if machine.memory_bytes is None:
        return 0
    if policy.unified_memory_bytes is not None:
        if policy.unified_memory_bytes > machine.memory_bytes:
            raise PlanError(
                f"unified_memory_bytes is {policy.unified_memory_bytes} ({gib(policy.unified_memory_bytes)}), more "
                f"than the {gib(machine.memory_bytes)} of RAM. Allowed: up to {machine.memory_bytes * 9 // 10} "
                "(nine tenths). Leave it out, and the plan computes it."
            )
        return policy.unified_memory_bytes
    return affordable(machine.memory_bytes, gpu.vram_bytes or 0)


def _parameter(name: str, value: str, reason: str, state: str = "present") -> dict:
    return {"name": name, "value": value, "state": state, "reason": reason}


def plan_kernel(gpus: list, machine: Machine, policy: Policy) -> dict:
    """Kernel parameters for the integrated AMD GPU that is used, and all those that wait for a reboot."""
    plan, pending = _wanted(gpus, machine, policy), []
    for one in machine.kernel_parameters:
        if one.get("waits") is True:
            keys = ("name", "value", "state", "reason")
            pending.append({key: one.get(key) for key in keys})
    return {**plan, "reboot": plan["reboot"] or bool(pending), "pending": pending}


def _wanted(gpus: list, machine: Machine, policy: Policy) -> dict:
    nothing: dict = {"parameters": [], "reboot": False, "gtt_bytes": None, "reason": ""}
    gpu = next((gpu for gpu in gpus if gpu.vendor == "amd" and gpu.integrated), None)
    if gpu is None:
        return {**nothing, "reason": "no integrated AMD GPU is used"}
    if machine.platform in ("container", "wsl2"):
        return {**nothing, "reason": "the kernel belongs to the host outside"}
    wanted, gtt = wanted_gtt(gpu, machine, policy), gpu.gtt_bytes
    if gtt is None and machine.pages_limit is not None:
        gtt = machine.pages_limit * PAGE
    if machine.memory_bytes is None or gtt is None:
        return {**nothing, "reason": "the memory of the machine or of its GPU is not known"}
    if not wanted:
        return {**nothing, "reason": f"{gib(machine.memory_bytes)} of RAM leave nothing more to lend"}
    if policy.unified_memory_bytes is None and wanted - gtt < max(WORTHWHILE, gtt // 5):
        return {**nothing, "reason": f"the GPU may borrow {gib(gtt)} already"}
    if wanted == gtt:
        return {**nothing, "gtt_bytes": wanted, "reason": f"the GPU may borrow {gib(wanted)}, as wanted"}
    module = machine.memory_module or "ttm"
    name, pages = f"{module}.pages_limit", str(wanted // PAGE)
    reason = (
        f"lets {gpu.name} borrow {gib(wanted)} of {gib(machine.memory_bytes or 0)} of RAM instead of "
        f"{gib(gtt)}; the rest stays with the system"
    )
    parameters = [_parameter(name, pages, reason)]
    present = parameters_on(machine.cmdline)
    if "amdgpu.gttsize" in present:
        parameters.append(_parameter("amdgpu.gttsize", "", f"superseded by {name}, and would contradict it", "masked"))
    for other in ("ttm", "amdttm", "amd_ttm"):
        if other != module and f"{other}.pages_limit" in present:
            why = f"{module} holds amdgpu on this kernel, not {other}"
            parameters.append(_parameter(f"{other}.pages_limit", "", why, "masked"))
    ours = any((one.get("name"), one.get("value")) == (name, pages) for one in machine.kernel_parameters)
    if ours or present.get(name) == pages:
        reason = f"{name}={pages} is set but not in force: reboot"
    return {"parameters": parameters, "reboot": True, "gtt_bytes": wanted, "reason": reason}


def kernel_warnings(gpus: list, machine: Machine) -> list:
    """What on the command line does nothing, or harm."""
    present = parameters_on(machine.cmdline)
    found = []

    def warn(code: str, message: str, remedy: str) -> None:
        found.append({"code": code, "message": message, "remedy": remedy})

    if "amdgpu.gttsize" in present:
        warn(
            "gttsize_deprecated",
            f"amdgpu.gttsize={present['amdgpu.gttsize']} is on the kernel's command line; newer kernels deprecate it.",
            "Remove it in favour of ttm.pages_limit.",
        )
    for module in ("amdttm", "amd_ttm"):
        in_tree = machine.memory_module == "ttm" or (machine.memory_module is None and machine.amdgpu_version is None)
        if f"{module}.pages_limit" in present and in_tree:
            warn(
                "amdttm_without_dkms",
                f"{module}.pages_limit is on the command line, and the kernel's own amdgpu ignores it.",
                "Use ttm.pages_limit: the amdttm module exists with amdgpu-dkms only.",
            )
    if machine.memory_module in ("amdttm", "amd_ttm") and "ttm.pages_limit" in present:
        warn(
            "ttm_with_dkms",
            f"ttm.pages_limit is on the command line, but {machine.memory_module} holds amdgpu and does not read it.",
            f"Use {machine.memory_module}.pages_limit.",
        )
    limit, memory = machine.pages_limit, machine.memory_bytes
    if limit is not None and memory is not None and limit * PAGE > memory and any(gpu.integrated for gpu in gpus):
        warn(
            "pages_limit_exceeds_ram",
            f"The GPU may borrow {gib(limit * PAGE)}, more than the {gib(memory)} of RAM: a large model ends in an "
            "out-of-memory kill.",
            "Lower pages_limit; the plan's value leaves the system its share.",
        )
    if "nomodeset" in present:
        warn("nomodeset", "nomodeset keeps every GPU driver from binding.", "Remove nomodeset from the command line.")
    if present.get("amd_iommu") == "on":
        warn(
            "amd_iommu_on", "amd_iommu=on is no value that the kernel knows.", "Remove it: the IOMMU is on by default."
        )
    if re.search(r"\bamdgpu\.gtt_size=", machine.cmdline):
        warn("gtt_size_ignored", "amdgpu.gtt_size is no parameter of amdgpu.", "Use ttm.pages_limit.")
    return found
