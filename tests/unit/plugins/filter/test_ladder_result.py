# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.ladder_result import FilterModule, ladder_result

PLAN: dict[str, Any] = {
    "engine": "ollama",
    "status": "gpu",
    "degraded_if": ["cpu"],
    "rungs": [{"id": name, "backend": name.partition("-")[0]} for name in ("rocm", "rocm-override", "vulkan", "cpu")],
}
XEON: dict[str, Any] = {**PLAN, "status": "cpu", "degraded_if": [], "rungs": PLAN["rungs"][3:]}
ACCEPTING = {**PLAN, "degraded_if": []}


def proof(outcome: str) -> dict[str, Any]:
    """A proof from "verdict backend"."""
    verdict, backend = outcome.split()
    speed = {"prompt": 652.0, "generation": 64.0} if verdict != "failed" else {}
    return {
        "verdict": verdict,
        "backend": backend,
        "reasons": [f"{backend} {verdict}"],
        "remedies": [] if verdict == "proven" else [f"mend {backend}", "sleep"],
        "evidence": {"speed": speed},
        "engine_version": "0.32.15",
    }


def climb(plan: dict[str, Any], *outcomes: str) -> dict[str, Any]:
    """The result after these outcomes; every one before the last must have asked for more."""
    result: dict[str, Any] = {}
    for number, outcome in enumerate(outcomes):
        assert number == 0 or not result["finished"]
        before = copy.deepcopy((result, plan))
        new = ladder_result(result, plan, proof(outcome))
        assert (result, plan) == before
        result = new
    return result


# (plan, outcomes, rung, backend, verdict, accepted, finished, remembered id)
CLIMBS: list[tuple[dict, list[str], str | None, str | None, str, bool, bool, str | None]] = [
    (PLAN, ["proven rocm"], "rocm", "rocm", "proven", True, True, "rocm"),
    (PLAN, ["failed rocm"], None, None, "failed", False, False, None),
    (PLAN, ["failed cpu", "degraded rocm"], "rocm-override", "rocm", "degraded", True, False, None),
    (PLAN, ["degraded vulkan", "failed rocm", "proven vulkan"], "vulkan", "vulkan", "proven", True, True, "vulkan"),
    # A GPU that works in part beats the CPU, which is not even tried.
    (PLAN, ["failed rocm", "degraded rocm", "failed cpu"], "rocm-override", "rocm", "degraded", True, True, None),
    (PLAN, ["failed rocm", "failed rocm", "failed cpu"], None, None, "failed", False, False, None),
    (PLAN, ["failed rocm", "failed rocm", "failed cpu", "proven cpu"], "cpu", "cpu", "proven", False, True, None),
    (PLAN, ["failed rocm"] * 4, None, None, "failed", False, True, None),
    (ACCEPTING, ["failed rocm", "failed rocm", "failed cpu", "proven cpu"], "cpu", "cpu", "proven", True, True, "cpu"),
    (ACCEPTING, ["degraded cpu", "failed rocm", "failed rocm"], "rocm", "cpu", "degraded", True, True, None),
    (XEON, ["proven cpu"], "cpu", "cpu", "proven", True, True, "cpu"),
    (XEON, ["failed cpu"], None, None, "failed", False, True, None),
]


@pytest.mark.parametrize(("plan", "outcomes", "rung", "backend", "verdict", "accepted", "finished", "memory"), CLIMBS)
def test_climb(plan, outcomes, rung, backend, verdict, accepted, finished, memory):
    result = climb(plan, *outcomes)
    assert (result["rung"], result["backend"], result["verdict"]) == (rung, backend, verdict)
    assert (result["accepted"], result["finished"]) == (accepted, finished)
    assert result["proven"].get("id") == memory
    assert [entry["id"] for entry in result["rungs"]] == [entry["id"] for entry in plan["rungs"][: len(outcomes)]]


def test_what_is_remembered():
    proven = climb(PLAN, "failed rocm", "proven rocm")["proven"]
    assert proven == {"engine": "ollama", "engine_version": "0.32.15", "backend": "rocm", "id": "rocm-override"}


def test_speed_is_that_of_the_best_rung():
    assert climb(PLAN, "proven rocm")["tokens_per_second"] == {"prompt": 652.0, "generation": 64.0}
    assert climb(PLAN, "failed rocm")["tokens_per_second"] == {"prompt": None, "generation": None}


def test_remedies_of_all_rungs_each_once():
    result = climb(PLAN, "failed rocm", "failed rocm", "failed vulkan")
    assert result["remedies"] == ["mend rocm", "sleep", "mend vulkan"]


def test_the_plans_refusals_and_steps_are_told_only_where_they_matter():
    step = {"what": "Show the GPU to the container", "why": "it is hidden", "how": "add /dev/dri"}
    plan = {**PLAN, "refused": [{"option": "cuda", "reason": "no NVIDIA GPU"}], "steps": [step]}
    failed = climb(plan, "failed rocm")
    assert failed["refused"] == ["cuda: no NVIDIA GPU"]
    assert failed["remedies"][-1] == "Show the GPU to the container: add /dev/dri"
    assert "refused" not in climb(plan, "proven rocm")
    assert climb(plan, "proven rocm")["remedies"] == []


def test_it_is_a_filter():
    assert FilterModule().filters() == {"ladder_result": ladder_result}
