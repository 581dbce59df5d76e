# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers token by token, as only a streamed one tells when the first token came."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError, answered

# No record of either engine is longer.
LONGEST_LINE = 1 << 20
Record = dict[str, Any]


def records(lines: Iterable[bytes]) -> Iterator[Record]:
    """What an engine streams: Ollama a JSON object per line, llama-server the same behind `data:` (server-sent events).

    Errors come in the middle of an HTTP 200, from either."""
    for line in lines:
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("{"):
            field = "data"
        else:
            field, _colon, text = (part.strip() for part in text.partition(":"))
        # Empty lines end an event, those without a field name are comments that keep the connection open.
        if field not in ("data", "error") or text in ("", "[DONE]"):
            continue
        try:
            record = json.loads(text)
        except ValueError as error:
            raise EngineError(f"a line of the answer cannot be read: {text[:200]}") from error
        if not isinstance(record, dict):
            raise EngineError(f"a line of the answer is of unexpected form: {text[:200]}")
        said = record.get("error", record if field == "error" else None)
        if said:
            raise EngineError(str(said.get("message", said) if isinstance(said, dict) else said))
        yield record


class Opened:
    """A streamed answer. Neither silence nor an endless answer holds it up for ever."""

    def __init__(self, url: str, payload: Record, headers: dict[str, str], timeout: float) -> None:
        self.url, self.payload, self.headers, self.timeout = url, payload, headers, timeout

    def lines(self) -> Iterator[bytes]:
        deadline = time.monotonic() + self.timeout
        with answered("POST", self.url, self.payload, self.timeout, self.headers) as answer:
            while True:
                line = answer.readline(LONGEST_LINE)
                if not line:
                    return
                yield line
                if time.monotonic() > deadline:
                    raise EngineError(f"the answer was not complete after {self.timeout:g} seconds")


def timed(
    answer: Iterable[Record],
    is_last: Callable[[Record], bool],
    on_token: Callable[[], None],
    now: Callable[[], float] = time.monotonic,
) -> tuple[Record, float | None]:
    """The last record, and how many seconds after this call the first one came; None if only the last one came."""
    began = now()
    first, count = None, 0
    for record in answer:
        if is_last(record):
            return record, first
        count += 1
        if first is None:
            first = now() - began
        on_token()
    raise EngineError(f"the answer broke off after {count} tokens, without an error message")
