# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands to copy: of ours where the play mends it, else of the host's own distribution and unit."""

from __future__ import annotations

import re
from typing import Any

SITE = "ansible-playbook site.yml --limit {host}"
RESTART = "sudo systemctl restart ollama"
JOURNAL = "sudo journalctl --unit ollama --lines 50"
KERNEL_LOG = "sudo journalctl --dmesg --boot | grep -iE 'amdgpu|kfd|drm'"

# Rebuilding the initramfs, the package of the GPU's firmware, and taking a parameter off the kernel's command line.
_DISTRIBUTIONS = {
    "ubuntu": ("sudo update-initramfs -u", "sudo apt install linux-firmware", ""),
    "debian": ("sudo update-initramfs -u", "sudo apt install firmware-amd-graphics", ""),
    "fedora": ("sudo dracut --force", "sudo dnf upgrade linux-firmware amd-gpu-firmware", "grubby"),
    "rhel": ("sudo dracut --force", "sudo dnf upgrade linux-firmware", "grubby"),
    "suse": ("sudo dracut --force", "sudo zypper install kernel-firmware-amdgpu", ""),
    "arch": ("sudo mkinitcpio -P", "sudo pacman -Syu linux-firmware", ""),
}
_GRUB = "sudoedit /etc/default/grub && {} && sudo reboot"
_GRUB_CONFIG = {
    "suse": "sudo grub2-mkconfig -o /boot/grub2/grub.cfg",
    "arch": "sudo grub-mkconfig -o /boot/grub/grub.cfg",
}


def _family(distribution: dict[str, Any]) -> str:
    names = [str(distribution.get("id")), *map(str, distribution.get("id_like") or [])]
    return next((known for name in names for known in _DISTRIBUTIONS if name.startswith(known)), "")


def reboot_with_modules(distribution: dict[str, Any]) -> str:
    """What modprobe.d says comes into force from the initramfs."""
    rebuild = _DISTRIBUTIONS.get(_family(distribution), ("",))[0]
    return f"{rebuild} && sudo reboot" if rebuild else "sudo reboot"


def newer_firmware(distribution: dict[str, Any]) -> str:
    known = _DISTRIBUTIONS.get(_family(distribution))
    return f"{known[1]} && {known[0]} && sudo reboot" if known else ""


def remove_parameter(distribution: dict[str, Any], path: str, name: str) -> str:
    """Off the kernel's command line, or out of a file of modprobe.d."""
    family = _family(distribution)
    if path.startswith("/etc/"):
        return f"sudoedit {path} && {reboot_with_modules(distribution)}"
    if _DISTRIBUTIONS.get(family, ("", "", ""))[2] == "grubby":
        return f"sudo grubby --update-kernel=ALL --remove-args={name} && sudo reboot"
    return _GRUB.format(_GRUB_CONFIG.get(family, "sudo update-grub"))


def library_folder(binary: str) -> str:
    """Where the libraries of a program are."""
    return re.sub(r"/bin/ollama$", "/lib/ollama", binary)
