# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the doctor's findings, their commands, and what the logs add to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.logs import ENGINE_COMMANDS, KERNEL_COMMANDS
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load

from tests.unit.doctor_hosts import changed, cmdline, codes, fault, login, modprobe, with_environment
from tests.unit.plan_hosts import GIB, minipc, xeon


@pytest.mark.parametrize("log", ["engine", "kernel"])
def test_every_signature_is_a_finding_with_a_command_of_its_own(log: str):
    known = [entry["code"] for entry in load(log)]
    assert set(known) == set({"engine": ENGINE_COMMANDS, "kernel": KERNEL_COMMANDS}[log])
    place = {"engine": "engine_log.failures", "kernel": "kernel_log.faults"}[log]
    for code in known:
        line = "inference compute" if code == "zero_vram_reported" else "the line"
        found = diagnose(changed({place: [{**fault(code, "critical"), "line": line}]}))["findings"]
        assert [one["code"] for one in found] == [code]
        assert (found[0]["seen"], found[0]["severity"]) == (line, "critical")


def test_a_gpu_without_memory_is_a_cause_and_a_sum_without_gpus_is_none():
    lines = {
        'msg="inference compute" library=Vulkan total="0 B"': ["zero_vram_reported", "gpu_detected_but_model_on_cpu"],
        'msg="vram-based default context" total_vram="0 B"': ["gpu_detected_but_model_on_cpu"],
    }
    for line, told in lines.items():
        failures = [fault("gpu_detected_but_model_on_cpu"), {**fault("zero_vram_reported", "warning"), "line": line}]
        assert codes(changed({"engine_log.failures": failures})) == told


DEBIAN = {"gpu_facts.distribution": {"id": "debian", "version_id": "13", "id_like": []}}
FEDORA = {"gpu_facts.distribution": {"id": "fedora", "version_id": "43", "id_like": []}}
# a finding, where it was seen, and how its command begins
COMMANDS: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {**cmdline("quiet nomodeset"), **DEBIAN},
        "nomodeset",
        "/proc/cmdline: nomodeset",
        "sudoedit /etc/default/grub && sudo update-grub",
    ),
    (
        {**cmdline("amdgpu.gttsize=7"), **FEDORA},
        "gttsize_deprecated",
        "/proc/cmdline: amdgpu.gttsize=7",
        "sudo grubby --update-kernel=ALL --remove-args=amdgpu.gttsize",
    ),
    (
        {**modprobe("amdgpu.gttsize", "7", None), **DEBIAN},
        "gttsize_deprecated",
        "/etc/modprobe.d/gpu.conf: amdgpu.gttsize=7",
        "sudoedit /etc/modprobe.d/gpu.conf && sudo update-initramfs -u && sudo reboot",
    ),
    (
        {**modprobe("ttm.pages_limit", "7", "9"), **FEDORA},
        "parameter_not_in_force",
        "/etc/modprobe.d/gpu.conf: ttm.pages_limit=7; /sys/module: 9",
        "sudo dracut --force && sudo reboot",
    ),
    (
        {"kernel_log.faults": [fault("missing_firmware")], **DEBIAN},
        "missing_firmware",
        "the line",
        "sudo apt install firmware-amd-graphics && sudo update-initramfs -u && sudo reboot",
    ),
    ({"kernel_log.faults": [fault("missing_firmware")]}, "missing_firmware", "the line", ""),
    (
        {"ollama_facts.unit.environment": {"CUDA_VISIBLE_DEVICES": "0"}},
        "cuda_mask_on_amd",
        "CUDA_VISIBLE_DEVICES=0",
        "ansible-playbook site.yml --limit box",
    ),
]


@pytest.mark.parametrize(("changes", "code", "seen", "command"), COMMANDS)
def test_the_command_is_of_the_distribution_and_for_the_place(
    changes: dict[str, Any], code: str, seen: str, command: str
):
    finding = next(one for one in diagnose(changed(changes), {}, "box")["findings"] if one["code"] == code)
    assert finding["seen"] == seen
    assert finding["command"].startswith(command)
    assert command or not finding["command"]


def test_that_no_gpu_was_left_is_no_news_where_an_error_says_why():
    failures = [fault("no_devices_enumerated", "warning"), fault("unsupported_gfx")]
    assert codes(changed({"engine_log.failures": failures})) == ["unsupported_gfx"]


def test_what_only_says_that_there_is_no_gpu_is_no_fault_of_a_machine_without_one():
    failures = [fault("no_devices_enumerated"), fault("server_exit")]
    assert codes(changed({"engine_log.failures": failures, "engine_log.backend": "cpu"}, xeon())) == ["server_exit"]


# what is wrong at once, and in which order it is to be mended
ORDERS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"engine_log.failures": [fault("runner_crashed"), fault("rocblas_tensile_missing", "critical")]},
        ["rocblas_tensile_missing", "runner_crashed"],
    ),
    (
        {"engine_log.failures": [fault("load_timeout")], "kernel_log.faults": [fault("ring_timeout")]},
        ["ring_timeout", "load_timeout"],
    ),
    (
        {"credentials.groups": [], "engine_log.failures": [fault("gpu_init_failed")], "disk.free_bytes": 1 << 30},
        ["kfd_permission", "gpu_init_failed", "disk_nearly_full"],
    ),
    (
        {"engine_log.failures": [fault("partial_offload", "warning")], "service.PrivateDevices": "yes"},
        ["sandbox_hides_gpu", "partial_offload"],
    ),
]


@pytest.mark.parametrize(("changes", "order"), ORDERS)
def test_causes_come_before_what_follows_from_them(changes: dict[str, Any], order: list[str]):
    assert codes(changed(changes)) == order


def test_the_password_of_a_proxy_is_not_shown():
    evidence = with_environment(HTTP_PROXY="http://carol:hunter2@proxy:3128")
    assert diagnose(evidence)["findings"][0]["seen"] == "HTTP_PROXY=http://...@proxy:3128"


@pytest.mark.parametrize(
    ("evidence", "code", "seen"),
    [
        (with_environment(OLLAMA_API_KEY="hunter2"), "unknown_name", "OLLAMA_API_KEY=(hidden)"),
        (
            changed(login("OLLAMA_API_KEY", "hunter2")),
            "environment_of_logins",
            "/etc/environment: OLLAMA_API_KEY=(hidden)",
        ),
        (
            changed(login("OLLAMA_HOST", "http://carol:hunter2@far:1")),
            "client_elsewhere",
            "/etc/environment: OLLAMA_HOST=http://...@far:1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_secrets_are_not_shown(evidence: dict[str, Any], code: str, seen: str):
    found = diagnose(evidence)["findings"]
    assert seen in [finding["seen"] for finding in found if finding["code"] == code]
    assert "hunter2" not in str(found)


def test_commands_name_the_host_and_findings_are_counted():
    found = diagnose(changed({"service.PrivateDevices": "yes", "disk.free_bytes": 2 * GIB}), {}, "box")
    assert found["findings"][0]["command"] == "ansible-playbook site.yml --limit box"
    assert found["count"] == {"critical": 0, "error": 1, "warning": 1, "info": 0}
    assert not found["healthy"]


def test_a_group_without_a_name_is_made_first():
    evidence = changed({"gpu_facts.device_nodes.0.group": None, "credentials.groups": [998]})
    command = diagnose(evidence)["findings"][0]["command"]
    assert command.startswith("sudo groupadd --gid 104 gpu104 && sudo usermod --append --groups gpu104 ollama")


def test_nodes_that_one_command_opens_are_one_finding():
    finding = diagnose(changed({"credentials.groups": [998]}))["findings"][0]
    assert "/dev/kfd and /dev/dri/renderD128" in finding["message"]
    apart = {"credentials.groups": [998], "gpu_facts.device_nodes.1.gid": 44, "gpu_facts.device_nodes.1.group": "video"}
    assert codes(changed(apart)) == ["kfd_permission", "render_permission"]


def test_what_the_plan_refuses_of_the_services_environment_is_not_the_inventorys_fault():
    evidence = changed({"ollama_facts.unit.environment": {"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}}, minipc())
    found = diagnose(evidence)["findings"]
    assert "inventory_refused" not in [one["code"] for one in found]
    wrong = next(one for one in found if one["code"] == "override_wrong")
    assert "known to be bad: " in wrong["message"]


def test_one_leftover_of_rocm_and_one_open_port_are_one_finding_each():
    leftovers = {"ollama_facts.libraries": ["rocm", "rocm_v7_2"]}
    assert codes(changed(leftovers)) == ["rocm_payload_of_another_version"]
    exposed = {"ollama_facts.listener.addresses": ["::"], "ollama_facts.unit.environment": {"OLLAMA_HOST": "0.0.0.0"}}
    found = diagnose(changed(exposed))["findings"]
    assert [one["code"] for one in found] == ["api_exposed"]
    assert found[0]["seen"] == "listens on :: port 11434; OLLAMA_HOST=0.0.0.0"


def test_an_accepted_processor_is_no_fault():
    evidence = with_environment(OLLAMA_LLM_LIBRARY="cpu", ROCR_VISIBLE_DEVICES=None)
    evidence["engine_log"].update(backend="cpu", offloaded=None)
    evidence["api"]["loaded"] = []
    assert codes(evidence)[0] == "processor_forced"
    assert codes(evidence, {"accept": ["cpu"]}) == []


def test_an_inventory_that_asks_for_what_cannot_be_had_is_a_finding():
    assert codes(changed({}, xeon()), {"backend": "cuda"})[0] == "inventory_refused"


def test_every_code_of_the_doctors_own_is_in_the_docs():
    root = Path(__file__).parents[5]
    sources = (root / "plugins/module_utils/diagnosis").glob("*.py")
    found = {code for path in sources for code in re.findall(r'case\.add\(\s*"\w+",\s*"(\w+)"', path.read_text())}
    assert len(found) > 25
    page = "".join((root / f"docs/{name}.md").read_text() for name in ("doctor", "troubleshooting"))
    assert [code for code in sorted(found) if f"`{code}`" not in page] == []
