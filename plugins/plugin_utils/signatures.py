# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The signatures of faults, read on the controller: modules get them as an argument (AnsiballZ ships Python only)."""

from __future__ import annotations

import functools
import os
from typing import Any

import yaml
from ansible.plugins.action import ActionBase

PATH = os.path.join(os.path.dirname(os.path.realpath(__file__)), "signatures.yml")
# What only the documentation and the tests need is not sent to the hosts.
_SENT = ("code", "log", "severity", "match", "meaning", "remedy", "remedy_for", "harmless_on_gpu", "noise_on")


@functools.cache
def _entries() -> tuple[dict[str, Any], ...]:
    with open(PATH, encoding="utf-8") as handle:
        return tuple(yaml.safe_load(handle)["signatures"])


def load(*logs: str) -> list[dict[str, Any]]:
    """The signatures as the modules take them, of the logs named (engine, kernel) or of all."""
    return [
        {key: entry[key] for key in _SENT if key in entry} for entry in _entries() if not logs or entry["log"] in logs
    ]


class SignaturesAction(ActionBase):
    """Runs the module of its own name with the argument `signatures` filled in."""

    _requires_connection = True
    LOGS: tuple[str, ...] = ("engine", "kernel")

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; its arguments are given back without the signatures."""
        result = super().run(tmp, task_vars)
        arguments = {"signatures": load(*self.LOGS), **self._task.args}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        result.get("invocation", {}).get("module_args", {}).pop("signatures", None)
        return result
