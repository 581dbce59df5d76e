# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What amdgpu says at this moment about one card: memory in use and load."""

from __future__ import annotations

import os
import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

COUNTERS = {"vram_used": "mem_info_vram_used", "gtt_used": "mem_info_gtt_used", "busy_percent": "gpu_busy_percent"}


def read_counters(sysroot: Sysroot, pci_address: str) -> dict[str, int | None]:
    """Bytes and percent; None for what the driver or the tree does not give."""
    directory = device_directory(sysroot, pci_address)
    return {key: sysroot.read_int(f"{directory}/{name}") if directory else None for key, name in COUNTERS.items()}


def device_directory(sysroot: Sysroot, pci_address: str) -> str | None:
    """The sysfs directory of a PCI address, through the bus or, where a tree lacks it, through the DRM card."""
    direct = f"sys/bus/pci/devices/{pci_address}"
    if sysroot.exists(direct):
        return direct
    for card in sysroot.listdir("sys/class/drm"):
        device = f"sys/class/drm/{card}/device"
        if re.fullmatch(r"card\d+", card) and pci_address in (
            uevent_value(sysroot.read(f"{device}/uevent"), "PCI_SLOT_NAME"),
            os.path.basename(os.path.realpath(sysroot.path(device))),
        ):
            return device
    return None


def uevent_value(text: str | None, key: str) -> str | None:
    """The value of a KEY=value line of a uevent file."""
    match = re.search(rf"^{re.escape(key)}=(.+)$", text or "", re.MULTILINE)
    return match[1].strip() if match else None
