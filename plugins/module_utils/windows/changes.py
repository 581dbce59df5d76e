# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to change on Windows, as commands, and why: computed from what is there, nothing is done here.

Every function takes the facts of `state.facts` and returns the changes that are missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import firewall
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import (
    Call,
    Command,
    Expanded,
    Expression,
    Value,
    doing,
    encoded,
    expression,
    script,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.state import (
    RECORD,
    RECORD_FOLDER,
    TASK,
    TASK_FOLDER,
)

SCOPES = {"user": "User", "machine": "Machine"}
_TASK_XML = (
    '<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">'
    # Everybody may read it: without that, only an administrator sees a task of the system.
    "<RegistrationInfo><SecurityDescriptor>D:(A;;FA;;;BA)(A;;FA;;;SY)(A;;FR;;;AU)</SecurityDescriptor>"
    "<Description>{description}</Description></RegistrationInfo>"
    "<Triggers><BootTrigger/><EventTrigger><Subscription>{subscription}</Subscription></EventTrigger></Triggers>"
    '<Principals><Principal id="Author"><UserId>S-1-5-18</UserId><RunLevel>HighestAvailable</RunLevel></Principal>'
    "</Principals><Settings><MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>"
    "<DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries><StopIfGoingOnBatteries>false"
    "</StopIfGoingOnBatteries><ExecutionTimeLimit>PT5M</ExecutionTimeLimit></Settings>"
    '<Actions Context="Author"><Exec><Command>%SystemRoot%\\System32\\WindowsPowerShell\\v1.0\\powershell.exe'
    "</Command><Arguments>{arguments}</Arguments></Exec></Actions></Task>"
)
# Hyper-V's switch has connected an adapter, or Windows has found a network behind one.
_ADAPTER_CONNECTED = (
    '<QueryList><Query Id="0" Path="System"><Select Path="System">'
    "*[System[Provider[@Name='Microsoft-Windows-Hyper-V-VmSwitch'] and EventID=232]]</Select></Query>"
    '<Query Id="1" Path="Microsoft-Windows-NetworkProfile/Operational">'
    '<Select Path="Microsoft-Windows-NetworkProfile/Operational">*[System[EventID=10000]]</Select></Query></QueryList>'
)


@dataclass
class Change:
    """`key` names it in before and after, `needs` the change without which this one must not be made."""

    key: str
    what: str
    before: Any
    after: Any
    commands: list[Expression] = field(default_factory=list)
    elevated: bool = False
    needs: str = ""


def environment(facts: dict[str, Any], wanted: dict[str, Any], scope: str) -> list[Change]:
    """None takes a variable away."""
    changes = []
    stored = facts["environment"][scope]
    for name, value in sorted(wanted.items()):
        if stored.get(name.upper()) != value:
            changes.append(
                Change(
                    key=f"{scope}.{name}",
                    what=f"{name} of the {scope} is {'removed' if value is None else value}",
                    before=stored.get(name.upper()),
                    after=value,
                    commands=[Call("SetEnvironmentVariable", (name, value, SCOPES[scope]))],
                    elevated=scope == "machine",
                    needs="firewall" if name == "OLLAMA_HOST" and value is not None else "",
                )
            )
    return changes


def firewall_rule(facts: dict[str, Any], present: bool, scope: str, port: int) -> list[Change]:
    found = next((rule for rule in facts["firewall"] if rule["name"] == firewall.RULE), None)
    wanted = firewall.wanted_rule(facts["wsl"], port, scope) if present else None
    if firewall.same_rule(found, wanted) if wanted else not facts["own_rule"]:
        changes = []
    else:
        remove: list[Expression] = [[Command("Remove-NetFirewallRule", {"Name": firewall.RULE})]]
        change = Change(
            key="firewall",
            what="the firewall admits WSL2, and nobody else" if wanted else "our rule is not in the firewall",
            before=found and {key: found[key] for key in ("interface_alias", "local_address", "remote_address")},
            after=wanted and {key: wanted[key] for key in ("interface_alias", "local_address", "remote_address")},
            commands=[*(remove if facts["own_rule"] else []), *([[firewall.new_rule(wanted)]] if wanted else [])],
            elevated=True,
        )
        changes = [change]
    return changes + renewal(facts, facts["wsl"]["alias"] if wanted and scope == "interface" else None)


def renewal(facts: dict[str, Any], alias: str | None) -> list[Change]:
    """WSL2's adapter is a new one after each start of Windows, and a rule that names it then holds for none.

    https://github.com/microsoft/WSL/issues/6731: naming it again helps. A task of the system does it when a network
    comes up. Its description tells for which name it is.
    """
    description = f"{TITLE_OF_TASK}: {alias}" if alias else None
    if facts["task"] == description:
        return []
    commands: list[Expression]
    if description:
        again = Command("Set-NetFirewallRule", {"Name": firewall.RULE, "InterfaceAlias": str(alias)})
        xml = _TASK_XML.format(
            description=escape(description),
            subscription=escape(_ADAPTER_CONNECTED),
            arguments=f"-NoProfile -NonInteractive -EncodedCommand {encoded(again.text())}",
        )
        register: dict[str, Value] = {"TaskName": TASK, "TaskPath": TASK_FOLDER, "Xml": xml, "Force": True}
        commands = [[Command("Register-ScheduledTask", register)]]
    else:
        commands = [
            [Command("Unregister-ScheduledTask", {"TaskName": TASK, "TaskPath": TASK_FOLDER, "Confirm": False})]
        ]
    what = "the rule is renewed for WSL2's adapter of each start" if alias else "no task renews our rule"
    return [Change("task", what, facts["task"], description, commands, elevated=True)]


TITLE_OF_TASK = "Lamplighter renews its firewall rule for WSL2"


def hyperv(facts: dict[str, Any], ports: list[int], remote: list[str]) -> list[Change]:
    """Inbound connections to WSL2 itself, which mirrored networking puts behind the Hyper-V firewall."""
    wanted: dict[str, Any] | None = None
    if ports:
        wanted = {"ports": [str(port) for port in ports], "remote": remote, "enabled": True}
    found = facts["hyperv"]
    if found == wanted or (
        found
        and wanted
        and found["enabled"]
        and all(firewall.same_addresses(found[key], wanted[key]) for key in ("ports", "remote"))
    ):
        return []
    commands: list[Expression] = []
    if found:
        commands.append([Command("Remove-NetFirewallHyperVRule", {"Name": firewall.HYPERV_RULE})])
    if wanted:
        commands.append([firewall.new_hyperv_rule(ports, remote)])
    what = f"the Hyper-V firewall admits ports {', '.join(map(str, ports))}" if wanted else "our Hyper-V rule is gone"
    return [Change("hyperv", what, found, wanted, commands, elevated=True)]


def recorded(record: dict[str, Any], changes: list[Change], stale: list[int]) -> dict[str, Any]:
    """The record with what these changes replace. What was there first stays; what we set last is known again.

    `restart` are the processes that have an older environment than the stored one.
    """
    stores = {scope: dict((record.get("environment") or {}).get(scope) or {}) for scope in SCOPES}
    for change in changes:
        scope, _dot, name = change.key.partition(".")
        if scope in stores:
            first = stores[scope].get(name, {"before": change.before})
            stores[scope][name] = {"before": first["before"], "set": change.after}
            if first["before"] == change.after:
                del stores[scope][name]
    installed = record.get("installed")
    for change in (change for change in changes if change.key == "install"):
        installed = installed or {"before": change.before}
    return {"schema": 1, "environment": stores, "installed": installed, "restart": stale}


def write_record(record: dict[str, Any]) -> list[Expression]:
    text = json.dumps(record, sort_keys=True)
    return [
        [Command("New-Item", {"Path": RECORD_FOLDER, "ItemType": "Directory", "Force": True})],
        [Command("Set-Content", {"LiteralPath": RECORD, "Value": text, "Encoding": "UTF8"})],
    ]


def remove_record() -> list[Expression]:
    return [[Command("Remove-Item", {"LiteralPath": RECORD_FOLDER, "Recurse": True})]]


def start_again(facts: dict[str, Any]) -> list[Expression]:
    """Stop Ollama and start it as Windows would: with the environment of the machine, and the user's over it.

    A program inherits the environment of the one that starts it, and this PowerShell has that of its session's start.
    """
    if facts["services"]:
        return [[Command("Restart-Service", {"Name": name, "Force": True})] for name in facts["services"]]
    stores = facts["environment"]
    effective = {**stores["machine"], **stores["user"]}
    names = sorted({*effective, *(name for name in facts["touched"])})
    app = f"{facts['folder']}\\ollama app.exe"
    # The tray application first: it starts a server that is gone.
    order = sorted(facts["running"], key=lambda one: (one["name"].lower() != "ollama app.exe", one["pid"]))
    return [
        *(
            [Command("Stop-Process", {"Id": str(one["pid"]), "Force": True, "ErrorAction": "SilentlyContinue"})]
            for one in order
        ),
        # Stop-Process does not wait, and a tray application that finds another one leaves the start to it.
        *(
            [Command("Wait-Process", {"Id": str(one["pid"]), "Timeout": "30", "ErrorAction": "SilentlyContinue"})]
            for one in order
        ),
        *(Call("SetEnvironmentVariable", (name, effective.get(name), "Process")) for name in names),
        # Without this its window opens in front of whoever sits there.
        [Command("Start-Process", {"FilePath": app, "ArgumentList": ["hidden"]})],
    ]


def doing_script(commands: list[Expression]) -> str:
    return script([doing(what) for what in commands])


def shown(commands: list[Expression]) -> str:
    """For a person: to be pasted into an administrator's PowerShell."""
    return "; ".join(expression(what) for what in commands)


def download_path(version: str) -> Expanded:
    return Expanded(f"%TEMP%\\lamplighter-OllamaSetup-{version}.exe")
