# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of plugins/plugin_utils/signatures.yml at work: which of them does a record match?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.records import Record

# Attributes in which the engine quotes what its runner printed.
_QUOTED_OUTPUT = ("error", "err", "detail", "status", "output")
# No rule is tried on more than this much of a record: real lines are shorter, and it bounds the work.
_LONGEST = 8192


class Form:
    """One way in which a fault shows."""

    def __init__(self, code: str, form: dict[str, Any]) -> None:
        self.code = code
        self.place = form["in"]
        self.contains = tuple(form.get("contains", ()))
        self.excludes = tuple(form.get("excludes", ()))
        self.requires = tuple(form.get("requires", ()))
        self.scope = form.get("scope")
        self.at_work = bool(form.get("at_work"))
        self._pattern = re.compile(form["pattern"]) if form.get("pattern") else None
        self._attributes = {name: re.compile(value) for name, value in form.get("attributes", {}).items()}

    def matches(self, record: Record) -> bool:
        """Whether the record is this form of the fault."""
        attributes = record.attributes or {}
        for text in self._texts(record, attributes):
            if self.contains and not any(part in text for part in self.contains):
                continue
            if any(part in text for part in self.excludes):
                continue
            if self._pattern and not self._pattern.search(text):
                continue
            if all(value.search(attributes.get(name, "")) for name, value in self._attributes.items()):
                return True
        return False

    def _texts(self, record: Record, attributes: dict[str, str]) -> Iterator[str]:
        if self.place == "message":
            if record.message is not None:
                yield record.message[:_LONGEST]
        elif record.message is None:
            yield record.text[:_LONGEST]
        else:
            for name in _QUOTED_OUTPUT:
                if name in attributes:
                    yield attributes[name][:_LONGEST]


class Signatures:
    """The signatures of one log, ready to be applied."""

    def __init__(self, signatures: list[dict[str, Any]], log: str) -> None:
        self.known = {entry["code"]: entry for entry in signatures if entry["log"] == log}
        self.forms = [Form(code, form) for code, entry in self.known.items() for form in entry.get("match", ())]
        self.output_needles = sorted({part for form in self.forms if form.place == "output" for part in form.contains})
        self.by_needle: dict[str, list[int]] = {}
        for index, form in enumerate(self.forms):
            for part in form.contains:
                self.by_needle.setdefault(part, []).append(index)

    def matching(self, record: Record, needles: Iterable[str]) -> Iterator[Form]:
        """The forms that the record matches, as the file has them; needles are those that its line has in it."""
        for index in sorted({index for needle in needles for index in self.by_needle.get(needle, ())}):
            if self.forms[index].matches(record):
                yield self.forms[index]
