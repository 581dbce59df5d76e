# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the Windows firewall: which admit a port, which of them reach beyond WSL2, and the one that is ours."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import Command, WindowsError

RULE = "Lamplighter-Ollama-WSL"
HYPERV_RULE = "Lamplighter-WSL-Inbound"
TITLE = "Ollama for WSL (Lamplighter)"
# https://learn.microsoft.com/windows/security/operating-system-security/network-security/windows-firewall/hyper-v-firewall
WSL_CREATOR = "{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}"
# Its name ends in ")" or, with the Hyper-V firewall, in " (Hyper-V firewall))".
ADAPTER = "vEthernet (WSL"


def subnet(wsl: dict[str, Any]) -> str:
    return str(ipaddress.ip_network(f"{wsl['address']}/{wsl['prefix']}", strict=False))


def texts(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [] if value is None else [value])]


def _holds(ports: list[str], port: int) -> bool:
    for one in ports:
        first, _dash, last = one.partition("-")
        if one.lower() == "any" or (
            first.isdecimal() and int(first) <= port <= int(last if last.isdecimal() else first)
        ):
            return True
    return False


def _is_ollama(program: str) -> bool:
    return program.lower() == "any" or program.replace("/", "\\").lower().rpartition("\\")[2] in (
        "ollama.exe",
        "ollama app.exe",
    )


def admitting(parts: dict[str, Any], port: int, kind: str = "rules") -> list[dict[str, Any]]:
    """Enabled inbound rules that let somebody reach Ollama on this port. A rule's filters have its InstanceID.

    What a store application may do (Package) is not Ollama's.
    """
    filters: dict[str, dict[str, Any]] = {}
    for name in ("ports", "addresses", "interfaces", "programs"):
        for one in parts.get(name) or []:
            filters.setdefault(str(one.get("InstanceID")), {}).update(one)
    rules = []
    for rule in parts.get(kind) or []:
        known = filters.get(str(rule.get("InstanceID")), {})
        admits = (
            str(known.get("Protocol", "Any")).lower() in ("tcp", "6", "any")
            and _holds(texts(known.get("LocalPort", "Any")), port)
            and _is_ollama(str(known.get("Program") or "Any"))
            and not known.get("Package")
        )
        if admits:
            rules.append(
                {
                    "name": str(rule.get("Name")),
                    "display_name": str(rule.get("DisplayName")),
                    "protocol": str(known.get("Protocol", "Any")),
                    "local_port": texts(known.get("LocalPort", "Any")),
                    "local_address": texts(known.get("LocalAddress", "Any")),
                    "remote_address": texts(known.get("RemoteAddress", "Any")),
                    "interface_alias": texts(known.get("InterfaceAlias", "Any")),
                    "program": str(known.get("Program") or "Any"),
                }
            )
    return rules


def _network(text: str) -> ipaddress.IPv4Network | None:
    """Windows writes 172.22.16.0/255.255.240.0; names such as LocalSubnet are no network."""
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None


def _inside(text: str, outer: ipaddress.IPv4Network) -> bool:
    """An address, a network or a range (first-last) that is all in it."""
    networks = [_network(part) for part in text.split("-")]
    return all(network is not None and network.subnet_of(outer) for network in networks)


def wider_than_wsl(rules: list[dict[str, Any]], wsl: dict[str, Any] | None) -> list[dict[str, str]]:
    """The rules that admit somebody other than WSL2: neither on its adapter only, nor from its subnet only."""
    allowed = [ipaddress.IPv4Network("127.0.0.0/8")]
    if wsl and wsl.get("address"):
        allowed.append(ipaddress.IPv4Network(subnet(wsl)))
    wide = []
    for rule in rules:
        aliases, remote = rule.get("interface_alias") or ["Any"], rule.get("remote_address") or ["Any"]
        if all(alias.startswith(ADAPTER) for alias in aliases):
            continue
        outside = [text for text in remote if not any(_inside(text, network) for network in allowed)]
        if outside:
            reason = f"it admits {', '.join(outside)} on {', '.join(aliases)}"
            wide.append({"name": rule.get("display_name") or rule["name"], "id": rule["name"], "reason": reason})
    return wide


def blocking(parts: dict[str, Any], port: int, wsl: dict[str, Any]) -> list[dict[str, str]]:
    """The rules that keep WSL2 out. One that blocks beats all that admit; Windows makes them for a question that
    somebody has answered with Cancel."""
    network = ipaddress.IPv4Network(subnet(wsl)) if wsl.get("address") else None
    return [
        {"name": rule["display_name"], "id": rule["name"]}
        for rule in admitting(parts, port, "blocks")
        if any(alias == "Any" or alias.startswith(ADAPTER) for alias in rule["interface_alias"])
        and all(any(_meets(text, network) for text in rule[key]) for key in ("local_address", "remote_address"))
    ]


def _meets(text: str, network: ipaddress.IPv4Network | None) -> bool:
    """Whether an address, a network, a range or a name of Windows has something of this network in it."""
    first, last = (_network(part) for part in (text.partition("-")[0], text.rpartition("-")[2]))
    if not (first and last and network):
        return text.lower() in ("any", "localsubnet", "localsubnet4")
    return first[0] <= network[-1] and network[0] <= last[-1]


def wanted_rule(wsl: dict[str, Any] | None, port: int, scope: str) -> dict[str, Any]:
    """The narrowest rule that WSL2 can come through."""
    if not wsl or not wsl.get("address"):
        raise WindowsError(
            f"Windows has no network adapter {ADAPTER}): start WSL2 in the networking mode nat, then run again."
        )
    rule = {"protocol": "TCP", "local_port": [str(port)], "program": "Any"}
    if scope == "interface":
        return {**rule, "interface_alias": [wsl["alias"]], "local_address": ["Any"], "remote_address": ["LocalSubnet"]}
    return {
        **rule,
        "interface_alias": ["Any"],
        "local_address": [wsl["address"]],
        "remote_address": [subnet(wsl)],
    }


def same_rule(found: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    def comparable(texts: list[str]) -> list[str]:
        return sorted(str(_network(text) or text) for text in texts)

    return found is not None and all(
        comparable(found[key]) == comparable(value) if isinstance(value, list) else found[key] == value
        for key, value in wanted.items()
    )


def new_rule(wanted: dict[str, Any]) -> Command:
    parameters: dict[str, Any] = {
        "Name": RULE,
        "DisplayName": TITLE,
        "Direction": "Inbound",
        "Action": "Allow",
        "Enabled": "True",
        "Profile": "Any",
        "Protocol": wanted["protocol"],
        "LocalPort": wanted["local_port"],
        "RemoteAddress": wanted["remote_address"],
    }
    if wanted["local_address"] != ["Any"]:
        parameters["LocalAddress"] = wanted["local_address"]
    if wanted["interface_alias"] != ["Any"]:
        parameters["InterfaceAlias"] = wanted["interface_alias"]
    return Command("New-NetFirewallRule", parameters)


def new_hyperv_rule(ports: list[int], remote: list[str]) -> Command:
    return Command(
        "New-NetFirewallHyperVRule",
        {
            "Name": HYPERV_RULE,
            "DisplayName": "Inbound to WSL (Lamplighter)",
            "Direction": "Inbound",
            "VMCreatorId": WSL_CREATOR,
            "Protocol": "TCP",
            "LocalPorts": [str(port) for port in ports],
            "RemoteAddresses": remote,
            "Action": "Allow",
            "Enabled": "True",
        },
    )
