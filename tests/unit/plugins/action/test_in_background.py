# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.in_background import progress_line


def state(done: int, total: int | None = 1_050_000_000, name: str = "rocm.tar.zst", stage: str = "download") -> dict:
    return {"stage": stage, "name": name, "done": done, "total": total}


LINES: list[tuple[dict, dict, str]] = [
    (state(450_000_000), state(260_000_000), "rocm.tar.zst 42 % (450 MB of 1.05 GB, 38 MB/s, 16 s left)"),
    (state(450_000_000), {}, "rocm.tar.zst 42 % (450 MB of 1.05 GB)"),
    (state(450_000_000), state(0, name="base.tar.zst"), "rocm.tar.zst 42 % (450 MB of 1.05 GB)"),
    (state(450_000_000), state(450_000_000), "rocm.tar.zst 42 % (450 MB of 1.05 GB)"),
    (state(5_000_000, None), state(0, None), "rocm.tar.zst (5 MB, 1 MB/s)"),
    (state(0, None, stage="unpack"), {}, "rocm.tar.zst is being unpacked"),
]


@pytest.mark.parametrize(("now", "before", "line"), LINES)
def test_progress_line(now: dict, before: dict, line: str) -> None:
    assert progress_line(now, before, 5) == line
