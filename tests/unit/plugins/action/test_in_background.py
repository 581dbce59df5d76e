# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.lamplighter.fleet.plugins.action import model_file
from ansible_collections.lamplighter.fleet.plugins.plugin_utils import in_background
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.in_background import InBackground, progress_line


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


class Unfinished(InBackground):
    """A job on a host whose disk is too full for its result."""

    MODULE = "lamplighter.fleet.model_file"

    def __init__(self) -> None:
        pass

    def get_shell_option(self, _option: str, default: Any = None) -> Any:
        return default

    def _execute_module(self, *_arguments: Any, **_options: Any) -> dict[str, Any]:
        return {"started": True, "finished": False}

    def _low_level_execute_command(self, *_arguments: Any, **_options: Any) -> dict[str, Any]:
        return {"stdout": ""}


def test_a_job_that_tells_no_result_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        assert now[0] < 2 * in_background.LIMIT, "it is waited for without end"

    monkeypatch.setattr(in_background.time, "sleep", sleep)
    monkeypatch.setattr(in_background.time, "monotonic", lambda: now[0])
    result = Unfinished()._follow("1", "/run/x", {})
    assert result["failed"] is True
    assert "lamplighter.fleet.model_file has told no result" in result["msg"]
    assert in_background.LIMIT < now[0] < in_background.LIMIT + 120


@pytest.mark.parametrize(
    ("arguments", "check", "ran"),
    [
        ({"path": "/m/a.gguf", "sha256": "0" * 64}, False, [False]),
        ({"path": "/m/a.gguf", "sha256": "0" * 64}, True, [True]),
        ({"path": "/m/a.gguf", "state": "absent"}, False, [True]),
    ],
    ids=["a file that may be right", "dry run", "what is gone already"],
)
def test_a_file_that_is_right_is_noted(
    arguments: dict[str, str], check: bool, ran: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    dry: list[bool] = []
    task = MagicMock(async_val=0, check_mode=check, diff=False, args=arguments)
    action = model_file.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())

    def execute(*_arguments: Any, **_options: Any) -> dict[str, Any]:
        dry.append(task.check_mode)
        return {"changed": False}

    monkeypatch.setattr(action, "_execute_module", execute)
    action.run(task_vars={})
    assert dry == ran
