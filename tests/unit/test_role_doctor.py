# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role doctor is told to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

VARS = Path(__file__).parents[2] / "roles/doctor/vars/main.yml"


def told(name: str, **given: Any) -> Any:
    names = {**DataLoader().load_from_file(str(VARS), trusted_as_template=True), **given}
    return Templar(DataLoader(), variables=names).template(trust_as_template(f"{{{{ {name} }}}}"))


@pytest.mark.parametrize(
    ("given", "read"),
    [("", ""), ("/srv/sent.tar.gz", "/srv/sent.tar.gz"), ("sent.tar.gz", "HERE/sent.tar.gz"), ("~/sent", "HERE/sent")],
)
def test_what_was_sent_is_found_from_here(
    given: str, read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert told("__doctor_read", doctor_read=given) == read.replace("HERE", str(tmp_path))


@pytest.mark.parametrize(
    ("given", "unit"),
    [
        ({}, "ollama.service"),
        (
            {"inference_engine": "llama_server", "llama_server_instances": [{"name": "a"}, {"name": "b"}]},
            "llama-server-a.service",
        ),
        ({"inference_engine": "llama_server", "llama_server_instances": None}, "ollama.service"),
        ({"llama_server_instances": [{"name": "a"}]}, "ollama.service"),
    ],
    ids=["nothing", "llama-server", "no instance", "instances that wait"],
)
def test_the_unit_is_that_of_the_engine(given: dict[str, Any], unit: str) -> None:
    assert told("__doctor_unit", **given) == unit
