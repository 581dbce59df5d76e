# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The initial RAM file system, rebuilt by whatever the distribution has: modprobe.d is copied into it."""

from __future__ import annotations

import os

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError

# Each rebuilds for every installed kernel; the first that is there counts (Debian's dracut brings update-initramfs).
TOOLS = (
    ("update-initramfs", ("update-initramfs", "-u", "-k", "all")),
    ("dracut", ("dracut", "--regenerate-all", "--force")),
    ("mkinitcpio", ("mkinitcpio", "-P")),
)
# dracut does not write what lies on the ESP, and that is what systemd-boot and grub2-bls of SUSE start.
SDBOOTUTIL = ("sdbootutil", "mkinitrd")
IMAGES = ("/boot/initrd.img-*", "/boot/initramfs-*.img", "/boot/initrd-*", "/boot/*/*/initrd*")


def command(host: Host) -> tuple | None:
    """The command line of the tool, or None on a host that has no initramfs."""
    if host.by_sdbootutil:
        return SDBOOTUTIL
    for tool, argv in TOOLS:
        if host.which(tool):
            return argv
    images = _images(host)
    if images:
        raise KernelParamsError(
            f"{images[0]} must be rebuilt, and none of {', '.join(tool for tool, _argv in TOOLS)} is installed. "
            "Install the one that made it, or use route: cmdline."
        )
    return None


def check_space(host: Host) -> None:
    """The new image is written beside the old one."""
    largest = max((os.path.getsize(host.sysroot.path(path)) for path in _images(host)), default=0)
    if host.sysroot.exists("/boot"):
        host.check_space("/boot", largest + largest // 5 + (1 << 20))


def rebuild(host: Host) -> None:
    argv = command(host)
    if argv:
        host.command(*argv)


def _images(host: Host) -> list[str]:
    return [path for pattern in IMAGES for path in host.glob(pattern)]
