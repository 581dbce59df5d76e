# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the text of a plan says of kernel parameters: advised, asked for by the inventory, and waiting for a reboot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.kernel import COSTS

ROUTES = {"modprobe": "by modprobe.d", "cmdline": "on the kernel's command line"}
ADVICE = "Applied where the inventory says kernel_params_from_plan: true, and in force after a reboot."
REBOOT = {
    "if_needed": "The host will be rebooted for it, as the inventory allows (kernel_params_reboot).",
    "never": "In force after a reboot, which is left to you; kernel_params_reboot: if_needed would do it.",
}


def _word(name: str, value: str | None, state: str = "present") -> str:
    if state != "present":
        return f"no {name}"
    return name if value is None else f"{name}={value}"


def _asked(item: Mapping[str, Any], waits: set[str], lost: set[str]) -> str:
    """One parameter that the inventory wants."""
    name, value = item["name"], item["wanted"]
    word, route = _word(name, value), ROUTES[item["route"]]
    if name in lost:
        said = f"did not come into force with the last boot: {item['reason']}"
    elif item["ok"]:
        said = "in force"
    else:
        said = f"set, and waits for a reboot: {item['reason']}" if name in waits else f"will be set {route}"
    return f"{word}: {said}{'; ' + COSTS[word] if word in COSTS else ''}."


def kernel_texts(kernel: Mapping[str, Any], preview: Mapping[str, Any]) -> list[str]:
    """`kernel` is the plan's, `preview` what kernel_params would do, empty where the inventory asks for nothing."""
    waits = {one["name"] for one in kernel["pending"]}
    lost = {one["name"] for one in preview.get("not_taken", [])}
    asked = [one for one in preview.get("in_force", []) if one["wanted"] is not None or not one["ok"]]
    told = {one["name"] for one in preview.get("in_force", [])}
    texts = [_asked(one, waits, lost) for one in asked if one["wanted"] is not None]
    texts += [f"no {one['name']}: will be taken off the command line." for one in asked if one["wanted"] is None]
    texts += [
        f"{one['path']}:{one['line']} sets {one['name']} to {one['value']}. {one['remedy']}"
        for one in preview.get("conflicts", [])
    ]
    if preview.get("reboot_required"):
        texts.append(REBOOT[preview["reboot"]])
    for one in kernel["pending"]:
        if one["name"] not in told:
            done = {"absent": f"{one['name']} is taken away", "masked": f"{one['name']} is kept off the command line"}
            said = done.get(one["state"], f"{_word(one['name'], one['value'])} is set")
            texts.append(f"{said}, and waits for a reboot: {one['reason']}.")
    advised = [one for one in kernel["parameters"] if one["name"] not in told | waits]
    texts += [f"{_word(one['name'], one['value'], one['state'])}: {one['reason']}" for one in advised]
    return [*texts, ADVICE] if advised else texts
