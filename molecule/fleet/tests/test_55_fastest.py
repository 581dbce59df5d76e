# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose ROCm is slow keeps Vulkan because it was measured; a new kernel has all measured again."""

from __future__ import annotations

import json

import pytest

HOST = "desktop"
MEASURE = "lamplighter.fleet.inference_benchmark"
PROVE = "lamplighter.fleet.inference_proof"
RELEASE = "/srv/machine/proc/sys/kernel/osrelease"
# Few tokens: a slow stand-in takes its time.
FASTEST = {"inference_backend": "fastest", "ladder_predict_tokens": 16}


def remembered(fleet):
    return json.loads(fleet.do(HOST, "cat /etc/ansible/facts.d/lamplighter.fact"))["proven"]


def now(fleet, scenario):
    fleet.scenarios({HOST: scenario})
    fleet.do(HOST, "systemctl restart ollama")


@pytest.fixture(scope="module")
def measured(fleet):
    now(fleet, {"rocm": "slow"})
    run = fleet.play({HOST: {**FASTEST, "inference_forget": True}})
    assert run.code == 0, run.output
    return run


def test_every_rung_is_proven_and_measured_and_the_fastest_kept(measured, fleet):
    assert [proof["proof"]["verdict"] for proof in measured.of(HOST, action=PROVE)] == ["proven"] * 3
    assert len(measured.of(HOST, action=MEASURE, status="ok")) == 3
    proven = remembered(fleet)
    assert proven["id"] == "vulkan"
    # What the stand-in says of itself: 80 for ROCm, an eighth where it is slow; 60 for Vulkan; 30 for the processor.
    speeds = {name: figures["generation"] for name, figures in proven["measured"]["rungs"].items()}
    assert speeds == pytest.approx({"rocm": 10, "vulkan": 60, "cpu": 30}, rel=0.25)
    assert "vulkan kept" in measured.output
    assert fleet.do(HOST, "systemctl show --property=Environment ollama").count("OLLAMA_LLM_LIBRARY=vulkan") == 1


def test_once_is_enough(measured, fleet):
    again = fleet.play({HOST: FASTEST})
    assert (again.code, again.changed(HOST)) == (0, []), again.output
    assert again.of(HOST, action=MEASURE) == []


def test_a_new_kernel_has_all_measured_again(measured, fleet):
    """ROCm has become quick meanwhile, which nobody could know."""
    before = fleet.do(HOST, f"cat {RELEASE}")
    now(fleet, {})
    fleet.do(HOST, f"echo 99.1.0-new > {RELEASE}")
    try:
        run = fleet.play({HOST: FASTEST})
    finally:
        fleet.do(HOST, f"echo {before} > {RELEASE}")
    assert run.code == 0, run.output
    assert len(run.of(HOST, action=MEASURE, status="ok")) == 3
    assert (remembered(fleet)["id"], remembered(fleet)["fingerprint"]["kernel"]) == ("rocm", "99.1.0-new")


def test_a_lower_rung_climbs_when_it_is_told_to_forget(measured, fleet):
    now(fleet, {"rocm": "crash_on_load"})
    assert fleet.play([HOST]).code == 0
    assert remembered(fleet)["id"] == "vulkan"
    now(fleet, {})
    climbs = fleet.play([HOST], "--extra-vars=inference_forget=true")
    assert (climbs.code, remembered(fleet)["id"]) == (0, "rocm"), climbs.output
