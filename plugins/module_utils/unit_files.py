# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit files of a host, and which of them this collection wrote."""

from __future__ import annotations

import os
import re

# Every file that a role writes carries this line.
MARKER = "Managed by Lamplighter"
# In the order in which they count for systemd.
FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
LLAMA_SERVER = r"llama-server-[^/]+\.service"


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except OSError:
        return None


def unit_files(pattern: str, folders: tuple[str, ...] = FOLDERS) -> dict[str, str]:
    """Paths of the units whose whole name fits the pattern, by name; the first folder counts."""
    found: dict[str, str] = {}
    for folder in folders:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if re.fullmatch(pattern, name):
                found.setdefault(name, os.path.join(folder, name))
    return found
