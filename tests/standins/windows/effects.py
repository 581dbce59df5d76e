# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real side of the simulated Windows in a container: addresses, nftables, and the stand-in of Ollama."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.standins.ollama.build_releases import LIBRARIES, program

FOLDER = Path("/var/lib/standin-windows")
LOG = FOLDER / "server.log"
# The tests come in by these: ssh, the daemon, and the relay of mirrored networking.
HARNESS = "22, 4711, 4713"
DEVICE = "eth0"


def nft_rules(state: dict[str, Any], local: str) -> list[str]:
    """What the enabled rules drop and admit; one that blocks beats all that admit. `local` is the network of the
    container, which plays the LAN."""
    found: dict[str, list[str]] = {"drop": [], "accept": []}
    wsl = str(ipaddress.ip_network(f"{state['gateway']}/{state['prefix']}", strict=False))
    for rule in state["rules"]:
        on_wsl = str(rule["InterfaceAlias"]).startswith("vEthernet (WSL")
        # The adapter that this rule was made for is gone.
        stale = on_wsl and rule.get("adapter") != state["adapter"]
        holds = (rule["Enabled"], rule["Direction"]) == ("True", "Inbound") and rule["Protocol"] in ("TCP", "Any")
        if stale or not holds:
            continue
        match = "meta l4proto tcp"
        remote = rule["RemoteAddress"] if isinstance(rule["RemoteAddress"], list) else [rule["RemoteAddress"]]
        sources = {"LocalSubnet": wsl if on_wsl else f"{wsl}, {local}"}
        if "Any" not in remote:
            match += f" ip saddr {{ {', '.join(str(sources.get(one, one)) for one in remote)} }}"
        if on_wsl:
            match += f" ip daddr {state['gateway']}"
        elif rule["LocalAddress"] != "Any":
            match += f" ip daddr {rule['LocalAddress']}"
        ports = rule["LocalPort"] if isinstance(rule["LocalPort"], list) else [rule["LocalPort"]]
        if "Any" not in ports:
            match += f" tcp dport {{ {', '.join(ports)} }}"
        verdict = {"Allow": "accept", "Block": "drop"}[rule["Action"]]
        found[verdict].append(f"{match} {verdict}")
    return found["drop"] + found["accept"]


class Container:
    def __init__(self) -> None:
        self.laid = ""
        self.children: dict[int, subprocess.Popen] = {}

    def start(self, environment: dict[str, str], version: str) -> int:
        root = FOLDER / "ollama" / version
        for name in LIBRARIES:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for name in ("bin/ollama", "lib/ollama/llama-server"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if not (root / name).exists():
                (root / name).write_bytes(program(version))
                (root / name).chmod(0o755)
        # Windows' own graphics driver brings Vulkan.
        icd = Path("/etc/vulkan/icd.d/radeon_icd.json")
        icd.parent.mkdir(parents=True, exist_ok=True)
        icd.write_text("{}")
        variables = {"PATH": os.environ["PATH"], "HOME": str(FOLDER / "home")} | environment
        if "OLLAMA_MODELS" in environment:
            place = environment["OLLAMA_MODELS"].replace(":", "").replace("\\", "/")
            variables["OLLAMA_MODELS"] = str(FOLDER / "drives" / place)
        with LOG.open("ab") as log:
            child = subprocess.Popen(
                [root / "bin/ollama", "serve"], env=variables, stdout=log, stderr=log, start_new_session=True
            )
        self.children[child.pid] = child
        return child.pid

    def stop(self, pid: int) -> None:
        child = self.children.pop(pid, None)
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            child.wait()

    def lay(self, state: dict[str, Any]) -> None:
        keys = ("mode", "gateway", "prefix", "adapter", "rules")
        wanted = json.dumps([state[key] for key in keys])
        if wanted == self.laid:
            return
        self.laid = wanted
        shown = json.loads(_run("ip", "-json", "-4", "address", "show", "dev", DEVICE))
        addresses = [f"{one['local']}/{one['prefixlen']}" for link in shown for one in link.get("addr_info", [])]
        for address in addresses[1:]:
            _run("ip", "address", "delete", address, "dev", DEVICE)
        if state["mode"] == "nat":
            _run("ip", "address", "replace", f"{state['gateway']}/{state['prefix']}", "dev", DEVICE)
        local = str(ipaddress.ip_network(addresses[0], strict=False))
        rules = [
            "table inet standin_windows",
            "delete table inet standin_windows",
            "table inet standin_windows { chain input { type filter hook input priority 0; policy drop;",
            "ct state established,related accept",
            'iifname "lo" accept',
            "meta l4proto { icmp, icmpv6 } accept",
            f"tcp dport {{ {HARNESS} }} accept",
            *nft_rules(state, local),
            "}\n}",
        ]
        subprocess.run(["nft", "-f", "-"], input="\n".join(rules).encode(), check=True)

    def log(self) -> str:
        return LOG.read_text(errors="replace") if LOG.exists() else ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
