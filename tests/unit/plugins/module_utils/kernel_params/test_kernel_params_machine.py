# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs on a machine of files, whose programs do what the real ones do to those files."""

from __future__ import annotations

import json
import os
import subprocess
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import initramfs, loaders, memory
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.remembered import STATE, WAITING, standing
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.transaction import run
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

LIMIT = Param("ttm.pages_limit", "1000")
IOMMU = Param("amd_iommu", "off")
RELEASE = "6.12.1"
OURS = "etc/modprobe.d/zz-lamplighter.conf"
DROP_IN = "etc/default/grub.d/zz-lamplighter.cfg"


class Machine:
    is_root = True

    def __init__(self, root: Path, tools: dict[str, Callable]) -> None:
        self.root, self.tools, self.calls = root, tools, []
        self.write("proc/sys/kernel/osrelease", RELEASE)
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=x ro quiet")
        self.write("proc/meminfo", "MemTotal:       16777216 kB\n")
        self.write("sys/module/ttm/parameters/pages_limit", "500")
        self.write(
            f"lib/modules/{RELEASE}/modules.dep", "kernel/drivers/gpu/drm/ttm/ttm.ko:\nkernel/amdgpu.ko: ttm.ko\n"
        )
        self.write(f"boot/vmlinuz-{RELEASE}", "kernel")
        self.write(f"boot/initrd.img-{RELEASE}", "initramfs")
        self.write("etc/modprobe.d/.keep", "")
        self.boot("1")

    def boot(self, number: str) -> None:
        """What /run holds is gone."""
        self.write("proc/sys/kernel/random/boot_id", number)
        (self.root / WAITING.lstrip("/")).unlink(missing_ok=True)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str | None:
        full = self.root / path.lstrip("/")
        return full.read_text() if full.exists() else None

    def which(self, name: str) -> str | None:
        return str(self.root / "bin" / name) if name in self.tools else None

    def execute(self, argv: list[str]) -> tuple[int, str, str]:
        name = os.path.basename(argv[0])
        self.calls.append([name, *argv[1:]])
        answer = self.tools[name](self, argv[1:])
        return answer if isinstance(answer, tuple) else (0, answer or "", "")

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and "lamplighter/" not in str(path)
        }

    def run(self, *params: Param, route: str = "auto", purge: bool = False, check: bool = False) -> dict:
        self.calls.clear()
        host = Host(Sysroot(str(self.root)), self.which, self.execute, self.is_root)
        return run(host, list(params), route, purge, check)

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


def fine(_machine: Machine, _argv: list[str]) -> str:
    return ""


def grub_mkconfig(machine: Machine, argv: list[str]) -> str:
    """Sources the settings as the real one does."""
    files = [machine.root / "etc/default/grub", *sorted((machine.root / "etc/default/grub.d").glob("*.cfg"))]
    script = (
        "".join(f'. "{path}"\n' for path in files) + 'printf "%s" "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"'
    )
    line = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    line = " ".join(line.split())
    text = f"menuentry a {{\n\tlinux\t/vmlinuz root=x ro {line}\n\tlinux\t/vmlinuz root=x ro single\n}}\n"
    Path(argv[1]).write_text(text)
    return ""


@pytest.fixture
def debian(tmp_path: Path) -> Machine:
    tools = {"update-initramfs": fine, "grub-mkconfig": grub_mkconfig, "grub-script-check": fine}
    machine = Machine(tmp_path, tools)
    machine.write("bin/grub-mkconfig", "for x in ${sysconfdir}/default/grub.d/*.cfg ; do")
    machine.write("etc/default/grub", 'GRUB_CMDLINE_LINUX=""\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    machine.write("boot/grub/grub.cfg", "\tlinux\t/vmlinuz root=x ro quiet\n")
    return machine


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
    debian.run(LIMIT, route="cmdline")
    assert debian.names == ["update-initramfs", "grub-mkconfig", "grub-script-check"]
    assert debian.read(OURS) is None
    debian.run(LIMIT, route="modprobe")
    assert debian.read(DROP_IN) is None


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
    debian.boot("2")
    debian.write("sys/module/ttm/parameters/pages_limit", "1000")
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
