# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Excerpts of logs that people have posted, shortened.

The first line of each file in field_logs says what somebody who knows the engines would read from the rest.
"""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load

ENGINE, KERNEL = load("engine"), load("kernel")
FILES = sorted((pathlib.Path(__file__).parent / "field_logs").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("line_end", ["", "\r"])
def test_an_excerpt_is_read_right(path: pathlib.Path, line_end: str) -> None:
    first, *rest = path.read_text(encoding="utf-8").split("\n")
    expected, lines = json.loads(first), [line + line_end for line in rest]
    if path.stem.startswith("kernel_"):
        faults = read_kernel_log(lines, KERNEL)["faults"]
        found = {"codes": sorted(fault["code"] for fault in faults)}
    else:
        log = read_engine_log(lines, ENGINE)
        codes = sorted(failure["code"] for failure in log["failures"])
        names = ("backend", "backend_source", "offloaded", "engine", "version")
        found = {"codes": codes, **{name: log[name] for name in names}}
    assert found == expected


def test_there_are_excerpts_of_both_logs() -> None:
    assert {path.stem.partition("_")[0] for path in FILES} == {"engine", "kernel"}
