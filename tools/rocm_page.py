#!/usr/bin/env python3
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/rocm.md from the support matrix; a unit test compares the two."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "collections"))
UTILS = "ansible_collections.lamplighter.fleet.plugins.module_utils"
ARCHES: dict[str, dict[str, Any]] = import_module(f"{UTILS}.catalogue.arches").ARCHES
support: Any = import_module(f"{UTILS}.rocm.support")
PAGE = ROOT / "docs/rocm.md"
HEAD = """# ROCm on the host: what goes with what

This page is generated from `plugins/module_utils/rocm/support.py` and the catalogue by `tools/rocm_page.py`:
do not edit it.

Most hosts need no ROCm packages: Ollama brings its own, and the kernel's amdgpu is enough. The role
[rocm](../roles/rocm/README.md) is for hosts whose engine uses the host's libraries, and for who wants ROCm by name.

A combination that is not listed here is refused with what would work; `rocm_accept_unsupported: true` tries it all the
same. Whatever is installed is verified by its Tensile files for the GPU and by `rocminfo`.
"""


def _cell(known: dict[str, Any], line: str) -> str:
    here = known.get(line)
    if not here:
        return "-"
    only = f" ({', '.join(here['gfx'])} only)" if here.get("gfx") else ""
    return ", ".join(name.capitalize() for name in here["classes"]) + only


def _own(known: dict[str, Any]) -> str:
    own = known.get("distribution")
    return f"{own['version']}: {', '.join(f'`{name}`' for name in own['packages'])}" if own else "-"


def _distributions() -> list[str]:
    lines = ["| distribution | `amd`: ROCm 10 | `legacy`: up to 7.2.4 | `distribution` |", "|---|---|---|---|"]
    for (name, version), known in support.DISTRIBUTIONS.items():
        cells = (f"{support.NAMES[name]} {version}", _cell(known, "amd"), _cell(known, "legacy"), _own(known))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _gpus() -> list[str]:
    lines = ["| GPU | class | ROCm 10 | ROCm 7.2 | Debian 13's own |", "|---|---|---|---|---|"]
    debian = support.DISTRIBUTIONS[("debian", "13")]["distribution"]["gfx"]
    for gfx, arch in ARCHES.items():
        official = arch.get("official") or {}
        said = [official.get(support.LINES[line]["official"], "-") for line in ("amd", "legacy")]
        if said != ["-", "-"] or gfx in debian:
            kind = support.gpu_class(gfx, arch.get("integrated")).capitalize()
            lines.append(f"| {gfx} | {kind} | {said[0]} | {said[1]} | {'yes' if gfx in debian else '-'} |")
    return lines


def _repositories() -> list[str]:
    lines = ["| line | repository | fingerprint of its key | amdgpu-dkms |", "|---|---|---|---|"]
    for name, line in support.LINES.items():
        lines.append(f"| `{name}` | {line['base']} | `{line['fingerprint']}` | {line['driver']} |")
    return lines


def page() -> str:
    parts = [
        HEAD,
        "## By distribution\n",
        "AMD supports these classes of GPUs. Other packages of theirs may install, and are not supported.\n",
        *_distributions(),
        "\n## By GPU\n",
        "AMD's own lists. An architecture that is missing here has no ROCm code from AMD; Vulkan does without.\n",
        *_gpus(),
        "\n## Repositories\n",
        *_repositories(),
        "\n`amdgpu-dkms` (`rocm_dkms: true`) is refused on Ryzen APUs, which AMD supports with the kernel's own driver",
        "only, in containers and WSL2, and where AMD publishes none.\n",
        "## Sources\n",
        *(f"- {text}" for text in support.SOURCES.values()),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
