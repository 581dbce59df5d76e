# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operations take, and what of it is refused before anything is done."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.firewall import span
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError, literal

# Those in which WSL2 reaches what listens on the loopback address of Windows.
LOOPBACK_MODES = ("mirrored", "consomme", "virtioproxy")
MODES = ("nat", *LOOPBACK_MODES, "bridged", "none", "wsl1")
REFUSED = {
    "none": "The networking mode none cuts WSL2 off from Windows",
    "wsl1": "WSL 1 is not supported: wsl --set-version DISTRIBUTION 2 makes it WSL2",
    "bridged": "In the networking mode bridged WSL2 is a machine of the LAN, and no rule can admit it alone",
}
OPERATIONS = ("state", "gpus", "firewall", "log", "apply", "undo")
# As Ansible types them; null is "not said".
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "operation": {"type": "str", "choices": list(OPERATIONS), "default": "state"},
    "port": {"type": "int", "default": 11434},
    "lines": {"type": "int", "default": 200},
    "bind": {"type": "str", "choices": ["auto", "any", "vethernet", "loopback"]},
    "mode": {"type": "str", "choices": ["auto", *MODES], "default": "auto"},
    "environment": {"type": "dict"},
    "scope": {"type": "str", "choices": ["user", "machine"], "default": "user"},
    "firewall": {"type": "str", "choices": ["present", "absent"]},
    "firewall_scope": {"type": "str", "choices": ["interface", "subnet"], "default": "interface"},
    "hyperv_ports": {"type": "list", "elements": "int"},
    "hyperv_remote": {"type": "list", "elements": "str", "default": ["LocalSubnet"]},
    "install": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
        },
    },
    "restart": {"type": "bool", "default": True},
}
# `interactive`: whether programs can be started in the session of the person at the machine.
ARGUMENTS: dict[str, Any] = {
    **{name: spec.get("default") for name, spec in ARGUMENT_SPEC.items() if name != "operation"},
    "interactive": True,
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
FORMS = (
    (
        "OLLAMA_HOST",
        r"(https?://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])?(:\d{1,5})?/?",
        "host, host:port or http://host:port",
    ),
    ("OLLAMA_MODELS", r"([A-Za-z]:\\|\\\\[^\\]).*", "a whole path such as D:\\models"),
)
# Ours to set; PATH and its like are not, whatever the inventory says.
_PREFIXES = ("OLLAMA_", "LLAMA_ARG_", "GGML_", "HIP_", "ROCR_", "CUDA_VISIBLE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


def check_arguments(arguments: dict[str, Any]) -> None:
    """Before anything is done: a wrong value is refused in one message."""
    environment = arguments["environment"] or {}
    wrong = [
        f"{name} is no variable that Ollama on Windows reads"
        for name in environment
        if not _NAME.fullmatch(str(name)) or not str(name).upper().startswith(_PREFIXES)
    ]
    wrong += [
        f"the value of {name} is no text"
        for name, value in environment.items()
        if value is not None and not (isinstance(value, str) and value)
    ]
    if arguments["bind"] and "OLLAMA_HOST" in environment:
        wrong.append("bind decides OLLAMA_HOST: leave one of them out")
    for name, pattern, example in FORMS:
        value = environment.get(name)
        if isinstance(value, str) and not re.fullmatch(pattern, value, re.ASCII):
            wrong.append(f"{name} is {value!r}: write {example}")
    for port in [arguments["port"], *(arguments["hyperv_ports"] or [])]:
        if not 0 < int(port) < 65536:
            wrong.append(f"{port} is no port: 1 to 65535")
    install = arguments["install"]
    if install:
        for key, pattern, example in (
            ("url", r"https://[^\s'\"<>|`$;]+", "https://.../OllamaSetup.exe"),
            ("sha256", r"[0-9A-Fa-f]{64}", "64 hexadecimal digits"),
            ("version", r"\d+\.\d+\.\d+(-rc\d+)?", "0.32.15"),
        ):
            if not re.fullmatch(pattern, str(install.get(key) or ""), re.ASCII):
                wrong.append(f"install.{key} is {install.get(key)!r}: write {example}")
    for one in arguments["hyperv_remote"]:
        if one not in ("LocalSubnet", "Any") and not span(one):
            wrong.append(f"{one!r} is nobody who may reach a port: write an address, a network or LocalSubnet")
    if wrong:
        raise WindowsError("; ".join(wrong) + ".")
    for value in environment.values():
        literal(value or "")
