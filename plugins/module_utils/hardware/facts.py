# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that gpu_facts returns, of one tree of files."""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import pci_device
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware import host, nvidia
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.gpus import read_gpus
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.packages import linux_firmware_version
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.wsl import AskGpus, wsl_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot


def gpu_facts(
    root: str = "/", extra: dict[str, Any] | None = None, interop: bool = False, ask_windows: AskGpus | None = None
) -> dict[str, Any]:
    """Never raises for what is missing or unreadable: unknown is None, and `warnings` says what could not be read."""
    sysroot = Sysroot(root)
    memory_bytes = host.memory_bytes(sysroot)
    nodes = host.device_nodes(sysroot)
    answer = nvidia.ask_nvidia_smi(sysroot)
    gpus = read_gpus(sysroot, extra or {}, memory_bytes, nvidia.wsl_cards(sysroot, answer))
    nvidia.complete(sysroot, gpus, answer)
    platform = host.platform(sysroot)
    facts = {
        "platform": platform,
        "distribution": host.distribution(sysroot),
        "memory_bytes": memory_bytes,
        "cpu": host.cpu(sysroot),
        "kernel": host.kernel(sysroot),
        "linux_firmware_version": linux_firmware_version(sysroot),
        "kfd": host.kfd(sysroot, nodes),
        "device_nodes": nodes,
        "rocm": host.rocm(sysroot),
        "nvidia": {"driver_version": nvidia.driver_version(sysroot)},
        "vulkan_icds": host.vulkan_icds(sysroot),
        "gpus": gpus,
        "wsl": wsl_facts(sysroot, interop, extra, ask_windows) if platform == "wsl2" else None,
    }
    unknown = [gpu for gpu in gpus if gpu["vendor"] == "amd" and not gpu["gfx"] and not gpu["hidden_reason"]]
    unknown = [gpu for gpu in unknown if not pci_device((gpu["pci_id"] or "").partition(":")[2], None, extra)]
    sysroot.warnings += [
        f"The AMD GPU {_name(gpu)} is of an architecture that is not known here: inference_catalogue can add it."
        for gpu in unknown
    ]
    return {**facts, "warnings": list(dict.fromkeys(sysroot.warnings))}


def _name(gpu: dict[str, Any]) -> str:
    if gpu["kfd_node"] is not None:
        return gpu["pci_id"] or f"of KFD node {gpu['kfd_node']}"
    return gpu["pci_id"] or "without a PCI id"
