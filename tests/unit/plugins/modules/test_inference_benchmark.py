# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import ENGINES
from ansible_collections.lamplighter.fleet.plugins.modules import inference_benchmark

NOBODY = {"url": "http://127.0.0.1:9", "unit": "no-such.service", "start_timeout": 1}


def run(capsys, **arguments):
    """What the module prints, as Ansible reads it."""
    with patch_module_args({"model": "toy", **arguments}), pytest.raises(SystemExit):
        inference_benchmark.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_tokens", 15),
        ("predict_tokens", 1),
        ("context", -1),
        ("repetitions", 0),
        ("warmup", 11),
        ("start_timeout", 0),
        ("request_timeout", 3601),
        ("url", "file:///etc/passwd"),
        ("engine", "vllm"),
    ],
)
def test_bad_arguments_fail(capsys, name, value):
    result = run(capsys, **{name: value})
    assert result["failed"]
    assert name in result["msg"]


def test_check_mode_measures_nothing(capsys):
    result = run(capsys, **NOBODY, _ansible_check_mode=True)
    assert result["skipped"]
    assert "benchmark" not in result


@pytest.mark.parametrize("engine", list(ENGINES))
def test_an_engine_that_never_answers_is_told_and_no_failure(capsys, engine):
    result = run(capsys, **NOBODY, engine=engine)
    assert not result.get("failed")
    assert not result["changed"]
    benchmark = result["benchmark"]
    assert not benchmark["complete"]
    assert benchmark["failed_at"] == "waiting for the engine"
    assert "no answer within 1 seconds" in benchmark["error"]


def test_every_key_of_the_result_is_documented(capsys):
    documented = yaml.safe_load(inference_benchmark.RETURN)["benchmark"]["contains"]
    benchmark = run(capsys, **NOBODY)["benchmark"]
    assert set(benchmark) == set(documented)
    for name in ("conditions", "placement"):
        assert set(benchmark[name]) == set(documented[name]["contains"])


@pytest.mark.parametrize("model", [None, ""])
def test_ollama_needs_the_name_of_a_model(capsys, model):
    result = run(capsys, **NOBODY, model=model)
    assert result["failed"]
    assert "model" in result["msg"]


def test_the_key_is_secret(capsys):
    assert "s3cret-key" not in json.dumps(run(capsys, **NOBODY, api_key="s3cret-key"))
