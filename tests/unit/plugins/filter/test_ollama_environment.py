# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lamplighter.fleet.plugins.filter.ollama_environment import ollama_environment
from ansible_collections.lamplighter.fleet.plugins.filter.systemd_environment import systemd_environment


def test_what_is_unset_is_left_out_and_the_rest_is_text() -> None:
    given = {
        "OLLAMA_MODELS": None,
        "OLLAMA_REMOTES": [],
        "OLLAMA_ORIGINS": ["http://a", "http://b"],
        "OLLAMA_FLASH_ATTENTION": False,
        "OLLAMA_NUM_PARALLEL": 2,
        "HSA_OVERRIDE_GFX_VERSION": "11.0.2",
    }
    assert ollama_environment(given, "0.32.15") == {
        "OLLAMA_ORIGINS": "http://a,http://b",
        "OLLAMA_FLASH_ATTENTION": "0",
        "OLLAMA_NUM_PARALLEL": "2",
        "HSA_OVERRIDE_GFX_VERSION": "11.0.2",
    }


REFUSED: list[tuple[str, object, str]] = [
    ("OLLAMA_NUM_GPU", -1, "num_gpu"),
    ("OLLAMA_NUM_PARALEL", 1, "OLLAMA_NUM_PARALLEL"),
    ("OLLAMA_SCHED_SPREAD", "off", "Write 1 or 0"),
    ("OLLAMA_NUM_PARALLEL", 5000, "0 to 1024"),
    ("OLLAMA_KEEP_ALIVE", "5m\nExecStartPre=/bin/x", "line break"),
    ("OLLAMA_KEEP_ALIVE", '5m"', "quote"),
    ("HSA_OVERRIDE_GFX_VERSION", "gfx1100", "x.y.z"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_what_ollama_would_misread_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        ollama_environment({name: value}, "0.32.15")


def test_lines_of_a_unit() -> None:
    assert systemd_environment({"B": "50%", "A": 1}) == ['Environment="A=1"', 'Environment="B=50%%"']
    with pytest.raises(AnsibleFilterError, match="newlines"):
        systemd_environment({"A": "1\n2"})
