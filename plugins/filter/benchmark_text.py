# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: benchmark_text
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Say what the comparison of a benchmark means
description:
  - One sentence or two about one of the comparisons that M(lamplighter.fleet.benchmark_results) returns.
positional: named
options:
  _input:
    description: The comparison.
    type: dict
    required: true
  named:
    description: Say which model on which backend it is about.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What became of it
  ansible.builtin.debug:
    msg: "{{ benchmark_comparisons | map('lamplighter.fleet.benchmark_text') }}"
"""

RETURN = r"""
_value:
  description: The text, one line.
  type: str
"""

from collections.abc import Mapping
from typing import Any

NAMES = {"prompt": "prompt", "generation": "generation", "first_token": "first token"}


def benchmark_text(found: Mapping[str, Any], named: bool = False) -> str:
    """The verdict, what may explain it, and why the figures may not be what the machine can do."""
    name = f"{found['model']} on {found['backend']}: " if named else ""
    return name + "; ".join([_verdict(found), *(f"note: {warning}" for warning in found["warnings"])])


def _verdict(found: Mapping[str, Any]) -> str:
    verdict = found["verdict"]
    if verdict == "broken":
        said = [found["error"], found["exit"], ", ".join(found["failures"])]
        return f"BROKE OFF at {found['failed_at']}: " + "; ".join(part for part in said if part)
    if verdict == "first":
        return "first result; later ones are compared with it"
    changes = [f"{NAMES[name]} {change:+.1f} %" for name, change in found["changes"].items() if change is not None]
    name = "SLOWER" if verdict == "slower" else verdict
    parts = [f"{name}: {', '.join(changes) or 'nothing to compare'} since {found['baseline'][:10]}"]
    if verdict != "steady":
        parts += found["causes"]
    return "; ".join(parts + ["accepted now"] * found["accepted"])


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"benchmark_text": benchmark_text}
