# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts are measured, again, with a GPU that became slow, and with an engine that is killed meanwhile."""

from __future__ import annotations

import json
import re

import pytest

HOSTS = ("desktop", "xeon")
PLAYBOOK = "playbooks/benchmark.yml"
# The stand-in works as long as a real one would: little is asked of it.
SHORT = {"benchmark_prompt_tokens": 128, "benchmark_predict_tokens": 24, "benchmark_repetitions": 2}
MEASURE = "lamplighter.fleet.inference_benchmark"
RECORD = "lamplighter.fleet.benchmark_results"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def measure(fleet, folder):
    def run(*hosts, **variables):
        wanted = {**SHORT, "benchmark_results": str(folder), **variables}
        return fleet.play(dict.fromkeys(hosts, wanted), playbook=PLAYBOOK)

    return run


@pytest.fixture(scope="module")
def first(fleet, measure):
    fleet.scenarios(dict.fromkeys(HOSTS))
    fleet.on(HOSTS, lambda host: fleet.do(host, "systemctl restart ollama"))
    run = measure(*HOSTS)
    assert run.code == 0, run.output
    return run


def lines(folder, host):
    return [json.loads(line) for line in (folder / f"{host}.jsonl").read_text().splitlines()]


def table(run):
    return str(next(result["msg"] for result in run.results if result["task"] == "The fleet"))


def test_the_first_result_is_what_later_ones_are_compared_with(first, folder):
    for host, backend, speed in (("desktop", "rocm", 80), ("xeon", "cpu", 30)):
        (record,) = lines(folder, host)
        assert (record["verdict"], record["accepted"], record["backend"]) == ("first", True, backend)
        # What the stand-in says of itself, whatever else the machine of the test has to do.
        assert record["generation_tokens_per_second"]["max"] == pytest.approx(speed, rel=0.2)
        assert record["time_to_first_token_seconds"]["median"] > 0
        assert min(record["evaluated_prompt_tokens"]) >= 128
    assert {record["host"] for host in HOSTS for record in lines(folder, host)} == set(HOSTS)


def test_nothing_on_the_hosts_changes(first):
    assert {result["action"] for result in first.results if result.get("changed")} == {RECORD}


def test_a_second_run_compares_with_the_first(first, measure, folder):
    # The machine of the test may be busy, now or before: only a figure of another kind would be wrong.
    run = measure(*HOSTS, benchmark_threshold=90, benchmark_fail=True)
    assert run.code == 0, run.output
    for host in HOSTS:
        assert [record["accepted"] for record in lines(folder, host)] == [True, False]
        assert lines(folder, host)[-1]["verdict"] in ("steady", "faster")
        assert re.search(rf"^{host} .* (steady|faster): prompt ", table(run), re.MULTILINE), table(run)
    page = (folder / "index.html").read_text()
    assert page.count("<svg role") >= 2 * len(HOSTS)
    assert "<script" not in page


def test_a_gpu_that_became_slow_is_caught(first, fleet, measure, folder):
    fleet.scenarios({"desktop": {"rocm": "slow"}})
    fleet.do("desktop", "systemctl restart ollama")
    run = measure("desktop", benchmark_threshold=50, benchmark_fail=True)
    fleet.scenarios({"desktop": None})
    fleet.do("desktop", "systemctl restart ollama")
    assert run.code == 2
    (message,) = run.failed("desktop")
    # An eighth of the speed.
    assert re.match(r"qwen3:0.6b on rocm: SLOWER: prompt -\d\d\.\d %, generation -8\d\.\d %", message), message
    assert "SLOWER" in table(run)
    assert lines(folder, "desktop")[-1]["verdict"] == "slower"


def test_an_engine_that_is_killed_is_reported_and_what_was_measured_is_kept(first, fleet, folder):
    wanted = {**SHORT, "benchmark_results": str(folder), "benchmark_repetitions": 20}
    play = fleet.start({"desktop": wanted}, playbook=PLAYBOOK)
    since = fleet.do("desktop", "date +%s").strip()
    # The load, the warm-up and the first repetition are answered.
    fleet.wait_for("desktop", f"test $(journalctl -u ollama --since @{since} | grep -c POST.*generate) -ge 3")
    fleet.do("desktop", "systemctl kill --signal=KILL ollama")
    run = play.wait()
    assert run.code == 2
    (message,) = run.failed("desktop")
    assert "BROKE OFF at repetition " in message
    assert "status=9/KILL" in message
    last = lines(folder, "desktop")[-1]
    assert (last["complete"], last["accepted"], last["verdict"]) == (False, False, "broken")
    assert 1 <= len(last["generation_tokens_per_second"]["samples"]) < 20
    assert "BROKE OFF" in table(run)


def test_wrong_figures_are_refused_together_before_anything_is_measured(first, measure, folder):
    before = lines(folder, "desktop")
    run = measure("desktop", benchmark_prompt_tokens=4, benchmark_models=[])
    assert run.code == 2
    assert run.failed("desktop") == [
        "benchmark_prompt_tokens is 4: use a number from 16 to 131072. "
        "benchmark_models is empty: name at least one, or leave desktop out with --limit."
    ]
    assert lines(folder, "desktop") == before
