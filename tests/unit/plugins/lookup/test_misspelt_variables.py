# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.lookup.misspelt_variables import (
    ROLES,
    LookupModule,
    misspelt,
    role_options,
)

OPTIONS = {"ollama": frozenset({"ollama_version", "ollama_num_parallel"}), "ladder": frozenset({"ladder_proof_model"})}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ollama_version", None),
        ("ansible_host", None),
        ("__ollama_private", None),
        ("ollamaversion", None),
        ("ollama_num_paralel", "did you mean ollama_num_parallel?"),
        ("ollama_zzzzzzzzzzz", "remove it"),
        ("ladder_prof_model", "did you mean ladder_proof_model?"),
    ],
)
def test_misspelt(name, problem):
    problems = misspelt([name], OPTIONS)
    assert [problem in text and text.startswith(name) for text in problems] == ([True] if problem else [])


def test_options_of_every_role_are_read():
    options = role_options(ROLES)
    assert set(options) == {folder.name for folder in ROLES.iterdir() if folder.is_dir()}
    assert "inference_backend" in options["inference"]


def test_facts_that_are_variables_too_are_not_misspelt():
    variables = {"ansible_facts": {"ollama_facts": {}}, "ollama_facts": {}, "ollama_hots": "", "inference_plan": {}}
    lookup = LookupModule()
    lookup.set_options = lambda **_options: None
    found = lookup.run(["inference_plan"], variables)
    assert found == ["ollama_hots is not a variable of lamplighter.fleet: did you mean ollama_host?"]
