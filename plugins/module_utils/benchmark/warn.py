# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why figures may not be what the machine can do."""

from __future__ import annotations

from typing import Any

BUSY_PERCENT = 10
# Of all logical processors.
BUSY_LOAD = 0.5
SPREAD_PERCENT = 10
FAR_FROM_BENCH = 0.8


def warnings_of(result: dict[str, Any], others: list[str], context: int) -> list[str]:
    """One sentence for each reason."""
    return [*_from_outside(result["conditions"], others), *_of_the_run(result, context)]


def _from_outside(conditions: dict[str, Any], others: list[str]) -> list[str]:
    found = [f"the model {name} was loaded beside it" for name in others]
    busy, load, cores = conditions["busy_before"], conditions["load_average"], conditions["cores"]
    if busy is not None and busy > BUSY_PERCENT:
        found.append(f"the GPU was {busy} % busy before the benchmark began")
    if load is not None and cores and load > BUSY_LOAD * cores:
        found.append(f"the load average was {load:.1f} on {cores} processors before the benchmark began")
    for reason in conditions["throttled"] or []:
        # Cards work at their power limit by design.
        if reason not in ("power", "current"):
            found.append(f"the GPU was throttled: {reason}")
    if conditions["cpu_throttle_events"]:
        found.append(f"the processor was slowed down for its heat {conditions['cpu_throttle_events']} times")
    return found


def _of_the_run(result: dict[str, Any], context: int) -> list[str]:
    found = []
    if result["backend"] == "unknown":
        found.append("the engine's log does not say where the model ran")
    if context and result["context"] != context:
        found.append(f"the context was {result['context']} tokens, not the {context} asked for")
    evaluated = [count for count in result["evaluated_prompt_tokens"] if count is not None]
    if evaluated and min(evaluated) < result["prompt_tokens"]:
        found.append(
            f"only {min(evaluated)} prompt tokens were evaluated of {result['prompt_tokens']}: cut, or from a cache"
        )
    generated = min(result["generated_tokens"], default=result["predict_tokens"])
    if generated * 2 < result["predict_tokens"]:
        found.append(f"only {generated} tokens were generated of {result['predict_tokens']}: the model ended early")
    # The time to the first token is most of all the prompt's.
    for name in ("prompt_tokens_per_second", "generation_tokens_per_second"):
        figure = result[name]
        if figure and figure["spread_percent"] > SPREAD_PERCENT:
            found.append(f"{name} varied by {figure['spread_percent']} % between repetitions")
    return found + _against_llama_bench(result)


def _against_llama_bench(result: dict[str, Any]) -> list[str]:
    """The server's own work should cost little."""
    bench, found = result["llama_bench"], []
    if bench and bench["error"]:
        found.append(f"llama-bench gave nothing to compare with: {bench['error']}")
    for name in ("prompt_tokens_per_second", "generation_tokens_per_second"):
        alone, served = bench and bench[name], result[name]
        if alone and served and served["median"] < FAR_FROM_BENCH * alone:
            found.append(f"llama-bench reaches {alone} {name.replace('_', ' ')}, the server {served['median']}")
    return found
