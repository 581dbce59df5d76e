# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for the GPUs of a machine and for the kernel that drives them.

At each start it writes the machine's sysfs and procfs, makes the device nodes, and then moves the memory and load
counters for the clients of its socket. A client's memory is freed when its connection ends, as the kernel does when a
process dies. Each request and each answer is a line of JSON:
{"op": "allocate", "address": A, "bytes": N}, {"op": "busy", "address": A, "percent": N} or
{"op": "fault", "address": A, "kind": K}, answered by {"ok": true} or {"ok": false, "error": text}.
"""

from __future__ import annotations

import grp
import json
import os
import socketserver
import stat
import subprocess
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.standins.machine_tree import MIB, write_real_links, write_tree

DESCRIPTION = Path("/etc/standin/machine.json")
ROOT = Path("/srv/machine")
SOCKET = "/run/standin-hardware.sock"
# Majors for local use: no driver stands behind them, so an open that is allowed ends in ENXIO and touches no device.
MAJORS = {"kfd": 60, "drm": 61, "nvidia": 62}
FAULTS = {
    "page_fault": (
        "amdgpu: [gfxhub] page fault (src_id:0 ring:24 vmid:8 pasid:32770)",
        "amdgpu:  Process llama-server pid 4711 thread llama-server pid 4711",
        "amdgpu:   in page starting at address 0x00007f3c8a000000 from client 10",
        "amdgpu: GCVM_L2_PROTECTION_FAULT_STATUS:0x00801031",
    ),
    "ring_timeout": (
        "amdgpu: ring comp_1.0.0 timeout, signaled seq=5, emitted seq=7",
        "amdgpu: GPU reset begin!",
        "amdgpu: GPU reset(1) succeeded!",
    ),
    "mes_hang": (
        "amdgpu: MES failed to respond to msg=REMOVE_QUEUE",
        "amdgpu: failed to remove hardware queue from MES",
    ),
}


class Machine:
    def __init__(self, description: dict[str, Any], root: Path) -> None:
        self.root = root
        self.hostname = description["hostname"]
        self.gpus = {gpu["address"]: gpu for gpu in description.get("gpus", [])}
        self.lock = threading.Lock()
        self.used: dict[tuple[str, str], int] = defaultdict(int)
        self.idle: dict[tuple[str, str], int] = {}
        for address, gpu in self.gpus.items():
            for pool in ("vram", "gtt"):
                counter = self.counter(address, f"mem_info_{pool}_used")
                self.idle[address, pool] = int(counter.read_text()) if counter.exists() else 0
            if gpu["vendor"] == "nvidia":
                self.show(address)

    def counter(self, address: str, name: str) -> Path:
        if self.gpus[address]["vendor"] == "amd":
            return self.root / "sys/bus/pci/devices" / address / name
        return (
            self.root / "standin/counters" / address / name
        )  # NVIDIA's are not in sysfs: nvidia-smi's stand-in reads these

    def show(self, address: str) -> None:
        for pool in ("vram", "gtt"):
            path = self.counter(address, f"mem_info_{pool}_used")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{self.idle[address, pool] + self.used[address, pool]}\n")

    def allocate(self, address: str, size: int) -> dict[str, int]:
        """Take memory: an integrated GPU goes on in GTT when its carve-out is full, a discrete one does not."""
        gpu = self.gpus[address]
        with self.lock:
            free = gpu["vram_mib"] * MIB - self.idle[address, "vram"] - self.used[address, "vram"]
            taken = {"vram": min(size, max(free, 0)) if gpu.get("integrated") else size, "gtt": 0}
            taken["gtt"] = size - taken["vram"]
            free_gtt = gpu.get("gtt_mib", 0) * MIB - self.idle[address, "gtt"] - self.used[address, "gtt"]
            if taken["vram"] > free or taken["gtt"] > max(free_gtt, 0):
                self.log("[drm:amdgpu_cs_ioctl [amdgpu]] *ERROR* Not enough memory for command submission!")
                raise MemoryError("out of memory")
            for pool, amount in taken.items():
                self.used[address, pool] += amount
            self.show(address)
        return taken

    def free(self, address: str, taken: dict[str, int]) -> None:
        with self.lock:
            for pool, amount in taken.items():
                self.used[address, pool] -= amount
            self.show(address)

    def busy(self, address: str, percent: int) -> None:
        self.counter(address, "gpu_busy_percent").write_text(f"{percent}\n")

    def fault(self, address: str, kind: str) -> None:
        for line in FAULTS[kind]:
            self.log(f"amdgpu {address}: {line}")

    def log(self, message: str) -> None:
        """One record as rsyslog writes the kernel's, since a container's journal has none of its own."""
        now, since_boot = time.time(), time.monotonic()
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}+00:00"
        with (self.root / "var/log/kern.log").open("a") as log:
            log.write(f"{stamp} {self.hostname} kernel: [{since_boot:12.6f}] {message}\n")


class Client(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        machine: Machine = self.server.machine  # type: ignore[attr-defined]
        held: list[tuple[str, dict[str, int]]] = []
        addresses = set()
        try:
            for line in self.rfile:
                request = json.loads(line)
                address = request["address"]
                addresses.add(address)
                answer: dict[str, Any] = {"ok": True}
                try:
                    if request["op"] == "allocate":
                        held.append((address, machine.allocate(address, request["bytes"])))
                    elif request["op"] == "busy":
                        machine.busy(address, request["percent"])
                    elif request["op"] == "fault":
                        machine.fault(address, request["kind"])
                except (MemoryError, KeyError) as problem:
                    answer = {"ok": False, "error": str(problem)}
                self.wfile.write(json.dumps(answer).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            for address, taken in held:
                machine.free(address, taken)
            for address in addresses:
                machine.busy(address, 0)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def group_id(group: str | int) -> int:
    if isinstance(group, int):
        return group
    return grp.getgrnam(group).gr_gid


def make_nodes(description: dict[str, Any]) -> None:
    nodes = description.get("nodes", {})
    time.sleep(nodes.get("delay_seconds", 0))  # a driver that is slow to load
    wanted: list[tuple[str, int, int, dict[str, Any]]] = []
    amd = [gpu for gpu in description.get("gpus", []) if gpu["vendor"] == "amd"]
    nvidia = [gpu for gpu in description.get("gpus", []) if gpu["vendor"] == "nvidia"]
    everyone = {"group": 0, "mode": "0666"}
    if amd and not nodes.get("kfd", {}).get("absent"):
        wanted.append(("/dev/kfd", MAJORS["kfd"], 0, nodes["kfd"]))
    for minor in range(128, 128 + len(amd) + len(nvidia)):
        wanted.append((f"/dev/dri/renderD{minor}", MAJORS["drm"], minor, nodes.get("dri", everyone)))
    for minor in range(len(nvidia)):
        wanted.append((f"/dev/nvidia{minor}", MAJORS["nvidia"], minor, everyone))
    if nvidia:
        wanted += [
            (f"/dev/{name}", MAJORS["nvidia"], minor, everyone)
            for name, minor in (("nvidiactl", 255), ("nvidia-uvm", 254))
        ]
    for path, major, minor, node in wanted:
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).unlink(missing_ok=True)
        mode = int(node["mode"], 8)
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(major, minor))
        os.chown(path, 0, group_id(node["group"]))
        os.chmod(path, mode)


def name_majors() -> None:
    """Make /proc/devices name our majors, so that systemd's DeviceAllow=char-drm means our nodes."""
    extended = Path("/run/standin-devices")
    if not extended.exists():
        names = "".join(f"{major:3} {name}\n" for name, major in MAJORS.items())
        extended.write_text(Path("/proc/devices").read_text().replace("\nBlock devices:", f"{names}\nBlock devices:"))
        subprocess.run(["mount", "--bind", extended, "/proc/devices"], check=True)


def boot_messages(machine: Machine) -> None:
    (ROOT / "var/log/kern.log").write_text("")
    for address, gpu in machine.gpus.items():
        if gpu["vendor"] == "amd":
            machine.log(
                f"amdgpu {address}: amdgpu: VRAM: {gpu['vram_mib']}M 0x0000008000000000 ({gpu['vram_mib']}M used)"
            )
            machine.log(f"[drm] amdgpu: {gpu['vram_mib']}M of VRAM memory ready")
            machine.log(f"[drm] amdgpu: {gpu['gtt_mib']}M of GTT memory ready.")
            machine.log(f"kfd kfd: amdgpu: added device 1002:{gpu['device']}")
        elif gpu["vendor"] == "nvidia":
            machine.log(f"nvidia {address}: enabling device (0000 -> 0003)")


def install_driver_files(description: dict[str, Any]) -> None:
    """Groups and user-space files that a distribution's packages would have brought with the driver."""
    for name, gid in description.get("groups", {}).items():
        subprocess.run(["groupadd", "--force", "--system", "--gid", str(gid), name], check=True)
    if description.get("nvidia_driver"):
        Path("/etc/vulkan/icd.d").mkdir(parents=True, exist_ok=True)
        icd = {"file_format_version": "1.0.1", "ICD": {"library_path": "libGLX_nvidia.so.0", "api_version": "1.4.312"}}
        Path("/etc/vulkan/icd.d/nvidia_icd.json").write_text(json.dumps(icd))
        command = Path("/usr/bin/nvidia-smi")
        if not command.exists():
            command.symlink_to(Path(__file__).with_name("nvidia_smi.py"))


def main() -> None:
    description = json.loads(DESCRIPTION.read_text())
    install_driver_files(description)
    write_tree(description, ROOT)
    write_real_links(ROOT)
    machine = Machine(description, ROOT)
    boot_messages(machine)
    name_majors()
    threading.Thread(target=make_nodes, args=(description,)).start()
    Path(SOCKET).unlink(missing_ok=True)
    with Server(SOCKET, Client) as server:
        server.machine = machine  # type: ignore[attr-defined]
        os.chmod(SOCKET, 0o666)
        subprocess.run(["systemd-notify", "--ready"], check=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
