# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof from its first question to its verdict."""

from __future__ import annotations

import contextlib
import random
import re
import threading
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.host import first_line_with
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.prompt import context_length, unique_prompt
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.verdict import (
    judge,
    kernel_evidence,
    speed_evidence,
)

# A start job that is only queued leaves the unit inactive for a moment.
INACTIVE_SECONDS = 5
# systemd restarts a crashing engine for ever; this many restarts while we wait mean that it will never answer.
HOPELESS_RESTARTS = 3
SAMPLE_SECONDS = 0.05
# What systemd says of every unit that ends, and why it ended not.
_HOLLOW = re.compile(
    r"(?:: (?:Failed with result|Failed to read|Main process exited|Scheduled restart|Start request repeated|Consumed)"
    r"|(?:^|: )(?:Failed to start|Started|Starting|Stopped|Stopping) )"
)
# Vulkan devices that are programs on the processor.
SOFTWARE = re.compile(r"(?i)\b(llvmpipe|lavapipe|swiftshader)\b")
# The severities of what a person has to know, the worst first.
SEVERE = ("critical", "error", "warning")


class Sampler:
    """Reads the counters in a thread while the engine works."""

    def __init__(self, read: Callable[[], list[dict[str, Any]]]) -> None:
        self.read = read
        self.samples: list[list[dict[str, Any]]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.samples.append(self.read())
            self._stop.wait(SAMPLE_SECONDS)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()


def prove(
    host: Any,
    engine: Any,
    settings: dict[str, Any],
    read_engine_log: Callable[[list[str]], dict[str, Any]],
    read_kernel_log: Callable[[list[str]], dict[str, Any]],
    random_source: random.Random | None = None,
) -> dict[str, Any]:
    """Never raises for what an engine does: a crash is a verdict."""
    run = _Run(host, engine, settings, random_source or random.SystemRandom())
    run.execute()
    whole = host.engine_lines(new_only=False)
    new = host.engine_lines(new_only=True) or []
    log = log_evidence(read_engine_log(whole or []), read_engine_log(new), whole, new, engine.resident)
    kernel_lines = host.kernel_lines()
    seen = read_kernel_log(kernel_lines or [])["faults"]
    faults = [fault for fault in seen if fault["severity"] in ("error", "critical")]
    evidence = {
        "log": log,
        "api": run.api,
        "kernel": kernel_evidence(run.idle, run.samples, run.api.get("size_vram"), engine.resident, run.held),
        "speed": speed_evidence(run.timings),
        "kernel_log": {"available": kernel_lines is not None},
        "error": run.error,
    }
    judged = judge(settings["expect"], settings["accept"], evidence, faults, settings["accept_software_vulkan"])
    # What a proven engine complained about is not what anybody has to act on, nor is what is only information.
    failures = [] if judged["verdict"] == "proven" else log["failures"]
    failures = [failure for severity in SEVERE for failure in failures if failure["severity"] == severity]
    reasons = judged["reasons"] + [f"{failure['code']}: {failure['line']}" for failure in failures]
    lines = [line.strip() for line in whole or [] if line.strip()]
    last = (
        [line for line in lines if host.unit not in line]
        or [line for line in lines if not _HOLLOW.search(line)]
        or lines
    )[-1:]
    if run.error and (run.version is None or not failures):
        reasons += [f"the log ends with: {line}" for line in last]
    # Advice from the logs knows more than the verdict's own.
    remedies = [item["remedy"] for item in [*faults, *failures]] + judged["remedies"]
    return {
        **judged,
        "reasons": reasons,
        "remedies": list(dict.fromkeys(remedies)),
        "evidence": evidence,
        "faults": seen,
        "engine_version": run.version,
        "model": run.model,
        "expect": settings["expect"],
    }


class _Run:
    """Load and generate, keeping what was seen, until the first error."""

    def __init__(self, host: Any, engine: Any, settings: dict[str, Any], random_source: random.Random) -> None:
        self.host, self.engine, self.settings, self.random_source = host, engine, settings, random_source
        self.error: str | None = None
        self.version: str | None = None
        self.api: dict[str, Any] = {"available": False, "size": None, "size_vram": None, "resident": engine.resident}
        self.timings: dict[str, Any] = {}
        self.model = settings["model"]
        self.held: int | None = None
        self.idle: list[dict[str, Any]] = []
        self.samples: list[list[dict[str, Any]]] = []

    def execute(self) -> None:
        try:
            self.version = wait_for_engine(self.host, self.engine, self.settings["start_timeout"])
            self._generate()
        except EngineError as error:
            self.error = str(error)

    def _generate(self) -> None:
        if not self.model:
            self.model = self.engine.model()
        model, timeout = self.model, self.settings["request_timeout"]
        # A model that is loaded already would make no counter grow and no line in the log.
        was_loaded = self.engine.placement(model) is not None
        if was_loaded:
            self.engine.unload(model, timeout)
            self._wait_until_unloaded(model)
        self.idle = self.host.counters()
        context = context_length(self.settings["prompt_tokens"], self.settings["predict_tokens"])
        with Sampler(self.host.counters) as sampler:
            self.samples = sampler.samples
            loading = self.engine.generate(model, "Hello", 1, context, timeout)
            prompt = unique_prompt(self.settings["prompt_tokens"], self.random_source)
            measured = self.engine.generate(model, prompt, self.settings["predict_tokens"], context, timeout)
            self.held = self.host.held_bytes() if self.engine.resident else None
        self.timings = {**measured, "load_seconds": loading["load_seconds"]}
        if not measured["generated_tokens"]:
            raise EngineError("the engine answered without generating a single token")
        placement = self.engine.placement(model)
        if placement is not None:
            self.api = {**self.api, "available": True, **placement}
        # Leave the memory as it was found. Whether that works says nothing about the proof.
        with contextlib.suppress(EngineError):
            (self.engine.keep if was_loaded else self.engine.unload)(model, timeout)

    def _wait_until_unloaded(self, model: str) -> None:
        deadline = self.host.now() + 15
        while self.engine.placement(model) is not None and self.host.now() < deadline:
            self.host.sleep(0.2)


def wait_for_engine(host: Any, engine: Any, timeout: float) -> str:
    """The version, once the engine answers. Discovery may take minutes, a unit that has failed will not recover."""
    began = active = host.now()
    restarts = _restarts(host.unit_state())
    while True:
        try:
            return engine.version()
        except EngineError as error:
            last = error
        state, now = host.unit_state(), host.now()
        if state.get("ActiveState") != "inactive":
            active = now
        if state.get("ActiveState") == "failed" or now - active >= INACTIVE_SECONDS:
            raise EngineError(f"{host.unit} is {state['ActiveState']} ({state.get('Result')}): the engine does not run")
        again = _restarts(state) - restarts
        if again >= HOPELESS_RESTARTS:
            raise EngineError(f"{host.unit} was restarted {again} times without ever answering: {last}")
        if now - began >= timeout:
            raise EngineError(f"no answer within {timeout:.0f} seconds: {last}")
        host.sleep(0.5)


def _restarts(state: dict[str, str]) -> int:
    return int(state.get("NRestarts") or 0)


def log_evidence(
    whole: dict[str, Any], new: dict[str, Any], whole_lines: list[str] | None, new_lines: list[str], resident: bool
) -> dict[str, Any]:
    """What the log says of this proof's own load; of the rest of the start where the load says nothing.

    A resident model was loaded when the engine started.
    """
    names = [str(device["name"]) for device in whole["devices"]]
    backend = new["backend"] if new["backend"] != "unknown" else whole["backend"]
    codes = {failure["code"] for failure in new["failures"]}
    return {
        "available": whole_lines is not None,
        "backend": None if backend == "unknown" else backend,
        # Never the rest of the start's: that was another model.
        "offloaded": (whole if resident else new)["offloaded"],
        "software": next((name for name in names if backend == "vulkan" and SOFTWARE.search(name)), None),
        # On a CPU there is no such line.
        "line": first_line_with(["layers to GPU"], reversed((whole_lines or []) if resident else new_lines))
        or first_line_with(["inference compute", "device_info:"], whole_lines or []),
        "failures": new["failures"] + [failure for failure in whole["failures"] if failure["code"] not in codes],
    }
