# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan of a WSL2 host says to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def wsl_headline(plan: Mapping[str, Any], backends: Mapping[str, str]) -> str | None:
    """Where the engine runs, if that is Windows."""
    wsl = plan.get("wsl") or {}
    if wsl.get("use") != "windows":
        return None
    backend = wsl.get("windows_backend")
    return f"Ollama on Windows{f' with {backends[backend]}' if backend else ''}"


def wsl_blocks(plan: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """(label, paragraphs) of a host that uses Windows, in the order of the text."""
    wsl = plan["wsl"]
    address = f"{wsl['address']['way']}: {wsl['address']['why']}. {wsl['address']['remedy']}".rstrip()
    blocks = [
        ("Will use", [f"{one['option']}: {one['reason']}" for one in wsl["options"] if one["chosen"]]),
        ("Address", [address]),
        ("Proof", ["an answer of a model, and its place in the GPU memory of Windows."]),
        ("Left out", [f"{one['option']}: {one['reason']}" for one in wsl["options"] if not one["chosen"]]),
    ]
    steps = [f"{at}. {step['what']} {step['why']} {step['how']}" for at, step in enumerate(wsl["steps"], 1)]
    return [*blocks, ("If needed", steps)]
