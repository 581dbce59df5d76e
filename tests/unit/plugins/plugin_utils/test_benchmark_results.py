# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.lamplighter.fleet.plugins.plugin_utils import benchmark_results as results
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.benchmark_records import MACHINE, at, benchmark, history

SCHEMA = json.loads((Path(__file__).parents[4] / "docs/benchmark.schema.json").read_text())


def judged(before: list[dict[str, Any]], result: dict[str, Any], threshold: float = 10, accept: bool = False) -> Any:
    return results.judge(results.record_of("desktop", MACHINE, result, at(999)), before, threshold, accept)


VERDICTS = [
    (1.0, "steady"),
    (0.901, "steady"),
    (0.899, "slower"),
    (1.099, "steady"),
    (1.101, "faster"),
]


@pytest.mark.parametrize(("speed", "verdict"), VERDICTS)
def test_more_than_the_threshold_counts(speed: float, verdict: str) -> None:
    record, comparison = judged(history(benchmark()), benchmark(speed))
    assert (comparison["verdict"], record["verdict"], record["accepted"]) == (verdict, verdict, False)
    assert comparison["baseline"] == at(0)


@pytest.mark.parametrize(
    ("figure", "value", "verdict"),
    [
        ("prompt_tokens_per_second", 1780.0, "slower"),
        ("generation_tokens_per_second", 71.0, "slower"),
        ("time_to_first_token_seconds", 0.57, "slower"),
        ("time_to_first_token_seconds", 0.55, "steady"),
        ("time_to_first_token_seconds", 0.45, "faster"),
        ("generation_tokens_per_second", 89.0, "faster"),
    ],
)
def test_any_figure_decides(figure: str, value: float, verdict: str) -> None:
    changed = {**benchmark()[figure], "median": value}
    assert judged(history(benchmark()), benchmark(**{figure: changed}))[1]["verdict"] == verdict


def test_one_worse_figure_outweighs_a_better_one() -> None:
    figures = {"prompt_tokens_per_second": {"median": 4000}, "generation_tokens_per_second": {"median": 40}}
    comparison = judged(history(benchmark()), benchmark(**figures))[1]
    assert comparison["verdict"] == "slower"
    assert comparison["changes"] == {"prompt": 100.0, "generation": -50.0, "first_token": 0.0}


def test_a_time_that_nobody_feels_is_no_change() -> None:
    before = history(benchmark(time_to_first_token_seconds={"median": 0.005}))
    comparison = judged(before, benchmark(time_to_first_token_seconds={"median": 0.024}))[1]
    assert (comparison["verdict"], comparison["changes"]["first_token"]) == ("steady", 0.0)
    comparison = judged(before, benchmark(time_to_first_token_seconds={"median": 0.026}))[1]
    assert (comparison["verdict"], comparison["changes"]["first_token"]) == ("slower", 420.0)


def test_the_first_result_is_accepted_and_the_next_ones_are_not() -> None:
    assert [record["accepted"] for record in history(benchmark(), benchmark(1.05), benchmark(2.0))] == [
        True,
        False,
        False,
    ]


def test_a_host_that_slows_down_bit_by_bit_is_seen() -> None:
    records = history(*(benchmark(0.96**step) for step in range(4)))
    assert [record["verdict"] for record in records] == ["first", "steady", "steady", "slower"]


def test_later_results_are_compared_with_what_was_accepted_last() -> None:
    records = history(benchmark(), benchmark(0.5), accept=True)
    assert judged(records, benchmark(0.5))[1]["verdict"] == "steady"
    assert records[1]["verdict"] == "slower"


def test_a_result_that_broke_off_is_never_accepted_and_hides_nothing() -> None:
    records = history(benchmark(), benchmark(complete=False))
    assert [record["accepted"] for record in records] == [True, False]
    assert judged([], benchmark(complete=False), accept=True)[0]["accepted"] is False
    assert judged(records, benchmark(0.5))[1]["verdict"] == "slower"
    broken = judged(records, benchmark(complete=False))[1]
    assert (broken["verdict"], broken["failures"], broken["failed_at"]) == (
        "broken",
        ["server_exit"],
        "repetition 2 of 3",
    )


def test_a_fall_to_the_processor_is_no_new_beginning() -> None:
    record, comparison = judged(history(benchmark()), benchmark(0.3, backend="cpu"))
    assert (comparison["verdict"], record["accepted"]) == ("slower", False)
    assert comparison["causes"] == ["backend: rocm -> cpu"]


def test_another_backend_that_is_not_slower_is_accepted_once() -> None:
    records = history(benchmark(), benchmark(1.3, backend="vulkan"), benchmark(1.3, backend="vulkan"))
    assert [(record["verdict"], record["accepted"]) for record in records] == [
        ("first", True),
        ("faster", True),
        ("steady", False),
    ]
    assert judged(records, benchmark(1.0))[1]["verdict"] == "slower"


@pytest.mark.parametrize("key", results.KEY)
def test_what_cannot_be_compared_is_not(key: str) -> None:
    other = benchmark()[key]
    changed = benchmark(0.1, **{key: other + 1 if isinstance(other, int) else "other"})
    assert judged(history(benchmark()), changed)[1]["verdict"] == "first"


def test_what_may_explain_it_is_named() -> None:
    changed = benchmark(0.5, engine_version="0.33.0", digest=None)
    assert judged(history(benchmark()), changed)[1]["causes"] == [
        "engine_version: 0.32.15 -> 0.33.0",
        "digest: d1 -> unknown",
    ]


def test_figures_that_are_missing_are_no_change() -> None:
    comparison = judged(history(benchmark()), benchmark(time_to_first_token_seconds=None))[1]
    assert (comparison["verdict"], comparison["changes"]["first_token"]) == ("steady", None)
    assert comparison["first_token"] is None


@pytest.mark.parametrize("records", [history(benchmark(), benchmark(0.5)), history(benchmark(complete=False))])
def test_records_fit_the_schema_and_hold_no_log(records: list[dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for record in records:
        jsonschema.validate(record, SCHEMA)
    assert "somebody's prompt" not in json.dumps(records)


GOOD = json.dumps(history(benchmark())[0])
OTHER_LINES = [
    ("", 1, None),
    ("\n", 1, None),
    (GOOD[: len(GOOD) // 2], 1, "line 2 is cut off"),
    (GOOD[: len(GOOD) // 2] + "\n" + GOOD + "\n", 2, "line 2 is damaged"),
    ("[1]\n", 1, "line 2 is no result"),
    ('{"schema": 1, "host": "x"}\n', 1, "line 2 is no result"),
    (GOOD.replace('"schema": 1', '"schema": 2') + "\n", 1, "line 2 has schema 2"),
    (GOOD.replace('"median": 80.0', '"median": "fast"') + "\n", 1, "line 2 is no result"),
    (GOOD.replace('"accepted": true', '"accept": true') + "\n", 1, "line 2 is no result"),
]


@pytest.mark.parametrize(("more", "count", "problem"), OTHER_LINES)
def test_lines_that_are_no_results_are_told_and_left_out(more: str, count: int, problem: str | None) -> None:
    records, problems = results.parse(GOOD + "\n" + more)
    assert len(records) == count
    assert [text.startswith(problem or "?") for text in problems] == [True] * (problem is not None)


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    records, problems = results.parse(text)
    assert records == []
    assert len(problems) == len([line for line in text.split("\n") if line.strip()])


@given(st.data())
def test_a_file_that_is_cut_anywhere_keeps_the_lines_before(data: st.DataObject) -> None:
    text = f"{GOOD}\n" * 3
    at_byte = data.draw(st.integers(0, len(text)))
    records, problems = results.parse(text[:at_byte])
    assert len(records) == at_byte // (len(GOOD) + 1) + (at_byte % (len(GOOD) + 1) == len(GOOD))
    assert len(problems) <= 1


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path, records = tmp_path / "desktop.jsonl", history(benchmark(), benchmark(2.0))
    results.append(path, records[:1])
    results.append(path, records[1:])
    assert results.read(path) == (records, [])
    assert results.read(tmp_path / "nobody.jsonl") == ([], [])


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    path, (record,) = tmp_path / "desktop.jsonl", history(benchmark())
    path.write_text(f"{GOOD}\n{GOOD[:70]}")
    results.append(path, [record])
    records, problems = results.read(path)
    assert (len(records), problems) == (2, [f"{path}: line 2 is damaged and left out"])


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, records = tmp_path / "desktop.jsonl", history(benchmark())
    results.append(path, records)
    before, write = path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:50]))
    with pytest.raises(OSError, match="No space left"):
        results.append(path, records)
    assert path.read_bytes() == before


def _append(path: Path) -> None:
    for _number in range(20):
        with results.locked(path.parent):
            results.append(path, history(benchmark()))


def test_many_writers_do_not_harm_each_other(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "desktop.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_append, [path] * 4))
    records, problems = results.read(path)
    assert (len(records), problems) == (80, [])


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    entered = threading.Event()

    def second() -> None:
        with results.locked(tmp_path):
            entered.set()

    with results.locked(tmp_path):
        threading.Thread(target=second, daemon=True).start()
        assert not entered.wait(0.2)
    assert entered.wait(10)


@pytest.mark.parametrize(("host", "name"), [("desktop", "desktop"), ("../x", "..%2Fx"), ("[fe80::1]", "[fe80::1]")])
def test_a_host_cannot_leave_the_folder(host: str, name: str) -> None:
    assert results.file_of(Path("/f"), host) == Path(f"/f/{name}.jsonl")


def test_a_page_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "index.html"
    results.replace(path, "one")
    results.replace(path, "two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["index.html"]


def test_all_hosts_are_read_in_order(tmp_path: Path) -> None:
    for host in ("xeon", "desktop"):
        results.append(results.file_of(tmp_path, host), history(benchmark(), benchmark(), host=host))
    (tmp_path / "other.txt").write_text("no results")
    assert [(record["host"], record["time"]) for record in results.read_all(tmp_path)] == [
        ("desktop", at(0)),
        ("desktop", at(86400)),
        ("xeon", at(0)),
        ("xeon", at(86400)),
    ]
