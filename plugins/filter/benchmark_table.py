# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: benchmark_table
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Benchmarks as a table to read
description:
  - Aligns one row for each benchmark that the role P(lamplighter.fleet.benchmark#role) left in the hosts' facts.
  - The last column, what the comparison says and why the figures may not be what the machine can do, is wrapped.
positional: hosts, width
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  hosts:
    description: The names of the hosts, in the order of the rows.
    type: list
    elements: str
    required: true
  width:
    description: The columns that the table may take.
    type: int
    default: 110
"""

EXAMPLES = r"""
- name: How fast the fleet is
  ansible.builtin.debug:
    msg: "{{ hostvars | lamplighter.fleet.benchmark_table(ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: The table, plain text.
  type: str
"""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.filter.benchmark_text import benchmark_text

HEADINGS = ("HOST", "MODEL", "BACKEND", "PROMPT/S", "TOKENS/S", "FIRST TOKEN", "AGAINST THE ACCEPTED RESULT")
# The columns of numbers.
RIGHT = (3, 4, 5)
GAP = "  "
NARROWEST = 30

Row = tuple[str, ...]


def number(value: Any, places: int = 1, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{places}f}{unit}"


def rows(host: str, variables: Mapping[str, Any]) -> list[Row]:
    """Of one host; one row that says why if it was not measured."""
    found = variables.get("benchmark_comparisons")
    if not found:
        failure = str(variables.get("benchmark_failure") or "not reached").splitlines()[0]
        return [(host, "-", "-", "-", "-", "-", failure)]
    return [
        (
            host,
            one["model"],
            one["backend"],
            number(one["prompt"]),
            number(one["generation"]),
            number(one["first_token"] and one["first_token"] * 1000, 0, " ms"),
            benchmark_text(one),
        )
        for one in found
    ]


def benchmark_table(hostvars: Mapping[str, Any], hosts: Iterable[str], width: int = 110) -> str:
    """Align the rows below their headings."""
    found = [row for host in hosts for row in rows(host, hostvars[host])]
    widths = [max(len(row[at]) for row in [HEADINGS, *found]) for at in range(len(HEADINGS) - 1)]
    left = sum(widths) + len(GAP) * len(widths)
    last = max(width - left, NARROWEST)
    lines = []
    for row in [HEADINGS, *found]:
        cells = [f"{row[at]:>{size}}" if at in RIGHT else f"{row[at]:<{size}}" for at, size in enumerate(widths)]
        wrapped = textwrap.wrap(row[-1], last) or [""]
        lines.append((GAP.join(cells) + GAP + wrapped[0]).rstrip())
        lines += [" " * left + more for more in wrapped[1:]]
        if row is HEADINGS:
            lines.append("-" * min(width, left + last))
    return "\n".join(lines)


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"benchmark_table": benchmark_table}
