# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real tokens from the real llama-server, on software Vulkan and on the processor, and which of them is faster."""

from __future__ import annotations

import json

import pytest

UNIT = "llama-server-toy"


def proofs(run):
    return [result["proof"] for result in run.of("forky", action="lamplighter.fleet.inference_proof")]


def command_line(fleet):
    return fleet.do("forky", f"tr '\\0' ' ' < /proc/$(systemctl show --value --property=MainPID {UNIT})/cmdline")


LOG = f"journalctl --output=cat _SYSTEMD_INVOCATION_ID=$(systemctl show --value --property=InvocationID {UNIT})"


def test_check_mode_on_a_new_host_foretells_and_makes_nothing(scenario_runs):
    changed = scenario_runs["check"].changed("forky")
    assert "Distribution | Packages would be installed" in changed
    assert "New services would be enabled and started" in changed
    assert not scenario_runs["check"].failed("forky")


def test_software_vulkan_is_proven(scenario_runs):
    (proof,) = proofs(scenario_runs["converge"])
    assert (proof["verdict"], proof["backend"]) == ("proven", "vulkan"), proof


def test_a_second_run_changes_nothing(scenario_runs):
    assert scenario_runs["again"].changed("forky") == []
    assert [proof["verdict"] for proof in proofs(scenario_runs["again"])] == ["proven"]


def test_the_server_itself_says_so(fleet, ask):
    assert "--device Vulkan0 " in command_line(fleet)
    assert "offloaded 5/5 layers to GPU" in fleet.do("forky", LOG)
    assert json.loads(ask("/health")) == {"status": "ok"}
    assert json.loads(ask("/props"))["model_path"] == "/etc/standin/models/toy.gguf"
    answer = json.loads(ask("/completion", '{"prompt": "w1 w2", "n_predict": 8, "ignore_eos": true}'))
    assert answer["timings"]["predicted_n"] == 8
    assert "llamacpp:tokens_predicted_total" in ask("/metrics")


def test_a_killed_server_comes_back(fleet):
    before = fleet.do("forky", f"systemctl show --value --property=InvocationID {UNIT}")
    fleet.do("forky", f"systemctl kill --signal=KILL {UNIT}")
    fleet.wait_for("forky", f"test $(systemctl show --value --property=InvocationID {UNIT}) != {before}", 30)
    fleet.wait_for("forky", f"{LOG} | grep --quiet 'model loaded'", 120)
    assert "offloaded 5/5 layers to GPU" in fleet.do("forky", LOG)


@pytest.fixture(scope="module")
def on_the_processor(fleet):
    return fleet.play({"forky": {"inference_backend": "cpu"}})


def test_the_processor_is_proven(on_the_processor, fleet):
    assert on_the_processor.code == 0, on_the_processor.output
    (proof,) = proofs(on_the_processor)
    assert (proof["verdict"], proof["backend"]) == ("proven", "cpu"), proof
    assert "--device none " in command_line(fleet)
    assert "layers to GPU" not in fleet.do("forky", LOG)


@pytest.fixture(scope="module")
def fastest(fleet):
    return fleet.play({"forky": {"inference_backend": "fastest"}})


def test_the_fastest_is_measured_and_kept(fastest, fleet):
    assert fastest.code == 0, fastest.output
    proven = json.loads(fleet.do("forky", "cat /etc/ansible/facts.d/lamplighter.fact"))["proven"]
    measured = proven["measured"]["rungs"]
    assert set(measured) == {"cpu", "vulkan"}
    speeds = {rung: figures["generation"] for rung, figures in measured.items()}
    # Software that plays a GPU on the same cores loses against these cores.
    assert speeds["cpu"] > speeds["vulkan"], speeds
    assert proven["backend"] == "cpu"
    assert "--device none " in command_line(fleet)


def test_what_was_measured_is_not_measured_again(fleet):
    run = fleet.play({"forky": {"inference_backend": "fastest"}})
    assert run.code == 0, run.output
    assert run.changed("forky") == []
    assert [proof["backend"] for proof in proofs(run)] == ["cpu"]


@pytest.mark.parametrize(("part", "then"), [("engine_version", "b1"), ("model_files", "toy.gguf (1 bytes)")])
def test_what_was_exchanged_underneath_is_to_be_measured_again(fleet, part, then):
    fact = "/etc/ansible/facts.d/lamplighter.fact"
    proven = json.loads(fleet.do("forky", f"cat {fact}"))["proven"]
    now = proven["measured"]["fingerprint"][part]
    assert {"engine_version": "b11669", "model_files": "/etc/standin/models/toy.gguf ("}[part] in now
    older = json.dumps({"proven": {**proven, "measured": {**proven["measured"], "fingerprint": {part: then}}}})
    fleet.do("forky", f"cp {fact} /root/fact; echo '{older}' > {fact}")
    try:
        run = fleet.play({"forky": {"inference_backend": "fastest"}}, playbook="playbooks/plan.yml")
    finally:
        fleet.do("forky", f"mv /root/fact {fact}")
    told = run.of("forky", task="What would be done, and why")[0]["msg"]
    assert f"measured when {part} was {then} and is {now}" in " ".join(told.split())
