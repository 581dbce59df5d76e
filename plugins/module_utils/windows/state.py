# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows is asked about itself, and its answers as facts. Every question is one command and changes nothing."""

from __future__ import annotations

import json
import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import firewall
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import (
    IS_ELEVATED,
    Call,
    Command,
    Expanded,
    Expression,
    Value,
    WindowsError,
    reading,
    script,
)

RECORD_FOLDER = Expanded("%LOCALAPPDATA%\\Lamplighter")
RECORD = Expanded("%LOCALAPPDATA%\\Lamplighter\\windows_host.json")
LOG = Expanded("%LOCALAPPDATA%\\Ollama\\server.log")
WSLCONFIG = Expanded("%USERPROFILE%\\.wslconfig")
TASK_FOLDER = "\\Lamplighter\\"
TASK = "Ollama for WSL"
# Ollama's installer (Inno Setup) registers itself for the user, or for all.
UNINSTALL = [
    "HKCU:\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*",
    "HKLM:\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*",
]
_INSTALLED = ("DisplayName", "DisplayVersion", "InstallLocation")
# Other programs have its name in theirs.
_OLLAMA = re.compile(r"Ollama( version .*| \d.*)?")
STORES = {
    "user": "HKCU:\\Environment",
    "machine": "HKLM:\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment",
}
# What concerns the engine; the rest of a person's environment is not ours to read.
NAMES = [
    "OLLAMA_*",
    "LLAMA_ARG_*",
    "GGML_*",
    "HIP_*",
    "ROCR_*",
    "CUDA_VISIBLE_DEVICES",
    "HSA_OVERRIDE_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
]


def _select(*names: str) -> Command:
    return Command("Select-Object", {"Property": list(names)})


def _filter(name: str, *properties: str) -> list[Command]:
    return [Command(f"Get-NetFirewall{name}Filter"), _select("InstanceID", *properties)]


def _lines_of(path: Expanded, **more: Value) -> list[Command]:
    """Get-Content's own texts carry properties, which ConvertTo-Json of 5.1 writes as objects; Line is a bare text."""
    return [
        Command("Get-Content", {"LiteralPath": path, "Encoding": "UTF8", "ErrorAction": "SilentlyContinue", **more}),
        Command("Select-String", {"Pattern": "^"}),
        _select("Line"),
    ]


def _registry(store: str) -> list[Command]:
    return [Command("Get-ItemProperty", {"LiteralPath": STORES[store]}), _select(*NAMES)]


def questions(port: int) -> dict[str, Expression]:
    quiet: dict[str, Value] = {"ErrorAction": "SilentlyContinue"}
    return {
        "elevated": IS_ELEVATED,
        "user": _registry("user"),
        "machine": _registry("machine"),
        "installed": [
            # Only these: reading all ends with "Specified cast is not valid" where a program has written a broken one.
            Command("Get-ItemProperty", {"Path": UNINSTALL, "Name": list(_INSTALLED), **quiet}),
            Command("Where-Object", {"Property": "DisplayName", "Like": True, "Value": "Ollama*"}),
            _select(*_INSTALLED),
        ],
        # An MSI does not tell it above; Ollama's install.ps1 writes it here.
        "place": [
            Command("Get-ItemProperty", {"LiteralPath": "HKCU:\\Software\\Ollama", "Name": "InstallDir", **quiet}),
            _select("InstallDir"),
        ],
        "processes": [
            Command(
                "Get-CimInstance",
                {
                    "ClassName": "Win32_Process",
                    "Filter": "Name LIKE 'ollama%' OR Name = 'llama-server.exe'",
                },
            ),
            _select("Name", "ProcessId", "ExecutablePath", "SessionId"),
        ],
        "services": [
            Command("Get-CimInstance", {"ClassName": "Win32_Service", "Filter": "Name LIKE 'ollama%'"}),
            _select("Name", "State"),
        ],
        "listeners": [
            Command("Get-NetTCPConnection", {"State": "Listen", "LocalPort": str(port), **quiet}),
            _select("LocalAddress", "LocalPort", "OwningProcess"),
        ],
        "adapter": [
            Command("Get-NetIPAddress", {"AddressFamily": "IPv4", "InterfaceAlias": firewall.ADAPTER + "*", **quiet}),
            _select("InterfaceAlias", "IPAddress", "PrefixLength"),
        ],
        "wslconfig": _lines_of(WSLCONFIG),
        "record": _lines_of(RECORD),
        "task": [
            Command("Get-ScheduledTask", {"TaskPath": TASK_FOLDER, **quiet}),
            _select("TaskName", "Description"),
        ],
        "gpus": GPUS,
        **FIREWALL,
        "own_rule": [Command("Get-NetFirewallRule", {"Name": firewall.RULE, **quiet}), _select("Name")],
        "hyperv": [
            Command("Get-NetFirewallHyperVRule", {"Name": firewall.HYPERV_RULE, **quiet}),
            _select("Name", "LocalPorts", "RemoteAddresses", "Enabled"),
        ],
        "log": Call("ExpandEnvironmentVariables", (LOG.path,)),
    }


GPUS: list[Command] = [
    Command("Get-CimInstance", {"ClassName": "Win32_VideoController"}),
    _select("Name", "PNPDeviceID", "DriverVersion"),
]
# Asked for all rules at once: one question per rule takes minutes. What they admit is put together here. Asked for
# those that block, Windows would answer with an error where there is none:
# https://github.com/PowerShell/PowerShell/blob/master/src/Microsoft.PowerShell.Commands.Management/cimSupport/cmdletization/cim/clientSideQuery.cs
FIREWALL: dict[str, Expression] = {
    "rules": [
        Command("Get-NetFirewallRule", {"All": True}),
        _select("InstanceID", "Name", "DisplayName", "Direction", "Enabled", "Action", "Profile"),
    ],
    "ports": _filter("Port", "Protocol", "LocalPort"),
    "addresses": _filter("Address", "LocalAddress", "RemoteAddress"),
    "interfaces": _filter("Interface", "InterfaceAlias"),
    "programs": _filter("Application", "Program", "Package"),
}


def read_log(last: int) -> dict[str, Expression]:
    return {"log": Call("ExpandEnvironmentVariables", (LOG.path,)), "lines": _lines_of(LOG, Tail=str(last))}


def reading_script(parts: dict[str, Expression]) -> str:
    return script([reading(key, what) for key, what in parts.items()])


def needed(answer: dict[str, Any], *keys: str) -> None:
    """Windows must have answered these: what is not known is never taken for nothing."""
    for key in keys:
        if isinstance(answer.get(key), str):
            raise WindowsError(f"Windows does not tell its {key}: {answer[key]}")


def _list(answer: dict[str, Any], key: str) -> list[Any]:
    return [one for one in answer.get(key) or [] if one is not None] if isinstance(answer.get(key), list) else []


def _variables(answer: dict[str, Any], store: str) -> dict[str, str]:
    """A name has the spelling of the store; Windows compares without regard to case, and so do we."""
    found: dict[str, Any] = next(iter(_list(answer, store)), {})
    return {name.upper(): str(value) for name, value in found.items() if value is not None and "*" not in name}


def networking_mode(wslconfig: str) -> str:
    """Its first place was [experimental], which WSL still reads:
    https://github.com/microsoft/WSL/blob/master/src/windows/common/WslCoreConfig.cpp"""
    section, mode = "", "nat"
    for line in (line.split("#")[0].strip() for line in wslconfig.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ").lower()
        found = re.fullmatch(r"networkingmode\s*=\s*\"?(\w+)\"?", line, re.IGNORECASE)
        if section in ("wsl2", "experimental") and found:
            mode = found[1].lower()
    return mode


def lines(answer: dict[str, Any], key: str) -> list[str]:
    return [str(one.get("Line") or "") for one in _list(answer, key)]


def _record(found: list[str]) -> dict[str, Any]:
    text = "\n".join(found).lstrip("\ufeff").strip()
    if not text:
        return {}
    try:
        record = json.loads(text)
    except ValueError as error:
        raise WindowsError(
            f"{RECORD.path} is damaged ({error}): it tells how to undo. Restore or remove it."
        ) from error
    if not isinstance(record, dict) or record.get("schema") != 1:
        raise WindowsError(f"{RECORD.path} is of another version: use the Lamplighter that wrote it, or remove it.")
    return record


def version_of(display_version: Any) -> str | None:
    found = re.search(r"\d+\.\d+\.\d+(-rc\d+)?", str(display_version or ""))
    return found[0] if found else None


def facts(answer: dict[str, Any], port: int) -> dict[str, Any]:
    needed(
        answer,
        "elevated",
        "user",
        "machine",
        "installed",
        "rules",
        "ports",
        "addresses",
        "interfaces",
        "programs",
        "own_rule",
        "processes",
        "record",
    )
    installed = next((one for one in _list(answer, "installed") if _OLLAMA.fullmatch(str(one["DisplayName"]))), None)
    place: dict[str, Any] = next(iter(_list(answer, "place")), {})
    told = installed and (installed.get("InstallLocation") or place.get("InstallDir"))
    folder = str(told or "").rstrip("\\") or _folder_of(_list(answer, "processes"))
    adapter = next(iter(_list(answer, "adapter")), None)
    hyperv = next(iter(_list(answer, "hyperv")), None)
    mode = networking_mode("\n".join(lines(answer, "wslconfig")))
    wsl: dict[str, Any] = {"mode": mode, "alias": None, "address": None, "prefix": None}
    if adapter:
        prefix = int(adapter["PrefixLength"])
        wsl.update(alias=adapter["InterfaceAlias"], address=adapter["IPAddress"], prefix=prefix)
    running = [
        {"name": one["Name"], "pid": int(one["ProcessId"]), "path": one.get("ExecutablePath")}
        for one in _list(answer, "processes")
        if str(one["Name"]).lower().startswith("ollama") or _below(one.get("ExecutablePath"), folder)
    ]
    return {
        "elevated": _list(answer, "elevated") == [True],
        "installed": installed is not None,
        "folder": folder,
        "version": version_of((installed or {}).get("DisplayVersion")),
        "running": running,
        "services": [str(one["Name"]) for one in _list(answer, "services")],
        "listeners": [
            {"address": one["LocalAddress"], "port": int(one["LocalPort"]), "pid": int(one["OwningProcess"])}
            for one in _list(answer, "listeners")
        ],
        "environment": {store: _variables(answer, store) for store in STORES},
        "wsl": wsl,
        "firewall": firewall.admitting(answer, port),
        "blocking": firewall.blocking(answer, port, wsl),
        "own_rule": bool(_list(answer, "own_rule")),
        "hyperv": hyperv
        and {
            "ports": firewall.texts(hyperv.get("LocalPorts")),
            "remote": firewall.texts(hyperv.get("RemoteAddresses")),
            "enabled": firewall.is_value(hyperv.get("Enabled"), "true"),
        },
        "task": next((one.get("Description") for one in _list(answer, "task") if one.get("TaskName") == TASK), None),
        "gpus": _list(answer, "gpus"),
        "record": _record(lines(answer, "record")),
        "log": next(iter(_list(answer, "log")), None),
    }


def _folder_of(processes: list[dict[str, Any]]) -> str | None:
    """Where the Ollama that runs is: an MSI may not tell where it put it."""
    programs = {str(one["Name"]).lower(): str(one.get("ExecutablePath") or "") for one in processes}
    path = programs.get("ollama app.exe") or programs.get("ollama.exe") or ""
    return path.rpartition("\\")[0] or None


def _below(path: Any, folder: str | None) -> bool:
    return bool(folder and path and str(path).lower().startswith(folder.lower() + "\\"))
