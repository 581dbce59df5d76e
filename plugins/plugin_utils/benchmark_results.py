# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of benchmarks on the controller: a file of JSON lines for each host, and what a new result means.

The form of a line is docs/benchmark.schema.json.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = 1
SUFFIX = ".jsonl"
# A difference in the time to the first token that nobody feels is none.
FELT_SECONDS = 0.02
# Figure -> (its name, whether more is better).
FIGURES = {
    "prompt_tokens_per_second": ("prompt", True),
    "generation_tokens_per_second": ("generation", True),
    "time_to_first_token_seconds": ("first_token", False),
}
# What two results must have in common to be comparable, beside the host.
KEY = ("engine", "unit", "model", "context", "prompt_tokens", "predict_tokens")
# What may explain a difference between them.
CAUSES = ("backend", "engine_version", "digest", "parallel", "kernel", "driver", "gpus")
# What a result is only recorded without: lines of logs may hold other people's prompts.
LEFT_OUT = ("log", "failures")

Record = dict[str, Any]


def file_of(folder: Path, host: str) -> Path:
    """Names of hosts may have characters that names of files may not."""
    return folder / (urllib.parse.quote(host, safe=" :[]@+=,") + SUFFIX)


def record_of(host: str, machine: Record, benchmark: Record, time: str) -> Record:
    """One line of the file."""
    kept = {key: value for key, value in benchmark.items() if key not in LEFT_OUT}
    codes = [failure["code"] for failure in benchmark["failures"]]
    return {**kept, "schema": SCHEMA, "time": time, "host": host, **machine, "failures": codes, "accepted": False}


def parse(text: str) -> tuple[list[Record], list[str]]:
    """The records of a file, and what is wrong with its other lines."""
    records, problems = [], []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            torn = number == len(lines)
            problems.append(f"line {number} is {'cut off' if torn else 'damaged'} and left out")
            continue
        problem = _problem(record)
        if problem:
            problems.append(f"line {number} {problem} and left out")
        else:
            records.append(record)
    return records, problems


def _problem(record: Any) -> str | None:
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        return "is no result of a benchmark"
    if record["schema"] != SCHEMA:
        return f"has schema {record['schema']}, of which this version of the collection knows nothing,"
    if not all(isinstance(record.get(key), str) for key in ("host", "time", "engine", "model", "backend")):
        return "is no result of a benchmark"
    if not all(key in record for key in (*KEY, "accepted", "verdict", "complete", *FIGURES)):
        return "is no result of a benchmark"
    medians = [record[name]["median"] for name in FIGURES if _has_median(record[name])]
    known = [record[name] for name in FIGURES if record[name] is not None]
    return None if len(medians) == len(known) else "is no result of a benchmark"


def _has_median(figure: Any) -> bool:
    return isinstance(figure, dict) and isinstance(figure.get("median"), (int, float))


def read(path: Path) -> tuple[list[Record], list[str]]:
    """A file that is not there has no records."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [], []
    records, problems = parse(text)
    return records, [f"{path}: {problem}" for problem in problems]


def read_all(folder: Path) -> list[Record]:
    """Every host's records, hosts by name and times in order."""
    records = [record for path in folder.glob(f"*{SUFFIX}") for record in read(path)[0]]
    return sorted(records, key=lambda record: (record["host"], record["time"]))


def append(path: Path, records: list[Record]) -> None:
    """All lines or none, in one piece; a torn line before them stays a line of its own."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        data = ("\n" if torn else "") + "".join(json.dumps(record, sort_keys=True) + "\n" for record in records)
        content = data.encode()
        try:
            written = os.write(handle, content)
            if written < len(content):
                raise OSError(28, os.strerror(28))
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hosts are worked on by processes side by side, and two people may run the playbook at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def replace(path: Path, text: str) -> None:
    """Whoever reads the file sees the old or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def judge(record: Record, before: list[Record], threshold: float, accept: bool) -> tuple[Record, Record]:
    """The record, accepted or not, and how it compares with the last accepted one before it.

    That one may have had another backend: a host that fell back to its processor is no new beginning.
    """
    same = [old for old in before if old["accepted"] and all(old[key] == record[key] for key in KEY)]
    baseline = same[-1] if same else None
    changes = _changes(record, baseline) if baseline else dict.fromkeys(name for name, _more in FIGURES.values())
    verdict = _verdict(record, baseline, changes, threshold)
    first = all(old["backend"] != record["backend"] for old in same)
    accepted = verdict != "broken" and (accept or (first and verdict != "slower"))
    comparison = {
        **{key: record[key] for key in ("host", "engine", "unit", "model", "backend", "complete", "warnings")},
        "verdict": verdict,
        "accepted": accepted,
        "baseline": baseline["time"] if baseline else None,
        "changes": changes,
        "causes": _causes(record, baseline) if baseline else [],
        "error": record["error"],
        "failed_at": record["failed_at"],
        "failures": record["failures"],
        "exit": record["exit"],
        **{name: (record[figure] or {}).get("median") for figure, (name, _more) in FIGURES.items()},
    }
    return {**record, "accepted": accepted, "verdict": verdict}, comparison


def _changes(record: Record, baseline: Record) -> dict[str, float | None]:
    """Of each figure in percent."""
    changes: dict[str, float | None] = {}
    for figure, (name, more) in FIGURES.items():
        now, then = (found[figure] and found[figure]["median"] for found in (record, baseline))
        if not now or not then:
            changes[name] = None
        elif not more and abs(now - then) < FELT_SECONDS:
            changes[name] = 0.0
        else:
            changes[name] = round(now / then * 100 - 100, 1)
    return changes


def _verdict(record: Record, baseline: Record | None, changes: dict[str, float | None], threshold: float) -> str:
    if not record["complete"]:
        return "broken"
    if not baseline:
        return "first"
    gains = [_gain(changes[name], more) for name, more in FIGURES.values()]
    if min(gains) < -threshold:
        return "slower"
    return "faster" if max(gains) > threshold else "steady"


def _gain(change: float | None, more: bool) -> float:
    """How much better in percent of speed: what takes twice as long is half as fast."""
    if change is None:
        return 0.0
    return change if more else 100 / (1 + change / 100) - 100


def _causes(record: Record, baseline: Record) -> list[str]:
    return [
        f"{key}: {_text(baseline.get(key))} -> {_text(record.get(key))}"
        for key in CAUSES
        if baseline.get(key) != record.get(key)
    ]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)[:40]
