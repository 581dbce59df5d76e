# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.bundle import write_archive
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import SignaturesAction


class ActionModule(SignaturesAction):
    """Gives the module the signatures of all faults, and writes the bundle here on the controller."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; the texts of a bundle go into the archive instead of the result."""
        result = super().run(tmp, task_vars)
        files, target = result.pop("files", None), self._task.args.get("bundle")
        if files and target:
            path = os.path.abspath(os.path.expanduser(target))
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write_archive(path, files)
            except OSError as error:
                raise AnsibleActionFail(f"The support bundle {path} cannot be written: {error.strerror}.") from error
            result.update(bundle=path, changed=True)
        return result
