# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ollama_facts as Ansible runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import ollama_facts

PROVEN = {"engine": "ollama", "engine_version": "0.32.15", "backend": "rocm", "id": "rocm"}


def run(capsys: pytest.CaptureFixture[str], **args: Any) -> dict[str, Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        ollama_facts.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_is_returned_is_what_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, root=str(tmp_path / "opt"), fact=str(tmp_path / "none"))
    fields = yaml.safe_load(ollama_facts.RETURN)["ansible_facts"]["contains"]["ollama_facts"]["contains"]
    assert set(result["ansible_facts"]["ollama_facts"]) == set(fields)
    assert result["changed"] is False


def test_the_rung_that_was_proven_is_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fact = tmp_path / "lamplighter.fact"
    fact.write_text(json.dumps({"proven": PROVEN}))
    assert run(capsys, fact=str(fact))["ansible_facts"]["ollama_facts"]["proven"] == PROVEN


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"proven": 1}'])
def test_a_damaged_memory_is_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fact = tmp_path / "lamplighter.fact"
    fact.write_text(text)
    assert run(capsys, fact=str(fact))["ansible_facts"]["ollama_facts"]["proven"] == {}


def test_a_host_that_llama_server_serves_tells_its_build_and_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'version: 11669 (abc)' >&2\n")
    program.chmod(0o755)
    found = run(capsys, llama_server=str(program), model_files=[str(program)])["ansible_facts"]["ollama_facts"]
    assert found["installed"]["version"] == "b11669"
    assert [model["size"] for model in found["installed"]["models"]] == [program.stat().st_size]
    assert run(capsys)["ansible_facts"]["ollama_facts"]["installed"]["version"] is None
