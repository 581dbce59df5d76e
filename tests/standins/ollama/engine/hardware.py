# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ROCm, Vulkan and CUDA see: the machine's tree, and only through device nodes that this process may open."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .environ import Environment

MIB = 1024 * 1024
ROOT = Path("/srv/machine")
SOCKET = "/run/standin-hardware.sock"
AMD_VENDOR = "4098"


@dataclass
class Device:
    library: str
    name: str
    description: str
    compute: str
    address: str
    integrated: bool
    total: int
    free: int
    driver: str = ""
    silicon: str = ""

    def line(self) -> str:
        return f"  {self.name}: {self.description} ({self.total // MIB} MiB, {self.free // MIB} MiB free)"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def may_open(path: str) -> bool:
    """The kernel checks permission and the device filter before it asks for a driver; ours has none behind it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as problem:
        return problem.errno in (errno.ENXIO, errno.ENODEV)
    return True


def gfx_name(version: int) -> str:
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def indexes(value: str, count: int) -> list[int]:
    """A list of device indexes; it ends at the first that does not exist, as in CUDA and ROCr."""
    chosen: list[int] = []
    for part in value.split(","):
        if not part.strip().isdecimal() or int(part) >= count:
            break
        chosen.append(int(part))
    return chosen


class Hardware:
    def __init__(self, environment: Environment, root: Path = ROOT, icd_root: Path = Path("/")) -> None:
        self.environment = environment
        self.root = root
        self.icd_root = icd_root
        self.names = json.loads((root / "standin/names.json").read_text())

    def number(self, address: str, name: str) -> int:
        return int((self.root / "sys/bus/pci/devices" / address / name).read_text())

    def kfd_gpus(self) -> Iterator[tuple[str, int, int]]:
        """PCI address, gfx_target_version and render minor of each GPU node, in KFD's order."""
        topology = self.root / "sys/class/kfd/kfd/topology/nodes"
        nodes = sorted(topology.iterdir(), key=lambda node: int(node.name)) if topology.is_dir() else []
        for node in nodes:
            properties = dict(line.split() for line in (node / "properties").read_text().splitlines())
            if properties["vendor_id"] == AMD_VENDOR and int(properties["simd_count"]):
                location = int(properties["location_id"])
                address = f"{int(properties['domain']):04x}:{location >> 8:02x}:{location >> 3 & 31:02x}.{location & 7}"
                yield address, int(properties["gfx_target_version"]), int(properties["drm_render_minor"])

    def rocm(self) -> list[Device]:
        if not may_open("/dev/kfd"):
            return []
        gpus = [gpu for gpu in self.kfd_gpus() if may_open(f"/dev/dri/renderD{gpu[2]}")]
        mask = self.environment.text("ROCR_VISIBLE_DEVICES")
        if mask:
            unique = {f"GPU-{self.names[gpu[0]].get('unique_id', 0):016x}": i for i, gpu in enumerate(gpus)}
            mask = ",".join(str(unique.get(part.strip(), part)) for part in mask.split(","))
            gpus = [gpus[i] for i in indexes(mask, len(gpus))]
        mask = self.environment.text("HIP_VISIBLE_DEVICES")
        if mask:
            gpus = [gpus[i] for i in indexes(mask, len(gpus))]
        override = self.environment.text("HSA_OVERRIDE_GFX_VERSION")
        parts = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", override)
        if override and not parts:
            return []  # ROCr takes x.y.z only and fails to initialise
        devices = []
        for number, (address, version, _minor) in enumerate(gpus):
            silicon = gfx_name(version)
            label = f"gfx{int(parts[1])}{int(parts[2]):x}{int(parts[3]):x}" if parts else silicon
            integrated = self.names[address]["integrated"]
            pool = "gtt" if integrated else "vram"  # an APU's bank is what the kernel lends it
            total, free = self.memory(address, pool)
            product = self.names[address]["product"]
            devices.append(
                Device("ROCm", f"ROCm{number}", product, label, address, integrated, total, free, "70226.1", silicon)
            )
        return devices

    def memory(self, address: str, pool: str) -> tuple[int, int]:
        total = self.number(address, f"mem_info_{pool}_total")
        return total, total - self.number(address, f"mem_info_{pool}_used")

    def icds(self) -> list[str]:
        folders = (self.icd_root / "usr/share/vulkan/icd.d", self.icd_root / "etc/vulkan/icd.d")
        return [icd.name for folder in folders if folder.is_dir() for icd in folder.glob("*.json")]

    def vulkan(self) -> list[Device]:
        icds = self.icds()
        radv = any("radeon" in icd for icd in icds)
        found = []
        for address, gpu in self.names.items():
            if gpu["vendor"] == "amd" and radv and may_open(self.render_node(address)):
                total, free = self.memory(address, "vram")
                if gpu["integrated"]:  # RADV shows an APU's carve-out and GTT together
                    gtt_total, gtt_free = self.memory(address, "gtt")
                    total, free = total + gtt_total, free + gtt_free
                found.append((address, f"{gpu['product']} (RADV {gpu['radv']})", gpu["integrated"], total, free))
            elif gpu["vendor"] == "nvidia" and any("nvidia" in icd for icd in icds) and may_open("/dev/nvidia0"):
                found.append((address, gpu["product"], False, *self.nvidia_memory(address)))
        mask = self.environment.variables.get("GGML_VK_VISIBLE_DEVICES")
        if mask is not None:
            found = [found[i] for i in indexes(mask, len(found))]
        return [
            Device("Vulkan", f"Vulkan{number}", name, "0.0", address, integrated, total, free, "0.0")
            for number, (address, name, integrated, total, free) in enumerate(found)
        ]

    def render_node(self, address: str) -> str:
        folder = self.root / "sys/bus/pci/devices" / address / "drm"
        return "/dev/dri/" + next((node.name for node in folder.glob("renderD*")), "absent")

    def nvidia_memory(self, address: str) -> tuple[int, int]:
        total = self.names[address]["vram_mib"] * MIB
        used = int((self.root / "standin/counters" / address / "mem_info_vram_used").read_text())
        return total, total - used

    def cuda(self) -> list[Device]:
        version = self.root / "proc/driver/nvidia/version"
        if not version.is_file() or not all(
            may_open(f"/dev/{name}") for name in ("nvidiactl", "nvidia-uvm", "nvidia0")
        ):
            return []
        driver = version.read_text().split("x86_64")[1].split()[0]
        gpus = [(address, gpu) for address, gpu in self.names.items() if gpu["vendor"] == "nvidia"]
        mask = self.environment.variables.get("CUDA_VISIBLE_DEVICES")
        if mask is not None:
            unique = {gpu["uuid"]: str(i) for i, (_address, gpu) in enumerate(gpus)}
            mask = ",".join(unique.get(part.strip(), part) for part in mask.split(","))
            gpus = [gpus[i] for i in indexes(mask, len(gpus))]
        devices = []
        for number, (address, gpu) in enumerate(gpus):
            total, free = self.nvidia_memory(address)
            devices.append(
                Device("CUDA", f"CUDA{number}", gpu["product"], gpu["compute"], address, False, total, free, driver)
            )
        return devices


class Memory:
    """A connection to the simulated kernel; what it holds is freed when this process ends."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(SOCKET)
        self.answers = self.socket.makefile()

    def ask(self, **request: object) -> None:
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if not answer["ok"]:
            raise MemoryError(answer["error"])
