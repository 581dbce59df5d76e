# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of Ollama on Windows: what the inventory may say of it, and what each networking mode makes of it."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

PORT = 11434
_URL = re.compile(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?")
_ALLOWED = "Write a host name, an address or a URL, such as 192.0.2.7, [2001:db8::7]:11434 or https://ollama.example."


class AddressError(ValueError):
    """The inventory's address is none; the message says why and what is allowed."""


def read_host(value: str, default_port: int = PORT) -> dict[str, Any]:
    """scheme, host, port and path of what OLLAMA_HOST may be for a client."""
    text = value.strip()
    if re.fullmatch(r":?[0-9]{1,5}", text):
        raise AddressError(f"{value!r} is a port. Set wsl_client_port, and leave wsl_client_host empty.")
    if text.count(":") > 1 and "[" not in text and "://" not in text:
        text = f"[{text}]"
    match = _URL.fullmatch(text)
    if not match:
        raise AddressError(f"{value!r} is no address of a server. {_ALLOWED}")
    scheme, host, port, path = match.groups()
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        if "[" in host or re.fullmatch(r"[0-9.]+", host):
            raise AddressError(f"{value!r} is no address of a server. {_ALLOWED}") from None
    else:
        if address.is_unspecified:
            raise AddressError(f"{value!r} is an address to listen on. {_ALLOWED}")
    number = int(port) if port else {"http": 80, "https": 443}.get(scheme or "", default_port)
    if not 0 < number < 65536:
        raise AddressError(f"{value!r} has no port that can be: it is between 1 and 65535. {_ALLOWED}")
    return {"scheme": scheme or "http", "host": host, "port": number, "path": (path or "").rstrip("/")}


def resolve(way: str, given: str, port: int, gateway: str | None) -> dict[str, Any]:
    """What the wiring has to know, and the url that comes of it now: None while there is none."""
    if given.strip():
        parts, way = read_host(given, port), "given"
    else:
        parts = {"scheme": "http", "host": "", "port": port, "path": ""}
    host = {"given": parts["host"], "loopback": "127.0.0.1", "gateway": gateway}.get(way)
    url = f"{parts['scheme']}://{host}:{parts['port']}{parts['path']}" if host else None
    return {**parts, "way": way, "url": url}
