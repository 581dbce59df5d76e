# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes trees of /sys, /proc and /etc in the kernel's real layout. A tree is a dict of path to text or Link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Union

GIB = 1024**3
KFD = "sys/class/kfd/kfd/topology/nodes"


class Link(NamedTuple):
    """A symbolic link, by its target below the root."""

    target: str


Tree = dict[str, Union[str, Link]]


def write(root: Path, tree: Tree) -> str:
    for path, content in tree.items():
        full = root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            full.symlink_to(os.path.relpath(root / content.target, full.parent))
        else:
            full.write_text(content)
    return str(root)


def kfd_node(
    number: int, gfx: int, device_id: int, location: int, bank: int | None = None, minor: int = 128, **more: int
) -> Tree:
    """A node of the KFD topology as kernel 6.x writes it."""
    values = {
        "cpu_cores_count": 0,
        "simd_count": 24,
        "gfx_target_version": gfx,
        "vendor_id": 4098,
        "device_id": device_id,
        "location_id": location,
        "domain": 0,
        "drm_render_minor": minor,
        "local_mem_size": 0,
        "unique_id": 0,
        "num_xcc": 1,
        **more,
    }
    node = f"{KFD}/{number}"
    tree: Tree = {
        f"{node}/properties": "".join(f"{key} {value}\n" for key, value in values.items()),
        f"{node}/name": "ip discovery\n",
        f"{node}/gpu_id": "12345\n",
    }
    if bank is not None:
        tree[f"{node}/mem_banks/0/properties"] = (
            f"heap_type 1\nsize_in_bytes {bank}\nflags 0\nwidth 128\nmem_clk_max 2800\n"
        )
    return tree


def cpu_node(number: int = 0) -> Tree:
    return {
        f"{KFD}/{number}/properties": "cpu_cores_count 16\nsimd_count 0\ngfx_target_version 0\nvendor_id 0\n",
        f"{KFD}/{number}/mem_banks/0/properties": f"heap_type 0\nsize_in_bytes {32 * GIB}\n",
    }


def pci_device(
    address: str, ids: str, revision: str = "00", pci_class: str = "0x030000", driver: str = "amdgpu"
) -> Tree:
    """A PCI function, its directory below /sys/devices and the bus's link to it."""
    vendor, device = ids.split(":")
    directory = device_directory(address)
    tree: Tree = {
        f"{directory}/vendor": f"0x{vendor}\n",
        f"{directory}/device": f"0x{device}\n",
        f"{directory}/revision": f"0x{revision}\n",
        f"{directory}/class": f"{pci_class}\n",
        f"{directory}/uevent": (f"DRIVER={driver}\n" if driver else "")
        + f"PCI_CLASS={int(pci_class, 16):X}\nPCI_ID={vendor.upper()}:{device.upper()}\nPCI_SLOT_NAME={address}\n",
        f"sys/bus/pci/devices/{address}": Link(directory),
    }
    if driver:
        tree[f"{directory}/driver"] = Link(f"sys/bus/pci/drivers/{driver}")
    return tree


def drm_card(
    address: str,
    card: int = 0,
    minor: int = 128,
    vram: int | None = None,
    visible: int | None = None,
    gtt: int | None = None,
    gc: tuple[int, int, int] | None = None,
    firmware: dict[str, str] | None = None,
) -> Tree:
    """What amdgpu adds to the directory of its card, and the links of the DRM class."""
    directory = device_directory(address)
    tree: Tree = {
        f"{directory}/drm/card{card}/dev": f"226:{card}\n",
        f"{directory}/drm/renderD{minor}/dev": f"226:{minor}\n",
        f"{directory}/drm/card{card}/device": Link(directory),
        f"{directory}/drm/renderD{minor}/device": Link(directory),
        f"sys/class/drm/card{card}": Link(f"{directory}/drm/card{card}"),
        f"sys/class/drm/renderD{minor}": Link(f"{directory}/drm/renderD{minor}"),
        f"sys/class/drm/card{card}-DP-1/status": "disconnected\n",
    }
    for name, value in (("vram", vram), ("vis_vram", visible), ("gtt", gtt)):
        if value is not None:
            tree[f"{directory}/mem_info_{name}_total"] = f"{value}\n"
            tree[f"{directory}/mem_info_{name}_used"] = "0\n"
    if gc:
        block = f"{directory}/ip_discovery/die/0/11"
        tree.update({f"{block}/0/{name}": f"{n}\n" for name, n in zip(("major", "minor", "revision"), gc)})
        tree[f"{directory}/ip_discovery/die/0/GC"] = Link(block)
    tree.update({f"{directory}/fw_version/{name}_fw_version": f"{value}\n" for name, value in (firmware or {}).items()})
    return tree


def device_directory(address: str) -> str:
    return f"sys/devices/pci{address[:4]}:00/{address[:4]}:00:08.1/{address}"


HOST: Tree = {
    "proc/sys/kernel/osrelease": "6.12.48+deb13-amd64\n",
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet\n",
    "proc/meminfo": f"MemTotal:       {32 * GIB // 1024} kB\nMemFree:  1 kB\n",
    "proc/cpuinfo": "".join(
        f"processor\t: {thread}\nmodel name\t: AMD Ryzen 7 7840U\nphysical id\t: 0\ncore id\t\t: {thread // 2}\n"
        "flags\t\t: fpu vme avx avx2 f16c fma avx512f avx512_bf16\n\n"
        for thread in range(16)
    ),
    "proc/modules": "amdgpu 15000000 12 - Live 0x0\nttm 110592 2 amdgpu,drm_ttm_helper, Live 0x0\n",
    "sys/module/ttm/parameters/pages_limit": "4045000\n",
    "sys/module/ttm/parameters/page_pool_size": "4045000\n",
    "sys/module/ttm/holders/amdgpu": "",
    "sys/module/amdgpu/refcnt": "12\n",
    "etc/os-release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\nrender:x:105:\n",
}
# HDMI audio of the card: AMD's vendor id, and no GPU.
AUDIO = pci_device("0000:03:00.1", "1002:ab30", pci_class="0x040300", driver="snd_hda_intel")

RADEON_780M: Tree = {
    **pci_device("0000:64:00.0", "1002:15bf", "c1"),
    **drm_card(
        "0000:64:00.0",
        1,
        128,
        vram=4 * GIB,
        visible=4 * GIB,
        gtt=15 * GIB,
        gc=(11, 0, 1),
        firmware={"mes": "0x00000043"},
    ),
}
RX_7800_XT: Tree = {
    **pci_device("0000:03:00.0", "1002:747e", "c8"),
    **drm_card("0000:03:00.0", 0, 129, vram=17163091968, visible=17163091968, gtt=16 * GIB, gc=(11, 0, 3)),
    **AUDIO,
}
RAPHAEL_IGPU: Tree = {
    **pci_device("0000:12:00.0", "1002:164e", "c2"),
    **drm_card("0000:12:00.0", 1, 128, vram=GIB // 2, visible=GIB // 2, gtt=15 * GIB, gc=(10, 3, 6)),
}
MINIPC: Tree = {**HOST, **cpu_node(), **kfd_node(1, 110003, 0x15BF, 0x6400, 15 * GIB), **RADEON_780M}
DESKTOP: Tree = {
    **HOST,
    **cpu_node(),
    **kfd_node(1, 110001, 0x747E, 0x0300, 17163091968, minor=129),
    **kfd_node(2, 100306, 0x164E, 0x1200, 15 * GIB),
    **RX_7800_XT,
    **RAPHAEL_IGPU,
}
