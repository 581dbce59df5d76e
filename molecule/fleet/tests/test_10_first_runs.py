# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What check mode foretold on hosts that had nothing, what the install did, and what a second run did not do."""

from __future__ import annotations

import pytest

HOSTS = ("minipc", "desktop", "tower", "halo", "nvidia", "xeon")
MOST_TASKS_OF_A_RUN_WITHOUT_CHANGE = 25
# What check mode can only say in other words, and what nobody can foretell: the proof.
SAME = {
    "Install | Loader and driver would be installed": "Install | Loader and driver are installed",
    "Package zstd would be installed": "Package zstd is installed",
    "The service would be enabled and started": "The service is enabled and runs what is installed and configured",
}
UNFORESEEABLE = {
    "Remember | The directory of local facts exists",
    "Remember | The next run begins with the proven rung",
}


def static(task):
    """The name without what is filled in, which the strategy free may take from another host's run of the task."""
    return task.split(",")[0]


@pytest.mark.parametrize("host", HOSTS)
def test_check_mode_foretells_what_the_install_does(host, scenario_runs):
    foretold = {static(SAME.get(task, task)) for task in scenario_runs["check"].changed(host)}
    done = {static(task) for task in scenario_runs["converge"].changed(host)}
    assert done - UNFORESEEABLE == foretold
    assert done >= UNFORESEEABLE


@pytest.mark.parametrize("host", HOSTS)
def test_check_mode_shows_the_files_as_they_become(host, scenario_runs):
    def files(run):
        results = scenario_runs[run].of(host, action="ansible.builtin.template", changed=True)
        return {static(result["task"]): [part["after"] for part in result["diff"]] for result in results}

    assert len(files("check")) == 2
    assert files("check") == files("converge")


@pytest.mark.parametrize("host", HOSTS)
def test_a_run_without_change_is_short(host, scenario_runs):
    results = scenario_runs["again"].of(host)
    assert not [result for result in results if result.get("changed") or result["status"] == "failed"]
    executed = [result["task"] for result in results if result["status"] == "ok"]
    print(f"{host}: {len(executed)} tasks")
    assert len(executed) <= MOST_TASKS_OF_A_RUN_WITHOUT_CHANGE
