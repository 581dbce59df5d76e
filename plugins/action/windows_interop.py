# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""windows_interop where the host of the inventory is Windows itself: the same scripts, through ansible.windows."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import operations
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.arguments import ARGUMENT_SPEC
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError, answer

SENDER = "ansible.windows.win_powershell"


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if not getattr(self._connection._shell, "_IS_WINDOWS", False):
            return {**result, **self._execute_module(task_vars=task_vars)}
        specification = {
            **ARGUMENT_SPEC,
            "powershell": {"type": "path"},
            "timeout": {"type": "int", "default": 120},
        }
        _checked, given = self.validate_argument_spec(specification, mutually_exclusive=[("bind", "firewall")])
        operation = given.pop("operation")
        del given["powershell"], given["timeout"]
        check = self._task.check_mode
        # The session of the network is not that of the person at the machine.
        given["interactive"] = False
        try:
            done = operations.run(operation, given, lambda text, longer=0: self._ask(text, task_vars), check)
        except WindowsError as error:
            return {**result, "failed": True, "msg": str(error)}
        finally:
            self._task.check_mode = check
        return {**result, **operations.as_result(operation, done), "warnings": operations.warnings(done)}

    def _ask(self, text: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        # In check mode the operations only read; win_powershell would skip that.
        self._task.check_mode = False
        try:
            done = self._execute_module(module_name=SENDER, module_args={"script": text}, task_vars=task_vars)
        except AnsibleError as error:
            raise WindowsError(
                f"{SENDER} is needed for Windows hosts of the inventory: ansible-galaxy collection install "
                f"ansible.windows ({error})."
            ) from error
        printed = "\n".join([*map(str, done.get("output") or []), str(done.get("host_out") or "")])
        if done.get("failed") and not printed.strip():
            raise WindowsError(f"Windows did not run it: {done.get('msg') or done.get('error')}")
        return answer(printed)
