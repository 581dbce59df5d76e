# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the sysfs and procfs of a described machine below a folder, in the layout of the real kernel.

usage: machine_tree.py DESCRIPTION.json FOLDER

The layout follows linux 6.12 (amdkfd/kfd_topology.c, amdgpu sysfs, the PCI core) and NVIDIA's /proc/driver/nvidia.
Writing is idempotent: what the description does not name any more is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
PAGES_PER_MIB = 256
# What the tests use from the real system below the same root; /run is left out because it says "container".
REAL = ("dev", "etc", "usr", "opt", "mnt", "proc/net", "var/lib/dpkg")
DRM_MAJOR = 226


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, path: str, content: object) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{content}\n")

    def files(self, folder: str, contents: dict[str, object]) -> None:
        for name, content in contents.items():
            self.file(f"{folder}/{name}", content)

    def link(self, path: str, target: str) -> None:
        """A relative link, as sysfs has them, to a path of the same tree."""
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():  # two GPUs of one driver share its links
            link.symlink_to(os.path.relpath(self.root / target, link.parent))


def write_tree(machine: dict[str, Any], root: Path) -> None:
    for name in ("sys", "proc", "standin"):
        shutil.rmtree(root / name, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    tree = Tree(root)
    gpus = machine.get("gpus", [])
    write_proc(tree, machine)
    write_modules(tree, machine)
    tree.files("sys/class/dmi/id", {**machine.get("dmi", {}), "chassis_type": 3})
    tree.file("sys/class/drm/version", "drm 1.1.0 20060810")
    card_of_first = 1 if any(gpu["vendor"] == "amd" for gpu in gpus) else 0  # simpledrm held card0 during the boot
    render_minor = 128
    kfd_nodes = [cpu_node(machine)]
    for number, gpu in enumerate(gpus):
        device = write_pci_device(tree, gpu)
        has_render_node = gpu["vendor"] in ("amd", "nvidia")
        write_drm(tree, device, card_of_first + number, render_minor if has_render_node else None)
        if gpu["vendor"] == "amd":
            write_amdgpu(tree, device, gpu, number)
            if not gpu.get("kfd_skipped"):
                kfd_nodes.append(gpu_node(gpu, render_minor))
        render_minor += has_render_node
    if any(gpu["vendor"] == "amd" for gpu in gpus):
        write_kfd(tree, kfd_nodes)
    # What the stand-in engine prints and no kernel interface says: names from libdrm and Mesa, the rest from CUDA.
    tree.file("standin/names.json", json.dumps({gpu["address"]: gpu for gpu in gpus}))


def write_real_links(root: Path) -> None:
    for name in REAL:
        link = root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(f"/{name}")
    (root / "var/log").mkdir(parents=True, exist_ok=True)


def write_proc(tree: Tree, machine: dict[str, Any]) -> None:
    kernel, memory_kib = machine["kernel"], machine["memory_mib"] * 1024
    tree.file("proc/cpuinfo", cpuinfo(machine["cpu"]))
    tree.file(
        "proc/meminfo",
        "\n".join(
            f"{name + ':':15} {value:>9} kB"
            for name, value in (
                ("MemTotal", memory_kib),
                ("MemFree", memory_kib * 8 // 10),
                ("MemAvailable", memory_kib * 9 // 10),
                ("Buffers", 65536),
                ("Cached", memory_kib // 20),
                ("SwapTotal", 0),
                ("SwapFree", 0),
            )
        ),
    )
    root = "root=UUID=5d1c7a2e-9f40-4a3b-8f6e-0c2b7d9e1a44 ro quiet"
    command_line = f"BOOT_IMAGE=/boot/vmlinuz-{kernel['release']} {root} {kernel.get('cmdline', '')}".strip()
    tree.file("proc/cmdline", command_line)
    tree.file("proc/version", f"Linux version {kernel['release']} (debian-kernel@lists.debian.org) {kernel['version']}")
    tree.file("proc/1/cgroup", "0::/init.scope")
    tree.files(
        "proc/sys/kernel",
        {
            "osrelease": kernel["release"],
            "ostype": "Linux",
            "hostname": machine["hostname"],
            "version": kernel["version"],
        },
    )
    if machine.get("wsl"):
        write_wsl(tree, machine["wsl"])
    driver = machine.get("nvidia_driver")
    if driver:
        tree.file(
            "proc/driver/nvidia/version",
            f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build  (dvs-builder)\n"
            "GCC version:  gcc version 14.2.0 (Debian 14.2.0-19)",
        )
    for minor, gpu in enumerate(gpu for gpu in machine.get("gpus", []) if gpu["vendor"] == "nvidia"):
        tree.file(
            f"proc/driver/nvidia/gpus/{gpu['address']}/information",
            "\n".join(
                f"{name + ':':17}{value}"
                for name, value in (
                    ("Model", gpu["product"]),
                    ("IRQ", 120 + minor),
                    ("GPU UUID", gpu["uuid"]),
                    ("Video BIOS", "94.04.3a.40.9c"),
                    ("Bus Type", "PCIe"),
                    ("DMA Size", "47 bits"),
                    ("DMA Mask", "0x7fffffffffff"),
                    ("Bus Location", gpu["address"]),
                    ("Device Minor", minor),
                    ("GPU Firmware", driver),
                    ("GPU Excluded", "No"),
                )
            ),
        )


def write_wsl(tree: Tree, wsl: dict[str, Any]) -> None:
    """What WSL2's init leaves in /proc; the network is the container's own."""
    if wsl.get("interop"):
        tree.file("proc/sys/fs/binfmt_misc/WSLInterop", "enabled\ninterpreter /init\nflags: PF\noffset 0\nmagic 4d5a")
    tree.file("proc/1/comm", "systemd")


def cpuinfo(cpu: dict[str, Any]) -> str:
    cores, threads = cpu["cores"], cpu["threads_per_core"]
    return "\n".join(
        f"processor\t: {number}\nvendor_id\t: {cpu['vendor']}\nmodel name\t: {cpu['model']}\nphysical id\t: 0\n"
        f"siblings\t: {cores * threads}\ncore id\t\t: {number % cores}\n"
        f"cpu cores\t: {cores}\nflags\t\t: {cpu['flags']}\n"
        for number in range(cores * threads)
    )


def write_modules(tree: Tree, machine: dict[str, Any]) -> None:
    drivers = {driver_of(gpu) for gpu in machine.get("gpus", [])}
    loaded: dict[str, list[str]] = {driver: [] for driver in sorted(drivers)}
    if "amdgpu" in drivers:
        ttm = machine.get("ttm", {})
        module = ttm.get("module", "ttm")
        half_of_memory = machine["memory_mib"] * PAGES_PER_MIB // 2
        tree.files(
            f"sys/module/{module}/parameters",
            {
                "pages_limit": ttm.get("pages_limit", half_of_memory),
                "page_pool_size": ttm.get("page_pool_size", half_of_memory),
                "dma32_pages_limit": 524288,
            },
        )
        tree.file("sys/module/amdgpu/parameters/gttsize", -1)
        if ttm.get("dkms_version"):
            tree.file("sys/module/amdgpu/version", ttm["dkms_version"])
        tree.link(f"sys/module/{module}/holders/amdgpu", "sys/module/amdgpu")
        loaded = {"amdgpu": [], module: ["amdgpu"], **loaded}
    for module, users in loaded.items():
        tree.file(f"sys/module/{module}/refcnt", max(len(users), 1))
        tree.file(f"sys/module/{module}/initstate", "live")
    tree.file(
        "proc/modules",
        "\n".join(
            f"{name} 1048576 {len(users)} {','.join(users) + ',' if users else '-'} Live 0x0000000000000000"
            for name, users in loaded.items()
        ),
    )


def driver_of(gpu: dict[str, Any]) -> str:
    return gpu.get("driver") or {"amd": "amdgpu", "nvidia": "nvidia"}[gpu["vendor"]]


def vendor_id(gpu: dict[str, Any]) -> str:
    return gpu.get("vendor_id") or {"amd": "1002", "nvidia": "10de"}[gpu["vendor"]]


def write_pci_device(tree: Tree, gpu: dict[str, Any]) -> str:
    address, driver = gpu["address"], driver_of(gpu)
    device = f"sys/devices/pci0000:00/{gpu['bridge']}/{address}"
    subsystem_vendor, subsystem_device = gpu["subsystem"].split(":")
    tree.files(
        device,
        {
            "vendor": f"0x{vendor_id(gpu)}",
            "device": f"0x{gpu['device']}",
            "revision": f"0x{gpu['revision']}",
            "class": f"0x{gpu.get('class', '030000')}",
            "subsystem_vendor": f"0x{subsystem_vendor}",
            "subsystem_device": f"0x{subsystem_device}",
            "numa_node": -1,
            "boot_vga": 1,
            "uevent": f"DRIVER={driver}\nPCI_CLASS={gpu.get('class', '030000').lstrip('0').upper()}\n"
            f"PCI_ID={vendor_id(gpu).upper()}:{gpu['device'].upper()}\nPCI_SLOT_NAME={address}",
        },
    )
    tree.link(f"sys/bus/pci/devices/{address}", device)
    tree.link(f"sys/bus/pci/drivers/{driver}/{address}", device)
    tree.link(f"sys/bus/pci/drivers/{driver}/module", f"sys/module/{driver}")
    tree.link(f"{device}/driver", f"sys/bus/pci/drivers/{driver}")
    tree.link(f"{device}/subsystem", "sys/bus/pci")
    if gpu["vendor"] in ("amd", "nvidia"):  # the HDMI sound device beside the GPU has the same vendor
        sound_address = f"{address[:-1]}1"
        sound = f"sys/devices/pci0000:00/{gpu['bridge']}/{sound_address}"
        tree.files(
            sound, {"vendor": f"0x{vendor_id(gpu)}", "device": "0xab30", "revision": "0x00", "class": "0x040300"}
        )
        tree.link(f"sys/bus/pci/devices/{sound_address}", sound)
    return device


def write_drm(tree: Tree, device: str, card: int, render_minor: int | None) -> None:
    nodes = {f"card{card}": card}
    if render_minor is not None:
        nodes[f"renderD{render_minor}"] = render_minor
    for name, minor in nodes.items():
        node = f"{device}/drm/{name}"
        number = f"{DRM_MAJOR}:{minor}"
        tree.files(
            node, {"dev": number, "uevent": f"MAJOR={DRM_MAJOR}\nMINOR={minor}\nDEVNAME=dri/{name}\nDEVTYPE=drm_minor"}
        )
        tree.link(f"{node}/device", device)
        tree.link(f"sys/class/drm/{name}", node)
        tree.link(f"sys/dev/char/{number}", node)
    connector = f"{device}/drm/card{card}/card{card}-HDMI-A-1"
    tree.files(connector, {"status": "disconnected", "enabled": "disabled"})
    tree.link(f"sys/class/drm/card{card}-HDMI-A-1", connector)


def write_amdgpu(tree: Tree, device: str, gpu: dict[str, Any], number: int) -> None:
    memory = {
        "vram": gpu["vram_mib"] * MIB,
        "vis_vram": gpu["vram_visible_mib"] * MIB,
        "gtt": gpu["gtt_mib"] * MIB,
    }
    for pool, total in memory.items():
        tree.files(device, {f"mem_info_{pool}_total": total, f"mem_info_{pool}_used": min(total // 50, 64 * MIB)})
    tree.files(device, {"gpu_busy_percent": 0, "unique_id": f"{gpu.get('unique_id', 0):016x}"})
    tree.file(f"{device}/mem_info_vram_vendor", "unknown" if gpu["integrated"] else "hynix")
    if not gpu["integrated"]:
        tree.file(f"{device}/board_info", "type : PCIe")
        tree.file(f"{device}/mem_busy_percent", 0)
    for firmware, version in gpu.get("firmware", {}).items():
        tree.file(f"{device}/fw_version/{firmware}_fw_version", f"0x{version:08x}")
    major, minor, revision = gpu["gc"].split(".")
    tree.files(
        f"{device}/ip_discovery/die/0/11/0",
        {"hw_id": 11, "num_instance": 0, "major": major, "minor": minor, "revision": revision, "harvest": "0x0"},
    )
    tree.link(f"{device}/ip_discovery/die/0/GC", f"{device}/ip_discovery/die/0/11")
    hwmon = f"{device}/hwmon/hwmon{number}"
    tree.files(hwmon, {"name": "amdgpu", "in0_label": "vddgfx", "freq1_label": "sclk", "temp1_input": 41000})
    tree.file(*((f"{hwmon}/in1_label", "vddnb") if gpu["integrated"] else (f"{hwmon}/freq2_label", "mclk")))


def cpu_node(machine: dict[str, Any]) -> dict[str, Any]:
    cpu = machine["cpu"]
    return {
        "name": "",
        "gpu_id": 0,
        "properties": {
            "cpu_cores_count": cpu["cores"] * cpu["threads_per_core"],
            "simd_count": 0,
            "mem_banks_count": 1,
            "gfx_target_version": 0,
            "vendor_id": 0,
            "device_id": 0,
            "location_id": 0,
            "domain": 0,
            "drm_render_minor": 0,
        },
        "bank": {"heap_type": 0, "size_in_bytes": machine["memory_mib"] * MIB},
    }


def gpu_node(gpu: dict[str, Any], render_minor: int) -> dict[str, Any]:
    domain, bus, slot = gpu["address"].split(":")
    device, function = slot.split(".")
    vram, visible, gtt = (gpu[name] * MIB for name in ("vram_mib", "vram_visible_mib", "gtt_mib"))
    return {
        "name": gpu.get("kfd_name", "ip discovery"),
        "gpu_id": 4096 + int(bus, 16) * 16,
        "properties": {
            "cpu_cores_count": 0,
            "simd_count": gpu["simd_count"],
            "mem_banks_count": 1,
            "caches_count": 0,
            "io_links_count": 1,
            "wave_front_size": 32,
            "array_count": 4,
            "simd_per_cu": 2,
            "gfx_target_version": gpu["gfx_target_version"],
            "vendor_id": 4098,
            "device_id": int(gpu["device"], 16),
            "location_id": int(bus, 16) << 8 | int(device, 16) << 3 | int(function),
            "domain": int(domain, 16),
            "drm_render_minor": render_minor,
            "hive_id": 0,
            "num_sdma_engines": 1,
            "fw_version": 2390,
            "unique_id": gpu.get("unique_id", 0),
            "num_xcc": 1,
            "max_engine_clk_ccompute": 4000,
            "local_mem_size": 0,
        },
        # An APU's bank is what the kernel lends it, not its carve-out (amdgpu_amdkfd_get_local_mem_info).
        "bank": {
            "heap_type": 1 if gpu["integrated"] or visible == vram else 2,
            "size_in_bytes": gtt if gpu["integrated"] else vram,
        },
    }


def write_kfd(tree: Tree, nodes: list[dict[str, Any]]) -> None:
    topology = "sys/devices/virtual/kfd/kfd/topology"
    tree.file(f"{topology}/generation_id", 2)
    tree.file(f"{topology}/system_properties", "platform_oem 0\nplatform_id 0\nplatform_rev 0")
    for number, node in enumerate(nodes):
        folder = f"{topology}/nodes/{number}"
        tree.files(folder, {"name": node["name"], "gpu_id": node["gpu_id"], "properties": lines(node["properties"])})
        tree.file(
            f"{folder}/mem_banks/0/properties", lines({**node["bank"], "flags": 0, "width": 128, "mem_clk_max": 2800})
        )
        if number:
            tree.file(
                f"{folder}/io_links/0/properties", lines({"type": 2, "node_from": number, "node_to": 0, "weight": 20})
            )
    tree.link("sys/class/kfd/kfd", "sys/devices/virtual/kfd/kfd")


def lines(properties: dict[str, object]) -> str:
    return "\n".join(f"{name} {value}" for name, value in properties.items())


if __name__ == "__main__":
    write_tree(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
