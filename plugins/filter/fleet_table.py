# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_table
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: The fleet as a table to read
description:
  - Aligns one row for each host. The last column, what to do, is wrapped.
positional: width
options:
  _input:
    description: >-
      Rows with C(host), C(gpu), C(backend), C(verdict), C(tokens_per_second) and C(advice),
      as C(lamplighter.fleet.fleet_rows) makes them. What is null or missing shows as a dash.
    type: list
    elements: dict
    required: true
  width:
    description: The columns that the table may take.
    type: int
    default: 100
"""

EXAMPLES = r"""
- name: The fleet
  ansible.builtin.debug:
    msg: "{{ hostvars | lamplighter.fleet.fleet_rows(ansible_play_hosts_all) | lamplighter.fleet.fleet_table }}"
"""

RETURN = r"""
_value:
  description: The table, plain text.
  type: str
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

HEADINGS = {"host": "HOST", "gpu": "GPU", "backend": "BACKEND", "verdict": "PROOF", "tokens_per_second": "TOKENS/S"}
GAP = 2
GPU_WIDTH = 34
NARROWEST_ADVICE = 24


def _cell(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None or value == "":
        return "-"
    if key == "tokens_per_second" and isinstance(value, (int, float)):
        return f"{value:.1f}"
    return " ".join(str(value).split())


def _lines(row: Mapping[str, Any], widths: Mapping[str, int], advice_width: int) -> list[str]:
    """One row, as many lines as its GPU and its advice need."""
    gpu = textwrap.wrap(_cell(row, "gpu"), widths["gpu"]) or ["-"]
    advice = textwrap.wrap(_cell(row, "advice"), advice_width) or ["-"]
    lines = []
    for at in range(max(len(gpu), len(advice))):
        cells = []
        for key, width in widths.items():
            text = (gpu[at] if at < len(gpu) else "") if key == "gpu" else (_cell(row, key) if at == 0 else "")
            cells.append(f"{text:>{width}}" if key == "tokens_per_second" else f"{text:<{width}}")
        cells.append(advice[at] if at < len(advice) else "")
        lines.append((" " * GAP).join(cells).rstrip())
    return lines


def fleet_table(rows: Sequence[Mapping[str, Any]], width: int = 100) -> str:
    """Align the rows below their headings."""
    widths = {
        key: max(len(heading), *(len(_cell(row, key)) for row in rows)) if rows else len(heading)
        for key, heading in HEADINGS.items()
    }
    widths["gpu"] = min(widths["gpu"], GPU_WIDTH)
    taken = sum(widths.values()) + GAP * len(widths)
    advice_width = max(width - taken, NARROWEST_ADVICE)
    heading = _lines({**HEADINGS, "advice": "WHAT TO DO"}, widths, advice_width)
    body = [line for row in rows for line in _lines(row, widths, advice_width)]
    return "\n".join([*heading, "-" * min(width, taken + advice_width), *body])


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"fleet_table": fleet_table}
