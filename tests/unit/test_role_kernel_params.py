# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds a fleet of the free strategy back from rebooting all at once; the boot scenario sees it happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

TASKS = Path(__file__).parents[2] / "roles/kernel_params/tasks"
REBOOT = "ansible.builtin.reboot"


def test_the_reboot_is_one_task_for_all_hosts():
    """An include makes its tasks anew for each host that comes alone, and throttle would count to one each time."""
    (task,) = [task for task in yaml.safe_load((TASKS / "main.yml").read_text()) if REBOOT in task]
    assert "kernel_params_reboot_at_once" in task["throttle"]
    assert "__kernel_params_reboots" in task["throttle"], "hosts that do not reboot would wait too"


@pytest.mark.parametrize(
    ("reboots", "wanted", "throttle"), [(True, "2", 2), (True, 0, 1), (True, -1, 1), (False, 2, 0)]
)
def test_no_throttle_is_none_at_all(reboots: bool, wanted: Any, throttle: int):
    """To Ansible 0 means all hosts at once."""
    text = next(task["throttle"] for task in yaml.safe_load((TASKS / "main.yml").read_text()) if REBOOT in task)
    given = {"kernel_params_reboot_at_once": wanted, "__kernel_params_reboots": reboots}
    assert Templar(DataLoader(), variables=given).template(trust_as_template(text)) == throttle


@pytest.mark.parametrize(
    "path", [path for path in TASKS.glob("*.yml") if path.name != "main.yml"], ids=lambda p: p.name
)
def test_no_included_file_reboots(path: Path):
    assert REBOOT not in path.read_text()


def test_the_preview_refuses_what_the_role_refuses():
    points = yaml.safe_load((TASKS.parent / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert points["preview"]["options"] == points["main"]["options"]
