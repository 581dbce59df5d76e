# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.lamplighter.fleet.plugins.plugin_utils import benchmark_results
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_chart import chart
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_results import Record

ARGUMENTS = {
    "folder": {"type": "str", "required": True},
    "chart": {"type": "str", "default": ""},
    "benchmarks": {"type": "list", "elements": "dict", "required": True},
    "machine": {"type": "dict", "default": {}},
    "threshold": {"type": "float", "default": 10.0},
    "accept": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """Works on the controller alone, as the user who runs the playbook, whatever the play's connection and become."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Append the results, compare them, draw the chart."""
        result = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        host = (task_vars or {})["inventory_hostname"]
        folder = Path(arguments["folder"]).expanduser().absolute()
        path = benchmark_results.file_of(folder, host)
        try:
            writes = not self._task.check_mode
            with benchmark_results.locked(folder) if writes else contextlib.nullcontext():
                records, comparisons, problems = _judged(path, host, arguments)
                if writes:
                    benchmark_results.append(path, records)
                if writes and arguments["chart"]:
                    page = chart(benchmark_results.read_all(folder))
                    benchmark_results.replace(Path(arguments["chart"]).expanduser().absolute(), page)
        except OSError as error:
            raise AnsibleActionFail(
                f"The results below {folder} cannot be written: {error.filename or path}: {error.strerror}."
            ) from error
        return {**result, "changed": True, "path": str(path), "comparisons": comparisons, "problems": problems}


def _judged(path: Path, host: str, arguments: dict[str, Any]) -> tuple[list[Record], list[Record], list[str]]:
    """The records to append, their comparisons, and what is wrong with the file."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    before, problems = benchmark_results.read(path)
    records, comparisons = [], []
    for benchmark in arguments["benchmarks"]:
        record = benchmark_results.record_of(host, arguments["machine"], benchmark, now)
        record, comparison = benchmark_results.judge(record, before, arguments["threshold"], arguments["accept"])
        records.append(record)
        comparisons.append(comparison)
    return records, comparisons, problems
