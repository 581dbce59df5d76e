# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
name: gpu_access
short_description: Tell what a service needs to reach the GPUs of a rung
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Names the device nodes, those that the service has to wait for at boot, and the groups that own them.
  - Root's group gives no access worth having. systemd refuses the number of a group without a name, so one is proposed.
options:
  _input:
    description: What M(lamplighter.fleet.gpu_facts) found.
    type: dict
    required: true
  rung:
    description: The rung of the plan.
    type: dict
    required: true
  prefix:
    description: How the name of a group begins that has none yet; its number follows.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: The groups that the service has to be in
  ansible.builtin.debug:
    msg: "{{ (ansible_facts['gpu_facts'] | lamplighter.fleet.gpu_access(inference_plan.rungs[0], 'gpu-')).groups }}"
"""

RETURN = r"""
_value:
  description: The paths C(nodes) and C(awaited), the names C(groups), and the numbers C(nameless) that no group has.
  type: dict
"""

from typing import Any


def gpu_access(facts: dict[str, Any], rung: dict[str, Any], prefix: str) -> dict[str, Any]:
    backend = rung["backend"]
    nodes = (facts.get("device_nodes") or []) if backend != "cpu" else []
    used = [gpu for gpu in facts.get("gpus") or [] if gpu["index"] in (rung.get("devices") or [])]
    render_nodes = [gpu["render_node"] for gpu in used if gpu.get("render_node")]
    owned = [node for node in nodes if node.get("gid")]
    return {
        "nodes": [node["path"] for node in nodes],
        "awaited": {"rocm": ["/dev/kfd", *render_nodes], "vulkan": render_nodes}.get(backend, []),
        "groups": sorted({node["group"] or f"{prefix}{node['gid']}" for node in owned}),
        "nameless": sorted({node["gid"] for node in owned if not node["group"]}),
    }


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"gpu_access": gpu_access}
