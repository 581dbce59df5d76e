# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.conditions import (
    cpu_temperature,
    cpu_throttle_count,
    load_average,
    read_conditions,
    throttlers,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from hypothesis import given
from hypothesis import strategies as st

GPU = "0000:03:00.0"
DEVICE = f"sys/bus/pci/devices/{GPU}"


def nobody(_command: list[str]) -> tuple[int, str]:
    return 127, ""


def tree(root: Path, files: dict[str, object]) -> Sysroot:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return Sysroot(str(root))


def metrics(revision: tuple[int, int], offset: int, status: int) -> bytes:
    table = bytearray(b"\0" * (offset + 8))
    struct.pack_into("<HBB", table, 0, len(table), *revision)
    struct.pack_into("<Q", table, offset, status)
    return bytes(table)


STATUS = [
    (0, []),
    (1 << 0, ["power"]),
    (1 << 7, ["power"]),
    (1 << 8, []),
    (1 << 16, ["current"]),
    (1 << 23, ["current"]),
    (1 << 32, ["temperature"]),
    (1 << 36 | 1 << 1, ["power", "temperature"]),
    (1 << 47, ["temperature"]),
    (1 << 48, []),
    (2**64 - 1, None),
]


@pytest.mark.parametrize(("revision", "offset"), [((1, 3), 112), ((2, 2), 120), ((2, 3), 120), ((2, 4), 120)])
@pytest.mark.parametrize(("status", "expected"), STATUS)
def test_amdgpu_says_what_holds_the_clocks_down(
    revision: tuple[int, int], offset: int, status: int, expected: list[str] | None
) -> None:
    assert throttlers(metrics(revision, offset, status)) == expected


@pytest.mark.parametrize("table", [b"", b"\0\0\1", metrics((1, 3), 112, 1)[:-1], metrics((3, 0), 112, 1)])
def test_a_table_that_does_not_say_is_none(table: bytes) -> None:
    assert throttlers(table) is None


@given(st.binary(max_size=160))
def test_any_table_is_read_without_an_error(table: bytes) -> None:
    assert throttlers(table) is None or isinstance(throttlers(table), list)


def test_the_hottest_sensor_of_an_amd_gpu_counts(tmp_path: Path) -> None:
    sensors = {f"{DEVICE}/hwmon/hwmon4/temp{n}_input": degrees for n, degrees in ((1, 61000), (2, 74500), (3, 70000))}
    sysroot = tree(
        tmp_path,
        {
            **sensors,
            f"{DEVICE}/hwmon/hwmon4/temp2_crit": 110000,
            f"{DEVICE}/gpu_busy_percent": 97,
            f"{DEVICE}/gpu_metrics": metrics((1, 3), 112, 1 << 36),
        },
    )
    assert read_conditions(sysroot, [GPU], nobody) == {
        "temperature": 74.5,
        "busy": 97,
        "throttled": ["temperature"],
        "cpu_throttle_count": None,
    }


NVIDIA = [
    ("66, 98, 0x0000000000000004", {"temperature": 66.0, "busy": 98, "throttled": ["power"]}),
    ("83, 98, 0x0000000000000060", {"temperature": 83.0, "busy": 98, "throttled": ["temperature"]}),
    ("40, 0, 0x0000000000000001", {"temperature": 40.0, "busy": 0, "throttled": []}),
    ("[N/A], [N/A], [N/A]", {"temperature": None, "busy": None, "throttled": None}),
    ("no such field", {"temperature": None, "busy": None, "throttled": None}),
]


@pytest.mark.parametrize(("answer", "expected"), NVIDIA)
def test_nvidias_own_tool_is_asked_where_sysfs_has_nothing(tmp_path: Path, answer: str, expected: dict) -> None:
    found = read_conditions(Sysroot(str(tmp_path)), [GPU], lambda _command: (0, answer + "\n"))
    assert found == {**expected, "cpu_throttle_count": None}


def test_without_a_gpu_the_processor_is_looked_at(tmp_path: Path) -> None:
    sysroot = tree(
        tmp_path,
        {
            "sys/class/hwmon/hwmon0/name": "nvme",
            "sys/class/hwmon/hwmon0/temp1_input": 90000,
            "sys/class/hwmon/hwmon1/name": "coretemp",
            "sys/class/hwmon/hwmon1/temp1_input": 55000,
            "sys/class/hwmon/hwmon1/temp2_input": 58000,
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": 3,
            "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": 5,
            "proc/loadavg": "1.25 0.50 0.10 1/200 4711",
        },
    )
    assert cpu_temperature(sysroot) == 58
    assert cpu_throttle_count(sysroot) == 5
    assert load_average(sysroot) == 1.25
    assert read_conditions(sysroot, [], nobody)["temperature"] == 58


def test_what_nothing_tells_is_none(tmp_path: Path) -> None:
    empty = Sysroot(str(tmp_path))
    assert set(read_conditions(empty, [], nobody).values()) == {None}
    assert load_average(empty) is None
