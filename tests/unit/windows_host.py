# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated Windows within the test, and what is sent to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import operations
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import answer

from tests.standins.windows.machine import Machine
from tests.standins.windows.session import Session

WAN_RULE = {
    "Name": "{1B}",
    "InstanceID": "{1B}",
    "DisplayName": "ollama.exe",
    "Direction": "Inbound",
    "Action": "Allow",
    "Enabled": "True",
    "Protocol": "TCP",
    "LocalPort": "Any",
    "LocalAddress": "Any",
    "RemoteAddress": "Any",
    "InterfaceAlias": "Any",
    "Program": "C:\\Users\\Ada\\AppData\\Local\\Programs\\Ollama\\ollama.exe",
    "Package": None,
}


class Windows:
    """`texts` are all scripts that came; `admin` does what a pending command asks for."""

    def __init__(self, folder: Path, **state: Any) -> None:
        self.path = folder / "windows.json"
        self.path.write_text(json.dumps(state), encoding="utf-8")
        self.machine = Machine(self.path)
        self.machine.boot()
        self.texts: list[str] = []
        self.pending: list[str] = []

    @property
    def state(self) -> dict[str, Any]:
        return self.machine.state

    def ask(self, text: str, longer: float = 0) -> dict[str, Any]:
        self.texts.append(text)
        return answer(Session(self.machine).run(text)["stdout"])

    def run(self, operation: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        result = operations.run(operation, arguments, self.ask, check)
        self.pending += [one["command"] for one in result.get("pending", [])]
        return result

    def admin(self, command: str) -> dict[str, Any]:
        return Session(self.machine, elevated=True).run(command)

    def server(self) -> dict[str, str]:
        """The environment that the running server has."""
        found: dict[str, str] = next(
            one["environment"] for one in self.state["processes"] if one["Name"] == "ollama.exe"
        )
        return found
