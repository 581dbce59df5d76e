# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of hosts, as host_evidence collects it, for the tests of the doctor."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose

from tests.unit.plan_hosts import GIB, desktop

NODES = [
    {"path": "/dev/kfd", "owner": "root", "uid": 0, "group": "render", "gid": 104, "mode": "0660"},
    {"path": "/dev/dri/renderD128", "owner": "root", "uid": 0, "group": "render", "gid": 104, "mode": "0660"},
    {"path": "/dev/dri/renderD129", "owner": "root", "uid": 0, "group": "render", "gid": 104, "mode": "0660"},
]
LOG = {
    "engine": "ollama",
    "version": "0.32.15",
    "starts": 1,
    "backend": "rocm",
    "backend_source": "load",
    "devices": [],
    "offloaded": [33, 33],
    "failures": [],
}


def healthy(facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """A desktop with a discrete card and an integrated GPU that Lamplighter set up."""
    return {
        "gpu_facts": {**(facts or desktop()), "device_nodes": copy.deepcopy(NODES)},
        "ollama_facts": {
            "binary": {"path": "/opt/ollama/versions/0.32.15/bin/ollama", "version": "0.32.15"},
            "current": "0.32.15",
            "libraries": ["cuda_v13", "rocm_v7_2", "vulkan"],
            "unit": {
                "path": "/etc/systemd/system/ollama.service",
                "owner": "ours",
                "drop_ins": [{"path": "/etc/systemd/system/ollama.service.d/override.conf", "ours": True}],
                "environment": {
                    "OLLAMA_HOST": "127.0.0.1:11434",
                    "OLLAMA_LLM_LIBRARY": "rocm_v7_2",
                    "ROCR_VISIBLE_DEVICES": "0",
                },
                "duplicates": {},
            },
            "service": {"active": "active", "sub": "running", "enabled": True, "main_pid": 42, "stale": False},
            "models": {"path": "/usr/share/ollama/.ollama/models"},
            "listener": {"addresses": ["127.0.0.1"], "pid": 42, "command": "ollama", "port": 11434},
            "variants": [],
            "proven": {},
        },
        "engine_log": copy.deepcopy(LOG),
        "kernel_log": {"faults": []},
        "service": {
            "User": "ollama",
            "PrivateDevices": "no",
            "DevicePolicy": "closed",
            "DeviceAllow": ["char-drm rw", "char-kfd rw"],
        },
        "credentials": {"user": "ollama", "uid": 998, "groups": [104, 998]},
        "variable_files": {},
        "process": {"pid": 42, "environment": None},
        "api": {
            "version": "0.32.15",
            "models": [{"name": "llama3.1:8b", "size": 5 * GIB}],
            "loaded": [{"name": "llama3.1:8b", "size": 6 * GIB, "size_vram": 6 * GIB}],
        },
        "counters": [{"pci_address": "0000:03:00.0", "vram_used": 6 * GIB, "gtt_used": 0, "busy_percent": 0}],
        "disk": {"path": "/usr/share/ollama", "free_bytes": 200 * GIB, "total_bytes": 500 * GIB},
        "unfinished_downloads": [],
        "binaries": ["/opt/ollama/versions/0.32.15/bin/ollama"],
        "containers": [],
        "login_environment": [],
        "modprobe": [],
        "module_parameters": {},
        "unread": [],
        "privileged": True,
    }


def changed(changes: dict[str, Any], facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """The healthy host with some values changed: {"service.PrivateDevices": "yes"}; a value of ... is taken out."""
    evidence = healthy(facts)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = evidence
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        if value is ...:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    return evidence


def with_environment(**variables: str | None) -> dict[str, Any]:
    """The healthy host whose service gets these variables, too; None takes one away."""
    evidence = healthy()
    environment = evidence["ollama_facts"]["unit"]["environment"]
    environment.update(variables)
    evidence["ollama_facts"]["unit"]["environment"] = {k: v for k, v in environment.items() if v is not None}
    return evidence


def codes(evidence: dict[str, Any], policy: dict[str, Any] | None = None) -> list[str]:
    return [finding["code"] for finding in diagnose(evidence, policy, "box")["findings"]]


def login(name: str, value: str) -> dict[str, Any]:
    return {"login_environment": [{"path": "/etc/environment", "name": name, "value": value}]}


def modprobe(name: str, value: str, actual: str | None) -> dict[str, Any]:
    return {
        "modprobe": [{"path": "/etc/modprobe.d/gpu.conf", "name": name, "value": value}],
        "module_parameters": {name: actual} if actual is not None else {},
    }


def cmdline(text: str, **actual: str) -> dict[str, Any]:
    return {
        "gpu_facts.kernel.cmdline": text,
        "module_parameters": {name.replace("__", "."): value for name, value in actual.items()},
    }


def fault(code: str, severity: str = "error") -> dict[str, Any]:
    return {
        "code": code,
        "severity": severity,
        "line": "the line",
        "meaning": "it is so",
        "remedy": "do it",
        "count": 1,
    }
