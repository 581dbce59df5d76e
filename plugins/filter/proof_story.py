# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: proof_story
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Tell what was tried on a host, what each proof showed and what to do
description:
  - The text that a person reads when a host is not what it should be.
options:
  _input:
    description: The fact C(inference_result) of the role P(lamplighter.fleet.ladder#role).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: What happened
  ansible.builtin.debug:
    msg: "{{ inference_result | lamplighter.fleet.proof_story }}"
"""

RETURN = r"""
_value:
  description: Some lines of plain text of at most 96 columns, but for lines of logs that have no spaces.
  type: str
"""

import textwrap
from typing import Any

WIDTH = 96
MIB = 1024 * 1024


def headline(result: dict[str, Any]) -> list[str]:
    """What matters in one line of its own, then what state the host is left in."""
    backend, verdict = result["backend"], result["verdict"]
    if verdict == "failed":
        back = ", ".join(result.get("brought_back") or [])
        left = f"What was there before is as it was: {back}." if back else "The service is left on the last one."
        return ["Nothing is proven: no rung of the ladder works as it should.", left]
    if not result["accepted"]:
        best = "proven" if verdict == "proven" else "working in part"
        return [
            f"The best that is {best} is {backend}, which the inventory does not accept.",
            "The service runs on it.",
        ]
    outcome = {"proven": "is proven on", "degraded": "works with less than it should on"}[verdict]
    return [f"Inference {outcome} {backend}."]


def evidence_line(evidence: dict[str, Any]) -> str:
    """What the witnesses said, in one line; empty if none said anything."""
    log, api, kernel, speed = (evidence.get(name) or {} for name in ("log", "api", "kernel", "speed"))
    said = []
    if log.get("backend"):
        layers = " with {} of {} layers".format(*log["offloaded"]) if log.get("offloaded") else ""
        said.append(f"log {log['backend']}{layers}")
    if log.get("software"):
        said.append(f"on {log['software']}, software")
    if api.get("available"):
        said.append(f"API {_mib(api['size_vram'])} of {_mib(api['size'])} in GPU memory")
    if kernel.get("available"):
        grown = (kernel.get("vram_growth_bytes") or 0) + (kernel.get("gtt_growth_bytes") or 0)
        held, busy = kernel.get("held_bytes"), kernel.get("busy_percent")
        memory = f"+{_mib(grown)}" if held is None else f"{_mib(held)} held"
        said.append(f"kernel {memory}" + (f", {busy} % busy" if busy is not None else ""))
    if speed.get("generation"):
        said.append(f"{speed['generation']} tokens/s")
    return " | ".join(said)


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"


def proof_story(result: dict[str, Any]) -> str:
    lines = headline(result) + ([f"{result['told']}."] if result.get("told") else [])
    tried = [rung for rung in result["rungs"] if rung["verdict"] != "proven" or not result["accepted"]]
    if tried:
        lines += ["", "Tried, in this order:"]
    for number, rung in enumerate(tried, 1):
        lines.append(f"{number:3}. {rung['id']}: {rung['verdict']}")
        for reason in rung["reasons"]:
            lines += _wrapped(reason, "       ", "         ")
        witnesses = evidence_line(rung["evidence"])
        if witnesses:
            lines += _wrapped(f"witnesses: {witnesses}", "       ", "         ")
    if result.get("refused"):
        lines += ["", "Not tried:"]
        for refused in result["refused"]:
            lines += _wrapped(refused, "  - ", "    ")
    if result["remedies"]:
        lines += ["", "What to do:"]
        for remedy in result["remedies"]:
            lines += _wrapped(remedy, "  - ", "    ")
    if not result["accepted"] and result["backend"]:
        lines += [] if result["remedies"] else [""]
        lines += _wrapped(
            f"If {result['backend']} is good enough for this host, say so: inference_accept: [{result['backend']}]",
            "  - " if result["remedies"] else "",
            "    " if result["remedies"] else "",
        )
    return "\n".join(lines)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


class FilterModule:
    def filters(self):
        return {"proof_story": proof_story}
