# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.lamplighter.fleet.plugins.action.benchmark_results import ActionModule
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.benchmark_results import read

from tests.unit.benchmark_records import MACHINE, benchmark


def act(folder: Path, *benchmarks: Any, host: str = "desktop", check: bool = False, **arguments: Any) -> Any:
    task = MagicMock(async_val=0, check_mode=check, diff=False)
    task.args = {"folder": str(folder), "benchmarks": list(benchmarks), "machine": MACHINE, **arguments}
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    return action.run(task_vars={"inventory_hostname": host})


def test_results_are_recorded_compared_and_drawn(tmp_path: Path) -> None:
    folder, page = tmp_path / "results", tmp_path / "pages/index.html"
    first = act(folder, benchmark(), benchmark(model="other"), chart=str(page))
    assert first["changed"]
    assert first["path"] == str(folder / "desktop.jsonl")
    assert [found["verdict"] for found in first["comparisons"]] == ["first", "first"]
    act(folder, benchmark(), host="xeon", chart=str(page))
    second = act(folder, benchmark(0.8), threshold=25, chart=str(page))
    assert [found["verdict"] for found in second["comparisons"]] == ["steady"]
    assert [len(read(folder / f"{host}.jsonl")[0]) for host in ("desktop", "xeon")] == [3, 1]
    assert all(host in page.read_text() for host in ("desktop", "xeon"))


def test_without_a_name_for_it_there_is_no_page(tmp_path: Path) -> None:
    act(tmp_path, benchmark())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "desktop.jsonl"]


def test_acceptance_is_recorded(tmp_path: Path) -> None:
    act(tmp_path, benchmark())
    act(tmp_path, benchmark(0.5), accept=True)
    assert [record["accepted"] for record in read(tmp_path / "desktop.jsonl")[0]] == [True, True]


def test_check_mode_compares_and_writes_nothing(tmp_path: Path) -> None:
    act(tmp_path, benchmark())
    result = act(tmp_path, benchmark(0.5), check=True, chart=str(tmp_path / "index.html"))
    assert [found["verdict"] for found in result["comparisons"]] == ["slower"]
    assert len(read(tmp_path / "desktop.jsonl")[0]) == 1
    assert not (tmp_path / "index.html").exists()
    act(tmp_path / "new", benchmark(), check=True)
    assert not (tmp_path / "new").exists()


def test_a_torn_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "desktop.jsonl").write_text('{"schema": 1, "ho')
    assert "line 1 is cut off" in act(tmp_path, benchmark())["problems"][0]


def test_a_folder_that_cannot_be_written_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnsibleActionFail, match=r"file/results.* cannot be written: .*Not a directory"):
        act(tmp_path / "file/results", benchmark())


@pytest.mark.parametrize("wrong", [{"threshold": "much"}, {"benchmarks": "x"}, {"folders": "y"}])
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(AnsibleError, match=next(iter(wrong))):
        act(tmp_path, benchmark(), **wrong)
