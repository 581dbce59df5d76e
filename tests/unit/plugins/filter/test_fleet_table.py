# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.filter.fleet_table import FilterModule, fleet_table
from hypothesis import given
from hypothesis import strategies as st

ROWS: list[dict[str, Any]] = [
    {
        "host": "minipc",
        "gpu": "AMD Radeon 780M Graphics (gfx1103)",
        "backend": "vulkan",
        "verdict": "proven",
        "tokens_per_second": 21.53,
        "advice": "Optional: lower the BIOS carve-out of AMD Radeon 780M to 512 MB.",
    },
    {"host": "x", "gpu": "none", "backend": None, "verdict": "not reached", "tokens_per_second": None, "advice": ""},
]
TABLE = """\
HOST    GPU                                 BACKEND  PROOF        TOKENS/S  WHAT TO DO
------------------------------------------------------------------------------------------------------
minipc  AMD Radeon 780M Graphics (gfx1103)  vulkan   proven           21.5  Optional: lower the BIOS
                                                                            carve-out of AMD Radeon
                                                                            780M to 512 MB.
x       none                                -        not reached         -  -"""


def test_the_table_is_aligned_and_its_last_column_wrapped():
    assert fleet_table(ROWS, 102) == TABLE


def test_a_long_gpu_is_wrapped_too():
    lines = fleet_table(
        [{**ROWS[1], "gpu": "AMD Radeon RX 7900 XTX (gfx1100), AMD Radeon RX 6700 XT (gfx1031)"}]
    ).splitlines()
    assert [line[6:40].strip() for line in lines[2:]] == [
        "AMD Radeon RX 7900 XTX (gfx1100),",
        "AMD Radeon RX 6700 XT (gfx1031)",
    ]


def test_no_hosts_are_a_heading():
    assert fleet_table([]).splitlines()[0].split() == [
        "HOST",
        "GPU",
        "BACKEND",
        "PROOF",
        "TOKENS/S",
        "WHAT",
        "TO",
        "DO",
    ]


@given(st.lists(st.dictionaries(st.sampled_from(sorted(ROWS[0])), st.none() | st.integers() | st.text(max_size=99))))
def test_whatever_the_rows_hold_each_host_has_a_line(rows: list):
    assert len(fleet_table(rows).split("\n")) >= len(rows) + 2


def test_the_filter_has_its_name():
    assert FilterModule().filters() == {"fleet_table": fleet_table}
