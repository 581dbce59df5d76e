# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows how far an installation is."""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.plugin_utils.in_background import InBackground


class ActionModule(InBackground):
    MODULE = "lamplighter.fleet.engine_release"

    def progress_file(self, arguments: dict[str, Any]) -> str:
        return f"{arguments.get('root', '/opt/ollama')}/.progress"
