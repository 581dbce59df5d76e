# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.proof_story import (
    WIDTH,
    FilterModule,
    evidence_line,
    headline,
    proof_story,
)

MIB = 1024 * 1024
FAULT = "Memory access fault by GPU node-1 (Agent handle: 0x55) on address 0x7f. Reason: Page not present or else."
CRASHED: dict[str, Any] = {
    "id": "rocm",
    "backend": "rocm",
    "verdict": "failed",
    "reasons": ["llama-server process has terminated: signal: aborted", f"memory_access_fault: {FAULT}"],
    "remedies": ["Go back to linux-firmware 20251111, or take 20260110 or newer."],
    "evidence": {
        "log": {"backend": "rocm", "offloaded": [29, 29]},
        "api": {"available": False},
        "kernel": {"available": True, "vram_growth_bytes": 600 * MIB, "gtt_growth_bytes": None, "busy_percent": 97},
        "speed": {"generation": None},
    },
}
ON_CPU: dict[str, Any] = {
    "id": "cpu",
    "backend": "cpu",
    "verdict": "proven",
    "reasons": ["the log says cpu and nothing claims a GPU"],
    "remedies": [],
    "evidence": {
        "log": {"backend": "cpu", "offloaded": None},
        "api": {"available": True, "size": 650 * MIB, "size_vram": 0},
        "kernel": {"available": False},
        "speed": {"generation": 12.3},
    },
}
UNACCEPTED: dict[str, Any] = {
    "backend": "cpu",
    "verdict": "proven",
    "accepted": False,
    "rungs": [CRASHED, ON_CPU],
    "refused": ["vulkan: the GPU has no render node"],
    "remedies": CRASHED["remedies"],
}


def test_the_whole_story():
    assert (
        proof_story(UNACCEPTED)
        == """\
The best that is proven is cpu, which the inventory does not accept.
The service runs on it.

Tried, in this order:
  1. rocm: failed
       llama-server process has terminated: signal: aborted
       memory_access_fault: Memory access fault by GPU node-1 (Agent handle: 0x55) on address
         0x7f. Reason: Page not present or else.
       witnesses: log rocm with 29 of 29 layers | kernel +600 MiB, 97 % busy
  2. cpu: proven
       the log says cpu and nothing claims a GPU
       witnesses: log cpu | API 0 MiB of 650 MiB in GPU memory | 12.3 tokens/s

Not tried:
  - vulkan: the GPU has no render node

What to do:
  - Go back to linux-firmware 20251111, or take 20260110 or newer.
  - If cpu is good enough for this host, say so: inference_accept: [cpu]"""
    )


@pytest.mark.parametrize(
    ("backend", "verdict", "accepted", "words"),
    [
        ("rocm", "proven", True, "Inference is proven on rocm."),
        ("vulkan", "degraded", True, "Inference works with less than it should on vulkan."),
        ("cpu", "proven", False, "which the inventory does not accept"),
        ("cpu", "degraded", False, "working in part is cpu"),
        (None, "failed", False, "Nothing is proven"),
    ],
)
def test_headline(backend, verdict, accepted, words):
    assert words in headline({"backend": backend, "verdict": verdict, "accepted": accepted})[0]


def test_a_proven_host_has_a_short_story():
    result = {"backend": "rocm", "verdict": "proven", "accepted": True, "rungs": [{**CRASHED, "verdict": "proven"}]}
    assert proof_story({**result, "remedies": []}) == "Inference is proven on rocm."


def test_without_remedies_the_way_out_is_still_told():
    story = proof_story({**UNACCEPTED, "remedies": []})
    assert story.endswith("\nIf cpu is good enough for this host, say so: inference_accept: [cpu]")


@pytest.mark.parametrize("evidence", [{}, {"log": None, "api": {}, "kernel": {}, "speed": {}}])
def test_no_witness_no_line(evidence):
    assert evidence_line(evidence) == ""


def test_no_line_is_too_wide():
    long = {**CRASHED, "reasons": ["word " * 100], "remedies": ["step " * 100]}
    story = proof_story({**UNACCEPTED, "rungs": [long], "remedies": long["remedies"]})
    assert max(map(len, story.splitlines())) <= WIDTH


def test_it_is_a_filter():
    assert FilterModule().filters() == {"proof_story": proof_story}
