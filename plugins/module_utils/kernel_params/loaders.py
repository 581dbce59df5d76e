# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's boot loader: what it hands to the kernel, and the tool that changes it.

Every loader has `lines` (one list of words for each kernel that can be booted), `apply` (make the words of the
managed keys last over reboots and kernel updates, and give the restored keys back what they had), `space` (what
must be writable, with how many bytes to spare), `own_file` (ours alone) and `shared_file` (one that it edits).
"""

from __future__ import annotations

import json
import os

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import words
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.grub import Grub
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param

LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
# Words that a loader adds by itself.
BY_LOADER = ("BOOT_IMAGE", "initrd")


class Grubby:
    """Fedora and the RHEL family: BLS entries. Source: grubby(8); it keeps /etc/kernel/cmdline in step by itself."""

    name = "grubby"
    own_file: str | None = None
    shared_file: str | None = None

    def __init__(self, host: Host) -> None:
        self.host = host

    def lines(self) -> list[list[str]]:
        out = self.host.command("grubby", "--info=ALL")
        return [words.split(line[6:-1]) for line in out.splitlines() if line.startswith('args="')]

    def space(self) -> list[tuple[str, int]]:
        return [("/boot/loader/entries", 1 << 20), ("/etc", 1 << 20)]

    def apply(self, managed: dict, restored: dict, exact: dict) -> None:
        wanted = {**restored, **managed}
        default = self.host.command("grubby", "--default-kernel").strip()
        for key, fresh in wanted.items():
            old = {
                words.key_of(word): word.partition("=")[0] for line in self.lines() for word in words.of_key(line, key)
            }
            for name in old.values():
                self.host.command("grubby", "--update-kernel=ALL", f"--remove-args={name}")
            if fresh:
                self.host.command("grubby", "--update-kernel=ALL", f"--args={' '.join(fresh)}")
        # grubby 8.40-82 of Fedora 42 changes the default kernel on the way (BZ#2361624).
        if default and self.host.command("grubby", "--default-kernel").strip() != default:
            self.host.command("grubby", f"--set-default={default}")


class RpmOstree(Grubby):
    """Image-based Fedora: arguments belong to the deployment. Source: rpm-ostree(1), kargs."""

    name = "rpm-ostree"

    def lines(self) -> list[list[str]]:
        return [words.split(self.host.command("rpm-ostree", "kargs"))]

    def space(self) -> list[tuple[str, int]]:
        return []

    def apply(self, managed: dict, restored: dict, exact: dict) -> None:
        line, wanted = self.lines()[0], {**restored, **managed}
        gone = [f"--delete-if-present={word}" for key in wanted for word in words.of_key(line, key)]
        fresh = [f"--append-if-missing={word}" for found in wanted.values() for word in found]
        self.host.command("rpm-ostree", "kargs", *gone, *fresh)


class Kernelstub(Grubby):
    """Pop!_OS: kernelstub writes the loader's entries. Source: kernelstub(1)."""

    name = "kernelstub"
    config = "/etc/kernelstub/configuration"

    def lines(self) -> list[list[str]]:
        try:
            options = json.loads(self.host.text(self.config) or "")["user"]["kernel_options"]
        except (ValueError, KeyError, TypeError) as error:
            raise KernelParamsError(
                f"{self.config} cannot be read ({error!r}). Run: kernelstub --print-config"
            ) from error
        return [options if isinstance(options, list) else words.split(options)]

    def space(self) -> list[tuple[str, int]]:
        return [("/etc", 1 << 20), ("/boot/efi", 1 << 20)]

    def apply(self, managed: dict, restored: dict, exact: dict) -> None:
        for key, fresh in {**restored, **managed}.items():
            for word in words.of_key(self.lines()[0], key):
                self.host.command("kernelstub", "--delete-options", word)
            for word in fresh:
                self.host.command("kernelstub", "--add-options", word)


class KernelInstall:
    """systemd-boot and unified kernel images: /etc/kernel/cmdline. Source: kernel-install(8), sdbootutil(8)."""

    name = "kernel-install"
    own_file: str | None = None
    shared_file: str | None = "/etc/kernel/cmdline"
    config = "/etc/kernel/cmdline"

    def __init__(self, host: Host) -> None:
        self.host = host

    def lines(self) -> list[list[str]]:
        text = self.host.sysroot.read(self.config)
        if text is None:  # what kernel-install takes then
            text = self.host.sysroot.read("/usr/lib/kernel/cmdline") or self.host.sysroot.read("/proc/cmdline")
        found = [words.split(" ".join(line for line in (text or "").splitlines() if not line.startswith("#")))]
        entries = [self._options(path) for path in self._entries()]
        return [[word for word in line if words.key_of(word) not in BY_LOADER] for line in found + entries]

    def space(self) -> list[tuple[str, int]]:
        # Each kernel and initramfs is copied beside the one that it replaces.
        sizes = [
            os.path.getsize(self.host.sysroot.path(path))
            for _r, image, ram in self.host.kernels()
            for path in (image, ram)
            if path
        ]
        return [("/etc/kernel", 1 << 20), (self._esp() or "/boot", max(sizes, default=0) + (1 << 20))]

    def apply(self, managed: dict, restored: dict, exact: dict) -> None:
        before, line, wanted = self.host.text(self.config), self.lines()[0], {**restored, **managed}
        for key, fresh in wanted.items():
            line = words.replace(line, key, fresh)
        self.host.write(self.config, exact["text"] if exact else " ".join(line) + "\n")
        try:
            self.rebuild()
            for path in self._entries():
                options = self._options(path)
                if any(words.of_key(options, key) != fresh for key, fresh in wanted.items()):
                    raise KernelParamsError(
                        f"{path} was not renewed from {self.config}: it is not made by kernel-install. Use "
                        "route: modprobe for a module's parameter, or change its options line by hand."
                    )
        except KernelParamsError:
            self.host.write(self.config, before)
            raise

    def rebuild(self) -> None:
        if self.host.by_sdbootutil:
            self.host.command("sdbootutil", "update-all-entries")
            return
        presets = [self.host.text(path) or "" for path in self.host.glob("/etc/mkinitcpio.d/*.preset")]
        if any("_uki=" in line for text in presets for line in text.splitlines() if not line.startswith("#")):
            self.host.command("mkinitcpio", "-P")
            return
        for release, image, initramfs in self.host.kernels():
            self.host.command("kernel-install", "add", release, image, *([initramfs] if initramfs else []))

    def unified(self) -> bool:
        """A unified kernel image holds its initramfs: one cannot be renewed without the other."""
        texts = [self.host.text(f"{folder}/kernel/install.conf") or "" for folder in ("/etc", "/usr/lib")]
        return any("layout=uki" in text for text in texts)

    def _esp(self) -> str | None:
        return next(
            (path for path in ("/efi", "/boot", "/boot/efi") if self.host.sysroot.exists(f"{path}/loader/entries")),
            None,
        )

    def _entries(self) -> list[str]:
        releases = [release for release, _image, _initramfs in self.host.kernels()]
        found = self.host.glob(f"{self._esp()}/loader/entries/*.conf") if self._esp() else []
        return [path for path in found if any(release in path for release in releases)]

    def _options(self, path: str) -> list[str]:
        text = self.host.text(path) or ""
        return [word for line in text.splitlines() if line.startswith("options") for word in words.split(line)[1:]]


def detect(host: Host):
    """The loader that this machine boots with, from what is there and what it said of itself at boot."""
    exists, which = host.sysroot.exists, host.which
    said = (host.sysroot.read(LOADER_INFO) or "").replace("\0", "")[-60:]
    if exists("/run/ostree-booted"):
        if which("rpm-ostree"):
            return RpmOstree(host)
    elif exists(Kernelstub.config) and which("kernelstub"):
        return Kernelstub(host)
    elif which("grubby") and host.glob("/boot/loader/entries/*.conf"):
        return Grubby(host)
    elif host.by_sdbootutil or ("systemd-boot" in said and which("kernel-install")):
        return KernelInstall(host)
    elif Grub.present(host):
        return Grub(host)
    elif which("kernel-install") and (
        exists(KernelInstall.config)
        or exists("/sys/firmware/efi/efivars/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
    ):
        return KernelInstall(host)
    raise KernelParamsError(
        "the boot loader of this host cannot be told: there is no rpm-ostree, kernelstub, grubby, kernel-install or "
        "GRUB configuration that this module knows. Use route: modprobe for a module's parameter."
    )


def foreign_lines(host: Host, params: dict) -> list[tuple[str, int, Param]]:
    """Where a person or an installer wrote one of the keys: (path, line, parameter)."""
    paths = [
        "/etc/default/grub",
        *host.glob("/etc/default/grub.d/*.cfg"),
        KernelInstall.config,
        *host.glob("/etc/cmdline.d/*.conf"),
    ]
    found = []
    for path in paths:
        if path == Grub.drop_in:
            continue
        for number, line in enumerate((host.text(path) or "").splitlines(), 1):
            if line.lstrip().startswith("#"):
                continue
            quoted = line.partition("=")[2].strip().strip("\"'") if line.startswith("GRUB_") else line
            for word in words.split(quoted):
                if words.key_of(word) in params:
                    found.append((path, number, Param(word.partition("=")[0], words.value_of(word))))
    return found
