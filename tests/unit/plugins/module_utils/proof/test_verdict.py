# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.verdict import (
    MIB,
    contradictions,
    growth_needed,
    judge,
    kernel_evidence,
    speed_evidence,
)
from hypothesis import given
from hypothesis import strategies as st

GIB = 1024 * MIB

# What a healthy host says: each test changes what it is about.
GPU: dict[str, Any] = {
    "log": {"available": True, "backend": "rocm", "offloaded": [29, 29]},
    "api": {"available": True, "size": GIB, "size_vram": GIB},
    "kernel": {"moved": True, "vram_growth_bytes": GIB, "gtt_growth_bytes": 0, "busy_percent": 97},
    "speed": {"prompt_tokens": 652},
    "error": None,
}
CPU: dict[str, Any] = {
    "log": {"available": True, "backend": "cpu", "offloaded": None},
    "api": {"available": True, "size": GIB, "size_vram": 0},
    "kernel": {"moved": None},
    "speed": {"prompt_tokens": 652},
    "error": None,
}


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The evidence with parts of its witnesses replaced."""
    evidence = copy.deepcopy(base)
    for witness, change in changes.items():
        evidence[witness] = {**evidence[witness], **change} if isinstance(change, dict) else change
    return evidence


# (what it is about, expect, evidence, verdict, backend, words of the reason)
VERDICTS: list[tuple[str, str, dict[str, Any], str, str, str]] = [
    ("all agree", "rocm", GPU, "proven", "rocm", "confirm"),
    ("no counters", "rocm", changed(GPU, kernel={"moved": None}), "proven", "rocm", "no counters"),
    ("no API", "rocm", changed(GPU, api={"available": False}), "proven", "rocm", "confirm"),
    ("neither", "rocm", changed(GPU, api={"available": False}, kernel={"moved": None}), "degraded", "rocm", "neither"),
    ("part of the layers", "rocm", changed(GPU, log={"offloaded": [20, 29]}), "degraded", "rocm", "20 of 29"),
    ("experts in RAM", "rocm", changed(GPU, api={"size_vram": GIB // 2}), "degraded", "rocm", "are in GPU memory"),
    ("no offload line", "rocm", changed(GPU, log={"offloaded": None}), "degraded", "rocm", "how many layers"),
    ("short prompt", "rocm", changed(GPU, speed={"prompt_tokens": 12}), "degraded", "rocm", "only 12 prompt tokens"),
    ("one token short", "rocm", changed(GPU, speed={"prompt_tokens": 511}), "degraded", "rocm", "only 511 prompt"),
    ("just long enough", "rocm", changed(GPU, speed={"prompt_tokens": 512}), "proven", "rocm", "confirm"),
    ("CUDA", "cuda", changed(GPU, log={"backend": "cuda"}, kernel={"moved": None}), "proven", "cuda", "no counters"),
    ("unknown prompt", "rocm", changed(GPU, speed={"prompt_tokens": None}), "proven", "rocm", "confirm"),
    ("other GPU backend", "rocm", changed(GPU, log={"backend": "vulkan"}), "degraded", "vulkan", "not on rocm"),
    ("GPU, not CPU", "cpu", GPU, "degraded", "rocm", "not on cpu"),
    ("silent fallback", "rocm", CPU, "failed", "cpu", "ran on cpu, not on rocm"),
    ("CPU as wanted", "cpu", CPU, "proven", "cpu", "nothing claims a GPU"),
    ("crash", "rocm", changed(GPU, error="runner has terminated"), "failed", "rocm", "runner has terminated"),
    ("crash on CPU", "cpu", changed(CPU, error="out of memory"), "failed", "cpu", "out of memory"),
    ("API lies", "rocm", changed(GPU, kernel={"moved": False}), "failed", "rocm", "the kernel saw"),
    ("log lies", "rocm", changed(GPU, api={"size_vram": 0}), "failed", "rocm", "0 MiB"),
    ("API lies, CPU", "cpu", changed(CPU, api={"size_vram": GIB}), "failed", "cpu", "the log says cpu, but the API"),
    ("zero layers", "rocm", changed(GPU, log={"offloaded": [0, 29]}), "failed", "cpu", "0 of 29"),
    ("GPU works for CPU", "cpu", changed(CPU, kernel={"moved": True}), "failed", "cpu", "but the kernel"),
    ("API alone", "rocm", changed(GPU, log={"backend": None, "offloaded": None}, kernel={"moved": None}),
     "failed", "unknown", "does not say where"),
    ("no log", "rocm", changed(GPU, log={"backend": None, "offloaded": None}), "degraded", "unknown", "does not say"),
    ("no log, idle", "cpu", changed(CPU, log={"backend": ""}, kernel={"moved": False}), "failed", "unknown", "no GPU"),
    ("nothing at all", "cpu", {"log": {}, "api": {}, "kernel": {}, "speed": {}}, "failed", "unknown", "the log"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("expect", "evidence", "verdict", "backend", "words"),
    [case[1:] for case in VERDICTS],
    ids=[case[0] for case in VERDICTS],
)
def test_verdict(expect, evidence, verdict, backend, words):
    judged = judge(expect, [], evidence, [])
    assert (judged["verdict"], judged["backend"]) == (verdict, backend)
    assert words in judged["reasons"][0]
    # A crash is explained by its log lines, and another GPU backend needs no advice.
    needs_advice = verdict != "proven" and not evidence.get("error") and backend in (expect, "cpu", "unknown")
    assert bool(judged["remedies"]) == (needs_advice or bool(judged["contradictions"]))


def test_an_accepted_backend_is_degraded_not_failed():
    assert judge("rocm", ["cpu"], CPU, [])["verdict"] == "degraded"


def test_a_run_that_broke_off_contradicts_nobody():
    assert judge("rocm", [], changed(GPU, kernel={"moved": False}, error="crash"), [])["contradictions"] == []


def test_a_kernel_fault_outweighs_everything():
    judged = judge("rocm", [], GPU, [{"code": "ring_timeout", "line": "ring gfx_0.0.0 timeout"}])
    assert judged["verdict"] == "failed"
    assert judged["reasons"] == ["the kernel reported ring_timeout: ring gfx_0.0.0 timeout"]


@pytest.mark.parametrize(
    ("evidence", "count"),
    [
        (GPU, 0),
        (CPU, 0),
        (changed(GPU, kernel={"moved": False}), 2),
        (changed(GPU, log={"backend": "cpu", "offloaded": None}), 2),
        (changed(GPU, api={"available": False}, kernel={"moved": False}), 1),
        (changed(CPU, kernel={"moved": True}), 2),
    ],
)
def test_contradictions(evidence, count):
    assert len(contradictions(evidence)) == count


def test_a_contradiction_names_what_the_kernel_saw():
    kernel = {"moved": False, "vram_growth_bytes": 2 * MIB, "gtt_growth_bytes": 3 * MIB, "busy_percent": 4}
    assert "grow by 5 MiB and its load reach 4 %" in contradictions(changed(GPU, kernel=kernel))[0]


MAYBE_INT = st.none() | st.integers(0, 2 * GIB)


@given(
    backend=st.sampled_from([None, "rocm", "vulkan", "cuda", "cpu"]),
    offloaded=st.none() | st.tuples(st.integers(0, 40), st.integers(1, 40)).map(list),
    api=st.fixed_dictionaries(
        {"available": st.booleans(), "size": st.integers(0, GIB), "size_vram": st.integers(0, GIB)}
    ),
    moved=st.sampled_from([None, True, False]),
    prompt_tokens=MAYBE_INT,
    expect=st.sampled_from(["rocm", "vulkan", "cuda", "cpu"]),
)
def test_proven_only_with_a_log_and_no_denial(backend, offloaded, api, moved, prompt_tokens, expect):
    """Whatever is missing, a GPU is proven only by its log and one other witness, and nobody against it."""
    log = {"backend": backend, "offloaded": offloaded}
    evidence = {"log": log, "api": api, "kernel": {"moved": moved}, "speed": {"prompt_tokens": prompt_tokens}}
    judged = judge(expect, [], evidence, [])
    if judged["verdict"] == "proven":
        assert judged["backend"] == expect
        if expect == "cpu":
            assert not moved
            assert not (api["available"] and api["size_vram"])
        else:
            assert backend == expect
            assert offloaded
            assert 0 < offloaded[0] >= offloaded[1]
            assert moved is not False
            assert moved or (api["available"] and api["size_vram"])


@pytest.mark.parametrize(
    ("size_vram", "needed"), [(None, 16 * MIB), (0, 16 * MIB), (MIB, MIB), (8 * MIB, 4 * MIB), (GIB, 64 * MIB)]
)
def test_growth_needed(size_vram, needed):
    assert growth_needed(size_vram) == needed


def reading(vram: int | None, gtt: int | None = 0, busy: int | None = 0) -> dict[str, int | None]:
    return {"vram_used": vram, "gtt_used": gtt, "busy_percent": busy}


# (idle readings, samples, moved, VRAM growth, GTT growth, busy)
COUNTERS: list[tuple[list, list, bool | None, int | None, int | None, int | None]] = [
    ([reading(100)], [[reading(100 + GIB, 0, 90)]], True, GIB, 0, 90),
    ([reading(100)], [[reading(100, GIB, 90)]], True, 0, GIB, 90),  # an APU's model is in GTT
    ([reading(100)], [[reading(100 + 40 * MIB, 24 * MIB, 90)]], True, 40 * MIB, 24 * MIB, 90),  # just enough, in both
    ([reading(100)], [[reading(99 + 40 * MIB, 24 * MIB, 90)]], False, 40 * MIB - 1, 24 * MIB, 90),
    ([reading(100)], [[reading(100, 0, 90)]], False, 0, 0, 90),  # busy with something else
    ([reading(100)], [[reading(100 + GIB, 0, 0)]], False, GIB, 0, 0),  # memory that nobody computes on
    ([reading(100, 0, 30)], [[reading(100 + GIB, 0, 30)]], False, GIB, 0, 30),
    ([reading(100, 0, 100)], [[reading(100 + GIB, 0, 100)]], True, GIB, 0, 100),
    ([reading(100, 0, None)], [[reading(100 + GIB, 0, None)]], True, GIB, 0, None),
    ([reading(100, None)], [[reading(100 + GIB, None, 5)], [reading(100, None, 60)]], True, GIB, None, 60),
    ([reading(GIB)], [[reading(100, 0, 9)]], False, 0, 0, 9),  # memory that was given back
    ([reading(None, None, 0)], [[reading(None, None, 90)]], None, None, None, 90),
    ([reading(0), reading(0)], [[reading(40 * MIB, 0, 1), reading(40 * MIB, 0, 0)]], True, 80 * MIB, 0, 1),
    ([], [[]], None, None, None, None),
    ([reading(100)], [], None, None, None, None),
]


@pytest.mark.parametrize(("idle", "samples", "moved", "vram", "gtt", "busy"), COUNTERS)
def test_kernel_evidence(idle, samples, moved, vram, gtt, busy):
    evidence = kernel_evidence(idle, samples, GIB)
    assert evidence["moved"] is moved
    assert evidence["available"] is (moved is not None)
    assert evidence["samples"] == len(samples)
    assert (evidence["vram_growth_bytes"], evidence["gtt_growth_bytes"], evidence["busy_percent"]) == (vram, gtt, busy)


@pytest.mark.parametrize(
    ("count", "nanoseconds", "speed"),
    [
        (64, 2_000_000_000, 32.0),
        (0, 10, None),
        (None, 10, None),
        (64, None, None),
        (64, 0, None),
        (1, 3_000_000_000, 0.3),
    ],
)
def test_speed(count, nanoseconds, speed):
    timings = {"prompt_tokens": count, "prompt_ns": nanoseconds, "generated_tokens": count, "generated_ns": nanoseconds}
    evidence = speed_evidence(timings)
    assert (evidence["prompt"], evidence["generation"]) == (speed, speed)
