# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role benchmark measures, as its variables say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[2] / "roles/benchmark"


def told(name: str, **given: Any) -> Any:
    paths = [ROLE / "defaults/main.yml", ROLE / "vars/main.yml"]
    defaults, private = [DataLoader().load_from_file(str(path), trusted_as_template=True) for path in paths]
    names = {**defaults, **private, "inference_plan": {"engine": "ollama"}, "__benchmark_at": 0, **given}
    return Templar(DataLoader(), variables=names).template(trust_as_template(f"{{{{ {name} }}}}"))


@pytest.mark.parametrize(
    ("models", "count", "first"),
    [(["a:1b", "b"], 2, "a:1b"), ("a:1b", 1, "a:1b"), ([], 0, ""), (None, 0, "")],
    ids=["list", "one name, as after -e", "empty", "null"],
)
def test_models(models: Any, count: int, first: str) -> None:
    assert told("__benchmark_count", benchmark_models=models) == count
    assert told("__benchmark_of_ollama.model", benchmark_models=models) == first


@pytest.mark.parametrize(
    ("facts", "url"),
    [
        ({"wsl_client_facts": {"address": {"url": "http://172.20.0.1:11434"}}}, "http://172.20.0.1:11434"),
        ({"wsl_client_facts": {"address": {"url": None}}}, ""),
        ({}, ""),
    ],
    ids=["found", "no route", "no WSL2"],
)
def test_ollama_on_windows_is_measured_where_it_is(facts: dict[str, Any], url: str) -> None:
    assert told("__benchmark_windows", ansible_facts=facts) == url
