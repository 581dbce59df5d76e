# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_chart import chart
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_svg import (
    LEFT,
    RIGHT,
    WIDTH,
    Point,
    nice,
    number,
    over_time,
    tick_label,
    time_ticks,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.benchmark_records import benchmark, history

DAY = 86400
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Knows whether every element is closed in its turn, and what the tables say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.names: list[str] = []
        self.seen: dict[str, int] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.names += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(tag)


def images(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r'<svg role="img".*?</svg>', page, re.DOTALL)]


def fleet(*names: str) -> list[dict[str, Any]]:
    return [record for name in names for record in history(benchmark(), benchmark(0.5), host=name)]


PAGES = {
    "none": [],
    "one": history(benchmark()),
    "broken": history(benchmark(complete=False)),
    "seven": fleet(*"abcdefg"),
    "forty": history(*(benchmark(1 + run % 3 / 20, complete=run != 8) for run in range(40))),
    "models": history(benchmark(), benchmark(model="llama3.1:8b"), benchmark(context=8192)),
    "strange": fleet('<script>alert("x")</script>', "ümlaut & 'quotes'"),
    "nothing": history(benchmark(generation_tokens_per_second=None, time_to_first_token_seconds=None)),
}


@pytest.mark.parametrize("records", PAGES.values(), ids=PAGES.keys())
def test_the_page_is_well_formed_and_needs_nothing_else(records: list[dict[str, Any]]) -> None:
    text = chart(records)
    page = Page(text)
    assert (page.open, page.problems) == ([], [])
    assert len(page.names) == len(set(page.names))
    assert "script" not in page.seen
    assert not re.search(r"(?:src|href)=|url\(|@import|https?://", text)
    for image in images(text):
        title, description = image.find("title"), image.find("desc")
        assert title is not None
        assert title.text
        assert description is not None
        assert description.text
        assert image.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert "nan" not in ElementTree.tostring(image, encoding="unicode").lower()


def test_every_result_is_in_a_table() -> None:
    page = chart(PAGES["forty"])
    rows = re.findall(r"<tr><th scope=row>(.*?)</th>", page)
    assert len(rows) == 41  # and one for the fleet
    assert rows[0] == "desktop"
    assert rows[1] > rows[2]


def test_every_result_is_a_point_of_both_charts() -> None:
    page = chart(PAGES["forty"])
    assert len(re.findall(r'class="p rocm', page)) == 39 * 2
    assert len(re.findall(r'class="bad cross">✕<title>', page)) == 2
    assert len(re.findall(r'r="7" class="ring"', page)) == 2
    # The line is not drawn through the one that broke off.
    assert len(re.findall(r'class="l rocm"', page)) == 37 * 2


def test_a_fallen_speed_is_marked_and_told() -> None:
    page = chart(fleet("desktop"))
    assert page.count('class="p rocm slow"') == 2
    assert "<span class=bad>slower</span>" in page
    assert "-50.0 %" in page


def test_what_broke_off_says_why() -> None:
    page = chart(PAGES["broken"])
    assert "broke off at repetition 2 of 3" in page
    assert "the answer broke off after 31 tokens" in page


def test_models_have_charts_of_their_own() -> None:
    page = chart(PAGES["models"])
    assert re.findall("<h3>(.*?)</h3>", page) == [
        "qwen3:0.6b on Ollama, 512 + 128 tokens",
        "llama3.1:8b on Ollama, 512 + 128 tokens",
        "qwen3:0.6b on Ollama, 512 + 128 tokens, context 4096",
        "llama3.1:8b on Ollama, 512 + 128 tokens, context 4096",
        "qwen3:0.6b on Ollama, 512 + 128 tokens, context 8192",
    ]
    # One host twice in one chart is told apart.
    assert ">desktop ollama 8192</text>" in page


def test_names_are_no_markup() -> None:
    assert "&lt;script&gt;" in chart(PAGES["strange"])


@given(st.floats(1e-6, 1e9))
def test_axes_have_few_round_ticks_and_hold_the_highest(highest: float) -> None:
    ticks = nice(highest)
    assert ticks[0] == 0
    assert highest * 0.998 <= ticks[-1] <= highest * 2.6
    assert 3 <= len(ticks) <= 6
    assert len({round(after - before, 9 - len(str(int(highest)))) for before, after in itertools.pairwise(ticks)}) <= 2


@pytest.mark.parametrize("nothing", [0, -1, float("nan")])
def test_an_axis_of_nothing_is_an_axis(nothing: float) -> None:
    assert nice(nothing) == [0, 1]


@given(st.integers(0, 2**31), st.integers(3600, 25 * 365 * DAY))
def test_dates_are_inside_and_apart(start: int, length: int) -> None:
    across = 414
    ticks = time_ticks((start, start + length), across)
    assert len(ticks) <= across // 80 + 2
    assert all(0 <= x <= across for x, _label in ticks)
    assert all(after[0] - before[0] >= 60 for before, after in itertools.pairwise(ticks))


@given(st.lists(st.tuples(st.integers(0, 2**31), st.one_of(st.none(), st.floats(0, 1e6))), min_size=1, max_size=20))
def test_points_are_inside_the_picture(found: list[tuple[int, float | None]]) -> None:
    points = [Point(when, value, value, value, "cpu", False, False, "x") for when, value in sorted(found, key=str)]
    image = ElementTree.fromstring(over_time("n", "t", sorted(points, key=lambda p: p.time), "tokens/s"))
    marks = list(image.iter("circle"))
    assert len(marks) == len([value for _when, value in found if value is not None])
    for mark in marks:
        assert LEFT <= float(mark.get("cx") or 0) <= WIDTH - RIGHT
        assert 13 <= float(mark.get("cy") or 0) <= 165


NUMBERS = [(2393.04, "2,393"), (99.96, "100.0"), (100.0, "100"), (79.94, "79.9"), (1.0, "1.0"), (0.1234, "0.123")]


@pytest.mark.parametrize(("value", "expected"), NUMBERS)
def test_numbers_are_as_long_as_needed(value: float, expected: str) -> None:
    assert number(value) == expected


def test_ticks_are_short() -> None:
    assert [tick_label(value) for value in (0, 2.5, 75.0, 1500, 0.25)] == ["0", "2.5", "75", "1,500", "0.25"]
