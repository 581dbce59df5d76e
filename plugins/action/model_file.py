# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows how far the download of a GGUF file is."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.plugin_utils.in_background import InBackground


class ActionModule(InBackground):
    MODULE = "lamplighter.fleet.model_file"

    def progress_file(self, arguments: dict[str, Any]) -> str:
        folder, name = os.path.split(str(arguments.get("path")))
        return os.path.join(folder, f".{name}.progress")

    def foretold(self, arguments: dict[str, Any]) -> bool:
        # A file that is right is to be noted as such, which a dry run leaves; who asks has looked at the notes before.
        return arguments.get("state") == "absent"
