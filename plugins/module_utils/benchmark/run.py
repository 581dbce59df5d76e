# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A benchmark from its first question to its figures."""

from __future__ import annotations

import contextlib
import os
import random
import re
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.conditions import (
    highest,
    load_average,
    read_conditions,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.figures import FIGURES, rate, summary
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.llama_bench import cross_check
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.warn import warnings_of
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.host import first_line_with
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.prompt import context_length, unique_prompt
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.run import SEVERE, wait_for_engine

SCHEMA = 1
LOOK_SECONDS = 0.5
TAIL = 5

Measured = dict[str, Any]


def benchmark(
    host: Any,
    client: Any,
    settings: dict[str, Any],
    read_log: Callable[[list[str]], dict[str, Any]],
    random_source: random.Random | None = None,
) -> dict[str, Any]:
    """Never raises for what an engine does: what was measured until then is kept, and marked as incomplete."""
    run = _Run(host, client, settings, random_source or random.SystemRandom())
    began = host.now()
    run.execute()
    new = host.engine_lines(new_only=True) or []
    log = read_log(new)
    # llama-server loads its model when it starts, Ollama for this benchmark.
    told = log["backend"] != "unknown" and not client.engine.resident
    whole = log if told else read_log(host.engine_lines(new_only=False) or [])
    described, samples = run.described, run.samples
    result = {
        "schema": SCHEMA,
        "complete": run.error is None,
        "engine": settings["engine"],
        "engine_version": run.version,
        "unit": settings["unit"],
        "backend": _backend(whole["backend"], described),
        "placement": {
            "offloaded": whole["offloaded"],
            "size": described.get("size"),
            "size_vram": described.get("size_vram"),
        },
        "model": run.name(),
        "digest": described.get("digest"),
        "context": described.get("context") or run.context,
        "parallel": described.get("parallel") or _slots(new),
        "prompt_tokens": settings["prompt_tokens"],
        "predict_tokens": settings["predict_tokens"],
        "repetitions": settings["repetitions"],
        "evaluated_prompt_tokens": [sample["prompt_tokens"] for sample in samples],
        "generated_tokens": [sample["generated_tokens"] for sample in samples],
        "load_seconds": run.load_seconds,
        **{name: summary((sample[name] for sample in samples), places) for name, places in FIGURES.items()},
        "llama_bench": run.llama_bench,
        "conditions": run.conditions(),
        "seconds": round(host.now() - began, 1),
        **_broken(run, log, new),
    }
    # llama-server has its context from its start: only what was asked for by name is expected of it.
    expected = settings["context"] if client.engine.resident else run.context
    return {**result, "warnings": warnings_of(result, described.get("others") or [], expected)}


def _backend(named: str, described: dict[str, Any]) -> str:
    """The log names it. Without the log, the API can only tell that no GPU is in use."""
    if named == "unknown" and described.get("size") and described.get("size_vram") == 0:
        return "cpu"
    return named


def _slots(lines: list[str]) -> int | None:
    """Ollama's API does not say it; the command line that it logs for each load does."""
    for line in reversed(lines):
        words = line.split()
        if "starting llama-server" in line and "-np" in words[:-1]:
            value = words[words.index("-np") + 1]
            return int(value) if value.isdigit() else None
    return None


def _broken(run: _Run, log: dict[str, Any], lines: list[str]) -> dict[str, Any]:
    """What ended the benchmark early, and what the log says about it."""
    if run.error is None:
        return {"error": None, "failed_at": None, "exit": None, "failures": [], "log": []}
    failures = [failure for severity in SEVERE for failure in log["failures"] if failure["severity"] == severity]
    said = [line.strip() for line in lines if line.strip() and run.host.unit not in line]
    return {
        "error": run.error,
        "failed_at": run.stage,
        "exit": first_line_with(["Main process exited"], reversed(lines)),
        "failures": failures,
        "log": said[-TAIL:],
    }


class _Run:
    """Load, warm up and repeat, keeping what was measured, until the first error."""

    def __init__(self, host: Any, client: Any, settings: dict[str, Any], random_source: random.Random) -> None:
        self.host, self.client, self.settings, self.random_source = host, client, settings, random_source
        self.model = settings["model"]
        self.error: str | None = None
        self.stage: str | None = None
        self.version: str | None = None
        self.described: dict[str, Any] = {}
        self.load_seconds: float | None = None
        self.samples: list[Measured] = []
        self.llama_bench: dict[str, Any] | None = None
        self.before: dict[str, Any] = {}
        self.load_average: float | None = None
        self.looks: list[dict[str, Any]] = []
        self.looked = 0.0
        self.context = settings["context"] or context_length(settings["prompt_tokens"], settings["predict_tokens"])

    def execute(self) -> None:
        timeout, engine = self.settings["request_timeout"], self.client.engine
        try:
            self.stage = "waiting for the engine"
            self.version = wait_for_engine(self.host, engine, self.settings["start_timeout"])
            self.stage = "unloading"
            model = self.model = self.model or engine.model()
            was_loaded = engine.placement(model) is not None
            if was_loaded:
                # Every benchmark begins with the same load, and its lines in the log.
                engine.unload(model, timeout)
            self._look_before()
            self.stage = "loading"
            self.load_seconds = self._generate("Hello", 1)["load_seconds"]
            self.described = self.client.describe(model)
            for stage, count, keep in (
                ("warm-up", self.settings["warmup"], False),
                ("repetition", self.settings["repetitions"], True),
            ):
                for number in range(1, count + 1):
                    self.stage = f"{stage} {number} of {count}"
                    self._measure(keep)
            self.stage = "the end"
            if self.settings["llama_bench"] and engine.resident:
                self.llama_bench = cross_check(self.host.unit, self.settings, self.host.run)
            # Leave the memory as it was found. Whether that works says nothing about the figures.
            with contextlib.suppress(EngineError):
                (engine.keep if was_loaded else engine.unload)(model, timeout)
        except EngineError as error:
            self.error = str(error)

    def name(self) -> str:
        """llama-server calls its model by the path of its file, unless it was given another name."""
        model = str(self.model or "unknown")
        return re.sub(r"\.gguf$", "", os.path.basename(model)) if model.startswith("/") else model

    def _measure(self, keep: bool) -> None:
        count = self.settings["prompt_tokens"]
        prompt = self.client.prompt(unique_prompt(count, self.random_source), count)
        answer = self._generate(prompt, self.settings["predict_tokens"])
        self._look()
        if not answer["generated_tokens"]:
            raise EngineError("the engine answered without generating a single token")
        if keep:
            self.samples.append(
                {
                    "prompt_tokens": answer["prompt_tokens"],
                    "generated_tokens": answer["generated_tokens"],
                    "prompt_tokens_per_second": rate(answer["prompt_tokens"], answer["prompt_ns"]),
                    "generation_tokens_per_second": rate(answer["generated_tokens"], answer["generated_ns"]),
                    "time_to_first_token_seconds": answer["first_token_seconds"],
                }
            )

    def _generate(self, prompt: Any, predict: int) -> Measured:
        settings = self.settings
        answer: Measured = self.client.generate(
            self.model, prompt, predict, self.context, settings["request_timeout"], self._look_sometimes
        )
        return answer

    def _look_before(self) -> None:
        """A load that is over in a moment is nobody at work: the lowest of three looks counts."""
        self.load_average = load_average(self.host.sysroot)
        looks = [self._read()]
        if self.host.gpu_addresses:
            for _again in range(2):
                self.host.sleep(0.2)
                looks.append(self._read())
        busy = [look["busy"] for look in looks if look["busy"] is not None]
        self.before = {**looks[0], "busy": min(busy, default=None)}

    def _look_sometimes(self) -> None:
        if self.host.now() - self.looked >= LOOK_SECONDS:
            self._look()

    def _look(self) -> None:
        self.looked = self.host.now()
        self.looks.append(self._read())

    def _read(self) -> dict[str, Any]:
        return read_conditions(self.host.sysroot, self.host.gpu_addresses, self.host.run)

    def conditions(self) -> dict[str, Any]:
        looks = [look for look in (self.before, *self.looks) if look]
        told = [look["throttled"] for look in looks if look["throttled"] is not None]
        counts = [look["cpu_throttle_count"] for look in looks if look["cpu_throttle_count"] is not None]
        return {
            "temperature_c_before": self.before.get("temperature"),
            "temperature_c": highest(look["temperature"] for look in looks),
            "busy_before": self.before.get("busy"),
            "busy_percent": highest(look["busy"] for look in self.looks),
            "load_average": self.load_average,
            "cores": os.cpu_count(),
            "throttled": sorted({reason for reasons in told for reason in reasons}) if told else None,
            "cpu_throttle_events": max(counts) - counts[0] if counts else None,
        }
