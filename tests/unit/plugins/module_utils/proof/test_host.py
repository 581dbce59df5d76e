# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.host import Host, nvidia_counters
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

ADDRESS = "0000:03:00.0"


class Programs:
    """Stands for the programs of a host: the first rule whose words are all in the command answers."""

    def __init__(self, *rules: tuple[str, int, str]) -> None:
        self.rules = rules
        self.calls: list[str] = []

    def __call__(self, command: list[str]) -> tuple[int, str]:
        self.calls.append(" ".join(command))
        for words, code, text in self.rules:
            if all(word in self.calls[-1] for word in words.split()):
                return code, text
        return 127, ""


SHOW = ("systemctl show", 0, "ActiveState=active\nResult=success\nInvocationID=abc\nNRestarts=0\n")


def host(programs: Programs, root: str = "/") -> Host:
    return Host("ollama.service", Sysroot(root), [ADDRESS], programs)


def test_unit_state():
    assert host(Programs(SHOW)).unit_state()["InvocationID"] == "abc"
    assert host(Programs()).unit_state() == {}


@pytest.mark.parametrize(
    ("rules", "new_only", "lines"),
    [
        ([("_SYSTEMD_INVOCATION_ID=abc", 0, "one\ntwo\n")], False, ["one", "two"]),
        ([("_SYSTEMD_INVOCATION_ID=abc + INVOCATION_ID=abc", 0, "three\n")], False, ["three"]),
        # An earlier start says nothing about this one.
        ([("_SYSTEMD_INVOCATION_ID=abc", 0, "\n"), ("--unit=ollama.service", 0, "old\n")], False, None),
        ([("--unit=ollama.service --since=@", 0, "new\n")], True, ["new"]),
        ([("--unit=ollama.service", 1, "")], False, None),
        ([], False, None),
    ],
)
def test_engine_lines(rules, new_only, lines):
    assert host(Programs(SHOW, *rules)).engine_lines(new_only) == lines


def test_without_an_invocation_the_whole_journal_of_the_unit_is_read():
    assert host(Programs(("journalctl --unit=ollama.service", 0, "line\n"))).engine_lines(False) == ["line"]


def test_the_kernel_journal_is_read_from_the_beginning_of_the_proof():
    programs = Programs(("journalctl --dmesg --since=@", 0, "fault\n"))
    assert host(programs).kernel_lines() == ["fault"]
    assert host(Programs(("journalctl --dmesg", 1, ""))).kernel_lines() is None


def test_of_a_kernel_log_file_only_what_is_new_counts(tmp_path):
    log = tmp_path / "var/log/kern.log"
    log.parent.mkdir(parents=True)
    log.write_text("old fault, grün\n")
    observed = host(Programs(), str(tmp_path))
    assert observed.kernel_lines() == []
    with log.open("a") as handle:
        handle.write("new fault\n")
    assert [line for line in observed.kernel_lines() or [] if line] == ["new fault"]
    assert host(Programs(), str(tmp_path / "none")).kernel_lines() is None


def test_counters_of_amdgpu(tmp_path):
    device = tmp_path / "sys/bus/pci/devices" / ADDRESS
    device.mkdir(parents=True)
    for name, value in {"mem_info_vram_used": 7, "mem_info_gtt_used": 8, "gpu_busy_percent": 9}.items():
        (device / name).write_text(f"{value}\n")
    assert host(Programs(), str(tmp_path)).counters() == [{"vram_used": 7, "gtt_used": 8, "busy_percent": 9}]


@pytest.mark.parametrize(
    ("code", "text", "counters"),
    [
        (0, "812, 43\n", {"vram_used": 812 * 1024**2, "gtt_used": None, "busy_percent": 43}),
        (0, "812, [N/A]\n", {"vram_used": 812 * 1024**2, "gtt_used": None, "busy_percent": None}),
        (0, "No devices were found\n", None),
        (9, "812, 43\n", None),
    ],
)
def test_counters_of_nvidia(code, text, counters):
    assert nvidia_counters(ADDRESS, Programs((f"nvidia-smi --id={ADDRESS}", code, text))) == counters


def test_nvidia_smi_is_asked_only_where_sysfs_has_no_counters(tmp_path):
    programs = Programs(("nvidia-smi", 0, "812, 43"))
    observed = host(programs, str(tmp_path))
    assert observed.counters()[0]["busy_percent"] == 43
    busy = tmp_path / "sys/bus/pci/devices" / ADDRESS / "gpu_busy_percent"
    busy.parent.mkdir(parents=True)
    busy.write_text("9")
    assert observed.counters()[0]["busy_percent"] == 9
    assert host(Programs(), str(tmp_path / "none")).counters() == [
        {"vram_used": None, "gtt_used": None, "busy_percent": None}
    ]
