# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated Windows as a service: one line of JSON in, one out (README.md says which)."""

from __future__ import annotations

import json
import socketserver
import threading
import traceback
from typing import Any

from tests.standins.windows.effects import FOLDER, LOG, Container
from tests.standins.windows.machine import DEFAULT, Machine
from tests.standins.windows.session import Session

PORT = 4711


def answer(machine: Machine, request: dict[str, Any]) -> dict[str, Any]:
    state = machine.state
    operation = request.pop("op", None)
    if operation == "network":
        return machine.network()
    if operation == "state":
        return state
    if operation == "run":
        return Session(machine).run(request["script"]) | {"output": state["output"]}
    if operation == "admin":
        return Session(machine, elevated=True).run(request["script"])
    if operation == "reboot":
        LOG.unlink(missing_ok=True)
        machine.reboot(request.get("gateway"), request.get("mode"))
    elif operation == "set":
        if request["key"] not in DEFAULT:
            return {"error": f"unknown key {request['key']}"}
        state[request["key"]] = request["value"]
    elif operation == "quit":
        machine.stop_all()
    elif operation == "start":
        machine.start_ollama(machine.stored_environment())
    else:
        return {"error": f"unknown operation {operation}"}
    machine.effects.lay(state)
    machine.save()
    return {"ok": True}


def main() -> None:
    machine = Machine(FOLDER / "state.json", Container())
    # Nothing of an earlier life of this service is left.
    machine.state["processes"] = []
    machine.boot()
    one_at_a_time = threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                with one_at_a_time:
                    reply = answer(machine, json.loads(self.rfile.readline()))
            except Exception as problem:
                traceback.print_exc()
                reply = {"error": repr(problem)}
            self.wfile.write(json.dumps(reply).encode() + b"\n")

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("", PORT), Handler) as server:
        server.daemon_threads = True
        server.serve_forever()


if __name__ == "__main__":
    main()
