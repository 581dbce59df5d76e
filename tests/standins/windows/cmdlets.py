# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cmdlets, as far as Lamplighter uses them. A LookupError is "no such object"; the session makes it an error."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tests.standins.windows.machine import TASKS, CmdletError

if TYPE_CHECKING:
    from tests.standins.windows.session import Session

Parameters = dict[str, Any]
Items = list[Any]
Cmdlet = Callable[["Session", Parameters, "Items | None"], Items]
CMDLETS: dict[str, Cmdlet] = {}
# https://learn.microsoft.com/windows/win32/fwp/wmi/wfascimprov/msft-netfirewallrule
NUMBERS = {
    ("Direction", "Inbound"): 1,
    ("Direction", "Outbound"): 2,
    ("Enabled", "True"): 1,
    ("Enabled", "False"): 2,
    ("Action", "Allow"): 2,
    ("Action", "Block"): 4,
}
FILTERS = {
    "Port": ("Protocol", "LocalPort"),
    "Address": ("LocalAddress", "RemoteAddress"),
    "Interface": ("InterfaceAlias",),
    "Application": ("Program", "Package"),
}


def cmdlet(name: str) -> Callable[[Cmdlet], Cmdlet]:
    def register(function: Cmdlet) -> Cmdlet:
        CMDLETS[name] = function
        return function

    return register


def texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


def matches(text: Any, pattern: str) -> bool:
    return fnmatchcase(str(text).lower(), pattern.lower().replace("[", "[[]"))


def named(items: list[dict], names: Any, key: str = "Name") -> Items:
    """Those of these names; a plain name that is not there is an error, a pattern is not."""
    found = [item for item in items if any(matches(item[key], name) for name in texts(names))]
    if not found and not any("*" in name for name in texts(names)):
        raise LookupError(f"No objects found with property '{key}' equal to '{names}'.")
    return found


# Environment and registry


@cmdlet("Get-ItemProperty")
def get_item_property(session: Session, given: Parameters, items: Items | None) -> Items:
    state, found = session.machine.state, []
    for path in texts(given.get("LiteralPath") or given.get("Path")):
        if path == "HKCU:\\Environment":
            found.append(dict(state["environment"]["user"]))
        elif path == "HKLM:\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment":
            found.append(dict(state["environment"]["machine"]))
        elif path == "HKCU:\\Software\\Ollama" and (state["ollama"] or {}).get("registered"):
            found.append({"InstallDir": session.machine.folder})
        elif path == "HKCU:\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*":
            if "Name" not in given:
                # A program that has written a number of the wrong size, as some installers do.
                raise CmdletError("Specified cast is not valid.")
            found.append({"DisplayName": "Paint", "DisplayVersion": "1.0"})
            if state["ollama"]:
                version = state["ollama"]["version"]
                place = "" if state["ollama"].get("msi") else f"{session.machine.folder}\\"
                name = f"Ollama version {version}"
                found.append({"DisplayName": name, "DisplayVersion": version, "InstallLocation": place})
        elif path != "HKLM:\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*":
            raise LookupError(f"Cannot find path '{path}' because it does not exist.")
    return found


# Pipelines


@cmdlet("Select-Object")
def select_object(session: Session, given: Parameters, items: Items | None) -> Items:
    selected = []
    for item in items or []:
        chosen: dict[str, Any] = {}
        for name in texts(given["Property"]):
            known = [key for key in item if matches(key, name)]
            chosen.update({key: item[key] for key in known})
            if not known and "*" not in name:
                chosen[name] = None
        selected.append(chosen)
    return selected


@cmdlet("Where-Object")
def where_object(session: Session, given: Parameters, items: Items | None) -> Items:
    if not given.get("Like"):
        raise CmdletError("The stand-in knows -Like only.")
    return [item for item in items or [] if matches(item.get(given["Property"], ""), given["Value"])]


@cmdlet("Select-String")
def select_string(session: Session, given: Parameters, items: Items | None) -> Items:
    return [{"Line": line} for line in items or [] if re.search(given["Pattern"], line)]


# Files


@cmdlet("Get-Content")
def get_content(session: Session, given: Parameters, items: Items | None) -> Items:
    text = session.machine.read_file(given["LiteralPath"])
    if text is None:
        raise LookupError(f"Cannot find path '{given['LiteralPath']}' because it does not exist.")
    lines = text.splitlines()
    return lines[-int(given["Tail"]) :] if "Tail" in given else lines


@cmdlet("Set-Content")
def set_content(session: Session, given: Parameters, items: Items | None) -> Items:
    path = given["LiteralPath"]
    if session.machine.file(path.rpartition("\\")[0] + "\\") is None:
        raise LookupError(f"Could not find a part of the path '{path}'.")
    session.machine.state["files"][session.machine.file(path) or path] = given["Value"] + "\r\n"
    return []


@cmdlet("New-Item")
def new_item(session: Session, given: Parameters, items: Items | None) -> Items:
    session.machine.state["files"].setdefault(given["Path"] + "\\", "")
    return [{"FullName": given["Path"]}]


@cmdlet("Remove-Item")
def remove_item(session: Session, given: Parameters, items: Items | None) -> Items:
    files, path = session.machine.state["files"], given["LiteralPath"].lower()
    below = [key for key in files if key.lower().startswith(path + "\\")]
    gone = [key for key in files if key.lower() == path] or (below if given.get("Recurse") else [])
    if not gone:
        raise LookupError(f"Cannot find path '{given['LiteralPath']}' because it does not exist.")
    for key in gone:
        del files[key]
    return []


@cmdlet("Invoke-WebRequest")
def invoke_web_request(session: Session, given: Parameters, items: Items | None) -> Items:
    page = session.machine.state["web"].get(given["Uri"])
    if page is None:
        raise CmdletError("The remote server returned an error: (404) Not Found.")
    session.machine.state["files"][given["OutFile"]] = page["content"]
    return []


@cmdlet("Get-FileHash")
def get_file_hash(session: Session, given: Parameters, items: Items | None) -> Items:
    text = session.machine.read_file(given["LiteralPath"])
    if text is None:
        raise LookupError(f"Cannot find path '{given['LiteralPath']}' because it does not exist.")
    return [{"Algorithm": "SHA256", "Hash": hashlib.sha256(text.encode()).hexdigest().upper()}]


# Processes


@cmdlet("Get-CimInstance")
def get_cim_instance(session: Session, given: Parameters, items: Items | None) -> Items:
    state, wql = session.machine.state, given.get("Filter")
    if given["ClassName"] == "Win32_VideoController":
        return state["gpus"]
    if given["ClassName"] == "Win32_Process" and wql == "Name LIKE 'ollama%' OR Name = 'llama-server.exe'":
        return state["processes"]
    if given["ClassName"] == "Win32_Service" and wql == "Name LIKE 'ollama%'":
        return [{"Name": state["service"], "State": "Running"}] if state["service"] else []
    raise CmdletError("Invalid class, or a query that the stand-in does not know.")


@cmdlet("Stop-Process")
def stop_process(session: Session, given: Parameters, items: Items | None) -> Items:
    if not session.machine.stop(int(given["Id"])):
        raise LookupError(f"Cannot find a process with the process identifier {given['Id']}.")
    session.ending.add(int(given["Id"]))
    return []


@cmdlet("Wait-Process")
def wait_process(session: Session, given: Parameters, items: Items | None) -> Items:
    session.ending.discard(int(given["Id"]))
    return []


@cmdlet("Start-Process")
def start_process(session: Session, given: Parameters, items: Items | None) -> Items:
    """What is started inherits the environment of this process, which is that of the session's start."""
    machine, path = session.machine, given["FilePath"]
    if path.lower() == f"{machine.folder}\\ollama app.exe".lower():
        if given.get("ArgumentList") != "hidden":
            raise CmdletError("The window of Ollama opens in front of somebody.")
        # One that finds another, which has not ended yet, leaves everything to it.
        if not session.ending:
            machine.start_ollama(dict(session.environment))
        return []
    silent = set(texts(given.get("ArgumentList"))) == {"/VERYSILENT", "/NORESTART", "/SUPPRESSMSGBOXES"}
    removing = path.lower() == f"{machine.folder}\\unins000.exe".lower()
    if not (silent and given.get("PassThru")):
        raise CmdletError("A window of the installer waits for somebody.")
    if bool(given.get("Wait")) is not removing:
        why = "goes on in a copy of itself" if removing else "starts the tray application, and -Wait waits for it, too"
        raise CmdletError(f"This program {why}.")
    if removing and machine.state["ollama"]:
        machine.stop_all()
        machine.state["ollama"] = None
        return [{"ExitCode": 0}]
    installer = re.fullmatch(r"OllamaSetup (\S+)( exit (\d+))?", machine.read_file(path) or "")
    if not installer:
        raise CmdletError("This command cannot be run due to the error: The system cannot find the file specified.")
    if installer[3]:
        return [{"ExitCode": int(installer[3])}]
    machine.stop_all()
    machine.state["ollama"] = {"version": installer[1], "autostart": True}
    machine.start_ollama(dict(session.environment))
    return [{"ExitCode": 0}]


@cmdlet("Restart-Service")
def restart_service(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator("Cannot open service on computer '.'.")
    if session.machine.state["service"] != given["Name"]:
        raise LookupError(f"Cannot find any service with service name '{given['Name']}'.")
    session.machine.stop_all()
    session.machine.start_ollama(dict(session.machine.state["environment"]["machine"]))
    return []


# Network and firewall


@cmdlet("Get-NetTCPConnection")
def get_net_tcp_connection(session: Session, given: Parameters, items: Items | None) -> Items:
    found = [one for one in session.machine.listeners() if str(one["LocalPort"]) == given["LocalPort"]]
    if not found:
        raise LookupError("No matching MSFT_NetTCPConnection objects found by CIM query.")
    return found


@cmdlet("Get-NetIPAddress")
def get_net_ip_address(session: Session, given: Parameters, items: Items | None) -> Items:
    state = session.machine.state
    found = [{"InterfaceAlias": "Ethernet", "IPAddress": "192.168.178.20", "PrefixLength": 24}]
    if session.machine.has_adapter:
        found.append({"InterfaceAlias": state["alias"], "IPAddress": state["gateway"], "PrefixLength": state["prefix"]})
    return named(found, given["InterfaceAlias"], "InterfaceAlias")


@cmdlet("New-NetFirewallRule")
def new_net_firewall_rule(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator()
    state = session.machine.state
    if any(rule["Name"] == given["Name"] for rule in state["rules"]):
        raise CmdletError("Cannot create a file when that file already exists.")
    rule = {
        "Name": given["Name"],
        "InstanceID": given["Name"],
        "DisplayName": given["DisplayName"],
        "Direction": given.get("Direction", "Inbound"),
        "Action": given.get("Action", "Allow"),
        "Enabled": given.get("Enabled", "True"),
        "Protocol": given.get("Protocol", "Any"),
        "Program": given.get("Program", "Any"),
        "Package": None,
        **{key: given.get(key, "Any") for key in ("LocalPort", "LocalAddress", "RemoteAddress", "InterfaceAlias")},
    }
    if rule["Protocol"] == "Any" and rule["LocalPort"] != "Any":
        raise CmdletError("Ports can only be specified if the protocol is TCP or UDP.")
    _name_adapter(session, rule)
    state["rules"].append(rule)
    return [rule]


def _name_adapter(session: Session, rule: dict[str, Any]) -> None:
    """The rule keeps the identity of the adapter, not its name."""
    state = session.machine.state
    if str(rule["InterfaceAlias"]).startswith("vEthernet (WSL"):
        if not session.machine.has_adapter or rule["InterfaceAlias"] != state["alias"]:
            raise CmdletError("The interface alias does not match any interface.")
        rule["adapter"] = state["adapter"]


@cmdlet("Set-NetFirewallRule")
def set_net_firewall_rule(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator()
    for rule in named(session.machine.state["rules"], given["Name"]):
        if "InterfaceAlias" in given:
            rule["InterfaceAlias"] = given["InterfaceAlias"]
            _name_adapter(session, rule)
    return []


@cmdlet("Get-NetFirewallRule")
def get_net_firewall_rule(session: Session, given: Parameters, items: Items | None) -> Items:
    """What it filters by must be there: https://github.com/PowerShell/PowerShell, cimSupport/.../clientSideQuery.cs"""
    rules = session.machine.state["rules"]
    if "Name" in given:
        return [_as_numbers(rule) for rule in named(rules, given["Name"])]
    wanted = {key: given[key] for key in ("Direction", "Action", "Enabled") if key in given}
    found = [_as_numbers(rule) for rule in rules if all(rule[key] == value for key, value in wanted.items())]
    if wanted and not found:
        raise LookupError("No matching MSFT_NetFirewallRule objects found by CIM query.")
    return found


def _as_numbers(rule: dict[str, Any]) -> dict[str, Any]:
    """ConvertTo-Json writes enumerations so."""
    return {key: NUMBERS.get((key, value), value) if isinstance(value, str) else value for key, value in rule.items()}


def _with_masks(value: Any) -> Any:
    """172.22.16.0/20 is given back as 172.22.16.0/255.255.240.0."""
    if isinstance(value, list):
        return [_with_masks(one) for one in value]
    return ipaddress.IPv4Network(value, strict=False).with_netmask if re.fullmatch(r"[\d.]+/\d+", value) else value


@cmdlet("Remove-NetFirewallRule")
def remove_net_firewall_rule(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator()
    for rule in named(session.machine.state["rules"], given["Name"]):
        session.machine.state["rules"].remove(rule)
    return []


def filter_cmdlet(properties: tuple[str, ...]) -> Cmdlet:
    def get_filter(session: Session, given: Parameters, items: Items | None) -> Items:
        return [
            {key: _with_masks(rule[key]) if "Address" in key else rule[key] for key in ("InstanceID", *properties)}
            for rule in session.machine.state["rules"]
        ]

    return get_filter


for _filter, _properties in FILTERS.items():
    CMDLETS[f"Get-NetFirewall{_filter}Filter"] = filter_cmdlet(_properties)


@cmdlet("New-NetFirewallHyperVRule")
def new_hyperv_rule(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator()
    if given["VMCreatorId"] != "{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}":
        raise CmdletError("The VMCreatorId is not that of WSL.")
    rules = session.machine.state["hyperv_rules"]
    if any(rule["Name"] == given["Name"] for rule in rules):
        raise CmdletError("Cannot create a file when that file already exists.")
    keys = ("Name", "LocalPorts", "RemoteAddresses", "Action", "Direction", "Enabled")
    rules.append({key: given.get(key) for key in keys})
    return []


@cmdlet("Get-NetFirewallHyperVRule")
def get_hyperv_rule(session: Session, given: Parameters, items: Items | None) -> Items:
    found = named(session.machine.state["hyperv_rules"], given["Name"])
    return [_as_numbers({**rule, "RemoteAddresses": _with_masks(rule["RemoteAddresses"])}) for rule in found]


@cmdlet("Remove-NetFirewallHyperVRule")
def remove_hyperv_rule(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator()
    for rule in named(session.machine.state["hyperv_rules"], given["Name"]):
        session.machine.state["hyperv_rules"].remove(rule)
    return []


# Tasks


@cmdlet("Get-ScheduledTask")
def get_scheduled_task(session: Session, given: Parameters, items: Items | None) -> Items:
    # A task of the system is seen by an administrator, and by others if it says so itself.
    found = [
        task
        for task in session.machine.state["tasks"]
        if task["TaskPath"] == given["TaskPath"] and (session.elevated or "(A;;FR;;;AU)" in task["Xml"])
    ]
    if not found:
        raise LookupError(
            f"No MSFT_ScheduledTask objects found with property 'TaskPath' equal to '{given['TaskPath']}'."
        )
    return found


@cmdlet("Register-ScheduledTask")
def register_scheduled_task(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator()
    try:
        root = ElementTree.fromstring(given["Xml"])
    except ElementTree.ParseError as problem:
        raise CmdletError(f"The task XML is malformed: {problem}") from problem
    tasks = session.machine.state["tasks"]
    same = [task for task in tasks if task["TaskName"] == given["TaskName"]]
    if same and not given.get("Force"):
        raise CmdletError("Cannot create a file when that file already exists.")
    description = root.findtext(f"{TASKS}RegistrationInfo/{TASKS}Description")
    tasks[:] = [task for task in tasks if task not in same]
    tasks.append({**{key: given[key] for key in ("TaskName", "TaskPath", "Xml")}, "Description": description})
    return []


@cmdlet("Unregister-ScheduledTask")
def unregister_scheduled_task(session: Session, given: Parameters, items: Items | None) -> Items:
    session.administrator()
    if given.get("Confirm") is not False:
        raise CmdletError("A question waits for somebody.")
    for task in named(session.machine.state["tasks"], given["TaskName"], "TaskName"):
        session.machine.state["tasks"].remove(task)
    return []
