# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May the service open the GPU's device nodes?"""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.commands import RESTART, SITE

# How systemd's DeviceAllow may name a node.
_ALLOWED_AS = {
    "/dev/kfd": ("/dev/kfd", "char-kfd", "char-*"),
    "/dev/dri": ("/dev/dri", "char-drm", "char-*"),
    "/dev/nvidia": ("/dev/nvidia", "char-nvidia", "char-*"),
}


def may_open(node: dict[str, Any], uid: int, groups: list[int]) -> bool:
    """Whether owner, group and mode let these credentials read and write."""
    mode = int(node["mode"], 8)
    if uid == 0:
        return True
    if uid == node["uid"]:
        return mode & 0o600 == 0o600
    if node["gid"] in groups:
        return mode & 0o060 == 0o060
    return mode & 0o006 == 0o006


def hidden_by_sandbox(path: str, service: dict[str, Any]) -> str | None:
    """The setting of the unit that keeps a device node from it, or None."""
    if service.get("PrivateDevices") == "yes":
        return "PrivateDevices=yes"
    allowed = [entry.split()[0] for entry in service.get("DeviceAllow") or [] if entry.split()]
    policy = service.get("DevicePolicy") or "auto"
    if policy == "auto" and not allowed:
        return None
    names = next((names for start, names in _ALLOWED_AS.items() if path.startswith(start)), (path,))
    if any(entry.startswith(name) for entry in allowed for name in names):
        return None
    return f"DevicePolicy={policy} without a DeviceAllow for {path}"


def _wanted_nodes(case: Case) -> list[dict[str, Any]]:
    """The nodes that any GPU rung of the plan needs."""
    rungs = [rung for rung in case.plan["rungs"] if rung["backend"] != "cpu"]
    indexes = {index for rung in rungs for index in rung["devices"]}
    paths = {gpu.render_node for gpu in case.machine.gpus if gpu.index in indexes}
    if any("kfd" in rung["requires"] for rung in rungs):
        paths.add("/dev/kfd")
    return [node for node in case.items("gpu_facts", "device_nodes") if node.get("path") in paths]


def _join_command(node: dict[str, Any], user: str) -> str:
    if node["gid"] == 0 or int(node["mode"], 8) & 0o060 != 0o060:
        return SITE
    group = node["group"] or f"gpu{node['gid']}"
    make = "" if node["group"] else f"sudo groupadd --gid {node['gid']} {group} && "
    return f"{make}sudo usermod --append --groups {group} {user} && {RESTART}"


def device_access(case: Case) -> None:
    service, who = case.part("service"), case.part("credentials")
    nodes = _wanted_nodes(case)
    if not service and not who:
        return
    user = str(who.get("user") or who.get("uid"))
    opened: list[str] = []
    # Nodes that one command opens are one finding.
    closed: dict[str, list[dict[str, Any]]] = {}
    for node in nodes:
        path = node["path"]
        sandbox = hidden_by_sandbox(path, service)
        if sandbox:
            case.add(
                "access",
                "sandbox_hides_gpu",
                "error",
                f"The unit's sandboxing keeps {path} from the service: it ends on the processor without a word.",
                "Let a drop-in open it: PrivateDevices=no, and DeviceAllow=char-drm rw and char-kfd rw where "
                "DevicePolicy is closed. Lamplighter's drop-in does that.",
                SITE,
                sandbox,
            )
        elif who.get("uid") is not None and not may_open(node, who["uid"], who.get("groups") or []):
            closed.setdefault(_join_command(node, user), []).append(node)
        else:
            opened.append(path)
    for command, some in closed.items():
        paths = " and ".join(node["path"] for node in some)
        owners = "; ".join(
            f"{node['path']} is {node['owner'] or node['uid']}:{node['group'] or node['gid']} {node['mode']}"
            for node in some
        )
        case.add(
            "access",
            "kfd_permission" if "/dev/kfd" in paths else "render_permission",
            "error",
            f"The service runs as {user}, which may not open {paths}.",
            f"Let {user} be in the group that owns the device, and restart the service; SupplementaryGroups= in a "
            "drop-in does the same. No chmod 666: udev undoes it, and it opens the GPU to everybody.",
            command,
            f"{owners}; groups of the service: {', '.join(map(str, who.get('groups') or [])) or 'none'}",
        )
    if opened and len(opened) == len(nodes):
        case.fine.append(f"the service may open {' and '.join(sorted(set(opened)))}")
