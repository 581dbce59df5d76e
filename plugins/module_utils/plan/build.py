# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From facts and policy to the plan: a pure function."""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.devices import judge_devices
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.engine import read_engine, replaced_units
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Machine, read_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.fastest import fingerprint
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.host_rules import host_rules
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.kernel import plan_kernel
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.memory import plan_memory
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.notes import make_notes
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError, Policy, read_policy
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.rocm import plan_rocm
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.rungs import build_ladder
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.wsl import plan_wsl


def _devices(candidates: list, machine: Machine, rungs: list, policy: Policy) -> list:
    """Every GPU of the machine: used or not by the first rung, and why."""
    judged = {one.gpu.index: one for one in candidates}
    first, devices = rungs[0], []
    for gpu in machine.gpus:
        one = judged.get(gpu.index)
        used = gpu.index in first["devices"]
        if used:
            reason = first["reason"]
        elif one is None:
            reason = "no engine can use a GPU of this vendor"
        elif policy.forced == "cpu":
            reason = "the inventory wants the processor"
        elif one.masked:
            reason = one.masked
        elif first["backend"] in one.refusals:
            reason = one.refusals[first["backend"]]
        elif one.usable:
            reason = f"left out on {first['id']}: one model runs on one backend and one architecture's code"
        else:
            reason = "; ".join(f"{name}: {why}" for name, why in one.refusals.items()) or "nothing can drive it"
        devices.append(
            {
                "index": gpu.index,
                "product": gpu.product,
                "vendor": gpu.vendor,
                "gfx": gpu.gfx,
                "pci_address": gpu.pci_address,
                "integrated": gpu.integrated,
                "used": used,
                "reason": reason,
                "usable_bytes": gpu.memory(first["backend"]),
                "known_issues": list(catalogue.arch(gpu.gfx, policy.catalogue).get("issues", [])),
            }
        )
    return devices


def _degraded_if(candidates: list, rungs: list, policy: Policy) -> list:
    """Backends that are no success here: the processor, where a GPU is ours and the inventory wants no less."""
    if policy.forced or "cpu" in policy.accept:
        return []
    fixable = any(one.mine and one.gpu.driver != "radeon" for one in candidates)
    gpu = any(rung["devices"] or rung["backend"] == "cuda" for rung in rungs)
    return ["cpu"] if gpu or fixable else []


def make_plan(facts: Any, policy: Any = None) -> dict:
    """Decide for one host. Raises PlanError when the inventory asks for what cannot be had."""
    if not isinstance(facts, dict):
        raise PlanError(f"gpu_facts is {facts!r}. It must be what the module gpu_facts returns, a dictionary.")
    wanted = read_policy(policy)
    machine, engine = read_facts(facts, wanted.catalogue), read_engine(wanted)
    candidates = judge_devices(machine, engine, wanted)
    amd = [one.gpu for one in candidates if one.rocm and not one.masked]
    avoid_rocm = any(rule.get("avoid") == "rocm" for rule in host_rules(amd, machine, engine, "rocm"))
    rungs, refused, measured = build_ladder(candidates, machine, engine, wanted, avoid_rocm)
    used = [gpu for gpu in machine.gpus if gpu.index in rungs[0]["devices"]]
    memory = plan_memory(rungs[0], used, machine, engine)
    notes = make_notes(candidates, rungs, memory, machine, engine, wanted)
    return {
        "engine": wanted.engine,
        "engine_version": wanted.engine_version,
        "backend": wanted.backend,
        "status": "gpu" if any(rung["devices"] or rung["backend"] == "cuda" for rung in rungs) else "cpu",
        "measure": wanted.backend == "fastest" and not measured,
        "measured": measured,
        "measure_for": wanted.measure_for,
        "fingerprint": fingerprint(machine, wanted.engine, wanted.engine_version, wanted.model, wanted.installed),
        "accept_software_vulkan": wanted.software_vulkan,
        "accept": list(wanted.accept),
        "degraded_if": _degraded_if(candidates, rungs, wanted),
        "rungs": rungs,
        "devices": _devices(candidates, machine, rungs, wanted),
        "replaces": replaced_units(wanted),
        "kernel": plan_kernel(used, machine, wanted),
        "rocm": plan_rocm(candidates, rungs, machine, engine, wanted),
        "memory": memory,
        "wsl": plan_wsl(facts, rungs, policy or {}, wanted.catalogue),
        "warnings": notes.warnings,
        "refused": refused,
        "steps": notes.steps,
    }
