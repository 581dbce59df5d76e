# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real llama-server is measured, twice, and killed while it is."""

from __future__ import annotations

import json

import pytest

HOST, UNIT = "forky", "llama-server-toy"
# A minimal host has no curl.
HEALTH = 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8080/health")'
PLAYBOOK = "playbooks/benchmark.yml"
# Little, as threads of ggml that share processors with other work are slower than any figure of them suggests.
SHORT = {"benchmark_prompt_tokens": 64, "benchmark_predict_tokens": 16, "benchmark_repetitions": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmarks")


def lines(folder):
    return [json.loads(line) for line in (folder / f"{HOST}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def two(fleet, folder):
    for _number in range(2):
        run = fleet.play({HOST: {**SHORT, "benchmark_results": str(folder)}}, playbook=PLAYBOOK)
        assert run.code == 0, run.output
    return lines(folder)


def test_real_tokens_are_measured_where_the_log_says(two):
    for record in two:
        assert record["complete"]
        assert (record["engine"], record["unit"], record["model"]) == ("llama_server", f"{UNIT}.service", "toy")
        assert record["engine_version"].startswith("b")
        assert record["backend"] in ("cpu", "vulkan")
        # Exactly what was asked for: no cache had any of it, and the model did not end early.
        assert record["evaluated_prompt_tokens"] == [64] * 2
        assert record["generated_tokens"] == [16] * 2
        assert record["generation_tokens_per_second"]["min"] > 0
        assert record["time_to_first_token_seconds"]["min"] > 0
        assert record["parallel"] >= 1


def test_the_second_is_compared_with_the_first(two):
    assert [record["accepted"] for record in two] == [True, False]
    assert two[0]["verdict"] == "first"
    # What else runs on the machine of the test decides how fast a toy model is.
    assert two[1]["verdict"] in ("steady", "faster", "slower")


@pytest.fixture
def on_the_processor(fleet):
    """An instance of its own: llama-bench on software Vulkan compiles shaders for minutes."""
    model = fleet.do(HOST, f"systemctl show --property=ExecStart {UNIT} | grep -o '/[^ ]*[.]gguf' | head -n 1").strip()
    command = (
        f"llama-server --model {model} --host 127.0.0.1 --port 8399 --device none --ctx-size 512 --log-verbosity 4"
    )
    fleet.do(HOST, f"systemd-run --unit=llama-server-bench --property=User=nobody {command}")
    yield [{"name": "bench", "model": model, "port": 8399}]
    fleet.do(HOST, "systemctl stop llama-server-bench")


def test_llama_bench_is_run_with_the_options_of_the_server(fleet, on_the_processor, tmp_path):
    wanted = {"llama_server_instances": on_the_processor, "benchmark_llama_bench": True}
    run = fleet.play({HOST: {**SHORT, **wanted, "benchmark_results": str(tmp_path)}}, playbook=PLAYBOOK)
    assert run.code == 0, run.output
    (record,) = lines(tmp_path)
    assert record["backend"] == "cpu"
    bench = record["llama_bench"]
    assert (bench["error"], bench["build"]) == (None, record["engine_version"])
    assert bench["prompt_tokens_per_second"] > 0
    assert bench["generation_tokens_per_second"] > 0


def test_a_server_that_is_killed_is_reported_and_comes_back(two, fleet, folder):
    wanted = {**SHORT, "benchmark_results": str(folder), "benchmark_repetitions": 100}
    since = fleet.do(HOST, "date +%s").strip()
    play = fleet.start({HOST: wanted}, playbook=PLAYBOOK)
    # The load, the warm-up and two repetitions.
    fleet.wait_for(HOST, f"test $(journalctl -u {UNIT} --since @{since} | grep -c release:) -ge 4")
    fleet.do(HOST, f"systemctl kill --signal=KILL {UNIT}")
    run = play.wait()
    assert run.code == 2
    (message,) = run.failed(HOST)
    assert "toy on" in message
    assert "BROKE OFF at repetition " in message
    assert "status=9/KILL" in message
    last = lines(folder)[-1]
    assert (last["complete"], last["verdict"], last["accepted"]) == (False, "broken", False)
    assert 1 <= len(last["generation_tokens_per_second"]["samples"]) < 100
    fleet.wait_for(HOST, f"python3 -c '{HEALTH}'")
