# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All results of benchmarks as one page of HTML that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_results import FIGURES, KEY
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_svg import (
    Bar,
    Point,
    bars,
    number,
    over_time,
)

Record = dict[str, Any]

BACKENDS = ("rocm", "vulkan", "cuda", "cpu")
ENGINES = {"ollama": "Ollama", "llama_server": "llama-server"}
PROMPT, GENERATION, FIRST_TOKEN = FIGURES
TITLES = {GENERATION: "Generation, tokens/s", PROMPT: "Prompt, tokens/s"}
# What a series over time and a group of bars have in common.
SERIES = KEY
GROUP = tuple(key for key in KEY if key not in ("unit", "context"))

STYLE = Path(__file__).with_suffix(".css")


def chart(records: list[Record]) -> str:
    """The page. Records come host by host, the oldest first."""
    if not records:
        return _page("<h1>Benchmarks</h1><p>There are no results yet.</p>")
    hosts = list(dict.fromkeys(record["host"] for record in records))
    times = sorted(record["time"] for record in records)
    dates = " to ".join(dict.fromkeys(_date(moment)[:10] for moment in (times[0], times[-1])))
    body = [
        f"<h1>Benchmarks</h1><p class=quiet>{_count(len(hosts), 'host')}, {_count(len(records), 'result')}, {dates}. "
        "Times are UTC.</p>",
        _legend(records),
        "<h2>The fleet now</h2>",
        *_fleet(records),
    ]
    for at, host in enumerate(hosts):
        body += _host(at, host, [record for record in records if record["host"] == host])
    return _page("".join(body))


def _page(body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Benchmarks</title>'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body>{body}</body></html>\n"
    )


def _legend(records: list[Record]) -> str:
    there = {record["backend"] for record in records}
    marks = [
        (f'<rect width="12" height="12" rx="2" class="b {name}"/>', name) for name in BACKENDS if name in there
    ] + [
        ('<line x1="6" y1="0" x2="6" y2="12" class="mark"/>', "the accepted result (bars)"),
        ('<circle cx="6" cy="6" r="5" class="ring"/>', "accepted (over time)"),
        ('<line x1="6" y1="0" x2="6" y2="12" class="whisker"/>', "lowest to highest repetition"),
        ('<circle cx="6" cy="6" r="4" class="p slow"/>', "slower than the threshold allows"),
        ('<text x="1" y="11" class="bad cross">✕</text>', "broke off"),
    ]
    items = "".join(
        f'<li><svg width="12" height="12" aria-hidden="true">{mark}</svg>{escape(words)}</li>' for mark, words in marks
    )
    return f"<ul class=legend>{items}</ul>"


def _fleet(records: list[Record]) -> list[str]:
    """The last result of each series, models apart, because their speeds cannot be compared."""
    series = _by(records, ("host", *SERIES))
    groups = _by([found[-1] for found in series.values()], GROUP)
    body = []
    for at, (key, last) in enumerate(groups.items()):
        histories = [series[tuple(record[name] for name in ("host", *SERIES))] for record in last]
        several = len({record["host"] for record in last}) < len(last)
        names = [_row_name(record, several) for record in last]
        figures = [
            _figure(
                title,
                bars(f"fleet-{at}-{figure[:3]}", f"{title}: {_heading(key)}", _bars(names, histories, figure)),
            )
            for figure, title in TITLES.items()
        ]
        rows = "".join(_row(record, history, name) for record, history, name in zip(last, histories, names))
        body.append(
            f"<section class=card><h3>{escape(_heading(key))}</h3><div class=charts>{''.join(figures)}</div>"
            f"{_table('The last result of each host', 'Host', rows)}</section>"
        )
    return body


def _row_name(record: Record, several: bool) -> str:
    if not several:
        return str(record["host"])
    unit = record["unit"].removesuffix(".service").removeprefix("llama-server-")
    return f"{record['host']} {unit} {record['context']}"


def _bars(names: list[str], histories: list[list[Record]], figure: str) -> list[Bar]:
    return [
        Bar(
            name,
            *_values(history[-1], figure),
            baseline=_median(_accepted_before(history), figure),
            group=_backend(history[-1]),
            note=_note(history[-1]),
        )
        for name, history in zip(names, histories)
    ]


def _host(at: int, host: str, records: list[Record]) -> list[str]:
    last = records[-1]
    gpus = ", ".join(map(str, last.get("gpus") or [])) or "no GPU"
    known = [gpus, *(f"{name} {last[name]}" for name in ("driver", "kernel") if last.get(name))]
    body = [f'<h2 id="host-{at}">{escape(host)}</h2><p class=quiet>{escape(" · ".join(known))}</p>']
    for number_of, history in enumerate(_by(records, SERIES).values()):
        figures = [
            _figure(
                title,
                over_time(
                    f"host-{at}-{number_of}-{figure[:3]}", f"{title}, {host}", _points(history, figure), "tokens/s"
                ),
            )
            for figure, title in TITLES.items()
        ]
        record = history[-1]
        heading = f"{_heading([record[key] for key in GROUP])}, context {record['context']}"
        if record["engine"] == "llama_server":
            heading += f", {record['unit']}"
        rows = "".join(
            _row(one, history[: index + 1], _date(one["time"])) for index, one in reversed(list(enumerate(history)))
        )
        table = _table(f"Every result on {host}, the last one first", "Time", rows)
        if len(history) > 1:
            summary = f"<summary>{_count(len(history), 'result')} as a table</summary>"
            table = f"<div class=charts>{''.join(figures)}</div><details>{summary}{table}</details>"
        body.append(f"<section class=card><h3>{escape(heading)}</h3>{table}</section>")
    return body


def _points(history: list[Record], figure: str) -> list[Point]:
    return [
        Point(
            calendar.timegm(time.strptime(record["time"], "%Y-%m-%dT%H:%M:%SZ")),
            *_values(record, figure),
            group=_backend(record),
            accepted=record["accepted"],
            slower=record["verdict"] == "slower",
            text=f"{_date(record['time'])}, {record['backend']}: {_said(record, figure)}",
        )
        for record in history
    ]


def _values(record: Record, figure: str) -> tuple[float | None, float | None, float | None]:
    """Median, lowest and highest; nothing of what broke off, because its figures are of another kind."""
    found = record[figure] if record["complete"] else None
    return (found["median"], found.get("min"), found.get("max")) if found else (None, None, None)


def _said(record: Record, figure: str) -> str:
    value = _values(record, figure)[0]
    if value is None:
        return _note(record)
    return f"{number(value)} tokens/s" + (f" ({_note(record)})" if _note(record) else "")


def _median(record: Record | None, figure: str) -> float | None:
    return _values(record, figure)[0] if record else None


def _accepted_before(history: list[Record]) -> Record | None:
    return next((record for record in reversed(history[:-1]) if record["accepted"]), None)


def _note(record: Record) -> str:
    if not record["complete"]:
        return f"broke off at {record.get('failed_at') or 'an unknown point'}"
    return {"slower": "slower", "faster": "faster"}.get(record["verdict"], "")


def _row(record: Record, history: list[Record], name: str) -> str:
    generation, prompt, first = (_values(record, figure)[0] for figure in (GENERATION, PROMPT, FIRST_TOKEN))
    baseline = _accepted_before(history)
    cells = [
        f"<td>{escape(record['backend'])}</td>",
        *(
            f"<td class=n>{'' if value is None else number(value)}{_change(value, _median(baseline, figure))}</td>"
            for value, figure in ((generation, GENERATION), (prompt, PROMPT))
        ),
        f"<td class=n>{'' if first is None else f'{first * 1000:,.0f} ms'}</td>",
        f"<td class=n>{_degrees(record)}</td>",
        f"<td>{escape(str(record.get('engine_version') or ''))}</td>",
        f"<td>{_remarks(record)}</td>",
    ]
    return f"<tr><th scope=row>{escape(name)}</th>{''.join(cells)}</tr>"


def _change(value: float | None, baseline: float | None) -> str:
    if not value or not baseline:
        return ""
    percent = value / baseline * 100 - 100
    return f" <span class=quiet>{percent:+.1f} %</span>"


def _degrees(record: Record) -> str:
    degrees = (record.get("conditions") or {}).get("temperature_c")
    return f"{degrees:.0f} °C" if isinstance(degrees, (int, float)) else ""


def _remarks(record: Record) -> str:
    remarks = []
    if record["verdict"] == "slower" or not record["complete"]:
        error = f": {record.get('error')}" if record.get("error") else ""
        remarks.append(f"<span class=bad>{escape(_note(record) + error)}</span>")
    elif record["verdict"] == "faster":
        remarks.append("<span class=good>faster</span>")
    if record["accepted"]:
        remarks.append("accepted")
    return "; ".join([*remarks, *(escape(str(words)) for words in record.get("warnings") or [])])


def _table(caption: str, first: str, rows: str) -> str:
    heads = [(first, ""), ("Backend", "")]
    heads += [(name, " class=n") for name in ("Generation/s", "Prompt/s", "First token", "Hottest")]
    cells = "".join(f"<th scope=col{style}>{name}</th>" for name, style in [*heads, ("Engine", ""), ("Remarks", "")])
    return (
        f"<div class=wide><table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _figure(caption: str, image: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{image}</figure>"


def _heading(key: Iterable[Any]) -> str:
    engine, model, prompt, predict = key
    return f"{model} on {ENGINES.get(engine, engine)}, {prompt} + {predict} tokens"


def _by(records: Iterable[Record], keys: tuple[str, ...]) -> dict[tuple[Any, ...], list[Record]]:
    """Groups in the order in which they appear."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in keys), []).append(record)
    return groups


def _backend(record: Record) -> str:
    return record["backend"] if record["backend"] in BACKENDS else "cpu"


def _date(moment: str) -> str:
    return moment.replace("T", " ")[:16]


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
