# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.network import host_and_port
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.address import is_loopback

from tests.unit.doctor_hosts import changed, codes
from tests.unit.plan_hosts import GIB, xeon


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("", ("127.0.0.1", 11434)),
        ("0.0.0.0", ("0.0.0.0", 11434)),
        ("box:8080", ("box", 8080)),
        (":8080", ("127.0.0.1", 8080)),
        ("http://box", ("box", 80)),
        ("https://box", ("box", 443)),
        ("https://box:11434/", ("box", 11434)),
        ("[::1]:8080", ("::1", 8080)),
        (' "box" ', ("box", 11434)),
        ("box:port", ("box:port", 11434)),
    ],
)
def test_an_ollama_host_is_read_as_ollama_does(value: str, place: tuple[str, int]):
    assert host_and_port(value) == place


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1", True),
        ("::1", True),
        ("localhost", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.127.1", False),
        ("1127.0.0.1", False),
        ("localhost.org", False),
    ],
)
def test_what_only_this_machine_reaches(address: str, loopback: bool):
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    ("free", "total", "severity"),
    [
        (GIB - 1, 100 * GIB, "error"),
        (GIB, 100 * GIB, "warning"),
        (10 * GIB - 1, 100 * GIB, "warning"),
        (10 * GIB, 100 * GIB, None),
        (4 * GIB, 20 * GIB, None),
        (None, 100 * GIB, None),
        (5 * GIB, None, None),
    ],
)
def test_how_full_a_disk_may_be(free: int | None, total: int | None, severity: str | None):
    found = diagnose(changed({"disk.free_bytes": free, "disk.total_bytes": total}))["findings"]
    assert [one["severity"] for one in found] == ([severity] if severity else [])
    assert all(one["seen"] == "/usr/share/ollama" for one in found)


def test_models_that_do_not_fit_are_named():
    models = [{"name": name, "size": size * GIB} for name, size in (("a", 40), ("b", 1), ("c", 60))]
    finding = diagnose(changed({"api.models": models}))["findings"][0]
    assert finding["message"].startswith("a and 1 more cannot fit: 60 GiB, and GPU memory here takes models of up to ")
    assert finding["command"] == "ollama rm a"
    one = diagnose(changed({"api.models": models[:2]}))["findings"][0]
    assert one["message"].startswith("a cannot fit: 40 GiB")
    on_cpu = changed({"api.models": models, "engine_log.backend": "cpu"}, xeon())
    assert "and memory here" in diagnose(on_cpu)["findings"][0]["message"]


@pytest.mark.parametrize("model", [{"name": "a"}, {"name": "a", "size": None}, {"name": "a", "size": True}])
def test_a_size_that_is_none_is_not_judged(model: dict[str, Any]):
    assert codes(changed({"api.models": [model]})) == []


def test_each_file_of_logins_is_looked_at():
    files = [
        {"path": "/etc/environment", "name": "OLLAMA_HOST", "value": ""},
        {"path": "/etc/profile.d/a.sh", "name": "EDITOR", "value": "vi"},
        {"path": "/etc/profile.d/b.sh", "name": "OLLAMA_HOST", "value": "far"},
    ]
    assert [one["seen"] for one in diagnose(changed({"login_environment": files}))["findings"]] == [
        "/etc/profile.d/b.sh: OLLAMA_HOST=far"
    ]


def test_an_open_port_that_no_variable_explains():
    finding = diagnose(changed({"ollama_facts.listener": {"addresses": ["::"]}, "process.environment": {"A": "1"}}))
    assert finding["findings"][0]["seen"] == "listens on :: port 11434"
