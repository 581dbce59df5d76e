# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.action.inference_proof import ActionModule
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load


def test_the_signatures_of_both_logs_are_sent():
    """A proof reads the engine's log and the kernel's."""
    assert {entry["log"] for entry in load(*ActionModule.LOGS)} == {"engine", "kernel"}
