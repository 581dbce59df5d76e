# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs with each boot loader beside GRUB, and with a GRUB that has no folder for drop-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import loaders
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError

from tests.unit.kernel_machine import IOMMU, LIMIT, RELEASE, Machine, debian, fine


@pytest.fixture(name="debian")
def _debian(tmp_path: Path) -> Machine:
    return debian(tmp_path)


def test_settings_without_a_drop_in_folder_are_edited_and_restored_to_the_byte(debian: Machine) -> None:
    text = "# SUSE\nGRUB_CMDLINE_LINUX_DEFAULT='quiet   amd_iommu=on'\n"
    debian.write("bin/grub-mkconfig", "#!/bin/sh\n")
    debian.write("etc/default/grub", text)
    debian.run(IOMMU)
    assert debian.read("etc/default/grub") == '# SUSE\nGRUB_CMDLINE_LINUX_DEFAULT="quiet amd_iommu=off"\n'
    debian.run(purge=True)
    assert debian.read("etc/default/grub") == text


def kernel_install(machine: Machine, argv: list[str]) -> str:
    machine.write(f"boot/efi/loader/entries/debian-{argv[1]}.conf", f"options {machine.read('etc/kernel/cmdline')}")
    return ""


@pytest.fixture
def systemd_boot(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path, {"update-initramfs": fine, "kernel-install": kernel_install})
    machine.write(loaders.LOADER_INFO.lstrip("/"), "systemd-boot 257")
    machine.write("etc/kernel/cmdline", "root=x  ro quiet\n")
    machine.write(f"boot/efi/loader/entries/debian-{RELEASE}.conf", "title a\noptions root=x ro quiet\n")
    return machine


def test_systemd_boot_gets_its_command_line_and_its_entries(systemd_boot: Machine) -> None:
    systemd_boot.run(IOMMU)
    assert systemd_boot.read("etc/kernel/cmdline") == "root=x ro quiet amd_iommu=off\n"
    assert systemd_boot.calls == [
        ["kernel-install", "add", RELEASE, f"/boot/vmlinuz-{RELEASE}", f"/boot/initrd.img-{RELEASE}"]
    ]
    assert not systemd_boot.run(IOMMU)["changed"]
    systemd_boot.run(purge=True)
    assert systemd_boot.read("etc/kernel/cmdline") == "root=x  ro quiet\n"


def test_an_entry_made_by_hand_is_not_pretended_to_be_changed(systemd_boot: Machine) -> None:
    systemd_boot.tools["kernel-install"] = fine
    with pytest.raises(KernelParamsError, match="not made by kernel-install"):
        systemd_boot.run(IOMMU)
    assert systemd_boot.read("etc/kernel/cmdline") == "root=x  ro quiet\n"


def test_a_unified_image_is_made_anew_with_its_initramfs(systemd_boot: Machine) -> None:
    systemd_boot.write("etc/kernel/install.conf", "layout=uki\n")
    systemd_boot.run(LIMIT)
    assert systemd_boot.names == ["update-initramfs", "kernel-install"]


def test_grubby_replaces_by_name_and_keeps_the_default_kernel(tmp_path: Path) -> None:
    line, default = ["root=x ro amd_iommu=on rhgb"], ["/boot/vmlinuz-a"]

    def grubby(_machine: Machine, argv: list[str]) -> str:
        if argv == ["--info=ALL"]:
            return f'index=0\nargs="{line[0]}"\nroot="x"\n'
        if argv == ["--default-kernel"]:
            return default[0]
        if argv[0].startswith("--set-default="):
            default[0] = argv[0].partition("=")[2]
        elif argv[1].startswith("--remove-args="):
            line[0] = " ".join(word for word in line[0].split() if word.split("=")[0] != argv[1][14:])
            default[0] = "/boot/vmlinuz-b"
        else:
            line[0] += " " + argv[1].partition("=")[2]
        return ""

    machine = Machine(tmp_path, {"grubby": grubby, "dracut": fine})
    machine.write("boot/loader/entries/a.conf", "")
    machine.run(IOMMU, LIMIT)
    assert (line[0], default[0]) == ("root=x ro rhgb amd_iommu=off", "/boot/vmlinuz-a")
    assert ["dracut", "--regenerate-all", "--force"] in machine.calls
    machine.run(purge=True)
    assert line[0] == "root=x ro rhgb amd_iommu=on"


def test_rpm_ostree_gets_kernel_arguments_for_everything(tmp_path: Path) -> None:
    line = ["root=x ro amd_iommu=on"]

    def rpm_ostree(_machine: Machine, argv: list[str]) -> str:
        for word in argv[1:]:
            option, _equals, value = word.partition("=")
            if option == "--delete-if-present":
                line[0] = " ".join(found for found in line[0].split() if found != value)
            else:
                line[0] += f" {value}"
        return line[0]

    machine = Machine(tmp_path, {"rpm-ostree": rpm_ostree})
    machine.write("run/ostree-booted", "")
    machine.run(IOMMU, LIMIT)
    assert line[0] == "root=x ro amd_iommu=off ttm.pages_limit=1000"
    machine.run(purge=True)
    assert line[0] == "root=x ro amd_iommu=on"


def test_kernelstub_keeps_its_own_list(tmp_path: Path) -> None:
    def kernelstub(machine: Machine, argv: list[str]) -> str:
        options = json.loads(machine.read("etc/kernelstub/configuration") or "")["user"]["kernel_options"]
        options = [*options, argv[1]] if argv[0] == "--add-options" else [word for word in options if word != argv[1]]
        machine.write("etc/kernelstub/configuration", json.dumps({"user": {"kernel_options": options}}))
        return ""

    machine = Machine(tmp_path, {"kernelstub": kernelstub, "update-initramfs": fine})
    machine.write("etc/kernelstub/configuration", json.dumps({"user": {"kernel_options": ["quiet", "amd_iommu=on"]}}))
    machine.run(IOMMU)
    assert '["quiet", "amd_iommu=off"]' in (machine.read("etc/kernelstub/configuration") or "")
    machine.write("etc/kernelstub/configuration", "{}")
    with pytest.raises(KernelParamsError, match="cannot be read"):
        machine.run(IOMMU)
