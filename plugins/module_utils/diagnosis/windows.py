# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WSL2 host that uses Ollama on Windows: whether it leads there, and who else Windows lets in."""

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.commands import SITE
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.network import host_and_port
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.address import is_loopback
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.firewall import removal

_UNIT = "sudo systemctl restart lamplighter-windows-ollama"


def uses_windows(case: Case) -> bool:
    """Whether the engine is that of Windows, and none is here."""
    here = case.part("ollama_facts", "binary").get("path") or case.part("ollama_facts", "unit").get("path")
    return (case.plan.get("wsl") or {}).get("use") == "windows" and not here


def answers(case: Case) -> None:
    reach = case.part("windows_client", "reach")
    if reach.get("code") == "ok":
        case.fine.append(f"Ollama {reach.get('http')} answers on Windows")
    elif reach.get("code") and reach["code"] != "firewall_blocks":
        case.add(
            "network", "windows_silent", "error", reach["message"], reach["remedy"], SITE, f"cause: {reach['code']}"
        )


def firewall(case: Case) -> None:
    answers = case.part("windows_client", "reach").get("code") == "ok"
    for rule in case.items("windows_client", "blocking"):
        case.add(
            "network",
            "windows_firewall_blocks",
            "info" if answers else "error",
            f"The Windows firewall rule {rule['name']} keeps WSL2 from Ollama, whatever another one admits"
            f"{', though not in the present network' if answers else ''}.",
            "Remove the rule on Windows: it was made when somebody answered a question of Windows with Cancel.",
            f"{removal(rule['id'])}  # in an administrator's PowerShell",
            f"rule {rule['id']}",
        )
    for rule in case.items("windows_client", "wide"):
        case.add(
            "network",
            "windows_firewall_wide",
            "warning",
            f"Windows' firewall lets others than WSL2 reach Ollama, which has no password: {rule['reason']}.",
            "Remove the rule on Windows, and keep one for vEthernet (WSL) only: the role windows_host.",
            f"{removal(rule['id'])}  # in an administrator's PowerShell",
            f"rule {rule['name']}",
        )


def wiring(case: Case) -> None:
    found = case.part("windows_client")
    expected, written = found.get("expected"), found.get("written")
    if not found or not expected:
        return
    if not found.get("wired") and not found.get("others"):
        case.add(
            "environment",
            "client_not_wired",
            "warning",
            "Nothing tells programs of this WSL2 that Ollama is on Windows: they ask 127.0.0.1 of WSL2.",
            "Apply the role wsl_client.",
            SITE,
            f"Windows is at {expected}",
        )
    elif written and written != expected:
        case.add(
            "environment",
            "client_address_stale",
            "error",
            f"Sessions are told that Ollama is at {written}; Windows is at {expected}.",
            "Let the address be found again; it is at each start of WSL2.",
            _UNIT,
            f"/etc/environment: OLLAMA_HOST={written}",
        )
    elif written:
        case.fine.append(f"OLLAMA_HOST is {written}, which is Windows")


def values(case: Case) -> None:
    """An address that somebody has written down: wrong, or right until Windows starts again."""
    found = case.part("windows_client")
    expected = found.get("expected")
    for entry in found.get("others") or []:
        if not expected or not entry["value"][:1].isalnum():
            continue  # a command, which finds the address in its own way
        (host, port), (windows, its_port) = host_and_port(entry["value"]), host_and_port(expected)
        right = port == its_port and (host == windows or (is_loopback(host) and is_loopback(windows)))
        fleeting = (case.plan.get("wsl") or {}).get("address", {}).get("way") == "gateway"
        if right and not fleeting:
            continue
        when = "until Windows starts again" if right else f"not where Ollama on Windows is, which is {expected}"
        case.add(
            "environment",
            "client_address_static" if right else "client_address_stale",
            "warning" if right else "error",
            f"OLLAMA_HOST is written down as {entry['value']}: that is {'right ' if right else ''}{when}.",
            "Remove it, or let the role wsl_client put it out of force: wsl_client_replace: true."
            if entry.get("alone")
            else "Change that line by hand: it does other things as well.",
            f"sudoedit {entry['path']}",
            entry["said"],
        )
