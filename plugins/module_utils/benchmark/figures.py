# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of several repetitions, summed up."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

# Name of a figure -> decimal places.
FIGURES = {
    "prompt_tokens_per_second": 1,
    "generation_tokens_per_second": 1,
    "time_to_first_token_seconds": 4,
}


def summary(samples: Iterable[float | None], places: int) -> dict[str, Any] | None:
    """Median, extremes and spread. None if no repetition gave the figure."""
    known = [sample for sample in samples if sample is not None]
    if not known:
        return None
    median = statistics.median(known)
    return {
        "median": round(median, places),
        "min": round(min(known), places),
        "max": round(max(known), places),
        "spread_percent": round((max(known) - min(known)) / median * 100, 1) if median else 0.0,
        "samples": [round(sample, places) for sample in known],
    }


def rate(count: int | None, nanoseconds: int | None) -> float | None:
    """Things per second, None unless both are known and not zero."""
    return count * 1e9 / nanoseconds if count and nanoseconds else None
