# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_rows
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Sum each host up in one row
description:
  - Reads what the roles C(inference) and C(ladder) left in the hosts' facts,
    also of hosts that failed or could not be reached.
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  hosts:
    description: The names of the hosts, in the order of the rows.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: The fleet
  ansible.builtin.debug:
    msg: "{{ hostvars | lamplighter.fleet.fleet_rows(ansible_play_hosts_all) | lamplighter.fleet.fleet_table }}"
"""

RETURN = r"""
_value:
  description:
    - One dictionary for each host with C(host), C(gpu), C(backend), C(verdict),
      C(tokens_per_second) (a number or null) and C(advice).
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any


def used_gpus(gpus: list[dict[str, Any]], plan: Mapping[str, Any]) -> str:
    """Name the GPUs that the plan uses: their products and architectures."""
    used = {device["index"] for device in plan.get("devices", []) if device.get("used")}
    names = []
    for gpu in gpus:
        if gpu["index"] in used:
            product = gpu.get("product") or gpu.get("pci_id") or "unknown GPU"
            names.append(f"{product} ({gpu['gfx']})" if gpu.get("gfx") else product)
    return ", ".join(names) or "none"


def gpu_names(facts: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """The GPUs that do the work: on a WSL2 host that uses Windows' engine, those of Windows."""
    if (plan.get("wsl") or {}).get("use") != "windows":
        return used_gpus(facts.get("gpus", []), plan)
    found = (facts.get("wsl") or {}).get("windows_gpus")
    if found is None:
        return "Windows'"
    gpus = [{**gpu, "index": at} for at, gpu in enumerate(found)]
    return used_gpus(gpus, {"devices": [{"index": at, "used": True} for at, _gpu in enumerate(found)]})


def fleet_row(host: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Sum up what the roles left in one host's variables."""
    plan, result = variables.get("inference_plan"), variables.get("inference_result")
    facts = (variables.get("ansible_facts") or {}).get("gpu_facts") or {}
    row = {
        "host": host,
        "gpu": gpu_names(facts, plan) if plan else "unknown",
        "backend": None,
        "verdict": "not reached",
        "tokens_per_second": None,
        "advice": "",
    }
    if result:
        row.update(
            backend=result["backend"],
            verdict=result["verdict"],
            tokens_per_second=(result.get("tokens_per_second") or {}).get("generation"),
        )
    if variables.get("inference_failure"):
        row["verdict"] = row["verdict"] if result else "failed"
        row["advice"] = str(variables["inference_failure"]).splitlines()[0]
    elif plan:
        row["advice"] = "; ".join([*shortfalls(result or {}), *(step["what"] for step in plan.get("steps", []))])
    # The inventory accepts it; it is less than the machine has all the same, unless it was measured to be the fastest.
    measured = plan and (plan.get("measure") or plan.get("measured"))
    if result and plan and result["verdict"] == "proven" and result["backend"] == "cpu" and plan.get("status") == "gpu":
        row["verdict"] = "proven" if measured else "degraded"
    return row


def shortfalls(result: Mapping[str, Any]) -> list[str]:
    """The rungs that were given up on the way, each with the first reason."""
    rungs = [rung for rung in result.get("rungs", []) if rung["verdict"] == "failed"]
    return [
        f"{rung['id']} failed: {rung['reasons'][0]}" if rung["reasons"] else f"{rung['id']} failed" for rung in rungs
    ]


def fleet_rows(hostvars: Mapping[str, Mapping[str, Any]], hosts: list[str]) -> list[dict[str, Any]]:
    return [fleet_row(host, hostvars[host]) for host in hosts]


class FilterModule:
    def filters(self):
        return {"fleet_rows": fleet_rows}
