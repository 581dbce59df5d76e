# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp's own benchmark beside the server, with the options of the server that decide how fast it is."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import Any, Callable

# llama-bench's options, and what llama-server calls them.
OPTIONS = {
    "-m": ("-m", "--model"),
    "-ngl": ("-ngl", "--gpu-layers", "--n-gpu-layers"),
    "-dev": ("-dev", "--device"),
    "-fa": ("-fa", "--flash-attn"),
    "-ctk": ("-ctk", "--cache-type-k"),
    "-ctv": ("-ctv", "--cache-type-v"),
    "-t": ("-t", "--threads"),
    "-b": ("-b", "--batch-size"),
    "-ub": ("-ub", "--ubatch-size"),
}
VARIABLES = re.compile(r"(GGML|HIP|HSA|ROCR|CUDA|VK|MESA)_|(LD_LIBRARY_PATH|GPU_DEVICE_ORDINAL|XDG_CACHE_HOME)$")
# All layers, as the server may be told in words.
ALL_LAYERS = "99"

Run = Callable[..., "tuple[int, str]"]


class BenchError(Exception):
    """It cannot be run; the text says why."""


def cross_check(unit: str, settings: dict[str, Any], run: Run, proc: str = "/proc") -> dict[str, Any]:
    """Its two speeds, or why there are none."""
    nothing = {"build": None, "prompt_tokens_per_second": None, "generation_tokens_per_second": None}
    try:
        code, text = run(command(unit, settings, run, proc), settings["request_timeout"])
        if code != 0:
            raise BenchError(f"llama-bench ended with {code}: {text.strip()[-300:]}")
        return {**nothing, **parse(text), "error": None}
    except BenchError as error:
        return {**nothing, "error": str(error)}


def command(unit: str, settings: dict[str, Any], run: Run, proc: str) -> list[str]:
    """As the server's user, with its GPU variables."""
    code, text = run(["systemctl", "show", unit, "--property=MainPID,User"])
    shown = dict(line.split("=", 1) for line in text.splitlines() if "=" in line) if code == 0 else {}
    pid = shown.get("MainPID", "0")
    arguments, environment = (_words(f"{proc}/{pid}/{name}") for name in ("cmdline", "environ"))
    if not arguments:
        raise BenchError(f"the process of {unit} cannot be read")
    beside = os.path.join(os.path.dirname(arguments[0]), "llama-bench")
    program = beside if os.path.isabs(beside) and os.access(beside, os.X_OK) else shutil.which("llama-bench")
    if not program:
        raise BenchError("there is no llama-bench beside the server or on the path")
    user = ["runuser", "--user", shown["User"], "--"] if shown.get("User") else []
    variables = ["env", *(word for word in environment if VARIABLES.match(word.partition("=")[0]))]
    counts = ["-p", settings["prompt_tokens"], "-n", settings["predict_tokens"], "-r", settings["repetitions"]]
    return [*user, *variables, program, *options(arguments), *map(str, counts), "-o", "json"]


def _words(path: str) -> list[str]:
    try:
        with open(path, "rb") as handle:
            return [word.decode("utf-8", "replace") for word in handle.read().rstrip(b"\0").split(b"\0") if word]
    except OSError:
        return []


def options(server: list[str]) -> list[str]:
    """Those of the server's options that llama-bench has, too."""
    found = []
    for name, names in OPTIONS.items():
        values = [value for word, value in zip(server, server[1:]) if word in names]
        if values:
            found += _option(name, values[-1])
    return found


def _option(name: str, value: str) -> list[str]:
    if name == "-ngl":
        if value == "all":
            value = ALL_LAYERS
        return [name, value] if value.isdigit() else []
    # A comma would be a list of tests.
    return [name, value.replace(",", "/") if name == "-dev" else value]


def parse(text: str) -> dict[str, Any]:
    """Its JSON: one test of the prompt, one of the generation."""
    try:
        tests = json.loads(text)
        speeds = {bool(test["n_gen"]): round(float(test["avg_ts"]), 1) for test in tests}
        return {
            "build": f"b{int(tests[0]['build_number'])}",
            "prompt_tokens_per_second": speeds[False],
            "generation_tokens_per_second": speeds[True],
        }
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BenchError(f"its answer cannot be read: {text.strip()[:200]}") from error
