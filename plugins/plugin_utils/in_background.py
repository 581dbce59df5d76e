# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module in the background on the host and shows how far it is. The module tells that in its progress_file."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.release import human_bytes

LIMIT = 6 * 3600
POLL = 5
STAGES = {"unpack": "unpacked", "verify": "verified"}

display = Display()


def progress_line(state: dict[str, Any], before: dict[str, Any], seconds: float) -> str:
    """One line such as: base.tar.zst 43 % (450 MB of 1.05 GB, 38 MB/s, 16 s left)."""
    name, done, total = state["name"], state["done"], state["total"]
    if state["stage"] != "download":
        return f"{name} is being {STAGES[state['stage']]}"
    rate = (done - before["done"]) / seconds if before.get("name") == name and seconds > 0 else 0
    parts = [f"{human_bytes(done)} of {human_bytes(total)}" if total else human_bytes(done)]
    if rate > 0:
        parts.append(f"{human_bytes(rate)}/s")
        parts += [f"{(total - done) / rate:.0f} s left"] if total else []
    share = f"{100 * done // total} % " if total else ""
    return f"{name} {share}({', '.join(parts)})"


class InBackground(ActionBase):
    """An action plugin sets MODULE and may say more of where progress is told."""

    MODULE = ""

    def progress_file(self, arguments: dict[str, Any]) -> str:
        raise NotImplementedError

    def foretold(self, arguments: dict[str, Any]) -> bool:
        """Whether a dry run tells if anything is to be done."""
        return True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        # Mostly nothing is to be done, or something is wrong with the request: a dry run tells that at once.
        wanted_check_mode = self._task.check_mode
        if wanted_check_mode or self.foretold(arguments):
            self._task.check_mode = True
            try:
                result = self._execute_module(self.MODULE, arguments, task_vars=task_vars)
            finally:
                self._task.check_mode = wanted_check_mode
            if wanted_check_mode or result.get("failed") or not result.get("changed"):
                return result
        arguments.setdefault("progress_file", self.progress_file(arguments))
        self._task.async_val = LIMIT
        try:
            job = self._execute_module(self.MODULE, arguments, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0
        if job.get("failed") or "ansible_job_id" not in job:
            return job
        return self._follow(job["ansible_job_id"], arguments["progress_file"], task_vars)

    def _follow(self, job: str, progress_file: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        status = {"jid": job, "_async_dir": self.get_shell_option("async_dir", default="~/.ansible_async")}
        host = (task_vars or {}).get("inventory_hostname", "")
        before: dict[str, Any] = {}
        pause, asked = 0.5, time.monotonic()
        deadline = asked + LIMIT + 60
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(POLL, pause * 2)
            result = self._execute_module("ansible.legacy.async_status", dict(status), task_vars=task_vars)
            if result.get("finished") or result.get("failed"):
                self._execute_module("ansible.legacy.async_status", {**status, "mode": "cleanup"}, task_vars=task_vars)
                self._low_level_execute_command(f"rm -f {shlex.quote(progress_file)}")
                for key in ("ansible_job_id", "started", "finished", "results_file", "stdout", "stderr"):
                    result.pop(key, None)
                return result
            said = self._low_level_execute_command(f"cat {shlex.quote(progress_file)}")
            try:
                state = json.loads(said["stdout"])
                if state != before:
                    display.display(f"{host}: {progress_line(state, before, time.monotonic() - asked)}")
            except (ValueError, KeyError, TypeError):
                continue
            before, asked = state, time.monotonic()
        return {
            "failed": True,
            "msg": f"{self.MODULE} has told no result within {LIMIT + 60} s. It may still run on the host, or "
            "could not write its result: look whether a disk is full there, then run this again",
        }
