# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts for a person: labelled paragraphs in a column, and the names of things."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 92
LABEL = 11
GIB = 1024**3
BACKENDS = {"rocm": "ROCm", "vulkan": "Vulkan", "cuda": "CUDA", "cpu": "the processor"}
ENGINES = {"ollama": "Ollama", "llama_server": "llama-server"}
PLATFORMS = {"vm": "a virtual machine", "wsl2": "WSL2"}


def block(label: str, text: str, hang: int = 0, indent: int = 2, width: int = LABEL, copied: bool = False) -> list[str]:
    """One labelled paragraph; its further lines stand below its text. What is to be `copied` keeps long words whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent + f"{label:<{width}}",
        subsequent_indent=" " * (indent + width + hang),
        break_on_hyphens=False,
        break_long_words=not copied,
    )


def platform_text(facts: Mapping[str, Any]) -> list[str]:
    """What the machine is, unless it is one of its own."""
    platform = facts.get("platform")
    return [] if platform in (None, "", "bare_metal") else [PLATFORMS.get(platform, f"a {platform}")]
