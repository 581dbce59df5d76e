# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build of llama-server says of itself: --version, --help and --list-devices.

The texts are printed by common/arg.cpp of llama.cpp: https://github.com/ggml-org/llama.cpp/blob/master/common/arg.cpp
"""

from __future__ import annotations

import re
from typing import Any

# An option's names fill the first columns; what it does begins here, or on the next line.
COLUMN = 40
NAME = re.compile(r"\s*(--?[A-Za-z0-9][\w.-]*)(,|\s+|$)")
# Where a description only repeats what its fields say.
ENVIRONMENT = re.compile(r"\(env: (\w+)\)")
REMOVED = re.compile(r"the argument has been removed\.?\s*(.*)")
ALLOWED = re.compile(r"allowed values: ([\w, +-]+?)\s*(?:\(|$)")
ITEM = re.compile(r"^- ([a-z][\w+-]*)(?: \(default\))?: ")
DEFAULT = re.compile(r"\(default: ([\w+-]+)\)")
AUTOMATIC = re.compile(r"'auto'|\(default: auto\b")
BRACED = re.compile(r"[<{\[][^<>{}\[\]]*[>}\]]")


def parse_version(text: str) -> str | None:
    """b10488 of "version: 10488 (abc1234)", or of a distribution's "version: 0.7.0 (build 10488, commit Debian)"."""
    found = re.search(r"^version: \S+ \(build (\d+)", text, re.MULTILINE) or re.search(
        r"^version: (\d+) \(", text, re.MULTILINE
    )
    return f"b{found.group(1)}" if found and int(found.group(1)) else None


def parse_devices(text: str) -> list[dict[str, Any]]:
    """The lines below "Available devices:" such as "  Vulkan0: NAME (24105 MiB, 23026 MiB free)"."""
    found = re.findall(r"^\s+([\w.:\[\]-]+): (.*) \((\d+) MiB, (\d+) MiB free\)\s*$", text, re.MULTILINE)
    return [
        {"name": name, "description": description, "total_bytes": int(total) << 20, "free_bytes": int(free) << 20}
        for name, description, total, free in found
    ]


def parse_help(text: str) -> list[dict[str, Any]]:
    """Every option with its names, how many values it takes, its choices, and what to use where it was removed."""
    options: list[dict[str, Any]] = []
    lines: list[str] = []
    for line in text.splitlines():
        if re.match(r"--?[A-Za-z0-9]", line):
            # Names that are too long for their columns have the line for themselves.
            split = len(line) > COLUMN and line[COLUMN - 1] == " " != line[COLUMN] and line[COLUMN - 2] != ","
            names, value = _names(line[:COLUMN] if split else line)
            lines = [line[COLUMN:].strip()] if split else []
            options.append({"names": names, "value": value, "lines": lines})
        elif line.startswith(" "):
            lines.append(line.strip())
        elif line:
            # A heading between groups: what follows belongs to no option.
            lines = []
    return [_option(option["names"], option["value"], option["lines"]) for option in options if option["names"]]


def _names(text: str) -> tuple[list[str], str]:
    """The names of "-fa, --flash-attn [on|off|auto]" and the placeholder of its value."""
    names = []
    while True:
        found = NAME.match(text)
        if not found:
            break
        names.append(found.group(1))
        text = text[found.end() :]
        if found.group(2) != ",":
            break
    return names, text.strip()


def _option(names: list[str], value: str, lines: list[str]) -> dict[str, Any]:
    description = " ".join(lines)
    environment = ENVIRONMENT.search(description)
    removed = REMOVED.search(ENVIRONMENT.sub("", description))
    return {
        "names": names,
        "values": len(BRACED.sub("X", BRACED.sub("X", value)).split()),
        "choices": _choices(value, lines),
        "environment": environment.group(1) if environment else None,
        "automatic": bool(AUTOMATIC.search(description)),
        "removed": (removed.group(1).strip().rstrip(".") or "nothing") if removed else None,
    }


def _choices(value: str, lines: list[str]) -> list[str] | None:
    """Words that a value is one of; None where the build does not list them. Numbers are left to the engine."""
    braced = re.fullmatch(r"[\[{<]([^\[\]{}<>]*)[\]}>]", value)
    listed = re.split(r"[|,]", braced.group(1) if braced else value)
    # Placeholders are in capitals, or count: dev1,dev2,..
    if len(listed) > 1 and all(re.fullmatch(r"[a-z][a-z0-9+-]*", word) for word in listed):
        return None if listed[0].endswith("1") else listed
    description = " ".join(lines)
    allowed = ALLOWED.search(description)
    if allowed:
        return [word.strip() for word in allowed.group(1).split(",")]
    items = [found.group(1) for found in map(ITEM.match, lines) if found]
    if not value or len(items) < 2:
        return None
    default = DEFAULT.search(description)
    return list(dict.fromkeys([*items, *([default.group(1)] if default else [])]))


def find(options: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The option of this name, also where the build only tells that it was removed."""
    return next((option for option in options if name in option["names"]), None)
