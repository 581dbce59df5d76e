# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of Intel's GPUs are cards, by PCI device id: linux include/drm/intel/pciids.h of 2026."""

from __future__ import annotations

import re

# PVC, DG1, DG2 (two ranges), CRI, BMG
CARDS = ((0x0B69, 0x0BE5), (0x4905, 0x4909), (0x4F80, 0x4F88), (0x5690, 0x56C2), (0x674C, 0x6750), (0xE200, 0xE2FF))
# The first two digits of integrated GPUs' ids, Sandy Bridge to Nova Lake.
INTEGRATED = (
    *("01", "04", "0a", "0c", "0d", "0f", "16", "19", "1a", "22", "31", "3e", "45", "46", "4c", "4e", "59", "5a"),
    *("64", "7d", "87", "8a", "9a", "9b", "a7", "b0", "b6", "d7", "fd"),
)


def is_intel_integrated(device_id: str | None, address: str | None) -> bool | None:
    """An integrated GPU is device 02 of the root bus, and so is each virtual function of it; in a guest to which it is
    passed it may be anywhere, and a card may be there."""
    if device_id and any(first <= int(device_id, 16) <= last for first, last in CARDS):
        return False
    if re.search(r":00:02\.[0-7]$", address or "") or (device_id or "").startswith(INTEGRATED):
        return True
    return None
