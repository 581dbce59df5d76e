# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a run, what everybody is told of it, and what a plain user sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.remembered import (
    STATE,
    WAITING,
    standing,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

from tests.unit.kernel_machine import IOMMU, LIMIT, OURS, Machine, debian, fine


@pytest.fixture(name="debian")
def _debian(tmp_path: Path) -> Machine:
    return debian(tmp_path)


def told(machine: Machine) -> list[tuple]:
    found = standing(Sysroot(str(machine.root)))
    return [(item["name"], item["value"], item["route"], item["in_force"], item["waits"]) for item in found]


def test_what_is_set_and_what_waits_is_told_to_everybody(debian: Machine) -> None:
    assert told(debian) == []
    debian.run(LIMIT, IOMMU)
    assert told(debian) == [
        ("ttm.pages_limit", "1000", "modprobe", False, True),
        ("amd_iommu", "off", "cmdline", False, True),
    ]
    debian.write("sys/module/ttm/parameters/pages_limit", "1000")
    assert told(debian)[0] == ("ttm.pages_limit", "1000", "modprobe", True, False)  # written at run time
    debian.boot("2")
    assert told(debian) == [
        ("ttm.pages_limit", "1000", "modprobe", True, False),
        ("amd_iommu", "off", "cmdline", False, False),  # it did not take
    ]
    debian.run(purge=True)
    assert told(debian) == [("amd_iommu", None, None, False, True), ("ttm.pages_limit", None, None, False, True)]


def test_nothing_is_remembered_of_what_was_taken_back(debian: Machine) -> None:
    debian.run(LIMIT, IOMMU)
    debian.run(purge=True)
    assert debian.read(STATE) is None
    debian.boot("2")
    assert told(debian) == []
    assert not (debian.root / "var/lib/lamplighter").exists()


def test_what_others_keep_beside_it_stays(debian: Machine) -> None:
    debian.write("var/lib/lamplighter/models/a", "")
    debian.run(IOMMU)
    debian.run(purge=True)
    assert debian.read("var/lib/lamplighter/models/a") == ""


def test_a_rollback_file_of_odd_types_is_no_reason_to_stop(debian: Machine) -> None:
    debian.write(STATE.lstrip("/"), '{"cmdline": {"a.b": {"name": "a.b", "value": 5, "state": "present"}}}')
    debian.write("sys/module/a/parameters/b", "5")
    assert told(debian) == [("a.b", "5", "cmdline", False, False)]


@pytest.mark.parametrize("text", ["{", "[]", '{"cmdline": 5}', '{"cmdline": {"a": 5}}', "\0"])
def test_damaged_files_are_nothing_to_those_who_only_look(debian: Machine, text: str) -> None:
    debian.write(STATE.lstrip("/"), text)
    debian.write(WAITING.lstrip("/"), text)
    assert told(debian) == []


def test_a_run_that_was_cut_off_waits_for_the_boot_after_its_completion(debian: Machine) -> None:
    def killed(_machine: Machine, _argv: list[str]) -> str:
        raise KeyboardInterrupt

    debian.tools["update-initramfs"] = killed
    with pytest.raises(KeyboardInterrupt):
        debian.run(LIMIT)
    debian.boot("2")
    debian.tools["update-initramfs"] = fine
    result = debian.run(LIMIT)
    assert (result["changed"], result["reboot_required"], result["not_taken"]) == (True, True, [])


def closed(_machine: Machine, _argv: list[str]) -> tuple[int, str, str]:
    return 1, "", "Permission denied"


def test_a_plain_user_sees_what_would_be_done_and_changes_nothing(
    debian: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_root(_host: Host, path: str) -> str | None:
        if path == "/boot/grub/grub.cfg":
            raise PermissionError(13, "Permission denied", path)
        return debian.read(path)

    monkeypatch.setattr(Host, "text", only_root)
    debian.is_root = False
    result = debian.run(LIMIT, IOMMU, check=True)
    assert result["diff"]["after"].endswith("root=x ro quiet amd_iommu=off\n")
    assert result["loader"] == "grub"
    assert "Only root can read" in result["warnings"][0]
    with pytest.raises(PermissionError):
        debian.run(IOMMU)
    monkeypatch.undo()
    with pytest.raises(KernelParamsError, match="become: true"):
        debian.run(LIMIT, IOMMU)
    assert debian.read(OURS) is None


def test_a_plain_user_sees_what_would_be_done_with_grubby(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {"grubby": closed})
    machine.write("boot/loader/entries/a.conf", "")
    machine.is_root = False
    assert machine.run(IOMMU, check=True)["loader"] == "grubby"
    machine.is_root = True
    with pytest.raises(KernelParamsError, match="Permission denied"):
        machine.run(IOMMU, check=True)
