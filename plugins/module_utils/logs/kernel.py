# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the GPU in a kernel log: dmesg or journal, of any locale, in either direction.

The signatures look at the message only, so the prefix may be what it likes
("amdgpu 0000:c5:00.0: amdgpu:", "[drm:fn [amdgpu]] *ERROR*", "kfd kfd:", "drmn0:", none).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.records import Needles, Record
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.signatures import Signatures

_PCI_ADDRESS = re.compile(r"\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b")


# What a message begins with: the rest of a wrapped one begins with none of these.
_BEGINS = re.compile(r"[\[<]|amdgpu[: ]|kfd[: ]|drmn?\d*:|\w+ \d{4}:|.{0,120}\bkern(?:el)?: ")
_LONGEST_WRAPPED = 400


def _unwrapped(lines: Iterable[str]) -> Iterator[str]:
    """Mail programs and forums break long lines: whatever follows a stamped line without a beginning is its rest."""
    held = ""
    for line in lines:
        text = line.rstrip().lstrip("> \t")
        if held and text and len(held) + len(text) < _LONGEST_WRAPPED and not _BEGINS.match(text):
            held = f"{held.rstrip()} {text}"
            continue
        if held:
            yield held
        held = line
        if not text.startswith("[") and "kernel: " not in line:
            yield line
            held = ""
    if held:
        yield held


def _address(text: str) -> str | None:
    match = _PCI_ADDRESS.search(text)
    return match.group() if match else None


def _together(ours: set[str | None], others: set[str | None]) -> bool:
    """Whether two sets of lines may speak of one device; a line without an address speaks of any."""
    return bool(others) and (None in ours or None in others or bool(ours & others))


def read_kernel_log(lines: Iterable[str], signatures: list[dict[str, Any]]) -> dict[str, Any]:
    """The kernel_log of design section 4: one fault per code, with its first line and how often it came."""
    rules = Signatures(signatures, "kernel")
    needles = Needles([*rules.by_needle, *(part for form in rules.forms for part in form.requires)])
    faults: dict[str, dict[str, Any]] = {}
    certain: set[str] = set()
    devices: dict[str, set[str | None]] = {}
    required: dict[str, set[str | None]] = {part: set() for form in rules.forms for part in form.requires}
    for line in needles.batches(_unwrapped(lines)):
        found = needles.found(line)
        if not found:
            continue
        text = line.strip()
        for part, addresses in required.items():
            if part in text:
                addresses.add(_address(text))
        shown = set()
        for form in rules.matching(Record(text), found):
            known = rules.known[form.code]
            fault = faults.setdefault(
                form.code,
                {
                    "code": form.code,
                    "severity": known["severity"],
                    "line": text[:2000],
                    "meaning": known["meaning"],
                    "remedy": known["remedy"],
                    "count": 0,
                },
            )
            fault["count"] += form.code not in shown
            shown.add(form.code)
            if form.requires:
                devices.setdefault(form.code, set()).add(_address(text))
            else:
                certain.add(form.code)
    for form in rules.forms:
        if form.requires and form.code in faults and form.code not in certain:
            ours = devices[form.code]
            if any(_together(ours, required[part]) for part in form.requires):
                certain.add(form.code)
    return {"faults": [fault for fault in faults.values() if fault["code"] in certain]}
