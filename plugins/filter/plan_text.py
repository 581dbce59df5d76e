# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: plan_text
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: A host's plan as a text to read
description:
  - Tells what was found, what will be done and why, what was refused, and what only a person can do.
positional: gpu_facts, host, kernel_params
options:
  _input:
    description: The plan, as C(lamplighter.fleet.inference_plan) makes it.
    type: dict
    required: true
  gpu_facts:
    description: The C(gpu_facts) that the plan was made from.
    type: dict
    default: {}
  host:
    description: The name of the host.
    type: str
    default: this host
  kernel_params:
    description: C(kernel_params_preview) of the role kernel_params, where the inventory wants kernel parameters.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ inference_plan | lamplighter.fleet.plan_text(ansible_facts['gpu_facts'], inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: Lines of at most 92 characters, without control codes.
  type: str
"""

import textwrap
from collections.abc import Mapping
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import without_secrets
from ansible_collections.lamplighter.fleet.plugins.plugin_utils import blocks
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.blocks import block
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.kernel_text import kernel_texts
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.wsl_text import wsl_blocks, wsl_headline

MEASURED = {"generation": "generation", "prompt": "reading prompts", "mixed": "a mix of prompts and generation"}


def _gib(size: Any) -> str:
    return f"{size / blocks.GIB:.1f} GiB".replace(".0 GiB", " GiB") if isinstance(size, int) else "? GiB"


def _blocks(label: str, texts: list[str], hang: int = 0) -> list[str]:
    return [line for at, text in enumerate(texts) for line in block("" if at else label, text, hang)]


def _gpu(gpu: Mapping[str, Any], name: str) -> str:
    parts = [f"{name} ({gpu['gfx']})" if gpu.get("gfx") else name]
    if gpu.get("integrated"):
        parts.append(f"integrated: {_gib(gpu.get('vram_bytes'))} of its own, may borrow {_gib(gpu.get('gtt_bytes'))}")
    elif gpu.get("vram_bytes"):
        parts.append(_gib(gpu["vram_bytes"]))
    if gpu.get("driver"):
        parts.append(f"driver {gpu['driver']}")
    return ", ".join(parts)


def _machine(facts: Mapping[str, Any]) -> str:
    cpu, kernel = facts.get("cpu") or {}, facts.get("kernel") or {}
    parts = []
    if cpu.get("model"):
        cores = f", {cpu['physical_cores']} cores" if cpu.get("physical_cores") else ""
        parts.append(f"{cpu['model']}{cores}")
    if facts.get("memory_bytes"):
        parts.append(f"{_gib(facts['memory_bytes'])} of RAM")
    if kernel.get("release"):
        parts.append(f"kernel {kernel['release']}")
    return "; ".join([*parts, *blocks.platform_text(facts)])


def _found(plan: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    gpus = [_gpu(gpu, device["product"]) for gpu, device in zip(facts.get("gpus") or [], plan["devices"])]
    of_windows = (facts.get("wsl") or {}).get("windows_gpus") or []
    gpus += [f"{_gpu(gpu, gpu['product'] or gpu['pci_id'])}, of Windows" for gpu in of_windows]
    counted = [f"{gpus.count(name)} x {name}" if gpus.count(name) > 1 else name for name in dict.fromkeys(gpus)]
    return _blocks("Found", [*(counted or ["no GPU"]), *([_machine(facts)] if _machine(facts) else [])], 2)


def _headline(plan: Mapping[str, Any], host: str) -> str:
    first = plan["rungs"][0]
    used = list(dict.fromkeys(device["product"] for device in plan["devices"] if device["used"]))
    where = f" on {', '.join(used)}" if used else ""
    engine = f"{blocks.ENGINES[plan['engine']]} {plan['engine_version']}".strip()
    on_windows = wsl_headline(plan, blocks.BACKENDS)
    if on_windows:
        return f"{host}: {on_windows}"
    return f"{host}: {engine} with {blocks.BACKENDS[first['backend']]}{where}"


def _rungs(plan: Mapping[str, Any]) -> list[str]:
    width = max(len(rung["id"]) for rung in plan["rungs"])
    texts = [f"{at}. {rung['id']:<{width}}  {rung['reason']}" for at, rung in enumerate(plan["rungs"], 1)]
    settings = [f"{name}={value}" for name, value in without_secrets(plan["rungs"][0]["environment"]).items()]
    lines = [line for at, text in enumerate(texts) for line in _keep_columns("" if at else "Will try", text, width + 5)]
    return lines + (block("Settings", " ".join(settings)) if settings else [])


def _keep_columns(label: str, text: str, hang: int) -> list[str]:
    """As _block, but the first columns keep their spaces."""
    head, rest = text[:hang], text[hang:]
    lines = textwrap.wrap(rest, blocks.WIDTH - blocks.LABEL - 2 - hang, break_on_hyphens=False) or [""]
    first = f"  {label:<{blocks.LABEL}}{head}{lines[0]}".rstrip()
    return [first, *(" " * (blocks.LABEL + 2 + hang) + line for line in lines[1:])]


def _rocm(plan: Mapping[str, Any]) -> list[str]:
    """What the role rocm will do: in the order in which it does it."""
    rocm = plan["rocm"]
    if rocm.get("source", "none") == "none":
        said = [f"Nothing to install: {rocm['reason']}."] if any(r["backend"] == "rocm" for r in plan["rungs"]) else []
    else:
        said = [f"{rocm['reason'][:1].upper()}{rocm['reason'][1:]}."]
        said += [f"Not supported, and accepted by the inventory: {reason}." for reason in rocm["unsupported"]]
        said += [f"Repository {one['url']}, key {one['fingerprint']}." for one in rocm["repositories"]]
        said += [f"First removed: ROCm {one['version']} at {one['path']}, as AMD asks." for one in rocm["remove"]]
        said += [f"Installed: {', '.join(rocm['install'])}."] if rocm["install"] else []
        said += [f"/opt/rocm leads to {rocm['active']}."] if rocm["active"] else []
        said += ["amdgpu-dkms takes the place of the kernel's amdgpu after a reboot."] if rocm["reboot"] else []
    said += [f"Not {item['option']}: {item['reason']}." for item in rocm.get("refused", [])]
    said += [f"May open the GPU: {', '.join(rocm['users'])}."] if rocm.get("users") else []
    said += [f"{name}={value}, once checked on the host." for name, value in rocm.get("environment", {}).items()]
    return _blocks("ROCm", said, 2)


def _refused(plan: Mapping[str, Any]) -> list[str]:
    masked = [f"{device['product']}: {device['reason']}" for device in plan["devices"] if not device["used"]]
    told = " ".join(masked)
    reasons: dict[str, list[str]] = {}
    for item in plan["refused"]:
        if item["reason"] not in told:
            reasons.setdefault(item["reason"], []).append(item["option"])
    texts = [f"{', '.join(dict.fromkeys(options))}: {reason}" for reason, options in reasons.items()]
    return _blocks("Left out", masked, 2) + _blocks("Refused", texts, 2)


def _for_people(plan: Mapping[str, Any]) -> list[str]:
    steps = {step["code"] for step in plan["steps"]}
    lines = []
    for warning in plan["warnings"]:
        remedy = "" if warning["code"] in steps else f" {warning['remedy']}"
        lines += block("Warning", f"{warning['message']}{remedy}", 2)
    for at, step in enumerate(plan["steps"], 1):
        lines += block("For you" if at == 1 else "", f"{at}. {step['what']} {step['why']}", 3)
        lines += [
            " " * (blocks.LABEL + 5) + line
            for line in textwrap.wrap(step["how"], blocks.WIDTH - blocks.LABEL - 5, break_on_hyphens=False)
        ]
    return lines


def _proof(plan: Mapping[str, Any], success: str) -> list[str]:
    if plan.get("measure"):
        measured = f"each rung is proven and measured, the fastest at {MEASURED[plan['measure_for']]} is kept"
        return block("Proof", f"{measured}; {success}." if success else f"{measured}.")
    return block("Proof", f"each rung is proven before it is kept; {success}.") if success else []


def plan_text(
    plan: Mapping[str, Any],
    gpu_facts: Mapping[str, Any] | None = None,
    host: str = "this host",
    kernel_params: Mapping[str, Any] | None = None,
) -> str:
    """One block of text for one host."""
    headline = _headline(plan, host)
    accepted = "" if plan["degraded_if"] or plan["status"] == "cpu" else " The processor would do, too."
    success = "a host that ends on the processor fails" if plan["degraded_if"] else ""
    own = [
        *_rungs(plan),
        *_proof(plan, success),
        *block("Memory", f"{plan['memory']['advice']}.{accepted if len(plan['rungs']) > 1 else ''}"),
        *_blocks("Kernel", kernel_texts(plan["kernel"], kernel_params or {}), 2),
        *_rocm(plan),
        *_refused(plan),
        *_for_people(plan),
    ]
    if wsl_headline(plan, blocks.BACKENDS):
        own = [line for label, texts in wsl_blocks(plan) for line in _blocks(label, texts, 3)]
    lines = [
        *textwrap.wrap(headline, blocks.WIDTH, subsequent_indent="  "),
        "-" * min(len(headline), blocks.WIDTH),
        *_found(plan, gpu_facts or {}),
        *own,
    ]
    return "\n".join(lines)


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"plan_text": plan_text}
