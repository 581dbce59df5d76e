# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules wsl_client_facts and windows_ollama_proof as Ansible runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import windows_ollama_proof, wsl_client_facts

from tests.unit.machines import write


def run(capsys: pytest.CaptureFixture[str], module: Any, **args: Any) -> dict[str, Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_facts_are_those_that_are_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path, {"etc/environment": "OLLAMA_HOST=desk\n"})
    facts = run(capsys, wsl_client_facts, sysroot=root, way="loopback")["ansible_facts"]["wsl_client_facts"]
    told = yaml.safe_load(wsl_client_facts.RETURN)["ansible_facts"]["contains"]["wsl_client_facts"]["contains"]
    assert set(facts) == set(told)
    assert facts["address"]["url"] == "http://127.0.0.1:11434"
    assert [entry["said"] for entry in facts["others"]] == ["/etc/environment says OLLAMA_HOST=desk in line 1"]


def test_everything_that_is_wrong_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, wsl_client_facts, way="none", refusal="This is WSL 1.", port=0)
    assert result["failed"]
    assert result["msg"].splitlines() == [
        "wsl_client_port is 0. A port is between 1 and 65535; Ollama's is 11434.",
        "This is WSL 1.",
    ]
    assert "wsl_client_host: '0.0.0.0'" in run(capsys, wsl_client_facts, host="0.0.0.0")["msg"]


def test_an_address_of_the_inventory_is_a_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    facts = run(capsys, wsl_client_facts, way="none", host="desk")["ansible_facts"]["wsl_client_facts"]
    assert facts["address"]["way"] == "given"


def test_a_proof_without_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, windows_ollama_proof, way="gateway", mode="nat")
    assert not result["changed"]
    assert set(result["proof"]) == set(yaml.safe_load(windows_ollama_proof.RETURN)["proof"]["contains"])
    assert result["proof"]["verdict"] == "failed"
    assert result["proof"]["evidence"]["reach"]["code"] == "no_gateway"


def test_a_proof_of_an_address_that_nobody_serves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    result = run(capsys, windows_ollama_proof, url="http://127.0.0.1:1", way="loopback", mode="mirrored")
    assert result["proof"]["evidence"]["reach"]["code"] == "not_running"


def test_check_mode_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, windows_ollama_proof, _ansible_check_mode=True)["skipped"]
