# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NVIDIA's driver says in /proc and, on the machine itself, through nvidia-smi."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any, NamedTuple

from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.pci import PciGpu
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

WSL_NVIDIA_SMI = "/usr/lib/wsl/lib/nvidia-smi"
QUERY = ["--query-gpu=pci.bus_id,memory.total,name", "--format=csv,noheader,nounits"]


class SmiLine(NamedTuple):
    """One GPU of nvidia-smi's answer."""

    address: str
    memory_bytes: int | None
    name: str


def driver_version(sysroot: Sysroot) -> str | None:
    """Of `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  <date>`."""
    match = re.search(
        r"^NVRM version:.*?\s(\d{2,}\.\d+(?:\.\d+)?)\s", f"{sysroot.read('proc/driver/nvidia/version')}\n", re.M
    )
    return match[1] if match else sysroot.read("sys/module/nvidia/version")


def wsl_cards(sysroot: Sysroot, answer: list[SmiLine]) -> list[PciGpu]:
    """In WSL2 Windows keeps the PCI device: nvidia-smi is all that shows the card."""
    if not sysroot.exists("dev/dxg"):
        return []
    return [PciGpu("", address, "10de", None, None, None, None) for address, _size, _name in answer]


def complete(sysroot: Sysroot, gpus: list[dict[str, Any]], answer: list[SmiLine]) -> None:
    """Adds the product and, where nvidia-smi answered, the memory of NVIDIA GPUs."""
    memory = {address: (name, size) for address, size, name in answer}
    for gpu in (gpu for gpu in gpus if gpu["vendor"] == "nvidia"):
        name, size = memory.get(gpu["pci_address"], (None, None))
        text = sysroot.read(f"proc/driver/nvidia/gpus/{gpu['pci_address']}/information")
        model = re.search(r"^Model:\s*(\S.*)$", text or "", re.MULTILINE)
        gpu["product"] = model[1].strip() if model else name or gpu["product"]
        gpu["vram_bytes"] = gpu["usable_bytes"] = size
        gpu["usable_by_backend"] = {"rocm": None, "vulkan": size, "cuda": size}


def ask_nvidia_smi(sysroot: Sysroot) -> list[SmiLine]:
    """The only program that is ever run for facts: NVIDIA shows the memory size nowhere in a file."""
    if os.path.realpath(sysroot.root) != "/":
        return []
    in_wsl = os.access(WSL_NVIDIA_SMI, os.X_OK)
    program = WSL_NVIDIA_SMI if in_wsl else shutil.which("nvidia-smi")
    if not program or not (in_wsl or sysroot.exists("proc/driver/nvidia/version")):
        return []
    code, text = run([program, *QUERY], seconds=5)
    if code:
        sysroot.warnings.append(f"nvidia-smi gave no answer: {text.strip() or f'exit status {code}'}")
        return []
    return parse_nvidia_smi(text)


def parse_nvidia_smi(text: str) -> list[SmiLine]:
    """Lines of `00000000:01:00.0, 8192, NVIDIA GeForce RTX 3070`: (address, bytes, name). MiB become bytes."""
    lines = [[field.strip() for field in line.split(",", 2)] for line in text.splitlines() if line.count(",") >= 2]
    return [
        # Eight digits of PCI domain, where sysfs has four or, of larger ones, as many as it takes.
        SmiLine(
            re.sub("^0{1,4}(?=[0-9a-f]{4,}:)", "", address.lower()),
            int(size) * 1024**2 if re.fullmatch("[0-9]{1,9}", size) else None,
            name,
        )
        for address, size, name in lines
    ]
