# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import inference_proof


def run(capsys, **arguments):
    """What the module prints, as Ansible reads it."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        inference_proof.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_tokens", 511),
        ("predict_tokens", 0),
        ("start_timeout", 0),
        ("request_timeout", 3601),
        ("url", "file:///etc/passwd"),
        ("expect", "metal"),
        ("accept", ["metal"]),
        ("model", ""),
    ],
)
def test_bad_arguments_fail(capsys, name, value):
    result = run(capsys, **{"model": "toy", "expect": "rocm", name: value})
    assert result["failed"]
    assert name in result["msg"]


def test_check_mode_claims_nothing(capsys):
    result = run(capsys, model="toy", expect="rocm", url="http://127.0.0.1:9", _ansible_check_mode=True)
    assert result["skipped"]
    assert "proof" not in result


def test_an_engine_that_never_answers_is_a_verdict(capsys):
    result = run(capsys, model="toy", expect="rocm", url="http://127.0.0.1:9", unit="no-such.service", start_timeout=1)
    assert not result["changed"]
    assert result["proof"]["verdict"] == "failed"


def test_every_key_of_the_result_is_documented(capsys):
    proof = run(capsys, model="toy", expect="cpu", url="http://127.0.0.1:9", unit="no-such.service", start_timeout=1)[
        "proof"
    ]
    documented = yaml.safe_load(inference_proof.RETURN)["proof"]["contains"]
    assert set(proof) == set(documented)
    assert set(proof["evidence"]) == set(documented["evidence"]["contains"])
    for witness, said in proof["evidence"].items():
        if isinstance(said, dict):
            assert set(said) == set(documented["evidence"]["contains"][witness]["contains"])
