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
  - Where the plan says C(measure), every rung is tried, and the fastest that is proven is the best.
options:
  _input:
    description: The result so far, V({}) at the beginning.
    type: dict
    required: true
  plan:
    description: The plan of the filter P(lamplighter.fleet.inference_plan#filter).
    type: dict
    required: true
  proofs:
    description:
      - What the module M(lamplighter.fleet.inference_proof) returned for the rung, one for each service of the engine.
      - The worst of them counts.
    type: list
    elements: dict
    required: true
  measured:
    description:
      - What the module M(lamplighter.fleet.inference_benchmark) returned for each service.
      - With it the rung that was recorded last is recorded again; empty if that one is not proven.
    type: list
    elements: dict
  installed:
    description: What the host has of the engine by now, with C(version) and C(models); it is remembered with the rung.
    type: dict
  stood_down:
    description: Units of another engine that have stood down for this one, and come back where every rung fails.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Result of the ladder
  ansible.builtin.set_fact:
    inference_result: "{{ {} | lamplighter.fleet.ladder_result(inference_plan, [proof]) }}"
"""

RETURN = r"""
_value:
  description:
    - The new result. C(rung), C(backend), C(verdict) and C(tokens_per_second) (C(prompt) and C(generation)) are those
      of the best rung; C(rung) and C(backend) are null while every rung has failed.
    - C(rungs) has C(id), C(backend), C(verdict), C(reasons), C(remedies) and C(evidence) of each rung that was tried.
    - C(measured) of a rung has the tokens per second that were measured, C(prompt) and C(generation).
    - C(refused), while the best is not accepted, has what the plan turned down and why.
    - C(accepted) says whether the inventory is content with the best, C(finished) whether there is nothing better to
      try, C(remedies) what a person can do, C(proven) what to remember on the host, and C(story) tells it all.
    - C(brought_back), where every rung has failed, has the units that come back.
  type: dict
"""

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.filter.proof_story import proof_story
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.fastest import choose, installed_parts, told

VERDICTS = ("failed", "degraded", "proven")
FIGURES = {"prompt": "prompt_tokens_per_second", "generation": "generation_tokens_per_second"}


def rank(rung: dict[str, Any]) -> int:
    """Any GPU before the CPU, and there a proof before a partial success."""
    if rung["verdict"] == "failed":
        return 0
    return 2 * (rung["backend"] != "cpu") + 1 + (rung["verdict"] == "proven")


def worst(proofs: list[dict[str, Any]]) -> dict[str, Any]:
    """The proof that counts for the rung; with what is wrong with the others."""
    chosen = min(proofs, key=lambda proof: VERDICTS.index(proof["verdict"]))
    others = [proof for proof in proofs if proof is not chosen and proof["verdict"] != "proven"]
    more = {key: [line for proof in others for line in proof[key]] for key in ("reasons", "remedies")}
    named = f"{chosen.get('model')}: " if len(proofs) > 1 and chosen["reasons"] else ""
    reasons = [named + reason if at == 0 else reason for at, reason in enumerate(chosen["reasons"])]
    return {
        **chosen,
        "reasons": reasons + [f"also {reason}" for reason in more["reasons"]],
        "remedies": list(dict.fromkeys([*chosen["remedies"], *more["remedies"]])),
    }


def figures(measured: list[dict[str, Any]]) -> dict[str, float]:
    """Tokens per second over all services: each has its share of what the rung can do."""
    found = {}
    for name, key in FIGURES.items():
        medians = [(one.get(key) or {}).get("median") for one in measured]
        known = [value for value in medians if value]
        if known and len(known) == len(measured):
            found[name] = round(len(known) / sum(1 / value for value in known), 1)
    return found


def best_of(rungs: list[dict[str, Any]], plan: dict[str, Any]) -> dict[str, Any]:
    """The fastest proven rung where the plan measures, else the highest."""
    proven = {rung["id"]: rung for rung in rungs if rung["verdict"] == "proven" and rung.get("measured")}
    if plan.get("measure") and proven:
        measured = {name: rung["measured"] for name, rung in proven.items()}
        name = choose(measured, plan["measure_for"], list(proven))
        if name:
            return proven[name]
    return max(rungs, key=rank)


def outran(rungs: list[dict[str, Any]], best: dict[str, Any], plan: dict[str, Any]) -> bool:
    """Whether a proven GPU was measured beside the best rung, now or when that was chosen: then it is no step down."""
    if not plan.get("measure"):
        remembered = (plan.get("measured") or {}).get("rungs") or {}
        return best["id"] == plan["rungs"][0]["id"] and any(name != "cpu" for name in remembered)
    return bool(best.get("measured")) and any(rung["backend"] != "cpu" and rung.get("measured") for rung in rungs)


def memory(
    rungs: list[dict[str, Any]], best: dict[str, Any], plan: dict[str, Any], version: Any, found: Any
) -> dict[str, Any]:
    """What the host remembers of a proven rung."""
    # The plan was made before anything was installed.
    since = {name: value for name, value in installed_parts(found).items() if value}
    fingerprint = {**plan.get("fingerprint", {}), **since}
    if plan.get("engine_version"):
        fingerprint["engine_version"] = plan["engine_version"]
    remembered = {
        "engine": plan["engine"],
        "engine_version": fingerprint.get("engine_version") or version,
        "backend": best["backend"],
        "id": best["id"],
        "fingerprint": fingerprint,
    }
    failed = [rung["id"] for rung in rungs if rung["verdict"] == "failed"]
    before = plan.get("measured") or {}
    known, measured_with = before.get("rungs") or {}, before.get("fingerprint") or {}
    measured = {name: figure for name, figure in known.items() if name not in failed}
    if plan.get("measure"):
        measured = {rung["id"]: rung["measured"] for rung in rungs if rung.get("measured")}
    if measured:
        measured_with = {name: value for name, value in measured_with.items() if value}
        remembered["measured"] = {"fingerprint": {**fingerprint, **measured_with}, "rungs": measured}
    return remembered


def ladder_result(
    result: dict[str, Any],
    plan: dict[str, Any],
    proofs: list[dict[str, Any]],
    measured: list[dict[str, Any]] | None = None,
    installed: dict[str, Any] | None = None,
    stood_down: list[str] | None = None,
) -> dict[str, Any]:
    # Figures belong to the rung that was recorded last.
    before = result.get("rungs", [])[: None if measured is None else -1]
    tried, proof = plan["rungs"][len(before)], worst(proofs)
    rung = {"id": tried["id"], **{key: proof[key] for key in COPIED}}
    if measured:
        rung["measured"] = figures(measured)
    rungs = [*before, rung]
    best = best_of(rungs, plan)
    succeeded = rank(best) > 0
    left = plan["rungs"][len(rungs) :]
    speed = best["evidence"].get("speed") or {}
    speeds = {name: speed.get(name) for name in FIGURES} | (best.get("measured") or {})
    accepted = best["backend"] not in plan.get("degraded_if", []) or outran(rungs, best, plan)
    new = {
        "rung": best["id"] if succeeded else None,
        "backend": best["backend"] if succeeded else None,
        "verdict": best["verdict"],
        "tokens_per_second": speeds,
        "rungs": rungs,
        "accepted": succeeded and accepted,
        # A GPU that works in part is better than the CPU: no need to see that one work.
        "finished": best["verdict"] == "proven" or all(succeeded and rung["backend"] == "cpu" for rung in left),
        "remedies": list(dict.fromkeys(remedy for rung in rungs for remedy in rung["remedies"])),
    }
    if plan.get("measure"):
        # A rung without its figures is not done yet.
        new["finished"] = measured is not None and not left
        new["told"] = told(
            {rung["id"]: rung["measured"] for rung in rungs if rung.get("measured")}, plan["measure_for"], best["id"]
        )
    if not succeeded:
        new["brought_back"] = stood_down or []
    if not new["accepted"]:
        # Why there was nothing better to try, and what only a person can change about it.
        new["refused"] = [f"{entry['option']}: {entry['reason']}" for entry in plan.get("refused", [])]
        new["remedies"] += [f"{step['what']}: {step['how']}" for step in plan.get("steps", [])]
    proven = best["verdict"] == "proven" and new["accepted"]
    new["proven"] = memory(rungs, best, plan, proof["engine_version"], installed) if proven else {}
    return {**new, "story": proof_story(new)}


COPIED = ("backend", "verdict", "reasons", "remedies", "evidence")


class FilterModule:
    def filters(self):
        return {"ladder_result": ladder_result}
