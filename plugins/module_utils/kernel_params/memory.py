# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much RAM an integrated GPU may borrow, in the pages that TTM counts in."""

from __future__ import annotations

import math
import os
import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import modprobe
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

GIB = 1024**3
# What the system keeps for itself: an eighth of what is built in, at least this.
RESERVE = 8 * GIB
# In the order in which amd-smi looks for them; the one that holds amdgpu reads its parameter.
TTM_MODULES = ("ttm", "amdttm", "amd_ttm")


def memory_module(sysroot: Sysroot) -> str | None:
    """The module that manages amdgpu's memory: amdgpu-dkms brings its own, and may load beside the kernel's ttm."""
    present = [name for name in TTM_MODULES if sysroot.exists(f"sys/module/{name}")]
    users = dict(re.findall(r"^(\w+) \d+ \d+ (\S+)", sysroot.read("proc/modules") or "", re.MULTILINE))
    for name in present:
        if "amdgpu" in sysroot.listdir(f"sys/module/{name}/holders") or "amdgpu" in users.get(name, "").split(","):
            return name
    used = [name for name in present if sysroot.read_int(f"sys/module/{name}/refcnt")]
    candidates = used or present
    if len(candidates) > 1 and sysroot.exists("sys/module/amdgpu/version"):
        # Only the amdgpu of dkms has a version, and that one never uses the kernel's ttm.
        candidates = [name for name in candidates if name != "ttm"]
    return candidates[0] if len(candidates) == 1 else None


def affordable(memory_bytes: int, vram_bytes: int = 0) -> int:
    """Bytes, in whole GiB, that a GPU may borrow of the RAM that a carve-out has left."""
    built_in = memory_bytes + vram_bytes
    return max(memory_bytes - max(RESERVE, built_in // 8), 0) // GIB * GIB


def pages(gib: float, memory_bytes: int, page_size: int) -> tuple[int, list[str]]:
    """A size as pages, and warnings. Refused when it is no size or more than there is."""
    if not math.isfinite(gib) or gib <= 0:
        raise KernelParamsError(f"gtt_gib is {gib}: write a number of GiB above 0, such as 96.")
    size = int(gib * GIB)
    if size > memory_bytes:
        raise KernelParamsError(
            f"gtt_gib is {gib}, and this host has {memory_bytes / GIB:.1f} GiB of RAM. Allowed: up to that, "
            f"advised: {affordable(memory_bytes) / GIB:.0f}."
        )
    tight = size > memory_bytes * 9 // 10
    return size // page_size, [f"gtt_gib {gib} leaves the system less than a tenth of its RAM."] if tight else []


def gtt_params(count: int, module: str) -> list[Param]:
    """What a size takes: the module's two parameters, and nothing that would contradict them."""
    names = [f"{module}.pages_limit", f"{module}.page_pool_size"]
    rivals = [
        f"{other}.{name}" for other in TTM_MODULES if other != module for name in ("pages_limit", "page_pool_size")
    ]
    return [Param(name, str(count)) for name in names] + [
        Param(name, None, "masked") for name in ("amdgpu.gttsize", *rivals)
    ]


def markdown(sizes: tuple = (16, 32, 64, 96, 128, 512)) -> str:
    """The table of docs/memory.md."""
    rows = ["| RAM | reserve | the GPU may borrow | `pages_limit` of 4 KiB | of 64 KiB |", "|---|---|---|---|---|"]
    for size in sizes:
        gtt = affordable(size * GIB)
        rows.append(
            f"| {size} GiB | {size - gtt // GIB} GiB | {gtt // GIB} GiB ({gtt * 100 // (size * GIB)} %) "
            f"| {gtt // 4096} | {gtt // 65536} |"
        )
    return "\n".join(rows) + "\n"


def guard(param: Param, sysroot: Sysroot) -> list[str]:
    """Warnings about a limit, however it came; refused when it is more than the RAM or no number."""
    ram = ram_bytes(sysroot)
    if param.module not in TTM_MODULES or param.state != "present" or not param.key.endswith(".pages_limit") or not ram:
        return []
    if not (param.value or "").isdigit() or int(param.value or "0") == 0:
        raise KernelParamsError(f"{param.name} is {param.value!r}: write a number of pages above 0, such as 27648000.")
    size = int(param.value or "0") * os.sysconf("SC_PAGE_SIZE")
    if size > ram:
        raise KernelParamsError(
            f"{param.name}={param.value} is {size / GIB:.1f} GiB, and this host has {ram / GIB:.1f} GiB of RAM. "
            f"Advised: {affordable(ram) // os.sysconf('SC_PAGE_SIZE')} pages."
        )
    return (
        [f"{param.name}={param.value} leaves the system less than a tenth of its RAM."] if size > ram * 9 // 10 else []
    )


def ram_bytes(sysroot: Sysroot) -> int:
    for line in (sysroot.read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def ttm_module(sysroot: Sysroot, release: str) -> str:
    """The module that holds amdgpu, or that will: amdgpu-dkms brings its own."""
    with_dkms = [name for name in TTM_MODULES[1:] if modprobe.is_loadable(sysroot, release, name)]
    return memory_module(sysroot) or (with_dkms[0] if with_dkms else "ttm")


def sized(gib: float | None, sysroot: Sysroot, release: str) -> tuple[list[str], list[Param]]:
    """Warnings and parameters for a size in GiB; nothing for none."""
    if gib is None:
        return [], []
    count, warnings = pages(gib, ram_bytes(sysroot), os.sysconf("SC_PAGE_SIZE"))
    return warnings, gtt_params(count, ttm_module(sysroot, release))
