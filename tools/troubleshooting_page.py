#!/usr/bin/env python3
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes docs/troubleshooting.md from the signatures; with --check only says whether the page is up to date."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIGNATURES = ROOT / "plugins" / "plugin_utils" / "signatures.yml"
PAGE = ROOT / "docs" / "troubleshooting.md"

HEAD = """# Troubleshooting: what the logs say, and what to do

This page is generated from `plugins/plugin_utils/signatures.yml` by `tools/troubleshooting_page.py`: do not edit it.

Let Lamplighter read a log for you:

```sh
# a file: the journal, `docker logs`, server.log of Windows, llama-server's output
ansible localhost -m lamplighter.fleet.engine_log -a path=ollama.log
# the journal of a service (its last start), and the kernel's of this boot
ansible HOST -b -m lamplighter.fleet.engine_log -a unit=ollama.service
ansible HOST -b -m lamplighter.fleet.kernel_log
```

Logs are read in one pass: 100 MB of requests take about 3.5 s and 15 MB of memory on a 2-core machine
(measured by giving such a file to the reader and looking at `time.process_time` and `ru_maxrss`).

Severity: `critical` stops work, `error` costs the GPU or a model, `warning` costs speed, `info` is only good to know.
"""
NAMES = {"llama_server": "llama-server", "vulkan": "Vulkan", "rocm": "ROCm", "cuda": "CUDA"}
TITLES = {"engine": "## Faults in the engine's log", "kernel": "## Faults in the kernel's log"}


def _words(text: str) -> str:
    return " ".join(text.split())


def _versions(form: dict[str, Any]) -> str:
    since, until = form.get("since"), form.get("until")
    if since and until:
        return f" (Ollama {since} to {until})"
    return f" (Ollama {since} and newer)" if since else f" (Ollama up to {until})" if until else ""


def _entry(entry: dict[str, Any]) -> str:
    lines = [f"### `{entry['code']}` ({entry['severity']})", "", _words(entry["meaning"]), ""]
    for form in entry["match"]:
        texts = " or ".join(f"`{text.strip()}`" for text in form["contains"])
        lines.append(f"- Seen as: {texts}{_versions(form)}")
    if not entry["match"]:
        lines.append("- Seen from several lines together.")
    if entry.get("harmless_on_gpu"):
        lines.append("- Of no matter where another GPU does the work.")
    lines.append(f"- **Do:** {_words(entry['remedy'])}")
    for where, remedy in entry.get("remedy_for", {}).items():
        lines.append(f"- **With {NAMES.get(where, where)}:** {_words(remedy)}")
    lines += [f"- Source: {_words(entry['source'])}", ""]
    return "\n".join(lines)


def page() -> str:
    """The text of the page."""
    entries = yaml.safe_load(SIGNATURES.read_text(encoding="utf-8"))["signatures"]
    parts = [HEAD]
    for log, title in TITLES.items():
        ours = sorted((entry for entry in entries if entry["log"] == log), key=lambda entry: str(entry["code"]))
        links = ", ".join(f"[`{entry['code']}`](#{entry['code']}-{entry['severity']})" for entry in ours)
        parts += [title, "", links, "", *map(_entry, ours)]
    return "\n".join(parts).rstrip() + "\n"


def main() -> int:
    """Write the page, or compare it."""
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            print(f"{PAGE} is out of date: run tools/troubleshooting_page.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
