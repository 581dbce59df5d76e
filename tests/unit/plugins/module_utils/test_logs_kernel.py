# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load
from hypothesis import given, settings
from hypothesis import strategies as st

SIGNATURES = load("kernel")


def codes(lines: list[str]) -> set[str]:
    return {fault["code"] for fault in read_kernel_log(lines, SIGNATURES)["faults"]}


HANG = [
    "amdgpu 0000:c5:00.0: amdgpu: MES failed to respond to msg=REMOVE_QUEUE",
    "amdgpu 0000:c5:00.0: amdgpu: failed to remove hardware queue from MES, doorbell=0x1802",
    "amdgpu 0000:c5:00.0: amdgpu: MES might be in unrecoverable state, issue a GPU reset",
    "amdgpu 0000:c5:00.0: amdgpu: GPU reset begin!. Source:  3",
    "amdgpu 0000:c5:00.0: amdgpu: MODE2 reset",
    "amdgpu 0000:c5:00.0: amdgpu: GPU reset succeeded, trying to resume",
    "amdgpu 0000:c5:00.0: amdgpu: SMU is resuming...",
    "amdgpu 0000:c5:00.0: amdgpu: SMU is resumed successfully!",
    "amdgpu 0000:c5:00.0: amdgpu: GPU reset(2) succeeded!",
]
LOGS = {
    "hang and recovery": (HANG, {"mes_hang", "gpu_reset", "recovered"}),
    "kernel 6.8, names of functions": (
        [
            "[drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx timeout, signaled seq=5000163, emitted seq=5000165",
            "[drm:amdgpu_job_timedout [amdgpu]] *ERROR* Process information: process comp pid 3503 thread c pid 3539",
            "amdgpu 0000:08:00.0: amdgpu: GPU reset begin!",
            "amdgpu 0000:08:00.0: amdgpu: BACO reset",
            "[drm] VRAM is lost due to GPU reset!",
            "[drm:amdgpu_cs_ioctl [amdgpu]] *ERROR* Failed to initialize parser -125!",
        ],
        {"ring_timeout", "gpu_reset", "vram_lost"},
    ),
    "kernel 7, one prefix": (
        [
            "amdgpu 0000:28:00.0: ring gfx_0.0.0 timeout, signaled seq=57638, emitted seq=57641",
            "amdgpu 0000:28:00.0: Ring gfx_0.0.0 reset failed",
            "amdgpu 0000:28:00.0: GPU reset begin!. Source:  1",
            "amdgpu 0000:28:00.0: GPU reset end with ret = -19",
        ],
        {"ring_timeout", "gpu_reset", "device_lost"},
    ),
    "a ring reset is enough": (
        [
            "amdgpu 0000:03:00.0: amdgpu: ring comp_1.1.0 timeout, signaled seq=7, emitted seq=9",
            "amdgpu 0000:03:00.0: amdgpu: Ring comp_1.1.0 reset succeeded",
            "amdgpu 0000:03:00.0: [drm] device wedged, but recovered through reset",
        ],
        {"ring_timeout", "recovered"},
    ),
    "kernel 5, GPU before RDNA 3": (
        [
            "amdgpu: qcm fence wait loop timeout expired",
            "amdgpu: The cp might be in an unrecoverable state due to an unsuccessful queues preemption",
            "amdgpu: Failed to evict process queues",
            "amdgpu 0000:03:00.0: amdgpu: GPU reset begin!",
            "amdgpu 0000:03:00.0: amdgpu: RAS: optional ras ta ucode is not available",
            "amdgpu 0000:03:00.0: amdgpu: SECUREDISPLAY: securedisplay ta ucode is not available",
        ],
        {"hws_hang", "gpu_reset"},
    ),
    "page fault of Vega": (
        ["amdgpu 0000:c6:00.0: amdgpu: [gfxhub0] no-retry page fault (src_id:0 ring:24 vmid:3 pasid:32769)"],
        {"page_fault"},
    ),
    "FreeBSD": (
        [
            "[drm ERROR :amdgpu_job_timedout] ring gfx_0.0.0 timeout, signaled seq=12174921, emitted seq=12174923",
            "drmn0: GPU reset begin!",
            "[drm ERROR :mes_v11_0_submit_pkt_and_poll_completion] MES failed to response msg=3",
        ],
        {"ring_timeout", "gpu_reset", "mes_hang"},
    ),
    "no firmware": (
        [
            "amdgpu 0000:01:00.0: Direct firmware load for amdgpu/polaris12_mc.bin failed with error -2",
            "amdgpu 0000:01:00.0: amdgpu: amdgpu_device_ip_init failed",
            "amdgpu 0000:01:00.0: amdgpu: Fatal error during GPU init",
        ],
        {"missing_firmware", "gpu_init_failed"},
    ),
    "a file that another GPU lacks": (
        [
            "amdgpu 0000:01:00.0: Direct firmware load for amdgpu/polaris12_mc.bin failed with error -2",
            "amdgpu 0000:02:00.0: amdgpu: Fatal error during GPU init",
        ],
        {"gpu_init_failed"},
    ),
    "the scheduler of one die of several": (
        ["[ 9.1] amdgpu 0000:05:00.0: MES(0, 0) failed to respond to msg=INVALIDATE_TLBS"],
        {"mes_hang"},
    ),
    "no PCIe atomics": (["kfd kfd: amdgpu: skipped device 1002:7341, PCI rejects atomics 730<0"], {"pcie_atomics"}),
    "power management hangs": (
        ["amdgpu 0000:0d:00.0: amdgpu: SMU: I'm not done with your previous command: SMN_C2PMSG_66:0x00000012"],
        {"smu_hang"},
    ),
    "out of memory": (
        ["[drm:amdgpu_cs_ioctl [amdgpu]] *ERROR* Not enough memory for command submission!"],
        {"gpu_oom"},
    ),
    "a healthy boot": (
        [
            "[drm] amdgpu kernel modesetting enabled.",
            "amdgpu: CRAT table not found",
            "amdgpu: Virtual CRAT table created for CPU",
            "amdgpu 0000:19:00.0: Direct firmware load for amdgpu/vega20_ta.bin failed with error -2",
            '[drm] psp v11.0: Failed to load firmware "amdgpu/vega20_ta.bin"',
            "amdgpu 0000:c5:00.0: amdgpu: PSP runtime database doesn't exist",
            "amdgpu 0000:c5:00.0: amdgpu: SMU driver if version not matched",
            "[drm] amdgpu: 24560M of VRAM memory ready",
            "[TTM] Zone  kernel: Available graphics memory: 16386862 KiB",
            "kfd kfd: amdgpu: added device 1002:73bf",
            "amdgpu 0000:c5:00.0: amdgpu: ring mes_3.1.0 uses VM inv eng 13 on hub 0",
            "PM: resume devices took 0.412 seconds",
        ],
        set(),
    ),
    "a healthy NVIDIA host": (
        [
            "nvidia: loading out-of-tree module taints kernel.",
            "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.135",
            "nvidia-gpu 0000:01:00.3: i2c timeout error e0000000",
            "ata1: reset succeeded",
            "nvme nvme0: I/O 12 QID 4 timeout, aborting",
        ],
        set(),
    ),
}
PREFIXES: dict[str, Callable[[str], str]] = {
    "none": lambda line: line,
    "dmesg": lambda line: f"[  950.818166] {line}",
    "dmesg -T": lambda line: f"[Thu Sep 10 14:36:15 2026] {line}",
    "dmesg -x": lambda line: f"kern  :err   : [  950.818166] {line}",
    "dmesg -H": lambda line: f"[  +0,000007] {line}",
    "raw": lambda line: f"<3>[  950.818166] {line}",
    "journal": lambda line: f"Jul 24 12:26:16 macross kernel: {line}",
    "journal, Italian": lambda line: f"nov 07 01:36:56 bernard kernel: {line}",
    "journal, Russian": lambda line: f"фев 16 17:33:10 x kernel: {line}",
    "journal, ISO": lambda line: f"2024-08-18T01:19:31.351160+00:00 minipc kernel: {line}",
    "colours": lambda line: f"\x1b[32m[  950.8] \x1b[0m\x1b[31m{line}\x1b[0m",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES.keys())
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("lines", "expected"), LOGS.values(), ids=LOGS.keys())
def test_faults(lines: list[str], expected: set[str], prefix: Callable[[str], str], backwards: bool) -> None:
    dressed = [prefix(line) + "\n" for line in lines]
    assert codes(dressed[::-1] if backwards else dressed) == expected


def test_a_fault_says_how_often_it_came_and_what_to_do() -> None:
    faults = read_kernel_log(HANG, SIGNATURES)["faults"]
    assert [(fault["code"], fault["count"]) for fault in faults] == [
        ("mes_hang", 3),
        ("gpu_reset", 1),
        ("recovered", 1),
    ]
    assert faults[0]["line"] == HANG[0]
    assert "20251125" in faults[0]["remedy"]
    assert {"code", "severity", "line", "meaning", "remedy", "count"} == set(faults[0])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from([line for log in LOGS.values() for line in log[0]]), st.text(max_size=80)),
        max_size=20,
    )
)
def test_nothing_makes_it_raise_and_a_part_shows_no_more_than_the_whole(lines: list[str]) -> None:
    whole = codes(lines)
    assert codes(lines[: len(lines) // 2]) <= whole


@pytest.mark.parametrize(
    "unit", ["ring ", "SMU response", "amdgpu 0", "[gfxhub", "0000:c5:00.0", "amdgpu/", "MES ", "\\"]
)
@pytest.mark.parametrize("line_end", ["", "\n"])
def test_no_text_takes_long(unit: str, line_end: str) -> None:
    lines = ((unit + line_end) * (200_000 // len(unit + line_end))).split("\n")
    begin = time.process_time()
    read_kernel_log([*lines, " timeout, signaled seq= 0xFFFFFFFF device inaccessible page fault"], SIGNATURES)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [
                "> [    2.861298] amdgpu 0000:01:00.0: Direct firmware load for",
                "> amdgpu/vegam_pfp.bin failed with error -2",
                "> [    2.861648] [drm:amdgpu_device_init.cold.33 [amdgpu]] *ERROR*",
                "> sw_init of IP block <gfx_v8_0> failed -2",
            ],
            {"missing_firmware"},
        ),
        (
            [
                "Jun  4 10:00:00 host kernel: [drm:amdgpu_cs_ioctl [amdgpu]] *ERROR* Not enough memory for",
                "command submission!",
                "a comment of the reporter",
            ],
            {"gpu_oom"},
        ),
        (["[    3.1] amdgpu 0000:01:00.0: device lost from", "amdgpu 0000:01:00.0: bus!"], set()),
        (["not stamped: device lost from", "bus!"], set()),
    ],
)
def test_lines_that_a_mail_program_broke(lines: list[str], expected: set[str]) -> None:
    assert codes(lines) == expected
