# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor on hosts of which each has another fault: it names the fault first, changes nothing, and fails only if
asked to. Each host of a batch has a case of its own, so that a batch costs one play."""

from __future__ import annotations

import json
import re

import pytest

DROP_IN = "/etc/systemd/system/ollama.service.d/zz-doctor-test.conf"
PARTS = "/usr/share/ollama/.ollama/models/blobs/*-partial"
KERNEL_LOG = "/srv/machine/var/log/kern.log"
ASK = """
import http.client, sys, urllib.request
request = urllib.request.Request(f"http://127.0.0.1:11434/api/{sys.argv[1]}", sys.argv[2].encode())
try:
    urllib.request.urlopen(request, timeout=40).read()
except (OSError, http.client.HTTPException):
    pass  # what the engine answers does not matter
"""
# A long prompt, because some faults show only there.
LOAD = {"model": "qwen3:0.6b", "prompt": "lamp " * 700, "stream": False, "options": {"num_predict": 4}}
PULL = {"model": "qwen3:4b"}
READY = "python3 -c \"import urllib.request; urllib.request.urlopen('http://127.0.0.1:11434/api/version')\""

# host: (the stand-in's scenario, lines of a drop-in, the code that comes first; None for a host that is well)
FAULTS = [
    {
        "minipc": ({"vulkan": "crash_on_load"}, [], "memory_access_fault"),
        "desktop": ({"rocm": "out_of_memory"}, [], "gpu_oom"),
        "tower": ({"vulkan": "discovery_crash"}, [], "runner_crashed"),
        "halo": ({"rocm": "cpu_while_api_claims_gpu"}, [], "api_claims_gpu"),
        "nvidia": ({"cuda": "cpu_while_log_and_api_claim_gpu"}, [], "api_claims_gpu"),
        "xeon": ({}, [], None),
    },
    {
        "minipc": ({"vulkan": "zero_vram"}, [], "zero_vram_reported"),
        "desktop": ({"rocm": "denied"}, [], "gpu_not_used"),
        "tower": ({"vulkan": "hang_on_load"}, ["Environment=OLLAMA_LOAD_TIMEOUT=3s"], "load_timeout"),
        "halo": ({"rocm": "crash_on_long_prompt"}, [], "rocblas_tensile_missing"),
        "nvidia": ({"cuda": "discovery_timeout"}, ["Environment=STANDIN_DISCOVERY_TIMEOUT=2"], "gpu_discovery_timeout"),
        "xeon": ({}, ["Environment=OLLAMA_HOST=0.0.0.0:11434"], "api_exposed"),
    },
    {
        "minipc": ({}, ["ExecStartPre=", "PrivateDevices=yes"], "sandbox_hides_gpu"),
        "desktop": ({"rocm": "kernel_fault"}, [], "page_fault"),
        "tower": ({}, ["ExecStartPre=", "SupplementaryGroups="], "render_permission"),
        "halo": ({}, ["Environment=OLLAMA_NUM_GPU=-1"], "environment_never_read"),
        "nvidia": (
            {"cuda": "slow"},
            ["UnsetEnvironment=", "Environment=OLLAMA_LLM_LIBRARY=cuda_v11"],
            "stale_library_name",
        ),
        "xeon": ({"pull": "cut"}, [], "download_unfinished"),
    },
]


def start(fleet, host, lines):
    text = "\\n".join(["[Service]", *lines])
    fleet.do(host, f"printf '{text}\\n' > {DROP_IN}; systemctl daemon-reload; systemctl restart ollama")
    fleet.wait_for(host, READY)


def use(fleet, host, scenario):
    request = ("pull", PULL) if "pull" in scenario else ("generate", LOAD)
    fleet.machine(host).run("python3 -c %s %s %s", ASK, request[0], json.dumps(request[1]))


def pages(run, hosts):
    task = "What is wrong, in the order to mend it"
    return {host: run.of(host, task=task)[0]["msg"] for host in hosts}


def codes(page):
    return re.findall(r"^ +\d+\. +(?:ERROR|warning) (\w+):", page, re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def well_again(fleet):
    """Whatever the tests do, the next ones find the fleet as it was."""
    hosts = list(FAULTS[0])
    fleet.on(hosts, lambda host: fleet.do(host, f"cp {KERNEL_LOG} /root/kern.log"))
    yield
    fleet.scenarios(dict.fromkeys(hosts))
    fleet.on(hosts, lambda host: fleet.do(host, f"rm -f {DROP_IN} {PARTS}; cat /root/kern.log > {KERNEL_LOG}"))
    fleet.on(hosts, lambda host: fleet.do(host, "systemctl daemon-reload; systemctl restart ollama"))
    fleet.on(hosts, lambda host: fleet.wait_for(host, READY))


@pytest.mark.parametrize("batch", FAULTS, ids=["first", "second", "third"])
def test_each_fault_is_named_first(fleet, batch):
    fleet.scenarios({host: scenario for host, (scenario, _lines, _code) in batch.items()})
    fleet.on(batch, lambda host: start(fleet, host, batch[host][1]))
    fleet.on(batch, lambda host: use(fleet, host, batch[host][0]))
    before = fleet.trees(batch)
    run = fleet.play(list(batch), "--become", playbook="playbooks/doctor.yml")
    assert run.code == 0, run.output
    told = pages(run, batch)
    print("\n\n".join(told.values()))
    assert {host: (codes(page) or [None])[0] for host, page in told.items()} == {
        host: code for host, (_scenario, _lines, code) in batch.items()
    }
    assert [host for host in batch if run.changed(host)] == []
    assert fleet.trees(batch) == before


def test_it_fails_only_if_asked_to_and_only_on_hosts_with_errors(fleet):
    """The faults of the batch before are still there: on one host it is only a warning."""
    run = fleet.play(list(FAULTS[-1]), "--become", "-e", "doctor_fail=true", playbook="playbooks/doctor.yml")
    assert run.code == 2
    assert {host for host in FAULTS[-1] if run.of(host, status="failed")} == set(FAULTS[-1]) - {"xeon"}


def test_a_plain_user_is_told_what_could_not_be_read(fleet):
    run = fleet.play(["halo"], playbook="playbooks/doctor.yml")
    page = pages(run, ["halo"])["halo"]
    assert codes(page)[0] == "environment_never_read"
    assert "Unread" in page
    assert "--become" in page


def test_a_bundle_tells_the_same_and_not_who_and_where(fleet, tmp_path):
    hosts = ["desktop", "tower"]
    made = fleet.play(hosts, "--become", "-e", f"doctor_bundle={tmp_path}", playbook="playbooks/doctor.yml")
    assert made.code == 0, made.output
    for host in hosts:
        bundle = tmp_path / f"{host}.tar.gz"
        read = fleet.play(
            {"localhost": {"ansible_connection": "local"}},
            "-e",
            f"doctor_read={bundle}",
            playbook="playbooks/doctor.yml",
        )
        page = pages(read, ["localhost"])["localhost"]
        assert codes(page) == codes(pages(made, [host])[host])
        assert fleet.machine(host).sudo is not None
        assert json.dumps(page).count("10.77.") == 0
