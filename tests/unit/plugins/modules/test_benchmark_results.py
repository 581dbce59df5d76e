# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module is documentation: its action plugin does the work."""

from __future__ import annotations

import yaml
from ansible_collections.lamplighter.fleet.plugins.action.benchmark_results import ARGUMENTS
from ansible_collections.lamplighter.fleet.plugins.modules import benchmark_results


def test_arguments_are_documented_as_they_are():
    documented = yaml.safe_load(benchmark_results.DOCUMENTATION)["options"]
    assert set(documented) == set(ARGUMENTS)
    for name, option in documented.items():
        wanted = {key: option[key] for key in ("type", "elements", "required", "default") if key in option}
        assert wanted == ARGUMENTS[name], name
