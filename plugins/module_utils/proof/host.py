# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witnesses on a real host: systemd, the two journals and the drivers' counters."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils import process
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.counters import read_counters
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

MIB = 1024 * 1024
# https://docs.kernel.org/gpu/drm-usage-stats.html; sizes are in KiB.
_FDINFO = re.compile(r"^(drm-(?:client-id|pdev|memory-vram|memory-gtt)):\s*(\S{1,40})", re.MULTILINE)
# (command line) -> (return code, stdout)
Run = Callable[["list[str]"], "tuple[int, str]"]


class Host:
    """What prove() needs to know of the machine. A test gives another object with these methods."""

    def __init__(self, unit: str, sysroot: Sysroot, gpu_addresses: list[str], run: Run = process.run) -> None:
        self.unit = unit
        self.sysroot = sysroot
        self.gpu_addresses = gpu_addresses
        self.run = run
        self.began = time.time()
        self.kernel_log_size = self._kernel_file_size()

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def unit_state(self) -> dict[str, str]:
        """systemd's properties of the unit; empty where there is no systemd to ask."""
        code, text = self.run(
            ["systemctl", "show", self.unit, "--property=ActiveState,SubState,Result,NRestarts,InvocationID"]
        )
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line) if code == 0 else {}

    def held_bytes(self) -> int | None:
        """GPU memory that the engine's own process has, by the kernel's books. None: they do not say."""
        pid = self._main_pid()
        if not pid:
            return None
        clients: dict[tuple[str, str], int] = {}
        for name in self.sysroot.listdir(f"proc/{pid}/fdinfo"):
            fields = dict(_FDINFO.findall(self.sysroot.read(f"proc/{pid}/fdinfo/{name}") or ""))
            if "drm-client-id" in fields:
                sizes = [fields[key] for key in ("drm-memory-vram", "drm-memory-gtt") if key in fields]
                client = (fields.get("drm-pdev", ""), fields["drm-client-id"])
                clients[client] = sum(int(size) for size in sizes) * 1024
        folder = f"sys/class/kfd/kfd/proc/{pid}"
        kfd = [self.sysroot.read(f"{folder}/{name}") for name in self.sysroot.listdir(folder) if "vram_" in name]
        known = [sum(clients.values())] * bool(clients) + [sum(int(size) for size in kfd if size)] * bool(kfd)
        return max(known) if known else _nvidia_held(pid, self.run)

    def _main_pid(self) -> str:
        code, text = self.run(["systemctl", "show", self.unit, "--property=MainPID", "--value"])
        return text.strip().strip("0") and text.strip() if code == 0 else ""

    def counters(self) -> list[dict[str, Any]]:
        """One reading for each GPU in use."""
        return [self._counters(address) for address in self.gpu_addresses]

    def _counters(self, address: str) -> dict[str, Any]:
        reading = read_counters(self.sysroot, address)
        if all(value is None for value in reading.values()):
            return nvidia_counters(address, self.run) or reading
        return reading

    def engine_lines(self, new_only: bool) -> list[str] | None:
        """The journal of the unit's last start, or of the time since the proof began. None: cannot be read."""
        self.run(["journalctl", "--sync"])
        invocation = self.unit_state().get("InvocationID")
        if new_only:
            matches = [f"--unit={self.unit}", f"--since=@{self.began:.6f}"]
        elif invocation:
            # What the engine and what systemd says of this very start: quick where the journal holds months, and an
            # engine that did not get far enough to log anything is not judged by what an earlier one logged.
            matches = [f"_SYSTEMD_INVOCATION_ID={invocation}", "+", f"INVOCATION_ID={invocation}"]
        else:
            matches = [f"--unit={self.unit}"]
        code, text = self.run(["journalctl", "--no-pager", "--quiet", "--output=cat", *matches])
        return text.splitlines() if code == 0 and text.strip() else None

    def kernel_lines(self) -> list[str] | None:
        """What the kernel said since the proof began. None: cannot be read."""
        if self.sysroot.root != "/":
            text = self.sysroot.read("var/log/kern.log")
            return (
                None if text is None else text.encode()[self.kernel_log_size :].decode("utf-8", "replace").splitlines()
            )
        code, text = self.run(["journalctl", "--dmesg", "--no-pager", "--quiet", f"--since=@{self.began:.6f}"])
        return text.splitlines() if code == 0 else None

    def _kernel_file_size(self) -> int:
        try:
            return os.path.getsize(self.sysroot.path("var/log/kern.log"))
        except OSError:
            return 0


def nvidia_counters(address: str, run: Run) -> dict[str, Any] | None:
    """The same counters from NVIDIA's own tool, as its driver has none in sysfs."""
    query = ["--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits"]
    code, text = run(["nvidia-smi", f"--id={address}", *query])
    fields = [field.strip() for field in text.strip().split(",")]
    if code != 0 or len(fields) != 2:
        return None
    used, busy = (int(field) if field.isdigit() else None for field in fields)
    return {"vram_used": None if used is None else used * MIB, "gtt_used": None, "busy_percent": busy}


def _nvidia_held(pid: str, run: Run) -> int | None:
    code, text = run(["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"])
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()] if code == 0 else []
    sizes = [int(row[1]) for row in rows if len(row) == 2 and row[0] == pid and row[1].isdigit()]
    return sum(sizes) * MIB if sizes else None


def first_line_with(words: Iterable[str], lines: Iterable[str]) -> str | None:
    return next((line.strip() for line in lines if any(word in line for word in words)), None)
