# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WSL2 host: whether it uses the engine of Windows, how it reaches it, and what to expect there."""

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama_windows import (
    WINDOWS_ROCM,
    WSL_ROCM,
    WSL_ROCM_DRIVER,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import mapping, text

USES = ("auto", "windows", "local")
_MODE = ".wslconfig of the Windows user: [wsl2] networkingMode=mirrored (Windows 11) or nat, then wsl --shutdown."
# How Windows is reached in each networking mode: way, why, what to do where there is no way.
WAYS: dict = {
    "mirrored": ("loopback", "mirrored networking shares the loopback address of Windows", ""),
    "consomme": ("loopback", "consomme hands connections to 127.0.0.1 on to Windows", ""),
    "virtioproxy": ("loopback", "virtioproxy hands connections to 127.0.0.1 on to Windows", ""),
    "nat": (
        "gateway",
        "with NAT, Windows is the gateway, whose address is another one after each start of Windows",
        "",
    ),
    "bridged": (
        "none",
        "bridged networking puts WSL2 into the LAN, where nothing tells which machine is its Windows",
        "Set wsl_client_host to the address of Windows in the LAN, or use another mode: " + _MODE,
    ),
    "none": ("none", "the networking mode none cuts WSL2 off from Windows", "Use another networking mode: " + _MODE),
    "wsl1": ("none", "WSL 1 has no kernel of its own, no systemd and no GPU", "wsl --set-version DISTRIBUTION 2"),
}
_UNKNOWN = ("auto", "the networking mode is not known before the host itself resolves it", "")


def windows_backend(gpus: list | None, extra: dict) -> tuple:
    """(backend that Ollama for Windows should have, why); the backend of its best GPU."""
    if gpus is None:
        return None, "the GPUs of Windows are not known"
    found = []
    for gpu in (gpu for gpu in gpus if isinstance(gpu, dict)):
        name, gfx = text(gpu.get("product")) or "its GPU", text(gpu.get("gfx"))
        shared = gpu.get("integrated") is True
        if gpu.get("vendor") == "nvidia":
            found.append((shared, 0, "cuda", f"{name}: NVIDIA's own library"))
        elif gpu.get("vendor") == "amd" and gfx in WINDOWS_ROCM:
            found.append((shared, 1, "rocm", f"{name} ({gfx}): Ollama for Windows carries ROCm code for {gfx}"))
        elif gpu.get("vendor") == "amd" and catalogue.arch(gfx, extra).get("graphics", True):
            build = f"{gfx} is not in Ollama's ROCm build for Windows" if gfx else "its architecture is not known"
            found.append((shared, 2, "vulkan", f"{name}{f' ({gfx})' if gfx else ''}: {build}; Vulkan drives it"))
    if not found:
        return "cpu", "Windows has no GPU that Ollama can use"
    return min(found)[2:]


def _rocm_here(wsl: dict, gpus: list | None) -> dict:
    """ROCm inside WSL2, through /dev/dxg: an option that nobody gets without asking for it."""
    names = [str(gpu.get("gfx")) for gpu in gpus or [] if isinstance(gpu, dict) and gpu.get("gfx") in WSL_ROCM]
    if not names:
        reason = "AMD supports it on " + ", ".join(WSL_ROCM) + ("" if gpus is not None else "; the GPU is not known")
    elif not wsl.get("dxg"):
        reason = f"AMD supports it on {names[0]}, but there is no /dev/dxg here"
    else:
        there = "librocdxg is installed" if wsl.get("rocdxg") else "it needs librocdxg and the host's ROCm"
        reason = f"AMD supports it on {names[0]} with Adrenalin {WSL_ROCM_DRIVER} or newer; {there}; Ollama's does not"
    return {"option": "rocm in WSL2", "possible": bool(names and wsl.get("dxg")), "chosen": False, "reason": reason}


def _steps(way: str, wsl: dict) -> list:
    steps = [
        {
            "code": "windows_ollama",
            "what": "Have Ollama run on Windows.",
            "why": "It has the GPU; WSL2 only uses it.",
            "how": "On Windows: winget install Ollama.Ollama; or wsl_client_windows: true does it from here.",
        }
    ]
    if way == "gateway":
        steps.append(
            {
                "code": "windows_nat",
                "what": "Open Ollama on Windows to WSL2, and to nobody else.",
                "why": "With NAT it does not reach what listens on 127.0.0.1 of Windows.",
                "how": "The role windows_host sets OLLAMA_HOST and a firewall rule for vEthernet (WSL); mirrored "
                "networking (.wslconfig) needs neither.",
            }
        )
    if wsl.get("interop") is False:
        steps.append(
            {
                "code": "wsl_interop",
                "what": "Optional: let WSL2 start Windows programs.",
                "why": "Without it, nothing of Windows can be seen or set from here.",
                "how": "/etc/wsl.conf: [interop] enabled=true; then wsl --shutdown on Windows.",
            }
        )
    return steps


def plan_wsl(facts: dict, rungs: list, policy: dict, extra: dict) -> dict | None:
    """None on every other platform. A GPU that WSL2 itself can use (NVIDIA's) is used here, any other on Windows."""
    if facts.get("platform") != "wsl2":
        return None
    wsl = mapping(facts.get("wsl"))
    raw = wsl.get("windows_gpus")
    gpus = raw if isinstance(raw, list) else None
    backend, why = windows_backend(gpus, extra)
    way, way_why, remedy = WAYS.get("wsl1" if wsl.get("version") == 1 else str(wsl.get("networking_mode")), _UNKNOWN)
    asked = policy.get("wsl_use")
    use = asked if asked in ("windows", "local") else "local" if rungs[0]["backend"] != "cpu" else "windows"
    here = {
        "option": "Ollama in WSL2",
        "possible": True,
        "chosen": use == "local",
        "reason": rungs[0]["reason"] if rungs[0]["backend"] != "cpu" else "it would run on the processor",
    }
    there = {
        "option": "Ollama on Windows",
        "possible": way != "none",
        "chosen": use == "windows",
        "reason": f"{backend}: {why}" if backend else why,
    }
    return {
        "use": use,
        "windows_backend": backend,
        "why": why,
        "address": {"way": way, "why": way_why, "remedy": remedy},
        "options": [there, here, _rocm_here(wsl, gpus)],
        "steps": _steps(way, wsl) if use == "windows" else [],
    }
