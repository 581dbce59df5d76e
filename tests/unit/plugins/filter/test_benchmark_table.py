# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.benchmark_table import benchmark_table
from ansible_collections.lamplighter.fleet.plugins.filter.benchmark_text import benchmark_text
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_results import judge, record_of

from tests.unit.benchmark_records import MACHINE, at, benchmark, history


def compared(before: list[dict[str, Any]], accept: bool = False, **changes: Any) -> dict[str, Any]:
    speed = changes.pop("speed", 1.0)
    record = record_of("desktop", MACHINE, benchmark(speed, **changes), at(0))
    return judge(record, before, 10, accept)[1]


OLD = history(benchmark())
SINCE = f"since {at(0)[:10]}"
TEXTS = [
    (compared([]), "first result; later ones are compared with it"),
    (compared(OLD), f"steady: prompt +0.0 %, generation +0.0 %, first token +0.0 % {SINCE}"),
    (compared(OLD, speed=1.25), f"faster: prompt +25.0 %, generation +25.0 %, first token -20.0 % {SINCE}"),
    (
        compared(OLD, speed=0.5, engine_version="0.33.0"),
        f"SLOWER: prompt -50.0 %, generation -50.0 %, first token +100.0 % {SINCE}; engine_version: 0.32.15 -> 0.33.0",
    ),
    # What did not matter is not named.
    (compared(OLD, engine_version="0.33.0"), f"steady: prompt +0.0 %, generation +0.0 %, first token +0.0 % {SINCE}"),
    (
        compared(OLD, accept=True, speed=0.5),
        f"SLOWER: prompt -50.0 %, generation -50.0 %, first token +100.0 % {SINCE}; accepted now",
    ),
    (
        compared(OLD, complete=False),
        "BROKE OFF at repetition 2 of 3: the answer broke off after 31 tokens, without an error message; "
        "ollama.service: Main process exited, code=killed, status=9/KILL; server_exit",
    ),
    (
        compared([], warnings=["the GPU was 20 % busy"]),
        "first result; later ones are compared with it; note: the GPU was 20 % busy",
    ),
]


@pytest.mark.parametrize(("comparison", "expected"), TEXTS)
def test_each_comparison_has_its_words(comparison: dict[str, Any], expected: str) -> None:
    assert benchmark_text(comparison) == expected
    assert benchmark_text(comparison, named=True) == f"qwen3:0.6b on rocm: {expected}"


def test_figures_that_were_never_measured_are_nothing_to_compare() -> None:
    names = ("prompt_tokens_per_second", "generation_tokens_per_second", "time_to_first_token_seconds")
    assert benchmark_text(compared(OLD, **dict.fromkeys(names))) == f"steady: nothing to compare {SINCE}"


TABLE = """\
HOST     MODEL       BACKEND  PROMPT/S  TOKENS/S  FIRST TOKEN  AGAINST THE ACCEPTED RESULT
------------------------------------------------------------------------------------------------
desktop  qwen3:0.6b  rocm       2000.0      80.0       500 ms  first result; later ones are
                                                               compared with it
desktop  llama3.1    rocm            -      80.0            -  first result; later ones are
                                                               compared with it
xeon     -           -               -         -            -  It is not there.
nvidia   -           -               -         -            -  not reached"""


def test_the_table_is_aligned_and_wrapped() -> None:
    other = compared([], model="llama3.1", prompt_tokens_per_second=None, time_to_first_token_seconds=None)
    hosts = {
        "desktop": {"benchmark_comparisons": [compared([]), other]},
        "xeon": {"benchmark_failure": "It is not there.\nLook for it."},
        "nvidia": {},
    }
    assert benchmark_table(hosts, hosts, 96) == TABLE
