# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ROCm line AMD or a distribution supports where, as of 2026-11-20.

AMD's lists have three axes: the architecture (`official` in the catalogue), its class (Instinct, Radeon, Ryzen) and the
distribution. A class that is not named for a distribution is not supported there, although packages may install.
"""

from __future__ import annotations

from typing import Any

SOURCES = {
    "linux_10": "https://rocm.docs.amd.com/en/latest/install/rocm.html and ROCm/rocm-docs docs/data",
    "linux_7": "https://rocm.docs.amd.com/projects/install-on-linux/en/docs-7.2.3/reference/system-requirements.html",
    "packages": "ROCm/TheRock build_tools/packaging/linux (repository files, key, alternatives)",
    "debian": "https://packages.debian.org (librocblas0 5.5.1, libamdhip64-5 5.7.1 in trixie)",
    "ubuntu": "https://packages.ubuntu.com/resolute/librocm-core1 (ROCm 7.1)",
    "fedora": "https://packages.fedoraproject.org/pkgs/rocclr",
    "dkms_apu": "https://github.com/ROCm/ROCm/issues/5562",
}

INSTINCT = ("gfx908", "gfx90a", "gfx940", "gfx941", "gfx942", "gfx950")

# `official` is the catalogue's name of the line; `driver` is the amdgpu-dkms that AMD tests with it.
LINES: dict[str, dict[str, Any]] = {
    "amd": {
        "title": "ROCm 10",
        "official": "10",
        "default": "10.1",
        "version": r"10\.\d{1,2}",
        "example": "10.1",
        "driver": "31.50",
        "base": "https://stable.repo.amd.com",
        "key": "/rocm/gpg/packages.gpg",
        # EXPECTED_KEY_FINGERPRINT of TheRock's build_repo_package.py.
        "fingerprint": "D0F004A0025A1145C7807FCD0701EAC4D5E02107",
    },
    "legacy": {
        "title": "ROCm 7.2 and older",
        "official": "7.2",
        "default": "7.2.4",
        "version": r"(6\.[0-4]|7\.[0-2])(\.\d)?",
        "example": "7.2.4",
        "driver": "30.30",
        "base": "https://repo.radeon.com",
        "key": "/rocm/rocm.gpg.key",
        "fingerprint": "CA8BB4727A47B4D09B4EE8969386B48A1A693C5C",
    },
}
# The first version of the new layout: what is below /opt/rocm-<version> and older is the legacy line.
NEW_LAYOUT = (7, 9)

_ALL = ("instinct", "radeon", "ryzen")
_DGPU = ("instinct", "radeon")
_DEBIAN_GFX = [f"gfx{name}" for name in (803, 900, 906, 908, "90a", 1010, 1030, 1100, 1101, 1102)]

# By (id, version or its first number). `path` is a part of the repository's URL, `codename` of amdgpu-dkms's.
DISTRIBUTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("ubuntu", "26.04"): {
        "family": "apt",
        "codename": "resolute",
        "amd": {"path": "ubuntu2604", "classes": _ALL},
        "distribution": {"version": "7.1", "packages": ["rocminfo", "librocblas5", "libhipblas3"], "gfx": None},
    },
    ("ubuntu", "24.04"): {
        "family": "apt",
        "codename": "noble",
        "amd": {"path": "ubuntu2404", "classes": _ALL},
        "legacy": {"path": "noble", "classes": _ALL},
    },
    ("ubuntu", "22.04"): {
        "family": "apt",
        "codename": "jammy",
        "amd": {"path": "ubuntu2204", "classes": _DGPU},
        "legacy": {"path": "jammy", "classes": _DGPU},
    },
    ("debian", "13"): {
        "family": "apt",
        "amd": {"path": "debian13", "classes": ("instinct",)},
        "legacy": {"path": "noble", "classes": ("instinct",)},
        "distribution": {
            "version": "5.7",
            "packages": ["rocminfo", "librocblas0", "libhipblas0"],
            "gfx": _DEBIAN_GFX,
        },
    },
    ("debian", "12"): {
        "family": "apt",
        "amd": {"path": "debian12", "classes": ("instinct",)},
        "legacy": {"path": "jammy", "classes": ("instinct",), "gfx": ("gfx942",)},
    },
    ("rhel", "10"): {
        "family": "dnf",
        "amd": {"path": "rhel10", "classes": _DGPU},
        "legacy": {"path": "el10", "classes": _DGPU},
    },
    ("rhel", "9"): {
        "family": "dnf",
        "amd": {"path": "rhel9", "classes": _DGPU},
        "legacy": {"path": "el9", "classes": _DGPU},
    },
    ("rhel", "8"): {
        "family": "dnf",
        "amd": {"path": "rhel8", "classes": ("instinct",)},
        "legacy": {"path": "el8", "classes": ("instinct",)},
    },
    ("rebuild", "10"): {
        "family": "dnf",
        "amd": {"path": "rhel10", "classes": ("instinct",)},
        "legacy": {"path": "el10", "classes": ("instinct",)},
    },
    ("rebuild", "9"): {
        "family": "dnf",
        "amd": {"path": "rhel9", "classes": ("instinct",)},
        "legacy": {"path": "el9", "classes": ("instinct",)},
    },
    ("rebuild", "8"): {
        "family": "dnf",
        "amd": {"path": "rhel8", "classes": ("instinct",)},
        "legacy": {"path": "el8", "classes": ("instinct",)},
    },
    ("sles", "16"): {"family": "zypper", "amd": {"path": "sles16", "classes": ("instinct",)}},
    ("sles", "15"): {
        "family": "zypper",
        "amd": {"path": "sles15", "classes": ("instinct",)},
        "legacy": {"path": "zyp/15.7", "classes": ("instinct",), "gfx": ("gfx90a", "gfx942")},
    },
    **{
        ("fedora", release): {
            "family": "dnf",
            "distribution": {"version": version, "packages": ["rocminfo", "rocblas", "hipblas"], "gfx": None},
        }
        for release, version in {"43": "6.4", "44": "7.1", "45": "7.2"}.items()
    },
}
# Oracle's and Rocky's rebuilds are on AMD's list, for Instinct; others install the same packages.
_REBUILDS = ("ol", "rocky", "almalinux", "centos")
NAMES = {
    "ubuntu": "Ubuntu",
    "debian": "Debian",
    "rhel": "RHEL",
    "rebuild": "Oracle Linux, Rocky",
    "sles": "SLES",
    "fedora": "Fedora",
}


def find_distribution(distribution: dict[str, Any]) -> dict[str, Any]:
    """What is known of a host's distribution, by os-release's id and version_id; an empty dict if nothing is."""
    name, version = str(distribution.get("id") or ""), str(distribution.get("version_id") or "")
    name = "rebuild" if name in _REBUILDS else name
    return DISTRIBUTIONS.get((name, version)) or DISTRIBUTIONS.get((name, version.partition(".")[0])) or {}


def gpu_class(gfx: str, integrated: bool | None) -> str:
    """AMD's classes: MI300A is an APU and an Instinct."""
    if gfx in INSTINCT:
        return "instinct"
    return "ryzen" if integrated else "radeon"


def title(line: str, version: str = "") -> str:
    return f"ROCm {version or LINES[line]['default']}" if line == "legacy" else str(LINES[line]["title"])


def _listed(line: str, version: str, official: dict[str, str]) -> bool:
    """Whether AMD's list for this version has the architecture; the catalogue names each list by its newest version."""
    name = ".".join(version.split(".")[:2]) if line == "legacy" and version else LINES[line]["official"]
    name = "6.2" if name in ("6.0", "6.1", "6.3") else name
    return str(official.get(name, "")).startswith("yes")


def objection(
    line: str, gfx: str, official: dict[str, str], integrated: bool | None, distribution: dict, version: str = ""
) -> str:
    """Why this line is not supported for the architecture on the distribution (find_distribution); empty if it is."""
    here = distribution.get(line)
    if not here:
        return f"AMD publishes no packages of {title(line, version)} for this distribution"
    if not _listed(line, version, official):
        return f"{gfx} is not on AMD's list for {title(line, version)}"
    kind = gpu_class(gfx, integrated)
    if kind not in here["classes"] or gfx not in here.get("gfx", [gfx]):
        gpus = f"{kind.capitalize()} GPUs such as {gfx}"
        return f"AMD does not support {title(line, version)} for {gpus} on this distribution"
    return ""


def supported_on(
    line: str, gfx: str, official: dict[str, str], integrated: bool | None, version: str = ""
) -> list[str]:
    """The distributions on which the line is supported for the architecture."""
    return [
        f"{NAMES[name]} {release}"
        for (name, release), distribution in DISTRIBUTIONS.items()
        if not objection(line, gfx, official, integrated, distribution, version)
    ]
