# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slog's text format on standard error, and sizes as Ollama prints them."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime


def log(level: str, source: str, message: str, **values: object) -> None:
    stamp = datetime.now().astimezone().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    pairs = "".join(f" {name}={quoted(value)}" for name, value in values.items())
    raw(f"time={stamp} level={level} source={source} msg={quoted(message)}{pairs}")


def raw(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def quoted(value: object) -> str:
    text = str(value)
    if text and all(character.isprintable() and character not in ' "=' for character in text):
        return text
    return json.dumps(text, ensure_ascii=False)


def human(size: int) -> str:
    """format.HumanBytes2: binary units, one digit after the point."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def gin(status: int, seconds: float, client: str, method: str, path: str) -> None:
    took = f"{seconds:.9f}s" if seconds >= 1 else f"{seconds * 1000:.6f}ms"
    raw(f'[GIN] {time.strftime("%Y/%m/%d - %H:%M:%S")} | {status} | {took:>13} | {client:>15} | {method:<8} "{path}"')
