# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes each result as a line of JSON, for tests that must know what a run did and not only how it ended.

One file per run in the folder LAMPLIGHTER_RECORDS, named by time and play; `check` marks check mode.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: records
type: aggregate
short_description: results as lines of JSON
description: Writes each result as a line of JSON.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "records"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:
        mode = "check" if context.CLIARGS["check"] else "run"
        folder = Path(os.environ["LAMPLIGHTER_RECORDS"])
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns()}-{Path(playbook._file_name).stem}-{mode}.jsonl"
        self.file = (folder / name).open("w", buffering=1)

    def write(self, status: str, result: Any) -> None:
        said = result._result
        if len(said.get("results", [])) == 1:  # a loop over one thing
            said = {**said, **said["results"][0]}
        kept = {key: said[key] for key in ("changed", "msg", "diff", "downloaded", "proof") if key in said}
        line = {
            "host": result._host.get_name(),
            "task": result._task.get_name().split(" : ")[-1],
            "action": result._task.action,
            "status": status,
            **kept,
        }
        self.file.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self.write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self.write("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.write("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self.write("skipped", result)
