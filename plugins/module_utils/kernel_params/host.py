# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that is changed: its files below a root, its programs, and writes that a power cut cannot halve."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot


@dataclass
class Host:
    sysroot: Sysroot
    # Where a program is, or None; and running it: exit code, standard output, standard error.
    which: Callable
    run: Callable
    is_root: bool = True

    @property
    def release(self) -> str:
        return self.sysroot.read("/proc/sys/kernel/osrelease") or os.uname().release

    @property
    def boot_id(self) -> str:
        return self.sysroot.read("/proc/sys/kernel/random/boot_id") or ""

    @property
    def by_sdbootutil(self) -> bool:
        """Whether sdbootutil manages the boot, as SUSE's kernel packages ask: it can lie beside a classic GRUB 2."""
        program = self.which("sdbootutil")
        return bool(program) and self.run([program, "is-installed"])[0] == 0

    def glob(self, pattern: str) -> list[str]:
        """Paths as the host sees them."""
        root = self.sysroot.root.rstrip("/")
        return sorted(found[len(root) :] for found in glob.glob(self.sysroot.path(pattern)))

    def text(self, path: str) -> str | None:
        """A file as it is, with its last newline; None where there is none."""
        try:
            with open(self.sysroot.path(path), encoding="utf-8", errors="surrogateescape") as handle:
                return handle.read()
        except FileNotFoundError:
            return None

    def write(self, path: str, text: str | None) -> None:
        """The whole new file or the old one, whatever happens meanwhile. None removes it."""
        full = os.path.realpath(self.sysroot.path(path))
        if text is None:
            if os.path.exists(full):
                os.unlink(full)
                _sync(os.path.dirname(full))
            return
        os.makedirs(os.path.dirname(full), exist_ok=True)
        mode = os.stat(full).st_mode & 0o7777 if os.path.exists(full) else 0o644
        fresh = f"{full}.lamplighter"
        with open(fresh, "w", encoding="utf-8", errors="surrogateescape") as handle:
            handle.write(text)
            os.fchmod(handle.fileno(), mode)
        self.publish(fresh, full)

    def remove_empty(self, path: str) -> None:
        """The folder of a file that is gone, unless others have something in it."""
        folder = os.path.dirname(self.sysroot.path(path))
        if not os.listdir(folder):
            os.rmdir(folder)

    def publish(self, fresh: str, full: str) -> None:
        """Put a finished file in the place of another one."""
        _sync(fresh)
        os.replace(fresh, full)
        _sync(os.path.dirname(full))

    def settle(self) -> None:
        """What the machine boots from is where its firmware and GRUB look: neither of them replays a journal.

        After an fsync alone GRUB was seen to read an empty grub.cfg half a minute later. Not on XFS, whose log only a
        freeze empties. Source: syncfs(2), and sync_filesystem() in the kernel's fs/sync.c.
        """
        places = [self.sysroot.path(path) for path in ("/boot", "/boot/efi", "/efi") if self.sysroot.exists(path)]
        if places:
            self.command("sync", "-f", *places)

    def command(self, *argv: str) -> str:
        code, out, err = self.run([self.which(argv[0]) or argv[0], *argv[1:]])
        if code:
            raise KernelParamsError(f"{' '.join(argv)} failed with {code}: {(err or out).strip()[-2000:]}")
        return out

    def kernels(self) -> list[tuple[str, str, str | None]]:
        """Each installed kernel: (release, image, initramfs beside it)."""
        found = []
        for release in self.sysroot.listdir("/lib/modules"):
            images = [f"/lib/modules/{release}/vmlinuz", f"/boot/vmlinuz-{release}"]
            image = next((path for path in images if self.sysroot.exists(path)), None)
            initramfs = f"/boot/initrd.img-{release}"
            if image:
                found.append((release, image, initramfs if self.sysroot.exists(initramfs) else None))
        return found

    def check_space(self, directory: str, needed: int) -> None:
        """Raise unless a directory can be written and has that many bytes to spare."""
        full = self.sysroot.path(directory)
        while not os.path.exists(full):
            full = os.path.dirname(full)
        state = os.statvfs(full)
        if not self.is_root:
            raise KernelParamsError("only root can set kernel parameters, nothing was changed. Use become: true.")
        if state.f_flag & os.ST_RDONLY or not os.access(full, os.W_OK):
            raise KernelParamsError(
                f"{directory} is read-only, nothing was changed. Mount it writable, or on an image-based system "
                "use its own tool for kernel arguments."
            )
        free = state.f_bavail * state.f_frsize
        if free < needed:
            raise KernelParamsError(
                f"{directory} has {free >> 20} MiB free, and {(needed >> 20) + 1} MiB are needed to rebuild what the "
                "machine boots from; nothing was changed. Remove old kernels, such as with: apt autoremove --purge."
            )


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
