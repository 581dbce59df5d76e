# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at models on the controller where the controller is the one who has or fetches them."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.look import Host, look_remotely
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.wanted import read_entries

MODULE = "lamplighter.fleet.model_fit"


def host_of(arguments: dict[str, Any]) -> Host:
    """The host as the task describes it; numbers and booleans may come as text."""
    given = {one.name: arguments[one.name] for one in fields(Host) if arguments.get(one.name) not in (None, "")}
    for key in ("available_bytes", "default_context", "default_parallel", "timeout"):
        if key in given:
            given[key] = int(given[key])
    for key in ("gpu", "flash_attention", "allow_oversize", "share"):
        if key in given:
            given[key] = boolean(given[key])
    return Host(**{"models_directory": "", "store": "", **given})


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        result = self._execute_module(MODULE, arguments, task_vars=task_vars)
        controller_asks = arguments.get("ask_from") == "controller"
        unasked = {
            model["name"]
            for model in result.get("models") or []
            if not model["asked"] and (controller_asks or model["source"] == "file")
        }
        if not unasked:
            return result
        entries, _problems = read_entries(arguments["models"], arguments.get("engine", "ollama"))
        host = host_of(arguments)
        given = {entry.name: asdict(look_remotely(entry, host)) for entry in entries if entry.name in unasked}
        return self._execute_module(MODULE, {**arguments, "given": given}, task_vars=task_vars)
