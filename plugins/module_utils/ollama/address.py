# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Ollama's API is, by what OLLAMA_HOST tells the server."""

from __future__ import annotations

import re

PORT = 11434
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]+)")


def api_url(host: str | None) -> str:
    """The URL as seen from the host itself, by the rules of Ollama's envconfig (Host).

    A scheme only decides the port that is meant where there is none: the server speaks plain HTTP.
    """
    text = (host or "").strip().strip("'\"")
    scheme, found, rest = text.partition("://")
    default = {"http": 80, "https": 443}.get(scheme, PORT) if found else PORT
    address = (rest if found else text).partition("/")[0]
    match = _HOST_PORT.fullmatch(address)
    name, port = (match[1], int(match[2])) if match else (address, default)
    name = name.strip("[]")
    # What listens everywhere is asked at home.
    name = "127.0.0.1" if name in ("", "0.0.0.0", "::") else name
    return f"http://{f'[{name}]' if ':' in name else name}:{port if 0 < port < 65536 else default}"


def is_loopback(address: str) -> bool:
    """Whether an address that a server listens on is reached from this machine alone."""
    return bool(re.fullmatch(r"127(\.\d+){1,3}|localhost|::1|::ffff:127(\.\d+){3}", address))
