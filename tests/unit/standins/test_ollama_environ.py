# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in reads its environment with the real one's rules."""

from __future__ import annotations

import pytest

from tests.standins.ollama.engine.environ import Environment, duration, go_duration


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True),
        ("true", True),
        ("0", False),
        ("F", False),
        (" '0' ", False),
        ("off", True),
        ("no", True),
        ("auto", True),
        ("", None),
    ],
)
def test_any_text_but_a_false_one_is_true(value: str, expected: bool | None) -> None:
    assert Environment({"OLLAMA_IGPU_ENABLE": value}).tristate("OLLAMA_IGPU_ENABLE") is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ("127.0.0.1", 11434)),
        ("0.0.0.0", ("0.0.0.0", 11434)),
        ("10.0.0.1:8080", ("10.0.0.1", 8080)),
        (":8080", ("", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("::1", ("::1", 11434)),
        ("http://[::1]", ("::1", 80)),
        ("http://example.org", ("example.org", 80)),
        ("https://example.org/path", ("example.org", 443)),
        (":99999", ("", 11434)),
    ],
)
def test_address(value: str, expected: tuple[str, int]) -> None:
    assert Environment({"OLLAMA_HOST": value}).address() == expected


def test_bad_number_is_the_default_and_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert Environment({"OLLAMA_NUM_PARALLEL": "-1"}).unsigned("OLLAMA_NUM_PARALLEL", 1) == 1
    assert 'msg="invalid environment variable, using default" key=OLLAMA_NUM_PARALLEL' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [("5m", 300, "5m0s"), ("1h30m", 5400, "1h30m0s"), ("90", 90, "1m30s"), ("-1", -1, "2562047h47m16.854775807s")],
)
def test_duration(text: str, seconds: float, shown: str) -> None:
    assert duration(text) == seconds
    assert go_duration(seconds) == shown
