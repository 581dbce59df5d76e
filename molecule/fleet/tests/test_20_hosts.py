# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host of the fleet is when the play is done, seen over SSH by other means than the roles'."""

from __future__ import annotations

import json
import re

import pytest

PROVEN = {"minipc": "vulkan", "desktop": "rocm", "tower": "vulkan", "halo": "rocm", "nvidia": "cuda", "xeon": "cpu"}
DROP_IN = "/etc/systemd/system/ollama.service.d/override.conf"
# What the drop-in must hold and must not hold, beside what the unit tests of the plan know.
SETTINGS = {
    "minipc": ({"OLLAMA_IGPU_ENABLE": "1", "OLLAMA_LLM_LIBRARY": "vulkan"}, {"HSA_OVERRIDE_GFX_VERSION"}),
    "desktop": ({"OLLAMA_IGPU_ENABLE": "0", "ROCR_VISIBLE_DEVICES": "0"}, {"HSA_OVERRIDE_GFX_VERSION"}),
    "tower": ({"OLLAMA_LLM_LIBRARY": "vulkan"}, {"HSA_OVERRIDE_GFX_VERSION", "OLLAMA_IGPU_ENABLE"}),
    "halo": ({"OLLAMA_LLM_LIBRARY": "rocm_v7_2"}, {"HSA_OVERRIDE_GFX_VERSION"}),
    "nvidia": ({}, {"HSA_OVERRIDE_GFX_VERSION", "ROCR_VISIBLE_DEVICES", "OLLAMA_IGPU_ENABLE"}),
    "xeon": ({"OLLAMA_LLM_LIBRARY": "cpu"}, {"HSA_OVERRIDE_GFX_VERSION", "ROCR_VISIBLE_DEVICES"}),
}
GROUPS = {"minipc": ["render"], "desktop": ["render"], "tower": ["video"], "halo": ["ollama-gpu-105"]}
# Only hosts with a ROCm rung carry the ROCm archive.
WITH_ROCM = {"minipc", "desktop", "halo"}
EXPOSURE_BOUND = {"cpu": 1.5, "rocm": 1.7, "cuda": 1.7, "vulkan": 2.0}


@pytest.fixture(scope="module", params=PROVEN)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def machine(name, fleet):
    return fleet.machine(name)


def test_the_proven_backend_is_remembered(name, machine):
    fact = json.loads(machine.file("/etc/ansible/facts.d/lamplighter.fact").content_string)
    assert fact["proven"]["backend"] == PROVEN[name]
    assert fact["proven"]["engine_version"] == "0.32.15"


def test_the_last_start_uses_that_backend_and_one_gpu(name, machine):
    start = machine.check_output("systemctl show --property=InvocationID --value ollama.service")
    log = machine.check_output(f"journalctl _SYSTEMD_INVOCATION_ID={start} --output=cat --no-pager")
    found = re.findall(r'msg="inference compute".* library=(\w+)', log)
    assert [library.lower() for library in found] == [PROVEN[name]]


def test_the_engine_answers_on_loopback_only(machine):
    assert machine.service("ollama").is_running
    assert machine.service("ollama").is_enabled
    sockets = machine.check_output("ss --listening --tcp --numeric --no-header --processes")
    assert re.findall(r'(\S+):\d+ .*"ollama"', sockets) == ["127.0.0.1"]


def test_the_environment_is_the_rungs(name, machine):
    pid = machine.check_output("systemctl show --property=MainPID --value ollama.service")
    environment = dict(
        entry.split("=", 1) for entry in machine.file(f"/proc/{pid}/environ").content_string.split("\0") if entry
    )
    there, not_there = SETTINGS[name]
    assert there.items() <= environment.items()
    assert not not_there & environment.keys()


def test_the_service_has_the_groups_of_its_nodes_and_no_other(name, machine):
    pid = machine.check_output("systemctl show --property=MainPID --value ollama.service")
    groups = machine.check_output("grep ^Groups: /proc/%s/status", pid).split()[1:]
    names = [machine.check_output("getent group %s", gid).split(":")[0] for gid in groups]
    assert sorted(set(names) - {"ollama"}) == GROUPS.get(name, [])
    assert machine.user("ollama").shell == "/usr/sbin/nologin"
    assert machine.user("ollama").groups == ["ollama"]


@pytest.mark.parametrize(
    ("path", "mode", "user"),
    [
        ("/opt/ollama", 0o755, "root"),
        ("/opt/ollama/current/bin/ollama", 0o755, "root"),
        ("/etc/systemd/system/ollama.service", 0o644, "root"),
        (DROP_IN, 0o644, "root"),
        ("/etc/ansible/facts.d/lamplighter.fact", 0o644, "root"),
        ("/usr/share/ollama/.ollama/models", 0o755, "ollama"),
    ],
)
def test_files_have_owner_and_mode(machine, path, mode, user):
    file = machine.file(path)
    assert (file.mode, file.user) == (mode, user)


def test_nothing_but_the_release_is_left_of_the_installation(name, machine):
    assert machine.file("/opt/ollama/versions").listdir() == ["0.32.15"]
    assert machine.file("/opt/ollama/current").linked_to == "/opt/ollama/versions/0.32.15"
    assert not machine.file("/opt/ollama/downloads").listdir() if machine.file("/opt/ollama/downloads").exists else True
    assert machine.file("/opt/ollama/current/lib/ollama/rocm_v7_2").exists == (name in WITH_ROCM)
    assert machine.check_output("ollama --version").endswith("0.32.15")


def test_the_service_is_kept_in(name, machine):
    told = machine.check_output("systemd-analyze security --no-pager ollama.service | tail -1")
    exposure = float(re.search(r": ([\d.]+) ", told)[1])
    print(f"{name}: {exposure}")
    assert exposure <= EXPOSURE_BOUND[PROVEN[name]]


def test_check_mode_on_the_finished_fleet_changes_nothing(fleet):
    run = fleet.play(PROVEN, "--check")
    assert run.code == 0, run.output
    assert {host: run.changed(host) for host in PROVEN} == {host: [] for host in PROVEN}
