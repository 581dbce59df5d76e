# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets what of the wanted models, as the role's variables tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

VARS = Path(__file__).parents[2] / "roles/models/vars/main.yml"
PRESENT = {"name": "p", "state": "present", "source": "url", "engines": ["ollama", "llama_server"], "missing": True}
RESULT: list[dict[str, Any]] = [
    {**PRESENT, "removable": {}},
    {**PRESENT, "name": "a", "state": "absent", "removable": {"ollama": "/m/a"}},
    {**PRESENT, "name": "l", "engines": ["llama_server"], "removable": {}},
]


@pytest.mark.parametrize(
    ("engine", "made", "unwanted", "waiting"), [("ollama", ["p"], ["a"], []), ("llama_server", [], [], ["p", "a"])]
)
def test_ollama_is_asked_only_where_it_runs(
    engine: str, made: list[str], unwanted: list[str], waiting: list[str]
) -> None:
    given = {"models_plan": {"engine": engine}, "models_download_from": "host", "ansible_check_mode": False}
    names = {**DataLoader().load_from_file(str(VARS), trusted_as_template=True), **given, "models_result": RESULT}
    templar = Templar(DataLoader(), variables=names)
    parts = ("__models_ollama_made", "__models_unwanted_ollama", "__models_waiting")
    told = [[one["name"] for one in templar.template(trust_as_template(f"{{{{ {part} }}}}"))] for part in parts]
    assert told == [made, unwanted, waiting]


def test_the_controller_is_worked_on_as_the_user_even_where_the_inventory_says_ansible_become() -> None:
    tasks = [
        task for path in (VARS.parents[1] / "tasks").glob("*.yml") for task in DataLoader().load_from_file(str(path))
    ]
    delegated = [task for task in tasks if "delegate_to" in task]
    assert delegated
    assert [task["name"] for task in delegated if task.get("vars", {}).get("ansible_become") is not False] == []


@pytest.mark.parametrize(
    ("given", "flash"),
    [
        ({}, True),
        ({"ollama_flash_attention": None}, True),
        ({"ollama_flash_attention": "false"}, False),
        ({"ollama_flash_attention": True}, True),
        ({"ollama_flash_attention": False, "models_plan": {"engine": "llama_server"}}, True),
    ],
)
def test_the_memory_is_told_for_ollama_as_it_is_set_up(given: dict[str, Any], flash: bool) -> None:
    names = {**DataLoader().load_from_file(str(VARS), trusted_as_template=True), "models_plan": {}, **given}
    (task,) = [
        task["lamplighter.fleet.model_fit"]
        for task in DataLoader().load_from_file(str(VARS.parents[1] / "tasks/look.yml"), trusted_as_template=True)
        if "lamplighter.fleet.model_fit" in task
    ]
    assert Templar(DataLoader(), variables=names).template(task.get("flash_attention")) is flash
