# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else decides how fast a machine is at this moment: heat, throttling, and who else works on it."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.counters import (
    device_directory,
    read_counters,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

Run = Callable[["list[str]"], "tuple[int, str]"]
Reading = dict[str, Any]

CPU_SENSORS = ("k10temp", "coretemp", "zenpower", "cpu_thermal")
# format_revision and content_revision of gpu_metrics -> where its ASIC independent throttle status is
# (linux, drivers/gpu/drm/amd/include/kgd_pp_interface.h).
THROTTLE_STATUS = {(1, 3): 112, (2, 2): 120, (2, 3): 120, (2, 4): 120}
# Bits of that status (linux, drivers/gpu/drm/amd/pm/swsmu/inc/amdgpu_smu.h).
THROTTLERS = {"power": range(8), "current": range(16, 24), "temperature": range(32, 48)}
# Bits of NVIDIA's active reasons: SW power cap, HW slowdown, SW thermal, HW thermal, HW power brake (nvml.h).
NVIDIA_REASONS = {0x4: "power", 0x8: "hardware", 0x20: "temperature", 0x40: "temperature", 0x80: "power"}


def read_conditions(sysroot: Sysroot, gpu_addresses: list[str], run: Run) -> Reading:
    """One look. None is what nothing tells."""
    gpus = [_amd(sysroot, address) or _nvidia(address, run) for address in gpu_addresses]
    temperatures = [gpu["temperature"] for gpu in gpus] if gpus else [cpu_temperature(sysroot)]
    known = [gpu["throttled"] for gpu in gpus if gpu["throttled"] is not None]
    return {
        "temperature": highest(temperatures),
        "busy": highest(gpu["busy"] for gpu in gpus),
        "throttled": sorted({reason for reasons in known for reason in reasons}) if known else None,
        "cpu_throttle_count": cpu_throttle_count(sysroot),
    }


def _amd(sysroot: Sysroot, address: str) -> Reading | None:
    directory = device_directory(sysroot, address)
    if directory is None:
        return None
    reading = {
        "temperature": highest(
            _hottest(sysroot, f"{directory}/hwmon/{name}") for name in sysroot.listdir(f"{directory}/hwmon")
        ),
        "busy": read_counters(sysroot, address)["busy_percent"],
        "throttled": throttlers(_bytes(sysroot, f"{directory}/gpu_metrics")),
    }
    return None if all(value is None for value in reading.values()) else reading


def _hottest(sysroot: Sysroot, folder: str) -> float | None:
    """Of all sensors of a hwmon device, in degrees Celsius: amdgpu's edge, junction and memory."""
    names = [name for name in sysroot.listdir(folder) if re.fullmatch(r"temp\d+_input", name)]
    values = [sysroot.read_int(f"{folder}/{name}") for name in names]
    return highest(value / 1000 for value in values if value is not None)


def _bytes(sysroot: Sysroot, path: str) -> bytes:
    try:
        with open(sysroot.path(path), "rb") as handle:
            return handle.read(4096)
    except OSError:
        return b""


def throttlers(metrics: bytes) -> list[str] | None:
    """What amdgpu's gpu_metrics says holds the clocks down; None for a table that does not say."""
    if len(metrics) < 4:
        return None
    _size, format_revision, content_revision = struct.unpack_from("<HBB", metrics)
    offset = THROTTLE_STATUS.get((format_revision, content_revision))
    if offset is None or len(metrics) < offset + 8:
        return None
    (status,) = struct.unpack_from("<Q", metrics, offset)
    if status == 2**64 - 1:  # the firmware does not fill it in
        return None
    return sorted(name for name, bits in THROTTLERS.items() if any(status >> bit & 1 for bit in bits))


def _nvidia(address: str, run: Run) -> Reading:
    query = "--query-gpu=temperature.gpu,utilization.gpu,clocks_throttle_reasons.active"
    code, text = run(["nvidia-smi", f"--id={address}", query, "--format=csv,noheader,nounits"])
    fields = [field.strip() for field in text.strip().split(",")] if code == 0 else []
    temperature, busy, reasons = fields if len(fields) == 3 else ("", "", "")
    active = int(reasons, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", reasons) else None
    return {
        "temperature": float(temperature) if temperature.isdigit() else None,
        "busy": int(busy) if busy.isdigit() else None,
        "throttled": None if active is None else sorted({name for bit, name in NVIDIA_REASONS.items() if active & bit}),
    }


def cpu_temperature(sysroot: Sysroot) -> float | None:
    folder = "sys/class/hwmon"
    sensors = [name for name in sysroot.listdir(folder) if sysroot.read(f"{folder}/{name}/name") in CPU_SENSORS]
    return highest(_hottest(sysroot, f"{folder}/{name}") for name in sensors)


def cpu_throttle_count(sysroot: Sysroot) -> int | None:
    """How often the processor was slowed down for its heat since the boot. Only Intel's has such a counter."""
    folder = "sys/devices/system/cpu"
    counts = [
        sysroot.read_int(f"{folder}/{name}/thermal_throttle/package_throttle_count")
        for name in sysroot.listdir(folder)
        if re.fullmatch(r"cpu\d+", name)
    ]
    return highest(counts)


def load_average(sysroot: Sysroot) -> float | None:
    """Of the last minute."""
    text = sysroot.read("proc/loadavg")
    if text and re.match(r"\d+\.\d+ ", text):
        return float(text.split()[0])
    return None if sysroot.root != "/" else os.getloadavg()[0]


def highest(values: Iterable[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)
