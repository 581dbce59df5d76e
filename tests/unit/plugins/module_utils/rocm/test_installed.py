# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ROCm is installed, by the files of a tree in the layouts of AMD, Debian and Ollama."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.installed import gather

DPKG_ALTERNATIVES = """auto
/opt/rocm/lib

/opt/rocm/core-10.0/lib
100
/opt/rocm/core-10.1/lib
101

"""
ROCMINFO = """ROCk module is loaded
Agent 1
  Name:                    AMD RYZEN AI MAX+ 395
  Device Type:             CPU
Agent 2
  Name:                    gfx1151
  Device Type:             GPU
      Name:                    amdgcn-amd-amdhsa--gfx1151
"""


def write(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def prefix(root: Path, path: str, version: str, rocblas: str, *gfx: str) -> None:
    write(root, f"{path}/.info/version", text=f"{version}\n")
    write(root, f"{path}/lib/librocblas.so.{rocblas}", f"{path}/lib/librocblas.so.5")
    write(root, *(f"{path}/lib/rocblas/library/TensileLibrary_lazy_{name}.dat" for name in gfx))
    write(root, f"{path}/lib/rocblas/library/TensileManifest.txt", f"{path}/lib/rocblas/library/readme_gfx900")


@pytest.fixture
def halo(tmp_path: Path) -> Path:
    """Two versions side by side, the older one active, and the engine's own rocBLAS."""
    prefix(tmp_path, "opt/rocm/core-10.0", "10.0.0", "5.4.0", "gfx1151")
    prefix(tmp_path, "opt/rocm/core-10.1", "10.1.0", "5.5.0", "gfx1151", "gfx90a")
    write(tmp_path, "var/lib/dpkg/alternatives/rocm-lib", text=DPKG_ALTERNATIVES)
    write(tmp_path, "var/lib/dpkg/alternatives/editor", text="auto\n/usr/bin/editor\n\n/usr/bin/vi\n10\n\n")
    (tmp_path / "etc/alternatives").mkdir(parents=True)
    (tmp_path / "etc/alternatives/rocm-lib").symlink_to("/opt/rocm/core-10.0/lib")
    (tmp_path / "opt/rocm/core").symlink_to(tmp_path / "opt/rocm/core-10.0")
    (tmp_path / "opt/rocm-10.0.0").symlink_to(tmp_path / "opt/rocm/core-10.0")  # some packages make it, too
    (tmp_path / "opt/rocm/core-10").symlink_to(tmp_path / "opt/rocm/core-10.0")
    ollama = "opt/ollama/current/lib/ollama/rocm_v7_2"
    write(tmp_path, f"{ollama}/librocblas.so.5.2.70201", f"{ollama}/rocblas/library/Kernels.so-000-gfx1100.hsaco")
    return tmp_path


def asked(root: Path, commands: dict[str, tuple[int, str]] | None = None, **wanted: Any) -> dict[str, Any]:
    def run(command: list[str]) -> tuple[int, str]:
        # By what a command line begins or ends with.
        known = commands or {}
        line = " ".join(command)
        return next((said for key, said in known.items() if key in line), (127, ""))

    return gather(run, sysroot=str(root), **wanted)


def test_versions_and_what_they_are_for(halo):
    found = asked(halo)
    assert [(line["version"], line["path"], line["legacy"], line["gfx"]) for line in found["lines"]] == [
        ("10.0.0", "/opt/rocm/core-10.0", False, ["gfx1151"]),
        ("10.1.0", "/opt/rocm/core-10.1", False, ["gfx1151", "gfx90a"]),
    ]
    assert found["active"] == "10.0"
    assert [(one["version"], one["gfx"]) for one in found["rocblas"]] == [
        ("5.2.70201", ["gfx1100"]),
        ("5.4.0", ["gfx1151"]),
        ("5.5.0", ["gfx1151", "gfx90a"]),
    ]


def test_the_legacy_line_and_who_owns_it(tmp_path):
    prefix(tmp_path, "opt/rocm-7.2.4", "7.2.4-93", "5.2.70204", "gfx1101")
    (tmp_path / "opt/rocm").symlink_to(tmp_path / "opt/rocm-7.2.4")
    dpkg = "rocblas7.2.4:amd64, rocm-core7.2.4: /opt/rocm-7.2.4/lib\ndiversion by x from: /opt/rocm-7.2.4/y\n"
    found = asked(tmp_path, {"dpkg-query -S /opt/rocm-7.2.4/*": (0, dpkg)})
    (line,) = found["lines"]
    assert (line["version"], line["legacy"]) == ("7.2.4", True)
    assert line["packages"] == ["rocblas7.2.4", "rocm-core7.2.4"]
    assert found["active"] == "7.2.4"


def test_rpm_is_asked_where_there_is_no_dpkg(tmp_path):
    prefix(tmp_path, "opt/rocm-7.2.4", "7.2.4", "5.2.70204")
    said = "rocblas: \nrocm-core: \nfile /opt/x is not owned by any package\n"
    found = asked(
        tmp_path,
        {"rpm -qf": (1, said), "rpm -qa": (0, "installed rocblas 5.2-1\n")},
        packages_wanted=["rocblas", "hipblas"],
    )
    assert found["lines"][0]["packages"] == ["rocblas", "rocm-core"]
    assert (found["packages"], found["missing"]) == ({"rocblas": "5.2-1", "hipblas": None}, ["hipblas"])


def test_a_package_that_is_only_configured_is_not_installed(tmp_path):
    said = "installed rocminfo 6.1.2-2\nconfig-files librocblas0 5.5.1\nnot-installed libhipblas0 \n"
    found = asked(tmp_path, {"dpkg-query -W": (0, said)}, packages_wanted=["rocminfo", "librocblas0", "libhipblas0"])
    assert found["missing"] == ["librocblas0", "libhipblas0"]


def test_only_what_does_not_lead_to_the_wanted_version_is_switched(halo):
    assert asked(halo, active_version="10.1")["switch"] == [{"name": "rocm-lib", "path": "/opt/rocm/core-10.1/lib"}]
    assert asked(halo, active_version="10.0")["switch"] == []
    assert asked(halo, active_version="9.9")["switch"] == []
    assert asked(halo, active_version="10")["switch"] == []


def test_rocminfo_s_agents_are_gpus(halo):
    write(halo, "opt/rocm/core-10.1/bin/rocminfo")
    tool = str(halo / "opt/rocm/core-10.1/bin/rocminfo")
    found = asked(halo, {tool: (0, ROCMINFO)}, prefix="/opt/rocm/core-10.1")["agents"]
    assert found == {"tool": "/opt/rocm/core-10.1/bin/rocminfo", "code": 0, "gfx": ["gfx1151"], "said": ""}
    failed = asked(halo, {tool: (1, "ROCk module is NOT loaded")}, prefix="/opt/rocm/core-10.1")["agents"]
    assert (failed["gfx"], failed["said"]) == ([], "ROCk module is NOT loaded")
    assert asked(halo)["agents"] is None


# version beside the folder, its architecture, what is wrong
TENSILE: list[tuple[str, str, str]] = [
    ("5.5.9", "gfx1103", ""),
    ("5.2.0", "gfx1103", ""),
    ("4.3.0", "gfx1103", "built for rocBLAS 4.3.0"),
    ("5.6.0", "gfx1103", "built for rocBLAS 5.6.0"),
    ("5.5.0", "gfx1102", "has Tensile files for gfx1102, not for gfx1103"),
]


@pytest.mark.parametrize(("version", "gfx", "problem"), TENSILE)
def test_kernels_of_one_s_own_must_fit_gpu_and_library(halo, version, gfx, problem):
    prefix(halo, "srv/rocblas", "", version, gfx)
    found = asked(halo, tensile_libpath="/srv/rocblas/lib/rocblas/library", gfx=["gfx1103"])["tensile"]
    assert problem in found["problem"]
    assert bool(found["problem"]) == bool(problem)


@pytest.mark.parametrize(
    ("built", "bundled", "fits"),
    [("5.2.0", "7.2.1", True), ("4.3.0", "6.3.3", True), ("5.1.0", "7.2.1", False), ("5.2.0", "", False)],
)
def test_an_engine_that_is_to_come_counts_by_the_rocm_that_it_brings(tmp_path, built, bundled, fits):
    prefix(tmp_path, "srv/rocblas", "", built, "gfx1103")
    library = {"tensile_libpath": "/srv/rocblas/lib/rocblas/library", "gfx": ["gfx1103"], "bundled": bundled}
    assert (asked(tmp_path, **library)["tensile"]["problem"] == "") is fits


def test_kernels_whose_version_cannot_be_told_are_not_taken(halo):
    write(halo, "srv/a/b/c/TensileLibrary_gfx1103.dat")
    library = {"tensile_libpath": "/srv/a/b/c", "gfx": ["gfx1103"]}
    assert "no librocblas.so lies two folders above" in asked(halo, **library)["tensile"]["problem"]
    assert "does not exist" in asked(halo, tensile_libpath="/srv/none")["tensile"]["problem"]


def test_debian_keeps_its_kernels_by_version(tmp_path):
    base = "usr/lib/x86_64-linux-gnu"
    write(tmp_path, f"{base}/librocblas.so.0.1", f"{base}/rocblas/3.1.0/library/TensileLibrary_gfx1030.co")
    assert asked(tmp_path)["rocblas"] == [{"path": f"/{base}", "version": "0.1", "gfx": ["gfx1030"]}]


def test_an_empty_host_has_nothing(tmp_path):
    found = asked(tmp_path)
    assert (found["lines"], found["active"], found["rocblas"], found["tensile"]) == ([], None, [], None)
    assert found["record"] == {"packages": [], "access": []}


def test_users_are_compared_with_the_groups_of_the_nodes(tmp_path):
    write(tmp_path, "dev/kfd", "dev/dri/renderD128", "dev/dri/card0")
    gid = 105 if os.geteuid() == 0 else os.getegid()
    for node in ("dev/kfd", "dev/dri/renderD128"):
        os.chown(tmp_path / node, -1, gid)
    write(tmp_path, "etc/passwd", text=f"alice:x:1000:1000::/:\nbob:x:1001:1001::/:\ndora:x:1002:{gid}::/:\n")
    write(tmp_path, "etc/group", text=f"render:x:{gid}:alice\nvideo:x:44:bob\n")
    found = asked(tmp_path, users=["alice", "bob", "carol", "dora"])["access"]
    assert found["missing"] == [{"user": "bob", "group": "render"}]
    assert (found["unknown_users"], found["nameless"]) == (["carol"], [])
    write(tmp_path, "etc/group", text="video:x:44:bob\n")
    assert asked(tmp_path, users=["bob"])["access"]["nameless"] == [gid]
    assert asked(tmp_path)["access"]["nameless"] == []


def test_only_what_still_stands_is_remembered(tmp_path):
    record = (
        '{"packages": ["a", "gone"], "access": [{"user": "bob", "group": "video"}, {"user": "bob", "group": "render"}]}'
    )
    write(tmp_path, "var/lib/lamplighter/rocm/installed.json", text=record)
    write(tmp_path, "etc/group", text="render:x:105:alice\nvideo:x:44:alice,bob\n")
    found = asked(tmp_path, {"dpkg-query -W": (0, "installed a 1\n")})
    assert found["record"] == {"packages": ["a"], "access": [{"user": "bob", "group": "video"}]}
    assert found["packages"] == {}
    write(tmp_path, "var/lib/lamplighter/rocm/installed.json", text="[")
    assert asked(tmp_path)["record"] == {"packages": [], "access": []}
