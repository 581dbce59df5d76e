# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of benchmarks that were never measured, for unit tests."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_results import judge, record_of

START = 1_790_000_000
DAY = 86400
MACHINE = {
    "gpus": ["AMD Radeon RX 7800 XT"],
    "gfx": ["gfx1101"],
    "cpu": "AMD Ryzen",
    "kernel": "6.12.43+deb13-amd64",
    "driver": None,
}


def figure(median: float) -> dict[str, Any]:
    low, high = round(median * 0.99, 4), round(median * 1.01, 4)
    return {"median": median, "min": low, "max": high, "spread_percent": 2.0, "samples": [low, median, high]}


def benchmark(speed: float = 1.0, complete: bool = True, **changes: Any) -> dict[str, Any]:
    """What the module returns, at so much of the usual speed."""
    broken = {
        "error": "the answer broke off after 31 tokens, without an error message",
        "failed_at": "repetition 2 of 3",
        "exit": "ollama.service: Main process exited, code=killed, status=9/KILL",
        "failures": [{"code": "server_exit"}],
    }
    return {
        "schema": 1,
        "complete": complete,
        "engine": "ollama",
        "engine_version": "0.32.15",
        "unit": "ollama.service",
        "backend": "rocm",
        "placement": {"offloaded": [29, 29], "size": 700, "size_vram": 700},
        "model": "qwen3:0.6b",
        "digest": "d1",
        "context": 4096,
        "parallel": 1,
        "prompt_tokens": 512,
        "predict_tokens": 128,
        "repetitions": 3,
        "evaluated_prompt_tokens": [548, 548, 548],
        "generated_tokens": [128, 128, 128],
        "load_seconds": 1.5,
        "prompt_tokens_per_second": figure(round(2000 * speed, 1)),
        "generation_tokens_per_second": figure(round(80 * speed, 1)),
        "time_to_first_token_seconds": figure(round(0.5 / speed, 4)),
        "llama_bench": None,
        "conditions": {"temperature_c": 61.0, "busy_before": 0},
        "seconds": 9.1,
        "warnings": [],
        "log": ["somebody's prompt"],
        **({"error": None, "failed_at": None, "exit": None, "failures": []} if complete else broken),
        **changes,
    }


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + seconds))


def history(*measured: dict[str, Any], host: str = "desktop", accept: bool = False) -> list[dict[str, Any]]:
    """Results of one host, one a day."""
    records: list[dict[str, Any]] = []
    for day, result in enumerate(measured):
        records.append(judge(record_of(host, MACHINE, result, at(day * DAY)), records, 10, accept)[0])
    return records
