# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU is called. For people: a name never decides anything."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import pci_device
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.pci import PciGpu
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

AMDGPU_IDS = ("usr/share/libdrm/amdgpu.ids", "opt/amdgpu/share/libdrm/amdgpu.ids")
PCI_IDS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")


def product_name(sysroot: Sysroot, extra: dict[str, Any], card: PciGpu | None, device_id: str | None) -> str | None:
    """From the catalogue, libdrm's list, the board itself, the list of PCI ids: the first that knows."""
    revision = card.revision if card else None
    if card is None or card.vendor == "amd":
        known: str | None = pci_device(device_id, revision, extra).get("product")
        if known:
            return known
        for path in AMDGPU_IDS:
            known = from_amdgpu_ids(sysroot.read(path), device_id, revision)
            if known:
                return known
    if card is None:
        return None
    return sysroot.read(f"{card.directory}/product_name") or next(
        (name for path in PCI_IDS for name in [from_pci_ids(sysroot.read(path), card.vendor_id, device_id)] if name),
        None,
    )


def from_amdgpu_ids(text: str | None, device_id: str | None, revision: str | None) -> str | None:
    """libdrm's amdgpu.ids: lines of `15BF,\\tC1,\\tAMD Radeon 780M`."""
    if not device_id or not revision:
        return None
    match = re.search(rf"^{device_id},\s*{revision},\s*(\S.*)$", text or "", re.IGNORECASE | re.MULTILINE)
    return match[1].strip() if match else None


def from_pci_ids(text: str | None, vendor_id: str, device_id: str | None) -> str | None:
    """The list of https://pci-ids.ucw.cz: vendors at the margin, devices behind one tab."""
    start = f"\n{text or ''}".find(f"\n{vendor_id}  ")
    if start < 0 or not text or not device_id:
        return None
    block = text[start:]
    end = re.search(r"\n[0-9a-zA-Z]", block)
    match = re.search(rf"^\t{device_id}  (.+)$", block[: end.start()] if end else block, re.MULTILINE)
    return match[1].strip() if match else None
