# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of AMD's architectures and PCI ids.

`extra` is the inventory's inference_catalogue: it adds entries, and its fields win over ours.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.arches import ARCHES
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.pci_ids import BEFORE_GCN, CHIPS, GCN_SWITCHES

PCI_IDS: dict[str, dict[str, Any]] = {
    device_id: {"gfx": gfx, "integrated": integrated, "chip": chip, "source": source, "products": products}
    for (gfx, integrated, chip, source), devices in CHIPS.items()
    for device_id, products in devices.items()
}


def arch(gfx: str | None, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """All that is known of an architecture; an empty dict if nothing is."""
    return {**ARCHES.get(gfx or "", {}), **_part(extra, "arches").get(gfx or "", {})}


def pci_device(
    device_id: str | None, revision: str | None = None, extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a PCI device id of vendor 1002 is: gfx, integrated, chip, source, products and the product of the revision.

    The id is four hexadecimal digits, the revision two, both in lower case; an unknown id is an empty dict.
    Where the revision is not known, all of them must be the same product.
    """
    entry = {**PCI_IDS.get(device_id or "", {}), **_part(extra, "pci_ids").get(device_id or "", {})}
    products = entry.get("products", {})
    names = set(products.values()) if revision is None else {products.get(revision)}
    return {**entry, "product": names.pop() if len(names) == 1 else None} if entry else {}


def is_before_gcn(device_id: str | None, extra: dict[str, Any] | None = None) -> bool:
    """Whether the chip is older than GCN (2012): no Vulkan, no ROCm, and amdgpu does not drive it."""
    number = int(device_id, 16) if device_id and re.fullmatch("[0-9a-f]{4}", device_id) else 0
    return not pci_device(device_id, None, extra) and any(first <= number <= last for first, last in BEFORE_GCN)


def amdgpu_switch(device_id: str | None) -> str | None:
    """The parameters that take a GCN1 or GCN2 chip from radeon and give it to amdgpu; None for any other chip."""
    generation = GCN_SWITCHES.get(PCI_IDS.get(device_id or "", {}).get("chip", ""))
    return f"radeon.{generation}_support=0 amdgpu.{generation}_support=1" if generation else None


def gfx_from_kfd(version: int) -> str | None:
    """The name of a KFD gfx_target_version: decimal digits hold the fields, but minor and stepping are named in hex."""
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{stepping:x}" if 7 <= major <= 99 and minor < 16 and stepping < 16 else None


def gfx_from_gc(major: int, minor: int, revision: int, extra: dict[str, Any] | None = None) -> str | None:
    """The architecture of a GC IP version. The two are numbered apart: GC 11.0.1 is gfx1103, 11.0.3 is gfx1101."""
    gc = f"{major}.{minor}.{revision}"
    names = [*_part(extra, "arches"), *ARCHES]
    return next((name for name in names if gc in arch(name, extra).get("gc", [])), None)


def is_integrated(gfx: str | None, device_id: str | None, extra: dict[str, Any] | None = None) -> bool | None:
    """Whether the GPU shares its memory with the processor: by architecture, else by PCI id; None if neither knows."""
    known: bool | None = arch(gfx, extra).get("integrated")
    return pci_device(device_id, None, extra).get("integrated") if known is None else known


def _part(extra: dict[str, Any] | None, name: str) -> dict[str, Any]:
    return (extra or {}).get(name) or {}
