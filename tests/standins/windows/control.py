# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person at the simulated Windows does.

usage: control.py reboot [--gateway ADDRESS] [--mode MODE] | set KEY JSON | show [KEY] | admin < SCRIPT | quit | start
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from typing import Any

PORT = 4711


def ask(request: dict[str, Any], host: str = "127.0.0.1") -> dict[str, Any]:
    with socket.create_connection((host, PORT), timeout=60) as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as reply:
            found: dict[str, Any] = json.loads(reply.readline())
    if "error" in found:
        sys.exit(found["error"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    commands = parser.add_subparsers(dest="op", required=True)
    reboot = commands.add_parser("reboot")
    reboot.add_argument("--gateway")
    reboot.add_argument("--mode", choices=["nat", "mirrored", "virtioproxy", "bridged", "none"])
    setting = commands.add_parser("set")
    setting.add_argument("key")
    setting.add_argument("value", type=json.loads)
    commands.add_parser("show").add_argument("key", nargs="?")
    for name in ("admin", "quit", "start"):
        commands.add_parser(name)
    request = vars(parser.parse_args())
    host = request.pop("host")
    if request["op"] == "show":
        state = ask({"op": "state"}, host)
        print(json.dumps(state[request["key"]] if request["key"] else state, ensure_ascii=False, indent=1))
        return
    if request["op"] == "admin":
        request["script"] = sys.stdin.read().strip()
    reply = ask(request, host)
    if reply.get("stderr"):
        sys.exit(reply["stderr"])


if __name__ == "__main__":
    main()
