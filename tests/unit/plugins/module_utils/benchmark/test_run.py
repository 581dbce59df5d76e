# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole benchmark against an engine and a host made of lists."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.run import benchmark
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load

SECOND = 10**9
LOADED = [
    'time=2026-11-20T10:01:00.000Z level=INFO source=llama_server.go:9 msg="starting llama-server" '
    'cmd="/usr/lib/ollama/llama-server --port 0 -c 4096 -np 2 -ngl -1"',
    "load_tensors: offloaded 29/29 layers to GPU",
    "load_tensors:        ROCm0 model buffer size =   492.75 MiB",
]
KILLED = [
    "ollama.service: Main process exited, code=killed, status=9/KILL",
    "ollama.service: Failed with result 'signal'.",
]


class Engine:
    """Also the client, as both sides are asked for the same things here."""

    resident = False

    def __init__(self, host: Host) -> None:
        self.host, self.engine = host, self
        self.loaded = False
        self.prompts: list[str] = []
        self.calls: list[str] = []
        self.speeds = [(1000, 50)]
        self.dies_at: int | None = None
        self.others: list[str] = []
        self.context = 4096
        self.generates: int | None = None
        self.evaluates: int | None = None

    def version(self) -> str:
        return "0.32.15"

    def model(self) -> str:
        return "/models/toy.gguf"

    def placement(self, _model: str) -> Any:
        return {"size": 1, "size_vram": 1} if self.loaded else None

    def unload(self, _model: str, _timeout: float) -> None:
        self.calls.append("unload")
        self.loaded = False

    def keep(self, _model: str, _timeout: float) -> None:
        self.calls.append("keep")

    def prompt(self, text: str, tokens: int) -> str:
        assert len(text.split()) >= tokens
        return text

    def generate(self, _model: str, prompt: str, predict: int, _context: int, _timeout: float, on_token: Any) -> Any:
        if not self.loaded:
            self.loaded = True
            self.host.lines += LOADED
        at = len(self.prompts)
        self.prompts.append(prompt)
        if at == self.dies_at:
            self.host.lines += ["slot is processing a prompt", *KILLED]
            raise EngineError("the answer broke off after 3 tokens, without an error message")
        self.host.clock += 1
        on_token()
        fast = self.speeds[min(at, len(self.speeds) - 1)]
        count = self.generates if self.generates is not None else predict
        return {
            "first_token_seconds": 500 / fast[0],
            "prompt_tokens": self.evaluates or len(prompt.split()),
            "prompt_ns": (self.evaluates or len(prompt.split())) * SECOND // fast[0],
            "generated_tokens": count,
            "generated_ns": count * SECOND // fast[1],
            "load_seconds": 1.5 if at == 0 else 0.0,
        }

    def describe(self, _model: str) -> dict[str, Any]:
        return {
            "digest": "d1",
            "context": self.context,
            "parallel": None,
            "size": 700,
            "size_vram": 700,
            "others": self.others,
        }


class Host:
    unit = "ollama.service"

    def __init__(self, sysroot: Sysroot) -> None:
        self.sysroot, self.gpu_addresses = sysroot, ["0000:03:00.0"]
        self.lines: list[str] = []
        self.clock = 100.0
        self.busy = 0

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def run(self, _command: list[str]) -> tuple[int, str]:
        return 0, f"61, {self.busy}, 0x0\n"

    def unit_state(self) -> dict[str, str]:
        return {"ActiveState": "active", "NRestarts": "0"}

    def engine_lines(self, new_only: bool) -> list[str]:
        return self.lines


@pytest.fixture
def engine(tmp_path: Any) -> Engine:
    return Engine(Host(Sysroot(str(tmp_path))))


def measured(engine: Engine, **settings: Any) -> dict[str, Any]:
    wanted = {
        "engine": "ollama",
        "unit": "ollama.service",
        "model": "toy",
        "prompt_tokens": 500,
        "predict_tokens": 100,
        "context": 0,
        "repetitions": 3,
        "warmup": 1,
        "llama_bench": False,
        "start_timeout": 10,
        "request_timeout": 10,
        **settings,
    }
    signatures = load("engine")
    return benchmark(engine.host, engine, wanted, lambda lines: read_engine_log(lines, signatures), random.Random(1))


def test_the_figures_are_those_of_the_repetitions_alone(engine: Engine) -> None:
    # Load, warm-up and three repetitions.
    engine.speeds = [(1, 1), (10, 1), (900, 40), (1000, 50), (1200, 45)]
    result = measured(engine)
    assert result["complete"]
    assert result["generation_tokens_per_second"] == {
        "median": 45.0,
        "min": 40.0,
        "max": 50.0,
        "spread_percent": 22.2,
        "samples": [40.0, 50.0, 45.0],
    }
    assert result["prompt_tokens_per_second"]["median"] == 1000
    assert result["time_to_first_token_seconds"]["median"] == 0.5
    assert result["load_seconds"] == 1.5
    assert (result["backend"], result["placement"]["offloaded"], result["parallel"]) == ("rocm", [29, 29], 2)
    assert result["warnings"] == [
        "prompt_tokens_per_second varied by 30.0 % between repetitions",
        "generation_tokens_per_second varied by 22.2 % between repetitions",
    ]


def test_no_two_prompts_begin_alike(engine: Engine) -> None:
    measured(engine, repetitions=5, warmup=2)
    assert len(engine.prompts) == 8
    assert len({prompt.split()[0] for prompt in engine.prompts}) == 8


def test_a_model_that_was_loaded_is_loaded_anew_and_left_loaded(engine: Engine) -> None:
    engine.loaded = True
    assert measured(engine)["load_seconds"] == 1.5
    assert engine.calls == ["unload", "keep"]


def test_a_model_that_was_not_loaded_is_unloaded_again(engine: Engine) -> None:
    measured(engine)
    assert engine.calls == ["unload"]


DEATHS = [
    (0, "loading", 0),
    (1, "warm-up 1 of 1", 0),
    (2, "repetition 1 of 3", 0),
    (4, "repetition 3 of 3", 2),
]


@pytest.mark.parametrize(("at", "stage", "kept"), DEATHS)
def test_an_engine_that_dies_leaves_what_was_measured(engine: Engine, at: int, stage: str, kept: int) -> None:
    engine.dies_at = at
    result = measured(engine)
    assert (result["complete"], result["failed_at"]) == (False, stage)
    assert result["error"] == "the answer broke off after 3 tokens, without an error message"
    assert result["exit"] == KILLED[0]
    assert result["log"][-1] == "slot is processing a prompt"
    figure = result["generation_tokens_per_second"]
    assert (figure and len(figure["samples"])) == (kept or None)
    assert len(result["generated_tokens"]) == kept


def test_an_engine_that_generates_nothing_broke_off(engine: Engine) -> None:
    engine.generates = 0
    result = measured(engine)
    assert "without generating a single token" in result["error"]
    assert result["failed_at"] == "warm-up 1 of 1"


def test_what_spoils_the_figures_is_told(engine: Engine) -> None:
    engine.others, engine.context, engine.host.busy = ["other:latest"], 2048, 11
    engine.generates, engine.evaluates = 49, 499
    assert measured(engine)["warnings"] == [
        "the model other:latest was loaded beside it",
        "the GPU was 11 % busy before the benchmark began",
        "the context was 2048 tokens, not the 4096 asked for",
        "only 499 prompt tokens were evaluated of 500: cut, or from a cache",
        "only 49 tokens were generated of 100: the model ended early",
    ]


def test_what_is_as_it_should_be_is_not_told(engine: Engine) -> None:
    engine.host.busy, engine.generates, engine.evaluates = 10, 50, 500
    assert measured(engine)["warnings"] == []


def test_the_gpu_is_looked_at_before_and_while_it_works(engine: Engine) -> None:
    looks = iter([5, 90, 7])
    engine.host.run = lambda _command: (0, f"{50 if (busy := next(looks, 99)) < 99 else 71}, {busy}, 0x20\n")
    conditions = measured(engine)["conditions"]
    assert conditions["busy_before"] == 5
    assert conditions["busy_percent"] == 99
    assert (conditions["temperature_c_before"], conditions["temperature_c"]) == (50, 71)
    assert conditions["throttled"] == ["temperature"]


def test_llama_server_is_named_by_its_file_and_keeps_its_context(engine: Engine) -> None:
    engine.resident, engine.context = True, 512
    engine.loaded, engine.host.lines = False, list(LOADED)
    result = measured(engine, model=None)
    assert (result["model"], result["context"], result["warnings"]) == ("toy", 512, [])
    assert measured(engine, model=None, context=1024)["warnings"] == [
        "the context was 512 tokens, not the 1024 asked for"
    ]


def test_without_a_log_only_the_processor_is_known(engine: Engine, monkeypatch: Any) -> None:
    described = {**engine.describe("toy"), "size_vram": 0}
    monkeypatch.setattr(engine, "describe", lambda _model: described)
    monkeypatch.setattr(engine.host, "engine_lines", lambda new_only: None)
    assert measured(engine)["backend"] == "cpu"
    described["size_vram"] = 700
    result = measured(engine)
    assert result["backend"] == "unknown"
    assert "the engine's log does not say where the model ran" in result["warnings"]
