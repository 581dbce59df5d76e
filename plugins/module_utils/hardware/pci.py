# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Display and compute devices on the PCI bus, through /sys/bus/pci, /sys/devices or /sys/class/drm.

A live machine has all three; copies of trees often have one, with plain directories in the place of links.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.counters import uevent_value
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

VENDORS = {"1002": "amd", "10de": "nvidia", "8086": "intel"}
# Display controllers of any kind (0300 VGA, 0302 3D, 0380 other) and processing accelerators.
GPU_CLASSES = ("0x03", "0x12")
ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass
class PciGpu:
    """One PCI function that draws or computes."""

    directory: str
    address: str | None
    vendor_id: str
    device_id: str | None
    revision: str | None
    driver: str | None
    render_minor: int | None

    @property
    def vendor(self) -> str:
        return VENDORS.get(self.vendor_id, "other")


def find_gpus(sysroot: Sysroot) -> list[PciGpu]:
    """Every GPU that sysfs shows, once, by address."""
    found: dict[str, PciGpu] = {}
    for directory, is_drm in _device_directories(sysroot):
        gpu = _read_gpu(sysroot, directory, is_drm)
        if gpu:
            twin = found.get(gpu.address or "") or (None if gpu.address else _same_device(found, gpu))
            if twin is None:
                found[gpu.address or directory] = gpu
            elif twin.render_minor is None:
                twin.render_minor = gpu.render_minor
    return [found[key] for key in sorted(found)]


def _same_device(found: dict[str, PciGpu], gpu: PciGpu) -> PciGpu | None:
    """A DRM node without an address: the card that was already seen on the bus, or through its other node."""
    is_card = "/card" in gpu.directory
    same = [f for f in found.values() if (f.vendor_id, f.device_id) == (gpu.vendor_id, gpu.device_id)]
    return next((f for f in same if f.address or not is_card), None)


def _device_directories(sysroot: Sysroot) -> Iterator[tuple[str, bool]]:
    bus = "sys/bus/pci/devices"
    names = sysroot.listdir(bus)
    yield from ((f"{bus}/{name}", False) for name in names)
    if not names:
        top = sysroot.path("sys/devices")
        for path, directories, _files in os.walk(top):
            if path == top:
                directories[:] = sorted(d for d in directories if d.startswith("pci"))
            if ADDRESS.fullmatch(os.path.basename(path)):
                yield os.path.relpath(path, sysroot.root), False
    for card in sysroot.listdir("sys/class/drm"):
        if re.fullmatch(r"(card|renderD)[0-9]+", card):
            yield f"sys/class/drm/{card}/device", True


def _read_gpu(sysroot: Sysroot, directory: str, is_drm: bool) -> PciGpu | None:
    # The class comes first: most devices of a machine are none of ours, and every file read costs.
    pci_class = (sysroot.read(f"{directory}/class") or "").lower()
    if pci_class and not pci_class.startswith(GPU_CLASSES):
        return None
    uevent = sysroot.read(f"{directory}/uevent")
    modalias = uevent_value(uevent, "MODALIAS") or sysroot.read(f"{directory}/modalias")
    pci_class = pci_class or _class_of(uevent, modalias)
    ids = _ids_of(uevent, modalias)
    vendor_id = _hex(sysroot.read(f"{directory}/vendor"), 4) or ids[0]
    if pci_class:
        # Other vendors' processing accelerators are no GPUs.
        is_gpu = pci_class.startswith("0x03") or (pci_class.startswith("0x12") and vendor_id == "1002")
    else:
        is_gpu = is_drm and vendor_id in VENDORS
    if not vendor_id or not is_gpu:
        return None
    return PciGpu(
        directory=directory,
        address=_address(sysroot, directory, uevent),
        vendor_id=vendor_id,
        device_id=_hex(sysroot.read(f"{directory}/device"), 4) or ids[1],
        revision=_hex(sysroot.read(f"{directory}/revision"), 2),
        driver=sysroot.realpath_name(f"{directory}/driver") or uevent_value(uevent, "DRIVER"),
        render_minor=_render_minor(sysroot, directory),
    )


def _class_of(uevent: str | None, modalias: str | None) -> str:
    value = _hex(uevent_value(uevent, "PCI_CLASS"), 6)
    match = re.search(r"bc([0-9A-F]{2})sc([0-9A-F]{2})", modalias or "")
    return f"0x{value}" if value else f"0x{match[1]}{match[2]}00".lower() if match else ""


def _ids_of(uevent: str | None, modalias: str | None) -> tuple[str | None, str | None]:
    """Vendor and device of PCI_ID=1002:15BF or pci:v00001002d000015BFsv..."""
    for text in (uevent_value(uevent, "PCI_ID"), modalias):
        match = re.match(r"(?:pci:v0000)?([0-9A-Fa-f]{4})(?::|d0000)([0-9A-Fa-f]{4})", text or "")
        if match:
            return match[1].lower(), match[2].lower()
    return None, None


def _hex(text: str | None, digits: int) -> str | None:
    """0x15bf, 15BF: so many lower-case hexadecimal digits; None if it is something else."""
    match = re.fullmatch(r"(?:0x)?([0-9a-f]{1,8})", (text or "").lower())
    return match[1].zfill(digits)[-digits:] if match else None


def _address(sysroot: Sysroot, directory: str, uevent: str | None) -> str | None:
    names = (
        uevent_value(uevent, "PCI_SLOT_NAME"),
        os.path.basename(directory),
        sysroot.realpath_name(directory),
        os.path.basename(os.path.realpath(sysroot.path(directory))),
    )
    return next((name.lower() for name in names if name and ADDRESS.fullmatch(name.lower())), None)


def _render_minor(sysroot: Sysroot, directory: str) -> int | None:
    names = [*sysroot.listdir(f"{directory}/drm"), directory.split("/")[-2]]
    return next((int(name[7:]) for name in names if re.fullmatch(r"renderD[0-9]+", name)), None)
