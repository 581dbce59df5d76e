# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of a copied tree lead to places of that tree, never to this machine's."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware import host
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

from tests.unit.machines import write

# link, its target, the path that is read, what is there
LINKS = [
    ("etc/os-release", "/usr/lib/os-release", "etc/os-release", "ID=copied"),
    ("etc/os-release", "../usr/lib/os-release", "/etc/os-release", "ID=copied"),
    ("opt/rocm", "/etc/alternatives/rocm", "opt/rocm/.info/version", "6.4.1-83"),
    ("etc/passwd", "/etc/shadow", "etc/passwd", None),
]


@pytest.mark.parametrize(("link", "target", "path", "text"), LINKS)
def test_absolute_links_stay_in_the_tree(tmp_path: Path, link: str, target: str, path: str, text: str | None) -> None:
    root = write(tmp_path, {"usr/lib/os-release": "ID=copied", "opt/rocm-6.4.1/.info/version": "6.4.1-83"})
    for name, to in ((link, target), ("etc/alternatives/rocm", "/opt/rocm-6.4.1")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(to)
    assert Sysroot(root).read(path) == text


def test_a_link_to_its_own_path_borrows_this_machines_folder(tmp_path: Path) -> None:
    root, there = tmp_path / "tree", tmp_path / "there"
    write(there, {"folder/text": "borrowed"})
    (there / "again").symlink_to(there / "folder")
    link = root / str(there).lstrip("/")
    link.parent.mkdir(parents=True)
    link.symlink_to(there)
    assert [Sysroot(str(root)).read(f"{there}/{name}/text") for name in ("folder", "again")] == ["borrowed"] * 2


def test_a_circle_of_links_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("/two")
    (tmp_path / "two").symlink_to("/one")
    sysroot = Sysroot(f"{tmp_path}/")
    assert (sysroot.read("one"), sysroot.exists("one"), sysroot.path("one", follow=True)) == (
        None,
        False,
        f"{tmp_path}/.too-many-links",
    )


def test_a_link_is_named_by_what_it_points_at(tmp_path: Path) -> None:
    (tmp_path / "driver").symlink_to("/sys/bus/pci/drivers/amdgpu")
    assert Sysroot(str(tmp_path)).realpath_name("driver") == "amdgpu"


def test_rocm_by_way_of_the_alternatives(tmp_path: Path) -> None:
    root = write(tmp_path, {"opt/rocm-6.4.1/.info/version": "6.4.1-83", "etc/alternatives/README": ""})
    (tmp_path / "opt/rocm").symlink_to("/etc/alternatives/rocm")
    assert host.rocm(Sysroot(root)) == {"version": "6.4.1", "path": "/opt/rocm-6.4.1"}
    (tmp_path / "etc/alternatives/rocm").symlink_to("/opt/rocm-6.4.1")
    assert host.rocm(Sysroot(root)) == {"version": "6.4.1", "path": "/opt/rocm"}
