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
    "fingerprint": {"kernel": "7.3.4"},
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
        new = ladder_result(result, plan, [proof(outcome)])
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
    version = {"engine": "ollama", "engine_version": "0.32.15"}
    assert proven == {**version, "backend": "rocm", "id": "rocm-override", "fingerprint": {"kernel": "7.3.4"}}


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


# --- the fastest ---

MEASURING: dict[str, Any] = {**PLAN, "measure": True, "measure_for": "generation"}


def benchmark(prompt: float | None, generation: float | None) -> dict[str, Any]:
    return {
        "prompt_tokens_per_second": {"median": prompt},
        "generation_tokens_per_second": {"median": generation},
    }


def race(plan: dict[str, Any], *runs: tuple[str, float, float]) -> dict[str, Any]:
    """The result after each rung's outcome and speeds; a rung that is not proven is not measured."""
    result: dict[str, Any] = {}
    for outcome, prompt, generation in runs:
        told = ladder_result(result, plan, [proof(outcome)])
        assert not told["finished"]
        measured = [benchmark(prompt, generation)] if outcome.startswith("proven") else []
        result = ladder_result(told, plan, [proof(outcome)], measured)
    return result


ROCM, OVERRIDE, VULKAN, CPU = (
    ("proven rocm", 900, 41),
    ("failed rocm", 0, 0),
    ("proven vulkan", 400, 52),
    ("proven cpu", 90, 9),
)
# (measured for, runs, kept)
RACES: list[tuple[str, list[tuple[str, float, float]], str]] = [
    ("generation", [ROCM, OVERRIDE, VULKAN, CPU], "vulkan"),
    ("prompt", [ROCM, OVERRIDE, VULKAN, CPU], "rocm"),
    ("mixed", [ROCM, OVERRIDE, VULKAN, CPU], "rocm"),
    ("generation", [("proven rocm", 900, 50), OVERRIDE, VULKAN, CPU], "rocm"),
    ("generation", [("failed rocm", 0, 0), OVERRIDE, ("failed vulkan", 0, 0), CPU], "cpu"),
    ("generation", [("degraded cpu", 0, 0), OVERRIDE, VULKAN, CPU], "vulkan"),
]


@pytest.mark.parametrize(("purpose", "runs", "kept"), RACES)
def test_the_fastest_proven_rung_is_kept(purpose, runs, kept):
    result = race({**MEASURING, "measure_for": purpose}, *runs)
    assert (result["finished"], result["rung"]) == (True, kept)
    measured = {rung["id"] for rung in result["rungs"] if rung.get("measured")}
    assert set((result["proven"].get("measured") or {}).get("rungs", measured)) == measured


def test_what_was_measured_is_remembered_and_told():
    result = race(MEASURING, ROCM, OVERRIDE, VULKAN, CPU)
    assert result["proven"]["measured"] == {
        "fingerprint": {"kernel": "7.3.4"},
        "rungs": {
            "rocm": {"prompt": 900.0, "generation": 41.0},
            "vulkan": {"prompt": 400.0, "generation": 52.0},
            "cpu": {"prompt": 90.0, "generation": 9.0},
        },
    }
    assert "measured (generation): rocm 41 t/s, vulkan 52 t/s, cpu 9 t/s: vulkan kept." in result["story"]
    assert result["tokens_per_second"] == {"prompt": 400.0, "generation": 52.0}


def test_a_processor_that_outruns_a_proven_gpu_is_accepted_and_no_other():
    assert race(MEASURING, ROCM, OVERRIDE, VULKAN, ("proven cpu", 99, 99))["accepted"]
    failed = [("failed rocm", 0.0, 0.0), ("failed rocm", 0.0, 0.0), ("failed vulkan", 0.0, 0.0)]
    assert not race(MEASURING, *failed, CPU)["accepted"]


def test_a_processor_that_was_the_fastest_stays_accepted() -> None:
    measured = {"rungs": {"rocm": {"generation": 9.0}, "cpu": {"generation": 20.0}}, "fingerprint": {}}
    remembered = {**PLAN, "measure": False, "measured": measured, "rungs": [PLAN["rungs"][3], PLAN["rungs"][0]]}
    assert climb(remembered, "proven cpu")["accepted"]
    other = {**remembered, "rungs": [PLAN["rungs"][0], PLAN["rungs"][3]]}
    assert not climb(other, "failed rocm", "proven cpu")["accepted"]
    alone = {**remembered, "measured": {"rungs": {"cpu": {"generation": 20.0}}, "fingerprint": {}}}
    assert not climb(alone, "proven cpu")["accepted"]


def test_a_benchmark_that_broke_off_does_not_win():
    result = race(MEASURING, ("proven rocm", None, None), OVERRIDE, VULKAN, CPU)  # type: ignore[arg-type]
    assert result["rung"] == "vulkan"


def test_a_remembered_measurement_is_kept_but_for_what_fails_now():
    rungs = {"rocm": {"generation": 41.0}, "vulkan": {"generation": 52.0}}
    plan = {**PLAN, "measure": False, "measured": {"rungs": rungs, "fingerprint": {}}}
    assert climb(plan, "proven rocm")["proven"]["measured"]["rungs"] == rungs
    after = climb(plan, "failed rocm", "failed rocm", "proven vulkan")
    assert after["proven"]["measured"]["rungs"] == {"vulkan": {"generation": 52.0}}


INSTALLED = {"version": "b11700", "models": [{"path": "/m.gguf", "size": 5, "modified": 0}]}
FILES = "/m.gguf (5 bytes of 1970-01-01 00:00:00)"


def test_the_build_that_is_installed_by_now_is_remembered():
    plan = {**PLAN, "fingerprint": {"engine_version": "b11669", "kernel": "7.3.4"}}
    known = {"engine_version": "b11700", "kernel": "7.3.4", "model_files": FILES}
    proven = ladder_result({}, {**plan, "engine_version": ""}, [proof("proven rocm")], installed=INSTALLED)["proven"]
    assert (proven["engine_version"], proven["fingerprint"]) == ("b11700", known)
    asked = ladder_result({}, {**plan, "engine_version": "b11690"}, [proof("proven rocm")], installed=INSTALLED)
    assert asked["proven"]["engine_version"] == asked["proven"]["fingerprint"]["engine_version"] == "b11690"
    unknown = ladder_result({}, {**plan, "engine_version": ""}, [proof("proven rocm")], installed={"version": None})
    assert unknown["proven"]["engine_version"] == "b11669"


def test_figures_of_another_build_are_not_taken_for_those_of_this_one():
    before = {"rungs": {"rocm": {"generation": 41.0}}, "fingerprint": {"engine_version": "b11669", "model_files": ""}}
    plan = {**PLAN, "engine_version": "", "measure": False, "measured": before}
    kept = ladder_result({}, plan, [proof("proven rocm")], installed=INSTALLED)["proven"]
    assert kept["measured"]["fingerprint"] == {"engine_version": "b11669", "kernel": "7.3.4", "model_files": FILES}
    assert kept["fingerprint"]["engine_version"] == "b11700"


def test_another_engine_comes_back_only_where_every_rung_has_failed():
    def story(outcome: str) -> dict[str, Any]:
        return ladder_result({}, XEON, [proof(outcome)], stood_down=["ollama.service"])

    assert story("failed cpu")["brought_back"] == ["ollama.service"]
    assert "What was there before is as it was: ollama.service." in story("failed cpu")["story"]
    assert "brought_back" not in story("proven cpu")
    alone = climb(XEON, "failed cpu")
    assert (alone["brought_back"], "The service is left on the last one." in alone["story"]) == ([], True)


# --- several services ---


def test_the_worst_of_several_services_counts():
    one, two = {**proof("proven rocm"), "model": "a"}, {**proof("failed rocm"), "model": "b"}
    result = ladder_result({}, PLAN, [one, two])
    assert (result["verdict"], result["rungs"][0]["reasons"]) == ("failed", ["b: rocm failed"])
    both = ladder_result({}, PLAN, [{**proof("degraded rocm"), "model": "a"}, two])
    assert both["rungs"][0]["reasons"] == ["b: rocm failed", "also rocm degraded"]
    assert both["rungs"][0]["remedies"] == ["mend rocm", "sleep"]
    assert ladder_result({}, PLAN, [one, one])["verdict"] == "proven"


def test_services_share_what_a_rung_can_do():
    plan = {**MEASURING, "rungs": PLAN["rungs"][:1]}
    figures = [benchmark(100, 30), benchmark(100, 60)]
    proofs = [proof("proven rocm")] * 2
    result = ladder_result(ladder_result({}, plan, proofs), plan, proofs, figures)
    assert result["rungs"][0]["measured"] == {"prompt": 100.0, "generation": 40.0}
    assert (
        "generation"
        not in ladder_result({}, plan, [proof("proven rocm")] * 2, [figures[0], benchmark(100, None)])["rungs"][0][
            "measured"
        ]
    )


def test_it_is_a_filter():
    assert FilterModule().filters() == {"ladder_result": ladder_result}
