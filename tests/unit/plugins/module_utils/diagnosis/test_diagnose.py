# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.doctor_hosts import changed, cmdline, codes, healthy, login, modprobe, with_environment
from tests.unit.plan_hosts import GIB, amd, halo, machine, minipc, other, tower, wsl, xeon


def test_a_healthy_host_has_no_findings_and_says_what_was_looked_at():
    found = diagnose(healthy())
    assert found["findings"] == []
    assert found["healthy"]
    told = " ".join(found["fine"])
    for part in (
        "kernel's log",
        "engine's log",
        "/dev/kfd",
        "libraries",
        "variables",
        "the plan wants",
        "this machine only",
        "disk",
    ):
        assert part in told


UNIT = "ollama_facts.unit"
OLD = {"ollama_facts.binary.version": "0.20.0", "api.version": "0.20.0", "engine_log.version": "0.20.0"}
RC = {"ollama_facts.binary.version": "0.33.0-rc2", "api.version": "0.33.0-rc2", "engine_log.version": "0.33.0-rc2"}


# code, what makes it speak, what is near to it and fine
RULES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "sandbox_hides_gpu",
        {"service.PrivateDevices": "yes"},
        {"service.DevicePolicy": "auto", "service.DeviceAllow": []},
    ),
    (
        "sandbox_hides_gpu",
        {"service.DeviceAllow": ["char-drm rw"]},
        {"service.DeviceAllow": ["/dev/dri/renderD128 rw", "char-drm rw", "/dev/kfd rw"]},
    ),
    (
        "sandbox_hides_gpu",
        {"service.DevicePolicy": "strict", "service.DeviceAllow": []},
        {"service.DeviceAllow": ["char-* rw"]},
    ),
    ("kfd_permission", {"credentials.groups": [998]}, {"credentials.uid": 0, "credentials.groups": [0]}),
    (
        "kfd_permission",
        {"gpu_facts.device_nodes.0.mode": "0600"},
        {"gpu_facts.device_nodes.0.mode": "0666", "credentials.groups": [104]},
    ),
    (
        "render_permission",
        {"gpu_facts.device_nodes.1.gid": 44},
        {"gpu_facts.device_nodes.1.gid": 44, "credentials.groups": [44, 104]},
    ),
    ("gpu_libraries_missing", {"ollama_facts.libraries": []}, {"ollama_facts.binary.version": None}),
    ("rocm_payload_missing", {"ollama_facts.libraries": ["vulkan"]}, {"ollama_facts.libraries": ["rocm_v7_2"]}),
    (
        "rocm_payload_of_another_version",
        {"ollama_facts.libraries": ["rocm", "vulkan"]},
        {"ollama_facts.libraries": ["rocm_v7_2", "vulkan"]},
    ),
    (
        "stale_library",
        {"ollama_facts.libraries": ["build", "rocm_v7_2"]},
        {"ollama_facts.libraries": ["mlx_cuda", "rocm_v7_2"]},
    ),
    ("several_programs", {"binaries": ["/usr/bin/ollama", "/usr/local/bin/ollama"]}, {"binaries": ["/usr/bin/ollama"]}),
    ("version_mismatch", {"api.version": "0.32.14"}, {"api.version": "0.0.0"}),
    ("version_lags", OLD, RC),
    (
        "engine_missing",
        {"ollama_facts.binary": None, "api": {}},
        {
            "ollama_facts.binary": None,
            "api": {},
            "containers": [{"tool": "docker", "id": "1", "image": "ollama/ollama"}],
        },
    ),
    ("service_failed", {"ollama_facts.service.active": "failed"}, {"ollama_facts.service.active": "activating"}),
    ("service_failed", {"ollama_facts.service.sub": "auto-restart"}, {}),
    (
        "service_stopped",
        {"ollama_facts.service.active": "inactive", "api": {}},
        {"ollama_facts.service.active": "inactive"},
    ),
    (
        "service_stopped",
        {"ollama_facts.service.active": "inactive", "api": {}},
        {"ollama_facts.service.active": "inactive", "api": {}, "engine_log.engine": "llama_server"},
    ),
    (
        "engine_missing",
        {"ollama_facts.binary": {}, "api": {}},
        {"ollama_facts.binary": {}, "api": {}, "engine_log.engine": "llama_server"},
    ),
    ("restart_needed", {"ollama_facts.service.stale": True}, {}),
    ("other_ollama", {"ollama_facts.variants": ["snap"]}, {}),
    ("gpu_not_used", {"engine_log.backend": "cpu", "counters": []}, {"engine_log.backend": "unknown"}),
    ("api_claims_gpu", {"counters.0.vram_used": GIB}, {"counters.0.vram_used": None, "counters.0.gtt_used": None}),
    ("partial_offload", {"api.loaded.0.size_vram": 5 * GIB}, {"api.loaded.0.size_vram": 0}),
    ("model_too_large", {"api.models.0.size": 40 * GIB}, {"api.models.0.size": 13 * GIB}),
    ("disk_nearly_full", {"disk.free_bytes": 5 * GIB}, {"disk.free_bytes": 5 * GIB, "disk.total_bytes": 20 * GIB}),
    ("download_unfinished", {"unfinished_downloads": ["sha256-1-partial"]}, {}),
    (
        "api_exposed",
        {"ollama_facts.listener.addresses": ["::"]},
        {"ollama_facts.listener.addresses": ["127.0.0.1", "::1"]},
    ),
    (
        "api_exposed",
        {f"{UNIT}.environment.OLLAMA_HOST": "0.0.0.0", "ollama_facts.listener": None},
        {"ollama_facts.listener": None},
    ),
    ("client_elsewhere", login("OLLAMA_HOST", "192.168.1.5"), login("OLLAMA_HOST", "http://localhost:11434")),
    ("client_elsewhere", login("OLLAMA_HOST", "127.0.0.1:8080"), login("OLLAMA_HOST", "0.0.0.0")),
    ("environment_of_logins", login("OLLAMA_KEEP_ALIVE", "1h"), login("EDITOR", "vi")),
    (
        "parameter_not_in_force",
        modprobe("ttm.pages_limit", "1000", "2000"),
        modprobe("ttm.pages_limit", "1000", "1000"),
    ),
    (
        "parameter_not_in_force",
        cmdline("ttm.pages_limit=1000", ttm__pages_limit="7"),
        cmdline("amdgpu.runpm=n", amdgpu__runpm="N"),
    ),
    ("amdttm_without_dkms", modprobe("amdttm.pages_limit", "1000", None), modprobe("ttm.pages_limit", "1000", None)),
    ("amdttm_without_dkms", cmdline("amdttm.pages_limit=1000"), cmdline("ttm.pages_limit=1000")),
    ("gtt_size_ignored", cmdline("amdgpu.gtt_size=1000"), cmdline("quiet")),
    ("nomodeset", cmdline("nomodeset"), cmdline("splash")),
    ("set_twice", {f"{UNIT}.duplicates": {"OLLAMA_DEBUG": ["/a", "/b"]}}, {}),
]


@pytest.mark.parametrize(("code", "wrong", "fine"), RULES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_speaks_where_it_should_and_only_there(code: str, wrong: dict[str, Any], fine: dict[str, Any]):
    assert code in codes(changed(wrong))
    assert code not in codes(changed(fine))


# code, variables of the service that make it speak, and others that are fine
VARIABLES: list[tuple[str, dict[str, str | None], dict[str, str | None]]] = [
    ("environment_never_read", {"OLLAMA_NUM_GPU": "-1"}, {"OLLAMA_NUM_PARALLEL": "1"}),
    ("environment_never_read", {"OLLAMA_NUM_THREAD": "8"}, {"OLLAMA_MAX_QUEUE": "8"}),
    ("environment_bad_value", {"OLLAMA_VULKAN": "off"}, {"OLLAMA_VULKAN": "0"}),
    ("environment_bad_value", {"HSA_OVERRIDE_GFX_VERSION": "gfx1030"}, {"OLLAMA_DEBUG": "1"}),
    ("no_effect", {"OLLAMA_GPU_OVERHEAD": "1000000"}, {"LLAMA_ARG_FIT_TARGET": "512"}),
    ("two_masks", {"HIP_VISIBLE_DEVICES": "0"}, {"HIP_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": None}),
    ("cuda_mask_on_amd", {"CUDA_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": None}, {"CUDA_VISIBLE_DEVICES": "0"}),
    ("stale_library_name", {"OLLAMA_LLM_LIBRARY": "rocm"}, {"OLLAMA_LLM_LIBRARY": "vulkan"}),
    ("processor_forced", {"OLLAMA_LLM_LIBRARY": "cpu"}, {"OLLAMA_LLM_LIBRARY": None}),
    ("override_on_native", {"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}, {"HSA_OVERRIDE_GFX_VERSION": "11.0.1"}),
    (
        "override_two_architectures",
        {"HSA_OVERRIDE_GFX_VERSION": "11.0.0", "ROCR_VISIBLE_DEVICES": None},
        {"ROCR_VISIBLE_DEVICES": None},
    ),
    ("http_proxy", {"HTTP_PROXY": "http://proxy:3128"}, {"HTTPS_PROXY": "http://proxy:3128"}),
    ("unknown_name", {"OLLAMA_FLASH_ATTN": "1"}, {"OLLAMA_FLASH_ATTENTION": "1"}),
]


@pytest.mark.parametrize(("code", "wrong", "fine"), VARIABLES)
def test_a_variable_that_does_not_do_what_was_meant(code: str, wrong: dict[str, str], fine: dict[str, str]):
    assert code in codes(with_environment(**wrong))
    assert code not in codes(with_environment(**fine))


@pytest.mark.parametrize(
    ("path", "command"),
    [
        (None, "ansible-playbook site.yml --limit HOST"),
        ("/etc/systemd/system/ollama.service.d/override.conf", "ansible-playbook site.yml --limit HOST"),
        ("/etc/systemd/system/ollama.service.d/own.conf", "sudoedit /etc/systemd/system/ollama.service.d/own.conf && "),
        ("/usr/lib/systemd/system/ollama.service", "sudo systemctl edit ollama && "),
    ],
)
def test_a_variable_is_taken_out_where_it_is_set(path: str | None, command: str):
    evidence = with_environment(OLLAMA_NUM_GPU="-1")
    evidence["variable_files"] = {"OLLAMA_NUM_GPU": path} if path else {}
    finding = diagnose(evidence)["findings"][0]
    assert finding["command"].startswith(command)
    assert finding["seen"] == (f"{path}: OLLAMA_NUM_GPU=-1" if path else "OLLAMA_NUM_GPU=-1")


def test_the_environment_of_the_running_process_counts_more_than_the_units():
    evidence = healthy()
    evidence["process"]["environment"] = {"OLLAMA_NUM_GPU": "-1"}
    assert "environment_never_read" in codes(evidence)


# code, machine, its changes, a machine that is fine
MACHINES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("override_wrong", tower(), {f"{UNIT}.environment": {"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}}, {}),
    ("mes_firmware_0x83", machine(amd("gfx1151", 1, integrated=True, firmware={"mes": "0x83"}), ram=125), {}, halo()),
    ("strix_halo_kernel", halo(release="6.12.1"), {}, halo(release="6.18.9")),
    ("vulkan_driver_missing", {**minipc(), "vulkan_icds": []}, {}, {**minipc(), "vulkan_icds": ["radeon_icd.json"]}),
    ("linux_firmware_20251125", {**halo(), "linux_firmware_version": "20251125-1"}, {}, halo()),
    ("carve_out_large", minipc(), {}, halo()),
    (
        "carve_out_small",
        machine(amd("gfx1103", 0.5, integrated=True)),
        {"ollama_facts.binary.version": "0.11.0", "api.version": "0.11.0", "engine_log.version": "0.11.0"},
        halo(),
    ),
    ("gpu_may_borrow_little", machine(amd("gfx1151", 0.5, gtt=16, integrated=True), ram=125), {}, xeon()),
    (
        "nvidia_driver",
        machine(other("nvidia", product="GeForce RTX 3070", driver=None)),
        {},
        machine(other("nvidia"), nvidia_driver="580.95"),
    ),
    ("wsl2_no_gpu", wsl(), {}, xeon()),
    (
        "ttm_with_dkms",
        halo(memory_module="amdttm", cmdline="ttm.pages_limit=1000"),
        {},
        halo(cmdline="ttm.pages_limit=1000"),
    ),
]


@pytest.mark.parametrize(("code", "facts", "changes", "fine"), MACHINES, ids=[row[0] for row in MACHINES])
def test_what_the_plan_knows_of_a_machine(code: str, facts: dict[str, Any], changes: dict[str, Any], fine: Any):
    assert code in codes(changed(changes, facts))
    assert code not in codes(changed({}, fine or facts))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(healthy())), st.sampled_from([None, {}, []])))
def test_whatever_is_missing_is_not_judged(missing: dict[str, Any]):
    found = diagnose({**healthy(), **missing})
    # What is left is fine; only what the missing parts would have shown can be said to be missing.
    assert {one["code"] for one in found["findings"]} <= {
        "engine_missing",
        "facts_missing",
        "stale_library",
        "service_stopped",
    }


@pytest.mark.parametrize("evidence", [{}, None, [], "text"])
def test_nothing_is_known(evidence: Any):
    assert diagnose(evidence)["findings"][0]["code"] == "facts_missing"
