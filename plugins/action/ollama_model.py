# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows how far the download of a model is."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.plugin_utils.in_background import InBackground


class ActionModule(InBackground):
    MODULE = "lamplighter.fleet.ollama_model"

    def progress_file(self, arguments: dict[str, Any]) -> str:
        # In a directory that only root writes to: nobody else can lay a link there.
        name = hashlib.sha256(str(arguments.get("name")).encode()).hexdigest()[:16]
        return f"/run/lamplighter-model-{name}"

    def foretold(self, arguments: dict[str, Any]) -> bool:
        # Whether the registry has a newer one is known only after pulling it.
        return arguments.get("state") != "latest"
