# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why Ollama on Windows does not answer, by the evidence: a pure function."""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.address import is_loopback
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.firewall import removal

_ROLE = "The role windows_host does it (wsl_client_windows: true); "
REMEDIES = {
    "no_way": "Use networkingMode=mirrored or nat ([wsl2] in .wslconfig of the Windows user), then wsl --shutdown.",
    "not_installed": _ROLE + "by hand: winget install Ollama.Ollama",
    "not_running": "Start Ollama on Windows (Start menu), and let it start at sign-in. "
    + _ROLE
    + "or start it by hand.",
    "bound_to_loopback": _ROLE + "by hand: setx OLLAMA_HOST 0.0.0.0:11434 on Windows, a firewall rule for vEthernet "
    "(WSL) only, then quit Ollama in the tray and start it again. Mirrored networking needs none of it.",
    "not_running_or_loopback": "On Windows: Get-NetTCPConnection -LocalPort 11434 -State Listen. Nothing: start Ollama."
    " 127.0.0.1: with NAT it has to listen on the vEthernet (WSL) address too (OLLAMA_HOST). The role windows_host does"
    " either (wsl_client_windows: true).",
    "firewall": _ROLE + "by hand, in an administrator's PowerShell: New-NetFirewallRule -DisplayName 'Ollama for WSL' "
    "-Direction Inbound -Protocol TCP -LocalPort 11434 -InterfaceAlias 'vEthernet (WSL*' -Action Allow",
    "firewall_blocks": "Remove it in an administrator's PowerShell: ",
    "vpn": "Disconnect the VPN of Windows, or let it spare the network of WSL2; mirrored networking does not need it.",
    "no_gateway": "wsl --shutdown on Windows, and start WSL2 again; a VPN inside WSL2 must leave eth0 its route.",
    "host_loopback": "Let it hand loopback on: [experimental] hostAddressLoopback=true in .wslconfig, or use mirrored "
    "or nat; then wsl --shutdown.",
    "unknown_host": "Correct wsl_client_host, or let the address be found: wsl_client_host: ''.",
    "proxy": "Take the address out of the proxy's way: NO_PROXY. The wiring of this role does it.",
    "not_ollama": "Find out what holds the port on Windows (Get-NetTCPConnection -LocalPort 11434), and stop it.",
}


def judge_reach(evidence: dict[str, Any]) -> dict[str, str]:
    """code, message and remedy. The code is `ok` where Ollama answered.

    `way`, `mode`, `url`; `tcp` (open, refused, timeout, unreachable, unknown_host, None), `http` (the version, None),
    `http_error`, `neighbour` (True, False, None: whether the gateway is there on the link), `proxy` (one that the
    environment has and that the address is not spared from) and, where Windows could be asked, `windows`: what its
    operation `state` gives: `installed`, `running`, `listeners` and `blocking`.
    """
    code, why = _cause(evidence)
    if code == "ok":
        return {"code": "ok", "message": why, "remedy": ""}
    remedy = REMEDIES[code]
    if code == "firewall_blocks":
        remedy += "; ".join(removal(rule["id"]) for rule in evidence["windows"]["blocking"])
    return {"code": code, "message": why, "remedy": remedy}


def _cause(evidence: dict[str, Any]) -> tuple[str, str]:
    url, way, mode, tcp = (evidence.get(key) for key in ("url", "way", "mode", "tcp"))
    if evidence.get("http"):
        return "ok", f"Ollama {evidence['http']} answers at {url}."
    if way == "none":
        return "no_way", f"Windows cannot be reached in the networking mode {mode}."
    if not url:
        return "no_gateway", "There is no default route through eth0, which leads to Windows with NAT."
    asked = f"{url} does not answer: "
    if tcp == "unknown_host":
        return "unknown_host", f"{asked}no such host is known."
    if tcp == "open":
        if evidence.get("proxy"):
            return "proxy", f"{asked}the proxy {evidence['proxy']} swallows the request ({evidence.get('http_error')})."
        return "not_ollama", f"{asked}something is there, but not Ollama ({evidence.get('http_error')})."
    told = _by_windows(evidence, asked)
    if told:
        return told
    if tcp == "refused":
        if way == "gateway":
            text = "the connection is refused, so Ollama does not run on Windows, or it listens on 127.0.0.1 only."
            return "not_running_or_loopback", asked + text
        if mode in ("consomme", "virtioproxy"):
            return "host_loopback", f"{asked}refused; in the mode {mode} Windows' loopback may not be open to WSL2."
        return "not_running", f"{asked}the connection is refused: Ollama does not run there."
    if tcp == "unreachable" or evidence.get("neighbour") is False:
        return "vpn", f"{asked}there is no way to it; a VPN on Windows or in WSL2 has taken the route."
    return "firewall", f"{asked}no reply within the time, as where a firewall drops the request."


def _by_windows(evidence: dict[str, Any], asked: str) -> tuple[str, str] | None:
    """What Windows says of itself goes before what the network lets one guess."""
    windows = evidence.get("windows")
    if not isinstance(windows, dict):
        return None
    # One that was unpacked by hand runs without being installed.
    if windows.get("installed") is False and not windows.get("running"):
        return "not_installed", f"{asked}Ollama is not installed on Windows."
    if not windows.get("running"):
        return "not_running", f"{asked}Ollama is installed on Windows, but does not run."
    listeners = [str(listener.get("address")) for listener in windows.get("listeners") or []]
    if evidence.get("way") == "gateway" and listeners and all(is_loopback(address) for address in listeners):
        return "bound_to_loopback", f"{asked}on Windows it listens on {', '.join(sorted(set(listeners)))} only."
    if evidence.get("tcp") == "timeout" and listeners:
        if evidence.get("neighbour") is False:
            return None
        rules = [str(rule["name"]) for rule in windows.get("blocking") or []]
        if rules and evidence.get("way") == "gateway":
            return (
                "firewall_blocks",
                f"{asked}Windows' firewall rule {', '.join(rules)} blocks it, whatever others admit.",
            )
        return "firewall", f"{asked}Windows listens on {', '.join(sorted(set(listeners)))}, and its firewall drops it."
    return None
