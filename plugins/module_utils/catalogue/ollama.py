# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each Ollama release bundles and how it behaves, read from its source up to v0.33.0-rc2."""

from __future__ import annotations

import re
from typing import Any

SOURCES = {
    "config": "https://github.com/ollama/ollama/blob/main/envconfig/config.go",
    "discovery": "https://github.com/ollama/ollama/blob/main/discover/runner.go",
    "gpu_docs": "https://github.com/ollama/ollama/blob/main/docs/gpu.mdx",
    "presets": "https://github.com/ollama/ollama/blob/main/llama/server/CMakePresets.json",
    "drop_rdna1": "https://github.com/ollama/ollama/pull/17010",
    "llama_server": "https://github.com/ollama/ollama/pull/16031",
    "releases": "https://github.com/ollama/ollama/releases",
    "driver_gate": "https://github.com/ollama/ollama/blob/main/discover/cuda_compat.go",
}

FIRST_KNOWN = "0.1.29"
NEWEST_KNOWN = "0.33.0-rc2"
DEFAULT_VERSION = "0.32.15"

_GFX_2024 = (
    *("gfx900", "gfx906", "gfx908", "gfx90a", "gfx940", "gfx941", "gfx942"),
    *("gfx1010", "gfx1012", "gfx1030", "gfx1100", "gfx1101", "gfx1102"),
)

# Each line changes something from that release on; what it does not name stays as it was.
# `gfx` lists additions (+) and removals (-).
CHANGES: list[tuple[str, dict[str, Any], str]] = [
    # since, what changed, source
    ("0.1.29", {"rocm": "6.0", "archive": "binary", "gfx": ["+" + name for name in _GFX_2024]}, "gpu_docs"),
    ("0.1.29", {"vulkan": "absent", "igpu": "refused_by_rocm", "log": "classic", "rocm_library": None}, "discovery"),
    ("0.1.30", {"checksums": True}, "releases"),
    ("0.1.32", {"rocm": "6.0.2"}, "releases"),
    ("0.1.45", {"rocm": "6.1.1"}, "releases"),
    ("0.2.6", {"rocm": "6.1.2"}, "releases"),
    ("0.3.7", {"archive": "tgz"}, "releases"),
    ("0.5.8", {"rocm_library": "rocm"}, "releases"),
    ("0.5.13", {"rocm": "6.3.3"}, "releases"),
    ("0.6.2", {"gfx": ["+gfx1151"]}, "presets"),
    ("0.6.4", {"gfx": ["+gfx1200", "+gfx1201"]}, "presets"),
    ("0.9.4", {"checksums": False}, "releases"),
    ("0.12.4", {"gfx": ["-gfx900", "-gfx906"], "igpu": "used", "log": "go", "library_by_folder": True}, "discovery"),
    ("0.12.6", {"vulkan": "source_only"}, "releases"),
    ("0.12.10", {"checksums": True}, "releases"),
    ("0.12.11", {"vulkan": "opt_in"}, "config"),
    ("0.14.0", {"archive": "tar.zst"}, "releases"),
    ("0.15.5", {"context_by_vram": True}, "config"),
    ("0.18.0", {"rocm": "7.2", "gfx": ["+gfx950", "+gfx1103", "+gfx1150", "-gfx940", "-gfx941"]}, "presets"),
    ("0.20.7", {"rocm": "7.2.1"}, "presets"),
    (
        "0.30.0",
        {"vulkan": "default", "igpu": "dropped", "log": "llama_server", "rocm_library": "rocm_v7_2"},
        "llama_server",
    ),
    ("0.30.2", {"igpu_admitted": ["gfx1151"]}, "discovery"),
    ("0.30.11", {"nvidia_driver_minimum": 550, "nvidia_driver_minimum_pascal": 570}, "driver_gate"),
    ("0.31.2", {"gfx": ["-gfx1010", "-gfx1012", "-gfx1103"]}, "drop_rdna1"),
]

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-rc\.?(\d{1,6}))?", re.ASCII)
_UNRELEASED = float("inf")


def version_key(version: str) -> tuple:
    """Order of releases: 0.33.0-rc2 lies before 0.33.0."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(
            f"ollama_version is {version!r}, which is no Ollama release. Write the number alone, such as "
            f'"{DEFAULT_VERSION}" or "{NEWEST_KNOWN}": no leading v, no "latest".'
        )
    major, minor, patch, candidate = match.groups()
    return (int(major), int(minor), int(patch), int(candidate) if candidate else _UNRELEASED)


def base_version(version: str) -> tuple:
    """The key without the candidate: a release candidate already behaves as its release."""
    return version_key(version)[:3]


def reached(version: str, since: str) -> bool:
    """Is `version` at or after the release `since` (candidates of it included)?"""
    return base_version(version) >= base_version(since)


def release(version: str) -> dict:
    """How this release behaves. A release newer than the catalogue is taken to behave as the newest known."""
    state: dict = {
        "version": version,
        "igpu_admitted": [],
        "checksums": False,
        "library_by_folder": False,
        "context_by_vram": False,
        "nvidia_driver_minimum": None,
        "nvidia_driver_minimum_pascal": None,
    }
    gfx: set = set()
    dropped: dict = {}
    earliest = base_version(max(version, FIRST_KNOWN, key=version_key))
    for since, change, source in CHANGES:
        if base_version(since) > earliest:
            break
        for sign, name in ((entry[0], entry[1:]) for entry in change.get("gfx", [])):
            if sign == "+":
                gfx.add(name)
                dropped.pop(name, None)
            else:
                gfx.discard(name)
                dropped[name] = {"since": since, "source": SOURCES[source]}
        state.update({key: value for key, value in change.items() if key != "gfx"})
    known = version_key(FIRST_KNOWN) <= version_key(version)
    state["gfx"] = sorted(gfx)
    state["gfx_dropped"] = dropped
    state["older_than_known"] = not known
    state["newer_than_known"] = version_key(version) > version_key(NEWEST_KNOWN)
    state["vulkan_library"] = "vulkan" if state["vulkan"] in ("opt_in", "default") else None
    return state


def releases_with(gfx: str) -> dict:
    """First and last change points of the builds that carried this architecture: {since, until} (until exclusive)."""
    since = until = None
    for at, change, _source in CHANGES:
        if f"+{gfx}" in change.get("gfx", []):
            since, until = at, None
        elif f"-{gfx}" in change.get("gfx", []):
            until = at
    return {"since": since, "until": until}
