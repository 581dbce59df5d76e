# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parent's side of a llama-server child: start it, watch it, ask it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .discovery import child_environment
from .environ import Environment, duration
from .hardware import Device
from .log import human, log


class RunnerError(Exception):
    pass


class Runner:
    def __init__(
        self,
        environment: Environment,
        library_path: Path,
        model: Path,
        context: int,
        gpu_layers: int,
        chosen: tuple[Device, Path] | None,
    ) -> None:
        self.lock = threading.Lock()
        self.cached: list[str] = []
        started = time.monotonic()
        command = [str(library_path / "llama-server"), "--model", str(model), "--port", "0", "-c", str(context)]
        command += ["-np", str(environment.unsigned("OLLAMA_NUM_PARALLEL", 1)), "-ngl", str(gpu_layers)]
        flash_attention = environment.tristate("OLLAMA_FLASH_ATTENTION")
        command += ["--flash-attn", {None: "auto", True: "on", False: "off"}[flash_attention]]
        variables = dict(environment.variables)
        if chosen:
            device, directory = chosen
            variables = {**child_environment(environment, directory), "STANDIN_DEVICE": device.address}
            log(
                "INFO",
                "sched.go:620",
                "gpu memory",
                id=device.name.removeprefix(device.library),
                library=device.library,
                available=human(max(device.free - 457 * 1024 * 1024, 0)),
                free=human(device.free),
                minimum="457.0 MiB",
                overhead=human(environment.unsigned("OLLAMA_GPU_OVERHEAD", 0)),
            )
        log("INFO", "llama_server.go:402", "starting llama-server", cmd=" ".join(command))
        self.process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        limit = duration(environment.text("OLLAMA_LOAD_TIMEOUT") or "5m")
        watchdog = threading.Timer(limit, self.too_slow) if limit > 0 else None
        if watchdog:
            watchdog.start()
        self.timed_out = False
        try:
            self.size = self.read()
        finally:
            if watchdog:
                watchdog.cancel()
        for _ in range(2):  # the real one prints it twice
            log("INFO", "llama_server.go:1320", f"llama-server started in {time.monotonic() - started:.2f} seconds")

    def too_slow(self) -> None:
        self.timed_out = True
        self.process.kill()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        if self.timed_out:
            log(
                "ERROR",
                "sched.go:480",
                "error loading llama server",
                error="timed out waiting for llama-server to start",
            )
            raise RunnerError("timed out waiting for llama-server to start")
        reason = "signal: aborted (core dumped)" if code == -6 else f"exit status {code}"
        log("ERROR", "llama_server.go:1190", "llama-server process has terminated", error=reason)
        raise RunnerError(f"llama-server process has terminated: {reason}")

    def generate(self, words: list[str], predict: int) -> Iterator[dict[str, Any]]:
        with self.lock:
            cached = 0
            while cached < min(len(words) - 1, len(self.cached)) and words[cached] == self.cached[cached]:
                cached += 1
            assert self.process.stdin
            try:
                self.process.stdin.write(
                    json.dumps({"prompt": len(words), "cached": cached, "predict": predict}) + "\n"
                )
                self.process.stdin.flush()
            except BrokenPipeError:
                self.read()
            while True:
                answer = self.read()
                yield answer
                if "done" in answer:
                    self.cached = words
                    return

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
