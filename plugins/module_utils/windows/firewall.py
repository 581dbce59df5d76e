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
# https://learn.microsoft.com/windows/win32/fwp/wmi/wfascimprov/msft-netfirewallrule
_NUMBERS = {"inbound": "1", "true": "1", "allow": "2", "block": "4"}


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


def admitting(parts: dict[str, Any], port: int, action: str = "allow") -> list[dict[str, Any]]:
    """Enabled inbound rules that let somebody reach Ollama on this port. A rule's filters have its InstanceID.

    What a store application may do (Package) is not Ollama's.
    """
    filters: dict[str, dict[str, Any]] = {}
    for name in ("ports", "addresses", "interfaces", "programs"):
        for one in parts.get(name) or []:
            filters.setdefault(str(one.get("InstanceID")), {}).update(one)
    wanted = {"Direction": "inbound", "Enabled": "true", "Action": action}
    rules = []
    for rule in parts.get("rules") or []:
        known = filters.get(str(rule.get("InstanceID")), {})
        admits = (
            all(is_value(rule.get(name), value) for name, value in wanted.items())
            and str(known.get("Protocol", "Any")).lower() in ("tcp", "6", "any")
            and _holds(texts(known.get("LocalPort", "Any")), port)
            and _is_ollama(str(known.get("Program") or "Any"))
            and str(known.get("Package") or "Any").lower() == "any"
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


def is_value(found: Any, name: str) -> bool:
    """ConvertTo-Json writes these as the numbers of MSFT_NetFirewallRule; a person reads them as names."""
    return str(found).lower() in (name, _NUMBERS[name])


def span(text: str) -> tuple[int, int, int] | None:
    """IP version, first and last of an address, a network or a range (first-last). A name such as LocalSubnet is none.

    Windows gives 172.16.0.0/12 back as 172.16.0.0/255.240.0.0.
    """
    first, dash, last = text.partition("-")
    try:
        one = ipaddress.ip_network(first, strict=False)
        other = ipaddress.ip_network(last, strict=False) if dash else one
    except ValueError:
        return None
    low, high = int(one.network_address), int(other.broadcast_address)
    return (one.version, low, high) if one.version == other.version and low <= high else None


def _inside(text: str, outer: str) -> bool:
    inner, around = span(text), span(outer)
    return bool(inner and around and inner[0] == around[0] and around[1] <= inner[1] and inner[2] <= around[2])


def _meets(text: str, network: str | None) -> bool:
    """Whether an address, a network, a range or a name of Windows has something of this network in it."""
    one, other = span(text), span(network or "")
    if not (one and other):
        return text.lower() in ("any", "localsubnet", "localsubnet4")
    return one[0] == other[0] and one[1] <= other[2] and other[1] <= one[2]


def same_addresses(found: list[str], wanted: list[str]) -> bool:
    return {span(text) or text.lower() for text in found} == {span(text) or text.lower() for text in wanted}


def wider_than_wsl(rules: list[dict[str, Any]], wsl: dict[str, Any] | None) -> list[dict[str, str]]:
    """The rules that admit somebody other than WSL2: neither on its adapter only, nor from its subnet only."""
    allowed = ["127.0.0.0/8", "::1", *([subnet(wsl)] if wsl and wsl.get("address") else [])]
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
    somebody has answered with Cancel. WSL2's adapter is in a network that Windows does not know, which is a public one.
    """
    network = subnet(wsl) if wsl.get("address") else None
    public = {**parts, "rules": [rule for rule in parts["rules"] if _is_public(rule.get("Profile"))]}
    return [
        {"name": rule["display_name"], "id": rule["name"]}
        for rule in admitting(public, port, "block")
        if any(alias == "Any" or alias.startswith(ADAPTER) for alias in rule["interface_alias"])
        and all(any(_meets(text, network) for text in rule[key]) for key in ("local_address", "remote_address"))
    ]


def _is_public(profile: Any) -> bool:
    """A sum of Domain (1), Private (2) and Public (4); 0 is any. As text a list of names."""
    text = str(profile or "Any").lower()
    return int(text) & 4 != 0 if text.isdecimal() else "any" in text or "public" in text


def removal(name: str) -> str:
    """For a person: to be entered in an administrator's PowerShell."""
    return Command("Remove-NetFirewallRule", {"Name": name}).text()


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
    return found is not None and all(
        same_addresses(found[key], value) if isinstance(value, list) else found[key] == value
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
