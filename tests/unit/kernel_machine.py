# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine of files, whose programs do what the real ones do to those files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.remembered import WAITING
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.transaction import run
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import Param
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
        # What GRUB would find after a power cut: the files at each sync.
        self.settled: list[dict[str, str]] = []
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
        if name == "sync":
            self.settled.append(self.files())
            return (0, "", "")
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
        self.settled.clear()
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


def debian(root: Path) -> Machine:
    tools = {"update-initramfs": fine, "grub-mkconfig": grub_mkconfig, "grub-script-check": fine}
    machine = Machine(root, tools)
    machine.write("bin/grub-mkconfig", "for x in ${sysconfdir}/default/grub.d/*.cfg ; do")
    machine.write("etc/default/grub", 'GRUB_CMDLINE_LINUX=""\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    machine.write("boot/grub/grub.cfg", "\tlinux\t/vmlinuz root=x ro quiet\n")
    return machine
