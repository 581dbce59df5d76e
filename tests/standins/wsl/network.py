# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for what WSL's own init does at the start of a WSL2: its network, as the simulated Windows has it.

With NAT Windows is the gateway of a network that is another one after each start of Windows. In the modes that share
the loopback address, what is sent to 127.0.0.1:11434 goes to the loopback address of Windows, through relay.py.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

DAEMON, RELAY, OLLAMA = 4711, 4713, 11434
# The last part of the addresses in the simulated fleet.
WINDOWS = "18"
STATE = Path("/run/standin-wsl")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def windows_address() -> str:
    own = json.loads(run("ip", "-json", "-4", "address", "show", "dev", "eth0"))[0]["addr_info"][0]["local"]
    return ".".join([*own.split(".")[:3], WINDOWS])


def ask(address: str, seconds: float = 60) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((address, DAEMON), timeout=5) as connection:
                connection.sendall(b'{"op": "network"}\n')
                answer: dict[str, Any] = json.loads(connection.makefile().readline())
                return answer
        except (OSError, ValueError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def main() -> None:
    address = windows_address()
    network = ask(address)
    mode = network["mode"]
    STATE.mkdir(exist_ok=True)
    (STATE / "mode").write_text(f"{mode}\n")
    if mode == "nat":
        run("ip", "address", "replace", f"{network['address']}/{network['prefix']}", "dev", "eth0")
        run("ip", "route", "replace", "default", "via", network["gateway"], "dev", "eth0")
    elif mode == "none":
        run("ip", "route", "flush", "default")
    elif mode in ("mirrored", "virtioproxy", "consomme"):
        (STATE / "relay").write_text(f"127.0.0.1 {OLLAMA} {address} {RELAY}\n")
        run("systemctl", "start", "--no-block", "standin-relay.service")


if __name__ == "__main__":
    main()
