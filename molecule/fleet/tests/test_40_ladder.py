# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs that fail in their different ways, each host in one of them; then none does, and the way back."""

from __future__ import annotations

import json

import pytest

FAILING = {
    "minipc": {"vulkan": "crash_on_load", "rocm": "crash_on_long_prompt"},
    "desktop": {"rocm": "crash_on_load"},
    "tower": {"vulkan": "crash_on_load"},
    "halo": {"rocm": "cpu_while_api_claims_gpu"},
    "nvidia": {"cuda": "cpu_while_log_and_api_claim_gpu", "vulkan": "cpu_while_log_and_api_claim_gpu"},
    "xeon": {},
}
ACCEPTS_CPU = {"inference_accept": ["cpu"]}


def remembered(fleet, host):
    fact = json.loads(fleet.do(host, "cat /etc/ansible/facts.d/lamplighter.fact"))
    return (fact.get("proven") or {}).get("backend")


def works_with(fleet, host):
    """The folder of libraries, or cpu, that the running service has been told to use."""
    return fleet.do(host, "systemctl show --property=Environment ollama | grep -o 'OLLAMA_LLM_LIBRARY=[a-z0-9_]*'")


@pytest.fixture(scope="module")
def failing(fleet):
    fleet.scenarios(FAILING)
    # They are read when the engine starts.
    fleet.on(FAILING, lambda host: fleet.do(host, "systemctl restart ollama"))
    run = fleet.play({host: ACCEPTS_CPU if host == "minipc" else {} for host in FAILING})
    assert run.code == 2, run.output
    return run


def story(run, host):
    """What the host says of itself: its failure, or its row in the table at the end."""
    table = next(result["msg"] for result in run.results if result["task"] == "The fleet")
    row = next(line for line in str(table).splitlines() if line.startswith(f"{host} "))
    return "\n".join([*run.failed(host), row])


def test_only_hosts_without_an_accepted_proof_fail(failing):
    failed = {host for host in FAILING if failing.end(host)}
    assert failed == {"tower", "nvidia"}


def test_a_crashing_rocm_ends_on_vulkan_with_the_evidence_of_both(failing, fleet):
    assert remembered(fleet, "desktop") == "vulkan"
    assert works_with(fleet, "desktop").endswith("=vulkan")
    proofs = failing.of("desktop", action="lamplighter.fleet.inference_proof")
    assert [proof["proof"]["verdict"] for proof in proofs] == ["failed", "proven"]
    crashed, proven = (proof["proof"] for proof in proofs)
    assert "illegal memory access" in json.dumps(crashed)
    assert proven["evidence"]["log"]["backend"] == "vulkan"


def test_every_gpu_rung_broken_tells_cause_and_remedy(failing, fleet):
    told = story(failing, "tower")
    assert "1. vulkan: failed" in told
    assert "2. cpu: proven" in told
    assert "inference_accept: [cpu]" in told
    assert "illegal memory access" in told
    assert "What to do:" in told
    assert remembered(fleet, "tower") is None


def test_the_api_alone_proves_nothing(failing, fleet):
    rocm = failing.of("halo", action="lamplighter.fleet.inference_proof")[0]["proof"]
    assert rocm["verdict"] != "proven"
    assert rocm["contradictions"]
    assert remembered(fleet, "halo") == "vulkan"


def test_log_and_api_together_prove_nothing_either(failing):
    proofs = [result["proof"] for result in failing.of("nvidia", action="lamplighter.fleet.inference_proof")]
    assert [proof["verdict"] == "proven" for proof in proofs] == [False, False, True]


def test_an_accepted_cpu_passes_and_is_told(failing, fleet):
    assert works_with(fleet, "minipc").endswith("=cpu")
    told = story(failing, "minipc")
    assert "cpu" in told
    assert "degraded" in told


def test_when_nothing_fails_any_more_each_host_comes_back(failing, fleet):
    """What is remembered comes first, so a host that proved Vulkan keeps it until it is told to try ROCm again."""
    fleet.scenarios(dict.fromkeys(FAILING))
    fleet.on(FAILING, lambda host: fleet.do(host, "systemctl restart ollama"))
    run = fleet.play({host: {"inference_backend": "rocm"} if host == "desktop" else {} for host in FAILING})
    assert run.code == 0, run.output
    assert {host: remembered(fleet, host) for host in FAILING} == {
        "minipc": "vulkan",
        "desktop": "rocm",
        "tower": "vulkan",
        "halo": "vulkan",
        "nvidia": "cuda",
        "xeon": "cpu",
    }
    assert run.changed("halo") == []
    again = fleet.play({"halo": {"inference_backend": "rocm"}})
    assert (again.code, remembered(fleet, "halo")) == (0, "rocm"), again.output
