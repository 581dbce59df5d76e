# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs on Debian with GRUB, and the initramfs of any distribution."""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import initramfs, memory
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.remembered import STATE
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

from tests.unit.kernel_machine import DROP_IN, IOMMU, LIMIT, OURS, RELEASE, Machine, debian, fine, grub_mkconfig


@pytest.fixture(name="debian")
def _debian(tmp_path: Path) -> Machine:
    return debian(tmp_path)


def test_a_modules_parameter_goes_to_modprobe_and_into_the_initramfs(debian: Machine) -> None:
    result = debian.run(LIMIT)
    assert result["changed"]
    assert result["reboot_reasons"] == ["ttm.pages_limit"]
    assert "options ttm pages_limit=1000" in (debian.read(OURS) or "")
    assert debian.names == ["update-initramfs"]


def test_a_second_run_changes_nothing_before_and_after_the_reboot(debian: Machine) -> None:
    debian.run(LIMIT, IOMMU)
    result = debian.run(LIMIT, IOMMU)
    assert (result["changed"], result["reboot_required"], debian.calls) == (False, True, [])
    debian.boot("2")
    debian.write("sys/module/ttm/parameters/pages_limit", "1000")
    debian.write("proc/cmdline", "root=x ro quiet amd_iommu=off")
    result = debian.run(LIMIT, IOMMU)
    assert (result["changed"], result["reboot_required"], result["not_taken"]) == (False, False, [])
    assert [item["ok"] for item in result["in_force"]] == [True, True]


def test_what_is_booted_is_where_grub_looks_before_it_counts_as_done(debian: Machine) -> None:
    debian.run(LIMIT, IOMMU)
    initramfs, loader = debian.settled
    assert (OURS in initramfs, DROP_IN in initramfs) == (True, False)
    assert loader == debian.files()
    debian.run(LIMIT, IOMMU)
    assert debian.settled == []


def test_a_value_that_did_not_take_is_said_with_its_reason(debian: Machine) -> None:
    debian.run(LIMIT, IOMMU)
    debian.boot("2")
    reasons = [item["reason"] for item in debian.run(LIMIT, IOMMU)["not_taken"]]
    assert reasons == ["/sys/module/ttm shows 500", "/proc/cmdline has no amd_iommu"]


def test_a_gtt_of_another_size_is_not_in_force(debian: Machine) -> None:
    debian.write("sys/module/ttm/parameters/pages_limit", "1000")
    debian.write("sys/class/drm/card0/device/mem_info_gtt_total", str(500 * os.sysconf("SC_PAGE_SIZE")))
    assert not debian.run(LIMIT)["in_force"][0]["ok"]
    debian.write("sys/class/drm/card0/device/mem_info_gtt_total", str(1000 * os.sysconf("SC_PAGE_SIZE")))
    assert debian.run(LIMIT)["in_force"][0]["ok"]


def test_check_mode_predicts_and_touches_nothing(debian: Machine) -> None:
    before = debian.files()
    result = debian.run(LIMIT, IOMMU, check=True)
    assert result["changed"]
    assert result["reboot_required"]
    assert "pages_limit=1000" in result["diff"]["after"]
    assert result["diff"]["after"].endswith("root=x ro quiet amd_iommu=off\n")
    assert (debian.files(), debian.read(STATE), debian.calls) == (before, None, [])


def test_absent_leaves_the_machine_as_it_was(debian: Machine) -> None:
    debian.write(
        "boot/grub/grub.cfg",
        "menuentry a {\n\tlinux\t/vmlinuz root=x ro quiet\n\tlinux\t/vmlinuz root=x ro single\n}\n",
    )
    before = debian.files()
    debian.run(LIMIT, IOMMU)
    assert debian.run(purge=True)["changed"]
    assert debian.files() == before
    assert not debian.run(purge=True)["changed"]
    assert not debian.run(Param("amd_iommu", None, "absent"), Param("ttm.pages_limit", None, "absent"))["changed"]


def test_a_stale_value_of_a_file_is_overridden_and_named(debian: Machine) -> None:
    debian.write("etc/modprobe.d/blog.conf", "\noptions ttm pages_limit=7\n")
    conflict = debian.run(LIMIT)["conflicts"][0]
    assert (conflict["path"], conflict["line"], conflict["wins"]) == ("/etc/modprobe.d/blog.conf", 2, False)
    debian.write("etc/modprobe.d/zzz.conf", "options ttm pages_limit=8\n")
    result = debian.run(LIMIT)
    assert [item["wins"] for item in result["conflicts"]] == [False, True]
    assert "zzz.conf:1" in result["warnings"][0]


def test_a_stale_value_on_the_command_line_is_replaced_there_and_comes_back(debian: Machine) -> None:
    debian.write("etc/default/grub", 'GRUB_CMDLINE_LINUX="ttm.pages_limit=7"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    debian.execute(["grub-mkconfig", "-o", str(debian.root / "boot/grub/grub.cfg")])
    result = debian.run(LIMIT)
    assert debian.read(OURS) is None
    assert "ro quiet ttm.pages_limit=1000\n" in (debian.read("boot/grub/grub.cfg") or "")
    assert result["conflicts"][0] | {"path": "/etc/default/grub", "line": 1, "wins": False} == result["conflicts"][0]
    assert not debian.run(LIMIT)["changed"]
    debian.run(purge=True)
    assert "ro ttm.pages_limit=7 quiet\n" in (debian.read("boot/grub/grub.cfg") or "")


def test_the_route_can_be_changed(debian: Machine) -> None:
    debian.run(LIMIT)
    debian.boot("2")
    debian.write("sys/module/ttm/parameters/pages_limit", "1000")
    result = debian.run(LIMIT, route="cmdline")
    assert (result["reboot_reasons"], result["not_taken"]) == (["ttm.pages_limit"], [])
    assert debian.names == ["update-initramfs", "grub-mkconfig", "grub-script-check"]
    assert debian.read(OURS) is None
    debian.run(LIMIT, route="modprobe")
    assert debian.read(DROP_IN) is None


def test_a_value_that_somebody_took_away_waits_again(debian: Machine) -> None:
    debian.run(IOMMU)
    debian.write("boot/grub/grub.cfg", "\tlinux\t/vmlinuz root=x ro quiet\n")
    debian.boot("2")
    result = debian.run(IOMMU)
    assert (result["changed"], result["reboot_reasons"], result["not_taken"]) == (True, ["amd_iommu"], [])


def test_a_size_masks_what_would_contradict_it(debian: Machine) -> None:
    debian.write("etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="amdgpu.gttsize=98304 amdttm.pages_limit=7 quiet"\n')
    debian.execute(["grub-mkconfig", "-o", str(debian.root / "boot/grub/grub.cfg")])
    debian.run(*memory.gtt_params(1000, "ttm"))
    assert "ro quiet\n" in (debian.read("boot/grub/grub.cfg") or "")
    assert "options ttm page_pool_size=1000 pages_limit=1000" in (debian.read(OURS) or "")


def test_a_configuration_that_fails_its_check_leaves_the_old_one(debian: Machine) -> None:
    debian.tools["grub-script-check"] = lambda _machine, _argv: (1, "", "syntax error at line 3")
    before = debian.files()
    with pytest.raises(KernelParamsError, match=r"as they were.*syntax error at line 3"):
        debian.run(IOMMU)
    assert debian.files() == before


def test_a_configuration_without_the_value_is_not_taken(debian: Machine) -> None:
    debian.write("etc/default/grub.d/zzz.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    before = debian.files()
    with pytest.raises(KernelParamsError, match="last word"):
        debian.run(IOMMU)
    assert debian.files() == before


def beside(text: str) -> Callable:
    """grub-mkconfig with an entry of another script after its own."""

    def tool(machine: Machine, argv: list[str]) -> str:
        grub_mkconfig(machine, argv)
        with open(argv[1], "a") as config:
            config.write(text)
        return ""

    return tool


FOREIGN = "### BEGIN /etc/grub.d/{0} ###\nmenuentry b {{\n\tlinux\t{1}\n}}\n### END /etc/grub.d/{0} ###\n"


@pytest.mark.parametrize(
    ("script", "entry"),
    [
        ("20_memtest86+", "/boot/memtest86+x64.efi"),
        ("30_os-prober", "/boot/vmlinuz-5.4 root=/dev/sdb1"),
        ("40_custom", "/vmlinuz root=y"),
    ],
)
def test_entries_of_other_systems_are_no_concern_of_ours(debian: Machine, script: str, entry: str) -> None:
    debian.tools["grub-mkconfig"] = beside(FOREIGN.format(script, entry))
    assert debian.run(IOMMU)["changed"]
    assert not debian.run(IOMMU)["changed"]


def test_a_configuration_without_an_entry_of_this_system_is_not_taken(debian: Machine) -> None:
    def tool(_machine: Machine, argv: list[str]) -> str:
        Path(argv[1]).write_text(FOREIGN.format("20_memtest86+", "/boot/memtest86+x64.efi"))
        return ""

    debian.tools["grub-mkconfig"] = tool
    with pytest.raises(KernelParamsError, match="without any Linux entry"):
        debian.run(IOMMU)


def test_a_run_that_was_killed_is_completed_by_the_next(debian: Machine) -> None:
    def killed(_machine: Machine, _argv: list[str]) -> str:
        raise KeyboardInterrupt

    debian.tools["update-initramfs"] = killed
    with pytest.raises(KeyboardInterrupt):
        debian.run(LIMIT)
    debian.tools["update-initramfs"] = fine
    assert debian.run(LIMIT)["changed"]
    assert debian.names == ["update-initramfs"]
    assert not debian.run(LIMIT)["changed"]


def test_a_failed_rebuild_takes_the_file_back(debian: Machine) -> None:
    debian.tools["update-initramfs"] = lambda _machine, _argv: (1, "", "no space left")
    with pytest.raises(KernelParamsError, match="no space left"):
        debian.run(LIMIT)
    assert debian.read(OURS) is None


Space = namedtuple("Space", "f_flag f_bavail f_frsize")


@pytest.mark.parametrize(
    ("param", "state", "message"),
    [
        (LIMIT, Space(os.ST_RDONLY, 10**9, 4096), "read-only, nothing was changed"),
        (LIMIT, Space(0, 0, 4096), "0 MiB free"),
        (IOMMU, Space(os.ST_RDONLY, 10**9, 4096), "read-only, nothing was changed"),
        (IOMMU, Space(0, 0, 4096), "0 MiB free"),
    ],
)
def test_a_boot_that_cannot_be_written_stops_before_any_change(
    debian: Machine, monkeypatch: pytest.MonkeyPatch, param: Param, state: Space, message: str
) -> None:
    before, real = debian.files(), os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: state if "/boot" in path else real(path))
    with pytest.raises(KernelParamsError, match=message):
        debian.run(param)
    assert (debian.files(), debian.calls) == (before, [])


def test_limits_beyond_the_ram_are_refused_however_they_come(debian: Machine) -> None:
    count = 17 * 1024**3 // os.sysconf("SC_PAGE_SIZE")
    with pytest.raises(KernelParamsError, match=r"17\.0 GiB, and this host has 16\.0 GiB"):
        debian.run(Param("ttm.pages_limit", str(count)))
    with pytest.raises(KernelParamsError, match="number of pages"):
        debian.run(Param("ttm.pages_limit", "96G"))
    assert "tenth" in debian.run(Param("ttm.pages_limit", str(count * 16 // 17)), check=True)["warnings"][0]


def test_a_parameter_of_a_module_that_is_not_there_is_warned_about(debian: Machine) -> None:
    assert "no module amdttm" in debian.run(Param("amdttm.pages_limit", "5"), check=True)["warnings"][0]


def test_what_is_built_in_goes_to_the_command_line(debian: Machine) -> None:
    debian.write(f"lib/modules/{RELEASE}/modules.builtin", "kernel/drivers/gpu/drm/ttm/ttm.ko\n")
    assert debian.run(LIMIT, check=True)["in_force"][0]["route"] == "cmdline"


def test_a_loader_that_cannot_be_told_is_no_matter_for_modprobe(debian: Machine) -> None:
    del debian.tools["grub-mkconfig"]
    assert debian.run(LIMIT)["loader"] is None
    with pytest.raises(KernelParamsError, match="boot loader of this host cannot be told"):
        debian.run(IOMMU)


def test_a_damaged_rollback_file_stops_everything(debian: Machine) -> None:
    debian.write(STATE.lstrip("/"), "{")
    with pytest.raises(KernelParamsError, match="damaged"):
        debian.run(LIMIT)


@pytest.mark.parametrize(
    ("tools", "command"),
    [
        (["update-initramfs", "dracut"], ("update-initramfs", "-u", "-k", "all")),
        (["dracut"], ("dracut", "--regenerate-all", "--force")),
        (["mkinitcpio"], ("mkinitcpio", "-P")),
    ],
)
def test_the_initramfs_is_rebuilt_by_what_there_is(tmp_path: Path, tools: list[str], command: tuple) -> None:
    machine = Machine(tmp_path, dict.fromkeys(tools, fine))
    machine.run(LIMIT)
    assert machine.calls == [list(command)]


def test_an_initramfs_that_cannot_be_rebuilt_stops_before_any_change(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {})
    with pytest.raises(KernelParamsError, match=r"must be rebuilt, and none of"):
        machine.run(LIMIT)
    assert machine.read(OURS) is None
    (tmp_path / f"boot/initrd.img-{RELEASE}").unlink()
    assert initramfs.command(Host(Sysroot(str(tmp_path)), machine.which, machine.execute)) is None
