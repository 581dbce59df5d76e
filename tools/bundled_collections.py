# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack chosen collections from the `ansible` wheel on PyPI, so that no Galaxy server is needed.

usage: bundled_collections.py WHEEL DESTINATION NAMESPACE.NAME...
"""

from __future__ import annotations

import sys
import zipfile

wheel, destination, *names = sys.argv[1:]
prefixes = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in names)
with zipfile.ZipFile(wheel) as archive:
    members = [member for member in archive.namelist() if member.startswith(prefixes)]
    missing = [p for p in prefixes if not any(member.startswith(p) for member in members)]
    if missing:
        sys.exit(f"{wheel} has no {', '.join(missing)}")
    archive.extractall(destination, members)
