# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: ladder_result
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Add the proof of one more rung to the result of the ladder
description:
  - Records the proof of the next rung of the plan, picks the best rung so far and says whether to go on.
options:
  _input:
    description: The result so far, V({}) at the beginning.
    type: dict
    required: true
  plan:
    description: The plan of the filter P(lamplighter.fleet.inference_plan#filter).
    type: dict
    required: true
  proof:
    description: What the module M(lamplighter.fleet.inference_proof) returned for the rung.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Result of the ladder
  ansible.builtin.set_fact:
    inference_result: "{{ {} | lamplighter.fleet.ladder_result(inference_plan, proof) }}"
"""

RETURN = r"""
_value:
  description:
    - The new result. C(rung), C(backend), C(verdict) and C(tokens_per_second) (C(prompt) and C(generation)) are those
      of the best rung; C(rung) and C(backend) are null while every rung has failed.
    - C(rungs) has C(id), C(backend), C(verdict), C(reasons), C(remedies) and C(evidence) of each rung that was tried.
    - C(refused), while the best is not accepted, has what the plan turned down and why.
    - C(accepted) says whether the inventory is content with the best, C(finished) whether there is nothing better to
      try, C(remedies) what a person can do, C(proven) what to remember on the host, and C(story) tells it all.
  type: dict
"""

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.filter.proof_story import proof_story


def rank(rung: dict[str, Any]) -> int:
    """Any GPU before the CPU, and there a proof before a partial success."""
    if rung["verdict"] == "failed":
        return 0
    return 2 * (rung["backend"] != "cpu") + 1 + (rung["verdict"] == "proven")


def ladder_result(result: dict[str, Any], plan: dict[str, Any], proof: dict[str, Any]) -> dict[str, Any]:
    before = result.get("rungs", [])
    tried = plan["rungs"][len(before)]
    rungs = [*before, {"id": tried["id"], **{key: proof[key] for key in COPIED}}]
    best = max(rungs, key=rank)
    succeeded = rank(best) > 0
    left = plan["rungs"][len(rungs) :]
    speed = best["evidence"].get("speed") or {}
    version = {"engine": plan["engine"], "engine_version": proof["engine_version"]}
    new = {
        "rung": best["id"] if succeeded else None,
        "backend": best["backend"] if succeeded else None,
        "verdict": best["verdict"],
        "tokens_per_second": {name: speed.get(name) for name in ("prompt", "generation")},
        "rungs": rungs,
        "accepted": succeeded and best["backend"] not in plan.get("degraded_if", []),
        # A GPU that works in part is better than the CPU: no need to see that one work.
        "finished": best["verdict"] == "proven" or all(succeeded and rung["backend"] == "cpu" for rung in left),
        "remedies": list(dict.fromkeys(remedy for rung in rungs for remedy in rung["remedies"])),
    }
    if not new["accepted"]:
        # Why there was nothing better to try, and what only a person can change about it.
        new["refused"] = [f"{entry['option']}: {entry['reason']}" for entry in plan.get("refused", [])]
        new["remedies"] += [f"{step['what']}: {step['how']}" for step in plan.get("steps", [])]
    proven = best["verdict"] == "proven" and new["accepted"]
    new["proven"] = {**version, "backend": best["backend"], "id": best["id"]} if proven else {}
    return {**new, "story": proof_story(new)}


COPIED = ("backend", "verdict", "reasons", "remedies", "evidence")


class FilterModule:
    def filters(self):
        return {"ladder_result": ladder_result}
