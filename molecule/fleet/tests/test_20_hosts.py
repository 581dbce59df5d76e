# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host of the fleet is when the play is done, seen over SSH by other means than the roles'."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parents[3]
SSH_CONFIG = PROJECT / ".cache/fleet" / os.environ.get("LAMPLIGHTER_FLEET", "lamplighter") / "ssh_config"
PROVEN = {
    "minipc": "vulkan",
    "desktop": "rocm",
    "tower": "vulkan",
    "halo": "rocm",
    "nvidia": "cuda",
    "xeon": "cpu",
}


@pytest.fixture(scope="module", params=PROVEN)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def machine(name: str) -> Host:
    return testinfra.get_host(f"ssh://{name}", ssh_config=str(SSH_CONFIG), controlpersist=60, sudo=True)


def test_the_proven_backend_is_remembered(name: str, machine: Host) -> None:
    fact = json.loads(machine.file("/etc/ansible/facts.d/lamplighter.fact").content_string)
    assert fact["proven"]["backend"] == PROVEN[name]


def test_the_last_start_uses_that_backend(name: str, machine: Host) -> None:
    start = machine.check_output("systemctl show --property=InvocationID --value ollama.service")
    log = machine.check_output(f"journalctl _SYSTEMD_INVOCATION_ID={start} --output=cat --no-pager")
    found = re.findall(r'msg="inference compute".* library=(\w+)', log)
    assert [library.lower() for library in found] == [PROVEN[name]]


def test_the_engine_answers_on_loopback_only(machine: Host) -> None:
    assert machine.service("ollama").is_running
    assert machine.service("ollama").is_enabled
    sockets = machine.check_output("ss --listening --tcp --numeric --no-header 'sport = :11434'")
    assert re.findall(r"(\S+):11434", sockets) == ["127.0.0.1"]


def test_check_mode_on_the_finished_fleet_changes_nothing() -> None:
    command = ["ansible-playbook", "--inventory=inventories/demo", "--check", "site.yml"]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_CONFIG": "ansible.cfg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}, done.stdout[-3000:]
