# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests' tools are those of the fleet, on this scenario's inventory."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "fleet/tests/conftest.py"
spec = importlib.util.spec_from_file_location("fleet_tools", TOOLS)
tools = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = tools
spec.loader.exec_module(tools)

# A minimal host has no curl.
ASK = """import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode() or None, {"Authorization": "Bearer " + sys.argv[3]})
try:
    print(urllib.request.urlopen(request).read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""


def ask(fleet, path, body="", port=8080, key=""):
    """What a server answers, or the status with which it refuses."""
    return fleet.machine("forky").check_output(
        "python3 -c %s %s %s %s", ASK, f"http://127.0.0.1:{port}{path}", body, key
    )


@pytest.fixture(scope="session", name="ask")
def asking(fleet):
    return functools.partial(ask, fleet)


fleet, scenario_runs = tools.fleet, tools.scenario_runs
