# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the simulated Windows, what a person at it can do, and what happens at a start of it."""

from __future__ import annotations

import base64
import copy
import ipaddress
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Protocol

DEFAULT: dict[str, Any] = {
    "user": "Ada",
    "elevated": False,
    # ConstrainedLanguage where AppLocker or App Control restricts scripts.
    "language": "FullLanguage",
    "mode": "nat",
    "gateway": "172.22.16.1",
    "prefix": 20,
    "alias": "vEthernet (WSL (Hyper-V firewall))",
    # The adapter of WSL2 is a new one after each start.
    "adapter": 1,
    "environment": {"user": {"Path": "C:\\Users\\bin", "TEMP": "C:\\Temp"}, "machine": {"OS": "Windows_NT"}},
    "session": {},
    "rules": [],
    "hyperv_rules": [],
    "tasks": [],
    "gpus": [
        {
            "Name": "AMD Radeon RX 5700 XT",
            "PNPDeviceID": "PCI\\VEN_1002&DEV_731F&SUBSYS_0B361002&REV_C1\\6&1B2A3C4D&0&00000019",
            "DriverVersion": "32.0.21025.1024",
        }
    ],
    "ollama": {"version": "0.32.15", "autostart": True},
    "service": None,
    "processes": [],
    "next_pid": 4096,
    "files": {},
    # What the world has: url: {"content": TEXT}; "OllamaSetup VERSION" is an installer.
    "web": {},
    "output": {"encoding": "utf-8", "newline": "\r\n", "clixml": False},
    "missing": [],
}
TASKS = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


class Effects(Protocol):
    """The real side. `Nothing` has none."""

    def start(self, environment: dict[str, str], version: str) -> int: ...
    def stop(self, pid: int) -> None: ...
    def lay(self, state: dict[str, Any]) -> None: ...
    def log(self) -> str: ...


class Nothing:
    def start(self, environment: dict[str, str], version: str) -> int:
        return 0

    def stop(self, pid: int) -> None:
        pass

    def lay(self, state: dict[str, Any]) -> None:
        pass

    def log(self) -> str:
        return ""


class CmdletError(Exception):
    """What a cmdlet complains of."""


class Machine:
    def __init__(self, path: Path, effects: Effects | None = None) -> None:
        self.path = path
        self.effects: Effects = effects or Nothing()
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        unknown = sorted(set(stored) - set(DEFAULT))
        if unknown:
            raise SystemExit(f"{path}: unknown keys {', '.join(unknown)}")
        self.state: dict[str, Any] = copy.deepcopy(DEFAULT) | stored
        # Whether this is its first start.
        self.new = "processes" not in stored

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.state, ensure_ascii=False, indent=1), encoding="utf-8")

    # Paths and environment

    @property
    def folder(self) -> str:
        return f"C:\\Users\\{self.state['user']}\\AppData\\Local\\Programs\\Ollama"

    def expand(self, text: str) -> str:
        home = f"C:\\Users\\{self.state['user']}"
        known = {
            "USERPROFILE": home,
            "LOCALAPPDATA": f"{home}\\AppData\\Local",
            "TEMP": f"{home}\\AppData\\Local\\Temp",
            "SYSTEMROOT": "C:\\Windows",
        }
        return re.sub("%([A-Za-z]+)%", lambda found: known.get(found[1].upper(), found[0]), text)

    def file(self, path: str) -> str | None:
        """The key of a file: Windows does not mind the case."""
        return next((key for key in self.state["files"] if key.lower() == path.lower()), None)

    def read_file(self, path: str) -> str | None:
        if path == self.expand("%LOCALAPPDATA%\\Ollama\\server.log") and self.effects.log():
            return self.effects.log()
        if path == self.expand("%USERPROFILE%\\.wslconfig"):
            return f"[wsl2]\r\nnetworkingMode={self.state['mode']}\r\n"
        key = self.file(path)
        return None if key is None else self.state["files"][key]

    def stored_environment(self) -> dict[str, str]:
        return {**self.state["environment"]["machine"], **self.state["environment"]["user"]}

    def set_variable(self, store: str, name: str, value: str | None) -> None:
        variables = self.state["environment"][store]
        known = next((key for key in variables if key.lower() == name.lower()), name)
        variables.pop(known, None)
        if value:
            variables[known] = value

    # Processes

    def start(self, name: str, path: str, environment: dict[str, str], real: int = 0) -> dict[str, Any]:
        self.state["next_pid"] += 4
        process = {
            "Name": name,
            "ProcessId": self.state["next_pid"],
            "ExecutablePath": path,
            "SessionId": 1,
            "environment": environment,
            "real": real,
        }
        self.state["processes"].append(process)
        return process

    def start_ollama(self, environment: dict[str, str]) -> None:
        """The tray application, which starts a server with its own environment."""
        if not self.state["ollama"]:
            raise CmdletError("This command cannot be run due to the error: The system cannot find the file specified.")
        names = [process["Name"] for process in self.state["processes"]]
        if not self.state["service"] and "ollama app.exe" not in names:
            self.start("ollama app.exe", f"{self.folder}\\ollama app.exe", environment)
        if "ollama.exe" not in names:
            real = self.effects.start(environment, self.state["ollama"]["version"])
            self.start("ollama.exe", f"{self.folder}\\ollama.exe", environment, real)

    def stop(self, pid: int) -> bool:
        process = next((one for one in self.state["processes"] if one["ProcessId"] == pid), None)
        if process is None:
            return False
        self.state["processes"].remove(process)
        if process["real"]:
            self.effects.stop(process["real"])
        return True

    def stop_all(self) -> None:
        for process in list(self.state["processes"]):
            self.stop(process["ProcessId"])

    def listeners(self) -> list[dict[str, Any]]:
        found = []
        for process in (one for one in self.state["processes"] if one["Name"] == "ollama.exe"):
            text = process["environment"].get("OLLAMA_HOST", "").rpartition("://")[2].strip("/ \"'")
            host, _, port = text.partition(":")
            found.append(
                {
                    "LocalAddress": host or "127.0.0.1",
                    "LocalPort": int(port) if port.isdecimal() else 11434,
                    "OwningProcess": process["ProcessId"],
                }
            )
        return found

    # Network

    @property
    def has_adapter(self) -> bool:
        return self.state["mode"] == "nat"

    def network(self) -> dict[str, Any]:
        mode, gateway, prefix = (self.state[key] for key in ("mode", "gateway", "prefix"))
        if not self.has_adapter:
            return {"mode": mode, "gateway": None, "address": None, "prefix": None}
        address = str(ipaddress.ip_address(gateway) + 1)
        return {"mode": mode, "gateway": gateway, "address": address, "prefix": prefix}

    def boot(self) -> None:
        """A start: nothing runs yet, the tasks of the system do, and the user signs in."""
        self.stop_all()
        self.effects.lay(self.state)
        self.state["session"] = self.stored_environment()
        for task in self.state["tasks"]:
            self.run_task(task)
        self.effects.lay(self.state)
        if self.state["ollama"] and self.state["ollama"]["autostart"]:
            self.start_ollama(self.state["session"])
        self.save()

    def reboot(self, gateway: str | None, mode: str | None) -> None:
        self.state["adapter"] += 1
        self.state["gateway"] = gateway or self.state["gateway"]
        self.state["mode"] = mode or self.state["mode"]
        self.boot()

    def run_task(self, task: dict[str, Any]) -> None:
        from tests.standins.windows.session import Session

        root = ElementTree.fromstring(task["Xml"])
        triggers = [trigger.tag.removeprefix(TASKS) for trigger in root.findall(f"{TASKS}Triggers/*")]
        arguments = (root.findtext(f"{TASKS}Actions/{TASKS}Exec/{TASKS}Arguments") or "").split()
        if "EventTrigger" not in triggers or arguments[-2:-1] != ["-EncodedCommand"]:
            return
        Session(self, elevated=True).run(base64.b64decode(arguments[-1]).decode("utf-16-le"))
