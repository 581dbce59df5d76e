# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
from typing import Any

LISTEN = "0A"
# systemd's own hierarchy, or the unified one; a machine may have those of controllers before them.
HIERARCHY = re.compile(r"^\d+:(?:name=systemd)?:(/.*)$", re.MULTILINE)


def parse_listeners(text: str, port: int) -> dict[str, str]:
    """Inode to address of the sockets that listen on the port, from /proc/net/tcp or tcp6."""
    found = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != LISTEN:
            continue
        address, _colon, number = fields[1].rpartition(":")
        if number == f"{port:04X}":
            found[fields[9]] = readable_address(address)
    return found


def readable_address(text: str) -> str:
    """The address of /proc/net/tcp{,6}: 32-bit words in the machine's (little endian) order."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    raw = b"".join(words)
    if len(raw) == 4:
        return ".".join(str(byte) for byte in raw)
    if raw == bytes(16):
        return "::"
    if raw == bytes(15) + b"\x01":
        return "::1"
    return ":".join(f"{raw[i] << 8 | raw[i + 1]:x}" for i in range(0, 16, 2))


def find_listener(port: int, proc: str = "/proc") -> dict[str, Any] | None:
    """Who listens on the port; None if nobody does. Processes of others are visible to root only."""
    sockets: dict[str, str] = {}
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, "net", name), encoding="ascii") as source:
                sockets.update(parse_listeners(source.read(), port))
        except (OSError, ValueError):
            continue
    if not sockets:
        return None
    listener: dict[str, Any] = {"addresses": sorted(set(sockets.values())), "pid": None, "command": None, "unit": None}
    wanted = {f"socket:[{inode}]" for inode in sockets}
    for pid in filter(str.isdigit, os.listdir(proc)):
        folder = os.path.join(proc, pid)
        if holds_socket(os.path.join(folder, "fd"), wanted):
            listener["pid"] = int(pid)
            listener["command"] = text_of(os.path.join(folder, "comm")).strip()
            listener["unit"] = unit_of(text_of(os.path.join(folder, "cgroup")))
            break
    return listener


def unit_of(cgroup: str) -> str | None:
    """The unit of a process by its /proc/PID/cgroup; of a unit that a user runs, the user's manager."""
    for path in HIERARCHY.findall(cgroup):
        units = re.findall(r"[^/]+\.(?:service|scope)(?=/|$)", path)
        if units:
            return str(next((unit for unit in units if unit.startswith("user@")), units[-1]))
    return None


def holds_socket(folder: str, wanted: set[str]) -> bool:
    try:
        return any(os.readlink(os.path.join(folder, name)) in wanted for name in os.listdir(folder))
    except OSError:
        return False


def text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except OSError:
        return ""
