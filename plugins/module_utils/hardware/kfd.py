# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KFD topology: what the kernel offers to ROCm.

https://docs.kernel.org/gpu/amdgpu/ and drivers/gpu/drm/amd/amdkfd/kfd_topology.c of the kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import gfx_from_kfd
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

AMD = 0x1002
# The class directory is a link to the second path; a copied tree may have lost the link.
TOPOLOGIES = ("sys/class/kfd/kfd/topology/nodes", "sys/devices/virtual/kfd/kfd/topology/nodes")
FRAMEBUFFER_HEAPS = (1, 2)  # HSA_MEM_HEAP_TYPE_FB_PUBLIC, _FB_PRIVATE


@dataclass
class KfdNode:
    """A GPU that the kernel offers to ROCm; `hidden` is one that this process may not look at."""

    node: int
    hidden: bool = False
    gfx: str | None = None
    device_id: str | None = None
    domain: int | None = None
    location: int | None = None
    partition: int | None = None
    render_minor: int | None = None
    bank_bytes: int | None = None
    unique_id: int | None = None

    @property
    def is_bare(self) -> bool:
        """Of a copy of a tree that has the node but lost its properties: nothing says which card it is."""
        return not self.hidden and self.gfx is None and self.device_id is None and self.location is None

    @property
    def slot(self) -> str | None:
        """bus:device.function of the card, or None."""
        if self.location is None:
            return None
        return f"{self.location >> 8 & 0xFF:02x}:{self.location >> 3 & 0x1F:02x}.{self.location & 7:x}"


def parse_properties(text: str | None) -> dict[str, int]:
    """`key value` lines; those whose value is not an integer are left out."""
    return {
        key: int(value) for key, value in re.findall(r"^(\w+)[ \t]+(\d{1,20})\s*$", text or "", re.ASCII | re.MULTILINE)
    }


def _directories(sysroot: Sysroot) -> list[tuple[int, str]]:
    top = next((path for path in TOPOLOGIES if sysroot.exists(path)), TOPOLOGIES[0])
    return sorted((int(name), f"{top}/{name}") for name in sysroot.listdir(top) if re.fullmatch(r"[0-9]{1,6}", name))


def is_incomplete(sysroot: Sysroot) -> bool:
    """Whether the topology has nodes but no properties, which only a copy of a part of a tree does."""
    paths = [path for _number, path in _directories(sysroot)]
    return bool(paths) and not any(sysroot.exists(f"{path}/properties") for path in paths)


def read_nodes(sysroot: Sysroot) -> list[KfdNode]:
    """The AMD GPUs of the topology, in its order. Processors and other vendors' nodes are left out."""
    nodes = [node for number, path in _directories(sysroot) for node in [_read_node(sysroot, path, number)] if node]
    _find_partitions(nodes)
    return nodes


def _read_node(sysroot: Sysroot, path: str, number: int) -> KfdNode | None:
    text = sysroot.read(f"{path}/properties")
    if not text:
        gpu_id = sysroot.read_int(f"{path}/gpu_id")
        if not sysroot.exists(f"{path}/properties"):
            return KfdNode(number, bank_bytes=_bank_bytes(sysroot, path)) if gpu_id else None
        # The kernel refuses to show a node whose render node the device cgroup denies (EPERM); a processor's never.
        return KfdNode(number, hidden=True) if gpu_id != 0 else None
    properties = parse_properties(text)
    if properties.get("simd_count") == 0 or properties.get("vendor_id", AMD) != AMD:
        return None
    version = properties.get("gfx_target_version", 0)
    # Kernels of 2018 have no gfx_target_version line, but a device id.
    if not version and not properties.get("device_id"):
        return None
    return KfdNode(
        number,
        gfx=gfx_from_kfd(version),
        device_id=f"{properties['device_id']:04x}" if properties.get("device_id") else None,
        domain=properties.get("domain"),
        location=properties.get("location_id"),
        render_minor=properties.get("drm_render_minor") or None,
        bank_bytes=_bank_bytes(sysroot, path),
        unique_id=properties.get("unique_id") or None,
    )


def _bank_bytes(sysroot: Sysroot, path: str) -> int | None:
    """What ROCm may allocate: the VRAM of a card, a partition's share of it, on most APUs the GTT."""
    banks = [
        parse_properties(sysroot.read(f"{path}/mem_banks/{bank}/properties"))
        for bank in sysroot.listdir(f"{path}/mem_banks")
    ]
    return sum(bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in FRAMEBUFFER_HEAPS) or None


def _find_partitions(nodes: list[KfdNode]) -> None:
    """In the CPX and DPX modes the low bits of location_id are the partition of one card, not a PCI function."""
    for node in nodes:
        if node.location is None:
            continue
        same_card = [
            other
            for other in nodes
            if other.location is not None
            and (other.domain, other.location >> 3, other.device_id)
            == (node.domain, node.location >> 3, node.device_id)
        ]
        # A virtual function of a card may sit at functions 1 to 7, but then nothing is at 0.
        if len(same_card) > 1 and any((other.location or 0) & 7 == 0 for other in same_card):
            node.partition = node.location & 7
