# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs on what distributions lay out, with their tools' own options; see also test_kernel_params_loaders."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param

from tests.unit.kernel_machine import IOMMU, LIMIT, RELEASE, Machine, fine, grub_mkconfig

SYSTEMD_BOOT = "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
BLS = """\
title Fedora Linux (6.12.1) 43
version {version}
linux /vmlinuz-{version}
initrd /initramfs-{version}.img $tuned_initrd
options {options}
grub_class fedora
"""
# As `grubby --info=ALL` prints one entry.
INFO = """\
index={at}
kernel="/boot/vmlinuz-{version}"
args="{options}"
root="UUID=5f0b"
initrd="/boot/initramfs-{version}.img $tuned_initrd"
title="Fedora Linux ({version}) 43"
id="0d1c-{version}"
"""
DEFAULTS_OF_SUSE = """\
# If you change this file, run 'grub2-mkconfig -o /boot/grub2/grub.cfg' afterwards.
GRUB_DISTRIBUTOR=
GRUB_DEFAULT=saved
GRUB_CMDLINE_LINUX_DEFAULT="splash=silent resume=/dev/disk/by-uuid/1f  mitigations=auto quiet security=apparmor"
GRUB_CMDLINE_LINUX=""
# GRUB_CMDLINE_LINUX_RECOVERY="single"
GRUB_TERMINAL="gfxterm"
"""


def entry(version: str) -> str:
    return f"boot/loader/entries/0d1c-{version}.conf"


def options_of(machine: Machine, version: str) -> str:
    return next(line[8:] for line in (machine.read(entry(version)) or "").splitlines() if line.startswith("options"))


def grubby(machine: Machine, argv: list[str]) -> str:
    """Each entry's options: --args replaces by name, --remove-args=name takes name and name=value."""
    versions = [RELEASE, "6.11.4"]
    if argv == ["--info=ALL"]:
        return "".join(
            INFO.format(at=at, version=version, options=options_of(machine, version))
            for at, version in enumerate(versions)
        )
    if argv == ["--default-kernel"]:
        return f"/boot/vmlinuz-{RELEASE}\n"
    assert argv[0] == "--update-kernel=ALL"
    name, _equals, value = argv[1].partition("=")
    for version in versions:
        line = [
            word for word in options_of(machine, version).split() if word.partition("=")[0] != value.partition("=")[0]
        ]
        line += [value] if name == "--args" else []
        machine.write(entry(version), BLS.format(version=version, options=" ".join(line)))
    return ""


@pytest.fixture
def fedora(tmp_path: Path) -> Machine:
    """GRUB with BLS entries; grub2-mkconfig is there too, and is not what changes them."""
    machine = Machine(tmp_path, {"grubby": grubby, "dracut": fine, "grub2-mkconfig": fine, "kernel-install": fine})
    machine.write("boot/grub2/grub.cfg", "blscfg\n")
    machine.write("etc/kernel/cmdline", "root=UUID=5f0b ro rhgb quiet\n")
    machine.write("etc/default/grub", 'GRUB_CMDLINE_LINUX="rhgb quiet"\nGRUB_ENABLE_BLSCFG=true\n')
    machine.write(entry(RELEASE), BLS.format(version=RELEASE, options="root=UUID=5f0b ro rhgb quiet $tuned_params"))
    machine.write(entry("6.11.4"), BLS.format(version="6.11.4", options="root=UUID=5f0b ro amd_iommu=on quiet"))
    return machine


def test_every_bls_entry_of_fedora_gets_the_value(fedora: Machine) -> None:
    result = fedora.run(IOMMU, LIMIT)
    assert result["loader"] == "grubby"
    assert options_of(fedora, RELEASE) == "root=UUID=5f0b ro rhgb quiet $tuned_params amd_iommu=off"
    assert options_of(fedora, "6.11.4") == "root=UUID=5f0b ro quiet amd_iommu=off"
    assert not fedora.run(IOMMU, LIMIT)["changed"]
    assert fedora.names == ["grubby"]


@pytest.mark.parametrize("version", [RELEASE, "6.11.4"])
def test_a_kernel_that_came_without_the_value_gets_it(fedora: Machine, version: str) -> None:
    fedora.run(IOMMU)
    fedora.write(entry(version), BLS.format(version=version, options="root=UUID=5f0b ro rhgb quiet"))
    assert fedora.run(IOMMU)["changed"]
    assert options_of(fedora, version).endswith("quiet amd_iommu=off")


def test_settings_of_suse_are_edited_and_come_back_to_the_byte(tmp_path: Path) -> None:
    def grub2_mkconfig(machine: Machine, argv: list[str]) -> str:
        return grub_mkconfig(machine, argv)

    machine = Machine(tmp_path, {"grub2-mkconfig": grub2_mkconfig, "grub2-script-check": fine, "dracut": fine})
    machine.write("bin/grub2-mkconfig", "#!/bin/sh\n. /etc/default/grub\n")
    machine.write("etc/default/grub", DEFAULTS_OF_SUSE)
    machine.write("boot/grub2/grub.cfg", "\tlinux\t/boot/vmlinuz root=x ro splash=silent mitigations=auto\n")
    result = machine.run(IOMMU, Param("mitigations", "off"), LIMIT)
    assert (result["loader"], machine.names) == ("grub", ["dracut", "grub2-mkconfig", "grub2-script-check"])
    expected = DEFAULTS_OF_SUSE.replace("/1f  mitigations=auto", "/1f mitigations=off").replace(
        'apparmor"', 'apparmor amd_iommu=off"'
    )
    assert machine.read("etc/default/grub") == expected
    assert not machine.run(IOMMU, Param("mitigations", "off"), LIMIT)["changed"]
    machine.run(purge=True)
    assert machine.read("etc/default/grub") == DEFAULTS_OF_SUSE


def test_what_somebody_changes_meanwhile_in_the_settings_of_suse_stays(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {"grub2-mkconfig": grub_mkconfig, "grub2-script-check": fine, "dracut": fine})
    machine.write("bin/grub2-mkconfig", "#!/bin/sh\n")
    machine.write("etc/default/grub", DEFAULTS_OF_SUSE)
    machine.write("boot/grub2/grub.cfg", "\tlinux\t/boot/vmlinuz root=x ro splash=silent mitigations=auto\n")
    machine.run(Param("mitigations", "off"))
    text = machine.read("etc/default/grub") or ""
    machine.write("etc/default/grub", text.replace("GRUB_DEFAULT=saved", "GRUB_DEFAULT=2"))
    machine.run(purge=True)
    assert machine.read("etc/default/grub") == DEFAULTS_OF_SUSE.replace("saved", "2").replace("/1f  ", "/1f ")


def test_tumbleweed_with_systemd_boot_has_a_tool_of_its_own(tmp_path: Path) -> None:
    def sdbootutil(machine: Machine, argv: list[str]) -> str:
        if argv == ["is-installed"]:
            return ""
        assert argv == ["update-all-entries"]
        machine.write(f"boot/efi/loader/entries/system-{RELEASE}.conf", f"options {machine.read('etc/kernel/cmdline')}")
        return ""

    machine = Machine(tmp_path, {"sdbootutil": sdbootutil, "dracut": fine, "kernel-install": fine})
    machine.write(SYSTEMD_BOOT, "systemd-boot 257")
    machine.write("etc/kernel/cmdline", "root=UUID=5f0b splash=silent quiet\n")
    machine.write(f"boot/efi/loader/entries/system-{RELEASE}.conf", "options root=UUID=5f0b splash=silent quiet\n")
    machine.run(IOMMU)
    assert set(machine.names) == {"sdbootutil"}
    assert "quiet amd_iommu=off" in (machine.read(f"boot/efi/loader/entries/system-{RELEASE}.conf") or "")
    machine.run(purge=True)
    assert machine.read("etc/kernel/cmdline") == "root=UUID=5f0b splash=silent quiet\n"


@pytest.mark.parametrize(
    ("installed", "loader", "command"),
    [(0, "kernel-install", ["sdbootutil", "mkinitrd"]), (1, "grub", ["dracut", "--regenerate-all", "--force"])],
)
def test_only_where_sdbootutil_manages_the_boot_it_makes_the_initrd(
    tmp_path: Path, installed: int, loader: str, command: list[str]
) -> None:
    def sdbootutil(_machine: Machine, argv: list[str]) -> tuple[int, str, str]:
        return installed if argv == ["is-installed"] else 0, "", ""

    tools = {"sdbootutil": sdbootutil, "dracut": fine, "kernel-install": fine, "grub2-mkconfig": grub_mkconfig}
    machine = Machine(tmp_path, tools)
    machine.write("bin/grub2-mkconfig", "#!/bin/sh\n")
    machine.write("boot/grub2/grub.cfg", "\tlinux\t/boot/vmlinuz root=x ro quiet\n")
    assert machine.run(LIMIT)["loader"] == loader
    assert [call for call in machine.calls if call[1:] != ["is-installed"]] == [command]


def test_a_unified_image_of_arch_is_made_by_mkinitcpio(tmp_path: Path) -> None:
    def mkinitcpio(machine: Machine, argv: list[str]) -> str:
        assert argv == ["-P"]
        machine.write("efi/EFI/Linux/arch-linux.efi", machine.read("etc/kernel/cmdline") or "")
        return ""

    machine = Machine(tmp_path, {"mkinitcpio": mkinitcpio, "kernel-install": fine})
    machine.write(SYSTEMD_BOOT, "s\0y\0s\0t\0e\0m\0d\0-\0b\0o\0o\0t\0 \0002\0005\0007\0")
    machine.write("etc/mkinitcpio.d/linux.preset", 'PRESETS=(default)\ndefault_uki="/efi/EFI/Linux/arch-linux.efi"\n')
    machine.write("etc/kernel/cmdline", "root=UUID=5f0b rw\n")
    result = machine.run(IOMMU)
    assert (result["loader"], machine.names) == ("kernel-install", ["mkinitcpio"])
    assert machine.read("efi/EFI/Linux/arch-linux.efi") == "root=UUID=5f0b rw amd_iommu=off\n"


@pytest.mark.parametrize("param", [LIMIT, IOMMU])
def test_an_image_based_system_without_rpm_ostree_is_refused(tmp_path: Path, param: Param) -> None:
    """A bootc system: /usr is read-only, and its initramfs comes with the image."""
    machine = Machine(tmp_path, {"dracut": fine, "grubby": fine})
    machine.write("run/ostree-booted", "")
    machine.write("boot/loader/entries/a.conf", "")
    before = machine.files()
    with pytest.raises(KernelParamsError, match="cannot be told"):
        machine.run(param)
    assert machine.files() == before
