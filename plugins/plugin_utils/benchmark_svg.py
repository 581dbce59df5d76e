# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two charts as inline SVG: bars side by side, and points over time. Colours are classes of the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from html import escape

WIDTH = 480
LETTER = 7.2  # the width of one, more or less
ROW = 30
WHISKER = 5  # a shorter one cannot be seen
TOP, BOTTOM, LEFT, RIGHT = 14, 26, 52, 14
HEIGHT = 190
STEPS = (1, 2, 2.5, 5, 10)
DAY = 86400
# Distances between the ticks of a time axis, in seconds.
TICKS = (
    60,
    300,
    900,
    3600,
    3 * 3600,
    6 * 3600,
    12 * 3600,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    30 * DAY,
    91 * DAY,
    365 * DAY,
    5 * 365 * DAY,
)


@dataclass
class Bar:
    """One row. No value: it broke off, or was not measured."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    group: str
    note: str = ""


@dataclass
class Point:
    """One result. No value: it broke off."""

    time: float
    value: float | None
    low: float | None
    high: float | None
    group: str
    accepted: bool
    slower: bool
    text: str


def number(value: float) -> str:
    """As many digits as a person reads."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3g}"


def tick_label(value: float) -> str:
    return f"{value:,.6g}"


def nice(highest: float, ticks: int = 4) -> list[float]:
    """Round numbers from zero to at least the highest."""
    if not highest > 0:
        return [0.0, 1.0]
    rough = highest / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in STEPS if power * factor >= rough * 0.999)
    return [step * index for index in range(math.ceil(highest / step * 0.999) + 1)]


def frame(name: str, title: str, description: str, height: float, body: Sequence[str]) -> str:
    """An image with a name and a description for those who do not see it."""
    return (
        f'<svg role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}"><title id="{name}-t">{escape(title)}</title>'
        f'<desc id="{name}-d">{escape(description)}</desc>{"".join(body)}</svg>'
    )


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    style = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def bars(name: str, title: str, rows: Sequence[Bar]) -> str:
    """A bar for each row, a mark where the accepted result is, whiskers from lowest to highest repetition."""
    left = min(max(len(row.name) for row in rows) * LETTER + 12, 170)
    right = 72
    known = [value for row in rows for value in (row.value, row.high, row.baseline) if value is not None]
    ticks = nice(max(known, default=0))
    scale = (WIDTH - left - right) / ticks[-1]
    height = TOP + ROW * len(rows) + BOTTOM
    body = []
    for tick in ticks:
        x = left + tick * scale
        body.append(line(x, TOP, x, height - BOTTOM + 4, "grid"))
        body.append(text(x, height - 8, tick_label(tick), "tick", "middle"))
    for at, row in enumerate(rows):
        body += _bar(row, left, scale, TOP + ROW * at)
    said = "; ".join(f"{row.name} {'no result' if row.value is None else number(row.value)}" for row in rows)
    return frame(name, title, said, height, body)


def _bar(row: Bar, left: float, scale: float, top: float) -> list[str]:
    middle = top + ROW / 2
    longest = int((left - 12) / LETTER)
    label = row.name if len(row.name) <= longest else row.name[: longest - 1] + "…"
    body = [text(left - 8, middle + 4, label, "", "end")]
    tip = f"<title>{escape(f'{row.name} ({row.group}): {row.note}')}</title>"
    if row.value is None:
        end = max(left + 6, left + (row.baseline or 0) * scale + 8)
        body.append(text(end, middle + 4, f"✕ {row.note}", "bad"))
    else:
        width = max(row.value * scale, 1.5)
        end = left + width + 8
        body.append(
            f'<rect x="{left:.1f}" y="{top + 6:.1f}" width="{width:.1f}" height="{ROW - 12}" rx="2" '
            f'class="b {escape(row.group)}">{tip}</rect>'
        )
        if row.low is not None and row.high is not None and (row.high - row.low) * scale >= WHISKER:
            body.append(line(left + row.low * scale, middle, left + row.high * scale, middle, "whisker"))
            end = max(end, left + row.high * scale + 8)
    if row.baseline is not None:
        x = left + row.baseline * scale
        body.append(line(x, top + 3, x, top + ROW - 3, "mark"))
        end = max(end, x + 8)
    if row.value is not None:
        body.append(text(end, middle + 4, number(row.value), "bad" if row.note.startswith("slower") else "strong"))
    return body


def over_time(name: str, title: str, points: Sequence[Point], unit: str) -> str:
    """Points in their order; a line joins those between which nothing broke off and the backend stayed."""
    span = _span(points)
    known = [value for point in points for value in (point.value, point.high) if value is not None]
    ticks = nice(max(known, default=0))
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(point: Point) -> tuple[float, float]:
        x = LEFT + (point.time - span[0]) / (span[1] - span[0]) * across
        return x, TOP + up - (point.value or 0) / ticks[-1] * up

    body = []
    for tick in ticks:
        y = TOP + up - tick / ticks[-1] * up
        body.append(line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        body.append(text(LEFT - 6, y + 4, tick_label(tick), "tick", "end"))
    for x, label in time_ticks(span, across):
        body.append(line(LEFT + x, TOP + up, LEFT + x, TOP + up + 4, "grid"))
        body.append(text(LEFT + x, HEIGHT - 8, label, "tick", "middle"))
    for before, after in zip(points, points[1:]):
        if before.value is not None and after.value is not None and before.group == after.group:
            body.append(line(*place(before), *place(after), f"l {escape(after.group)}"))
    for point in points:
        body += _point(point, *place(point), up / ticks[-1])
    values = [point.value for point in points if point.value is not None]
    broken = len(points) - len(values)
    said = f"{len(points)} results" + (f", {broken} of which broke off" if broken else "")
    if values:
        said += f"; the last measured is {number(values[-1])} {unit}, the lowest {number(min(values))}"
    return frame(name, title, said, HEIGHT, body)


def _point(point: Point, x: float, y: float, scale: float) -> list[str]:
    tip = f"<title>{escape(point.text)}</title>"
    if point.value is None:
        return [f'<text x="{x:.1f}" y="{y - 4:.1f}" text-anchor="middle" class="bad cross">✕{tip}</text>']
    body = []
    if point.low is not None and point.high is not None and (point.high - point.low) * scale >= WHISKER:
        top, bottom = (y - (value - point.value) * scale for value in (point.high, point.low))
        body.append(line(x, top, x, bottom, "whisker"))
    if point.accepted:
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" class="ring"/>')
    style = f"p {escape(point.group)}" + (" slow" if point.slower else "")
    body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if not point.slower else 5}" class="{style}">{tip}</circle>')
    return body


def _span(points: Sequence[Point]) -> tuple[float, float]:
    """With a little air, and an hour at least."""
    first, last = min(point.time for point in points), max(point.time for point in points)
    air = max((last - first) * 0.04, 1800 if last - first < 3600 else 0)
    return first - air, last + air


def time_ticks(span: tuple[float, float], across: float) -> list[tuple[float, str]]:
    """Where to write which date, at most one for each 80 points."""
    wanted = max(int(across / 80), 2)
    step = next((step for step in TICKS if (span[1] - span[0]) / step <= wanted), TICKS[-1])
    pattern = "%H:%M" if step < DAY else "%Y-%m" if step >= 91 * DAY else "%m-%d"
    zero = datetime(1970, 1, 1, tzinfo=timezone.utc)
    first = math.ceil(span[0] / step)
    return [
        (
            (at * step - span[0]) / (span[1] - span[0]) * across,
            (zero + timedelta(seconds=at * step)).strftime("%m-%d" if at * step % DAY == 0 and step < DAY else pattern),
        )
        for at in range(first, math.floor(span[1] / step) + 1)
    ]
