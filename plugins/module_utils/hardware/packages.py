# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the firmware package, from the files of dpkg, rpm or pacman."""

from __future__ import annotations

import gzip
import re
import struct
from contextlib import closing

from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

try:
    import sqlite3
except ImportError:  # a Python without it: rpm's database stays unread
    sqlite3 = None  # type: ignore[assignment]

# The package that has amdgpu's files, before the one that has all others.
NAMES = ("linux-firmware-amd-graphics", "firmware-amd-graphics", "linux-firmware")
RPM_NAMES = ("amd-gpu-firmware", "kernel-firmware-amdgpu", "linux-firmware")
RPM_DATABASES = ("usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite")
RPM_VERSION, RPM_RELEASE = 1001, 1002


def linux_firmware_version(sysroot: Sysroot) -> str | None:
    return _of_changelog(sysroot) or _of_dpkg(sysroot) or _of_rpm(sysroot) or _of_pacman(sysroot)


def _of_changelog(sysroot: Sysroot) -> str | None:
    """Quick to read, but images for containers leave it out."""
    for package in NAMES:
        path = f"usr/share/doc/{package}/changelog.Debian.gz"
        if sysroot.exists(path):
            try:
                with gzip.open(sysroot.path(path), "rt", encoding="utf-8", errors="replace") as handle:
                    match = re.match(r"\S+ \(([^)]+)\)", handle.readline(300))
            except (OSError, EOFError) as error:
                sysroot.warnings.append(f"{path}: {error}")
                continue
            if match:
                return match[1]
    return None


def _of_dpkg(sysroot: Sysroot) -> str | None:
    """https://manpages.debian.org/dpkg: paragraphs of `Key: value`; what is removed may still be listed."""
    found = {}
    for paragraph in (sysroot.read("var/lib/dpkg/status") or "").split("\n\n"):
        name, version = (re.search(rf"^{key}: (\S+)$", paragraph, re.MULTILINE) for key in ("Package", "Version"))
        if name and version and name[1] in NAMES and "\nStatus: install ok installed" in paragraph:
            found[name[1]] = version[1]
    return next((found[name] for name in NAMES if name in found), None)


def _of_rpm(sysroot: Sysroot) -> str | None:
    path = next((path for path in RPM_DATABASES if sysroot.exists(path)), None)
    if not path or sqlite3 is None:
        return None
    query = "SELECT blob FROM Packages WHERE hnum IN (SELECT hnum FROM Name WHERE key = ?)"
    try:
        # immutable: only root may write the files that any other way of opening needs.
        with closing(sqlite3.connect(f"file:{sysroot.path(path)}?mode=ro&immutable=1", uri=True)) as database:
            for name in RPM_NAMES:
                for (header,) in database.execute(query, (name,)):
                    return f"{rpm_text(header, RPM_VERSION)}-{rpm_text(header, RPM_RELEASE)}"
    except (sqlite3.Error, struct.error, IndexError) as error:
        sysroot.warnings.append(f"{path}: {error}")
    return None


def rpm_text(header: bytes, wanted: int) -> str:
    """A text of an rpm header: numbers of entries and bytes, entries of (tag, type, offset, count), the bytes."""
    entries, _bytes = struct.unpack_from(">II", header)
    for at in range(entries):
        tag, _type, offset, _count = struct.unpack_from(">IIII", header, 8 + 16 * at)
        if tag == wanted:
            return header[8 + 16 * entries + offset :].split(b"\0", 1)[0].decode("utf-8", "replace")
    raise IndexError(f"an rpm header without the tag {wanted}")


def _of_pacman(sysroot: Sysroot) -> str | None:
    packages = [
        re.fullmatch(r"linux-firmware(?:-amdgpu)?-([0-9].*)", name) for name in sysroot.listdir("var/lib/pacman/local")
    ]
    return next((match[1] for match in packages if match), None)
