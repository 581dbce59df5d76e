# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows Subsystem for Linux: which version, how it reaches Windows, and the GPUs that Windows has.

Files tell most of it. wslinfo and powershell.exe are only asked where the caller allows it.
"""

from __future__ import annotations

import configparser
import re
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils import process
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import pci_device
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.host import LIBRARY_DIRECTORIES, kernel_release
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.pci import VENDORS
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

# https://github.com/microsoft/WSL/blob/master/src/linux/init/wslinfo.cpp; virtioproxy is consomme's older name.
MODES = ("nat", "mirrored", "bridged", "virtioproxy", "consomme", "none", "wsl1")
POWERSHELL = "Windows/System32/WindowsPowerShell/v1.0/powershell.exe"
BINFMT = "proc/sys/fs/binfmt_misc"
PCI = re.compile(r"PCI\\VEN_([0-9A-F]{4})&DEV_([0-9A-F]{4})(?:&SUBSYS_[0-9A-F]{8})?(?:&REV_([0-9A-F]{2}))?", re.I)
RTF_UP, RTF_GATEWAY = 1, 2

# (path of powershell.exe) -> what Windows says of its GPUs: Name, PNPDeviceID and DriverVersion of each
AskGpus = Callable[[str], "list[dict[str, Any]]"]


def wsl_facts(
    sysroot: Sysroot,
    interop: bool = False,
    extra: dict[str, Any] | None = None,
    ask_gpus: AskGpus | None = None,
    run: Callable[..., tuple[int, str]] = process.run,
) -> dict[str, Any]:
    """Of a tree that is known to be of WSL. Never raises: what cannot be had is None, and a line in its warnings."""
    version = wsl_version(sysroot)
    settings = wsl_conf(sysroot)
    root = f"/{settings.get('automount.root', '/mnt').strip('/')}/".replace("//", "/")
    powershell = f"{root}c/{POWERSHELL}"
    mode = _mode_by_wslinfo(sysroot, run) if interop and version == 2 else None
    works = interop_works(sysroot, settings)
    facts: dict[str, Any] = {
        "version": version,
        "networking_mode": mode or _mode_by_files(sysroot, version),
        "interop": works,
        "automount_root": root,
        "powershell": powershell if sysroot.exists(powershell) else None,
        "gateway": gateway(sysroot.read("proc/net/route")),
        "systemd": sysroot.exists("run/systemd/system") or sysroot.read("proc/1/comm") == "systemd",
        "dxg": sysroot.exists("dev/dxg"),
        "rocdxg": any(sysroot.exists(f"{path}/librocdxg.so") for path in (*LIBRARY_DIRECTORIES, "opt/rocm/lib")),
        "windows_gpus": None,
    }
    if interop and works and facts["powershell"] and ask_gpus:
        try:
            facts["windows_gpus"] = windows_gpus(ask_gpus(sysroot.path(powershell)), extra)
        except Exception as error:  # pylint: disable=broad-except
            # Whatever Windows does, facts do not fail.
            sysroot.warnings.append(f"Windows did not tell its GPUs: {error}")
    return facts


def wsl_version(sysroot: Sysroot) -> int:
    """By the release: 5.15.167.4-microsoft-standard-WSL2 or one's own, and 4.4.0-19041-Microsoft of WSL 1."""
    return 1 if re.match(r"[34]\.4\.\d+-\d+-microsoft$", kernel_release(sysroot) or "", re.IGNORECASE) else 2


def wsl_conf(sysroot: Sysroot) -> dict[str, str]:
    """/etc/wsl.conf as section.key, in lower case: https://learn.microsoft.com/windows/wsl/wsl-config"""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, inline_comment_prefixes=("#",))
    try:
        parser.read_string(sysroot.read("etc/wsl.conf") or "")
    except configparser.Error as error:
        sysroot.warnings.append(f"/etc/wsl.conf cannot be read: {str(error).splitlines()[0]}")
    return {
        f"{section.lower()}.{key}": (value or "").strip("\"' ")
        for section in parser.sections()
        for key, value in parser.items(section)
    }


def interop_works(sysroot: Sysroot, settings: dict[str, str]) -> bool:
    """Whether the kernel hands .exe files to Windows."""
    if settings.get("interop.enabled", "true").lower() == "false":
        return False
    entries = [sysroot.read(f"{BINFMT}/{name}") for name in ("WSLInterop", "WSLInterop-late")]
    return any(entry is not None and not entry.startswith("disabled") for entry in entries)


def _mode_by_wslinfo(sysroot: Sysroot, run: Callable[..., tuple[int, str]]) -> str | None:
    program = sysroot.path("usr/bin/wslinfo")
    if not sysroot.exists("usr/bin/wslinfo"):
        return None
    code, text = run([program, "--networking-mode"], seconds=5)
    mode = text.replace("\0", "").strip().lower()
    if code == 0 and mode in MODES:
        return mode
    sysroot.warnings.append(f"wslinfo does not tell the networking mode: {mode[:80] or f'exit status {code}'}")
    return None


def _mode_by_files(sysroot: Sysroot, version: int) -> str | None:
    """Mirrored mode brings an interface of its own, none leaves only lo. A gateway in 172.16/12 is that of NAT."""
    if version == 1:
        return "wsl1"
    names = re.findall(r"^\s*([^\s:|]+):", sysroot.read("proc/net/dev") or "", re.MULTILINE)
    if "loopback0" in names:
        return "mirrored"
    if names == ["lo"]:
        return "none"
    found = re.match(r"172\.(\d+)\.", gateway(sysroot.read("proc/net/route")) or "")
    return "nat" if found and 16 <= int(found[1]) < 32 else None


def gateway(text: str | None) -> str | None:
    """Of the default route of /proc/net/route with the lowest metric. A VPN inside WSL is not the way to Windows."""
    routes = []
    for fields in (line.split() for line in (text or "").splitlines()[1:]):
        if len(fields) < 8 or not all(re.fullmatch(r"[0-9A-Fa-f]{1,8}", field) for field in (*fields[1:4], fields[7])):
            continue
        flags = int(fields[3], 16)
        default = int(fields[1], 16) == 0 and int(fields[7], 16) == 0
        if default and flags & RTF_UP and flags & RTF_GATEWAY and fields[0].startswith("eth"):
            routes.append((int(fields[6]) if fields[6].isdecimal() else 0, fields[2].zfill(8)))
    if not routes:
        return None
    address = min(routes, key=lambda route: route[0])[1]
    return ".".join(str(int(address[at : at + 2], 16)) for at in (6, 4, 2, 0))


def windows_gpus(found: list[dict[str, Any]], extra: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Win32_VideoController as facts; adapters that are no PCI devices (remote desktops) are left out."""
    gpus = []
    for one in found:
        match = PCI.match(str(one.get("PNPDeviceID") or ""))
        if not match:
            continue
        vendor_id, device_id, revision = ((part or "").lower() or None for part in match.groups())
        known = pci_device(device_id, revision, extra) if vendor_id == "1002" else {}
        gpus.append(
            {
                "product": known.get("product") or one.get("Name"),
                "vendor": VENDORS.get(vendor_id or "", "other"),
                "pci_id": f"{vendor_id}:{device_id}",
                "pci_revision": revision,
                "gfx": known.get("gfx"),
                "integrated": known.get("integrated"),
                "driver_version": one.get("DriverVersion"),
            }
        )
    return gpus
