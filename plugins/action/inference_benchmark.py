# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import SignaturesAction


class ActionModule(SignaturesAction):
    """Gives the module inference_benchmark the signatures of the engine's failures."""

    LOGS = ("engine",)
