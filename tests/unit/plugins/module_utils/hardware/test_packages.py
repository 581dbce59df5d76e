# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the firmware package, from each distribution's own files."""

from __future__ import annotations

import gzip
import sqlite3
import struct
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware import packages
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

from tests.unit.machines import write

DPKG = "var/lib/dpkg/status"
PACMAN = "var/lib/pacman/local/linux-firmware-amdgpu-20251125-1/desc"
INSTALLED = "install ok installed"
RPM = "usr/lib/sysimage/rpm/rpmdb.sqlite"


def version(root: Path) -> tuple[str | None, int]:
    sysroot = Sysroot(str(root))
    return packages.linux_firmware_version(sysroot), len(sysroot.warnings)


def test_a_changelog_of_debian(tmp_path: Path) -> None:
    path = tmp_path / "usr/share/doc/firmware-amd-graphics/changelog.Debian.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b"firmware-nonfree (20250410-2) unstable; urgency=medium\n"))
    assert version(tmp_path) == ("20250410-2", 0)
    path.write_bytes(b"not gzip")
    write(tmp_path, {PACMAN: ""})
    assert version(tmp_path) == ("20251125-1", 1)


def paragraph(name: str, number: str, status: str = INSTALLED) -> str:
    return f"Package: {name}\nStatus: {status}\nArchitecture: all\nVersion: {number}\nDescription: x\n Version: 9\n\n"


DPKGS = [
    ([("bash", "5.2"), ("linux-firmware", "20240318.git3b128b60-0ubuntu2.10")], "20240318.git3b128b60-0ubuntu2.10"),
    ([("linux-firmware", "1"), ("linux-firmware-amd-graphics", "20250901-0ubuntu1")], "20250901-0ubuntu1"),
    ([("firmware-amd-graphics", "20250410-2", "deinstall ok config-files")], None),
    ([("not-linux-firmware", "1")], None),
]


@pytest.mark.parametrize(("installed", "expected"), DPKGS)
def test_dpkg_where_an_image_leaves_out_the_changelogs(
    tmp_path: Path, installed: list[tuple[str, ...]], expected: str | None
) -> None:
    write(tmp_path, {DPKG: "".join(paragraph(*one) for one in installed)})
    assert version(tmp_path) == (expected, 0)


def header(name: str, number: str, release: str) -> bytes:
    """An rpm header as rpm keeps it: index entries in the order of their tags, and their texts."""
    texts = [(1000, name), (1001, number), (1002, release), (1004, "Firmware")]
    index, data = b"", b""
    for tag, text in texts:
        index += struct.pack(">IIII", tag, 6, len(data), 1)
        data += text.encode() + b"\0"
    return struct.pack(">II", len(texts), len(data)) + index + data


def rpm_database(root: Path, *installed: tuple[str, str, str]) -> Path:
    path = root / RPM
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        database.execute("CREATE TABLE Name (key TEXT NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)")
        for hnum, one in enumerate(installed, 1):
            database.execute("INSERT INTO Packages VALUES (?, ?)", (hnum, header(*one)))
            database.execute("INSERT INTO Name VALUES (?, ?, 0)", (one[0], hnum))
    database.close()
    return path


RPMS = [
    ([("bash", "5", "1"), ("amd-gpu-firmware", "20251125", "1.fc43")], "20251125-1.fc43"),
    ([("linux-firmware", "20251011", "1"), ("amd-gpu-firmware", "20251021", "1")], "20251021-1"),
    ([("kernel-firmware-amdgpu", "20260110", "1.1")], "20260110-1.1"),
    ([("bash", "5", "1")], None),
]


@pytest.mark.parametrize(("installed", "expected"), RPMS)
def test_rpm(tmp_path: Path, installed: list[tuple[str, str, str]], expected: str | None) -> None:
    path = rpm_database(tmp_path, *installed)
    before = sorted(path.parent.iterdir())
    assert version(tmp_path) == (expected, 0)
    assert sorted(path.parent.iterdir()) == before


def test_a_database_that_is_none_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, {RPM: "not a database"})
    assert version(tmp_path) == (None, 1)


@pytest.mark.parametrize("blob", [b"", b"\0" * 8, b"\0\0\0\1" * 3])
def test_a_header_that_is_none_is_a_warning(tmp_path: Path, blob: bytes) -> None:
    path = rpm_database(tmp_path, ("linux-firmware", "1", "1"))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE Packages SET blob = ?", (blob,))
    database.close()
    assert version(tmp_path) == (None, 1)


def test_a_python_without_sqlite_reads_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rpm_database(tmp_path, ("linux-firmware", "1", "1"))
    monkeypatch.setattr(packages, "sqlite3", None)
    assert version(tmp_path) == (None, 0)
