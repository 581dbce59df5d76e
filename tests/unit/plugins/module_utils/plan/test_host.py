# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters, memory, rules on kernels and firmware, warnings and steps."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import hosts
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan import host_rules
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan

from tests.unit.plan_hosts import GIB, amd, desktop, halo, machine, minipc, nvidia, other, tower, wsl, xeon


def parameters(facts: dict, **policy: Any) -> dict[str, str]:
    return {
        item["name"]: item["value"] if item["state"] == "present" else item["state"]
        for item in make_plan(facts, policy)["kernel"]["parameters"]
    }


def codes(facts: dict, **policy: Any) -> list[str]:
    return [warning["code"] for warning in make_plan(facts, policy)["warnings"]]


def steps(facts: dict, **policy: Any) -> list[str]:
    return [step["code"] for step in make_plan(facts, policy)["steps"]]


def apu(vram: float, gtt: float, ram: float, gfx: str = "gfx1151", **kernel: Any) -> dict:
    return machine(amd(gfx, vram, gtt=gtt, integrated=True), ram=ram, kernel=kernel)


# GiB: carve-out, GTT now, RAM; the GTT that is wanted (None: nothing)
SIZES = [
    (0.5, 62.5, 125, 109),  # Strix Halo, 128 GiB, small carve-out
    (96, 15.5, 31, None),  # the same with the carve-out of the guides
    (64, 31, 62, 46),
    (0.5, 91, 125, None),
    (0.5, 90, 125, 109),  # a fifth more is worth a reboot
    (0.5, 120, 125, None),  # more than we would give, by somebody's choice
    (8, 11.5, 23, None),  # 3.5 GiB more are not worth a reboot
    (4, 13.5, 27, 19),
    (0.5, 7.5, 15, None),
]


@pytest.mark.parametrize(("vram", "gtt", "ram", "wanted"), SIZES)
def test_the_memory_that_an_integrated_gpu_may_borrow(vram: float, gtt: float, ram: float, wanted: int | None):
    kernel = make_plan(apu(vram, gtt, ram))["kernel"]
    expected = {} if wanted is None else {"ttm.pages_limit": str(wanted * GIB // 4096)}
    assert {item["name"]: item["value"] for item in kernel["parameters"]} == expected
    assert kernel["reboot"] == (wanted is not None)
    assert kernel["reason"]


@pytest.mark.parametrize(
    ("module", "name"), [("ttm", "ttm"), ("amdttm", "amdttm"), ("amd_ttm", "amd_ttm"), (None, "ttm")]
)
def test_the_parameter_belongs_to_the_module_that_holds_amdgpu(module: str | None, name: str):
    assert list(parameters(apu(0.5, 62.5, 125, memory_module=module))) == [f"{name}.pages_limit"]


def test_parameters_that_contradict_or_do_nothing_go():
    facts = apu(0.5, 62.5, 125, cmdline="quiet amdgpu.gttsize=100000 amdttm.pages_limit=5")
    found = parameters(facts)
    assert found == {"ttm.pages_limit": "28573696", "amdgpu.gttsize": "masked", "amdttm.pages_limit": "masked"}


def test_a_parameter_that_waits_for_its_reboot_says_so():
    kernel = make_plan(apu(0.5, 62.5, 125, cmdline="ttm.pages_limit=28573696"))["kernel"]
    assert "not in force" in kernel["reason"]


def waiting(name: str, value: str | None, *, waits: bool = True, state: str = "present") -> dict:
    reason = "/sys/module/ttm shows 5"
    return {"name": name, "value": value, "state": state, "route": "modprobe", "waits": waits, "reason": reason}


def test_what_waits_for_a_reboot_is_in_the_plan_of_any_host():
    found = [waiting("ttm.pages_limit", "28573696"), waiting("amd_iommu", "off", waits=False)]
    kernel = make_plan(apu(0.5, 62.5, 125, parameters=found))["kernel"]
    assert [item["name"] for item in kernel["pending"]] == ["ttm.pages_limit"]
    assert "is set but not in force" in kernel["reason"]
    kernel = make_plan(machine(kernel={"parameters": found}))["kernel"]
    assert (kernel["reboot"], kernel["parameters"], len(kernel["pending"])) == (True, [], 1)


@pytest.mark.parametrize("odd", [None, "x", 5, [5], [{}], [{"waits": True}], {"a": 1}])
def test_parameters_of_an_odd_type_are_unknown(odd: Any):
    kernel = make_plan(machine(kernel={"parameters": odd}))["kernel"]
    assert (kernel["pending"], kernel["reboot"]) == ([], False)


def test_the_limit_stands_for_a_size_that_is_not_known():
    facts = apu(0.5, 62.5, 125, pages_limit=62 * GIB // 4096)
    facts["gpus"][0]["gtt_bytes"] = None
    assert parameters(facts) == {"ttm.pages_limit": "28573696"}
    facts["kernel"]["pages_limit"] = None
    assert parameters(facts) == {}


def test_the_inventory_sets_the_size_itself():
    assert parameters(halo(), unified_memory_bytes=100 * GIB) == {"ttm.pages_limit": "26214400"}
    assert parameters(apu(0.5, 100, 125), unified_memory_bytes=100 * GIB) == {}


@pytest.mark.parametrize("facts", [xeon(), desktop(), tower(), nvidia(), wsl(), {}])
def test_no_parameters_where_no_integrated_gpu_is_used(facts: dict):
    assert parameters(facts) == {}


def test_a_small_host_has_nothing_more_to_lend():
    small = machine(amd("gfx90c", 0.5, gtt=1.6, integrated=True), ram=3.2)
    assert make_plan(small)["kernel"]["reason"] == "3.2 GiB of RAM leave nothing more to lend"


def test_a_container_leaves_its_host_s_kernel_alone():
    facts = {**halo(), "platform": "container"}
    assert parameters(facts) == {}
    assert "outside" in make_plan(facts)["kernel"]["reason"]


# command line, module, pages_limit: the warnings
CMDLINES = [
    ("quiet", "ttm", None, []),
    ("amdgpu.gttsize=98304", "ttm", None, ["gttsize_deprecated"]),
    ("amdttm.pages_limit=5", "ttm", None, ["amdttm_without_dkms"]),
    ("amd-ttm.pages_limit=5", None, None, ["amdttm_without_dkms"]),
    ("amdttm.pages_limit=5", "amdttm", None, []),
    ("ttm.pages_limit=5", "amdttm", None, ["ttm_with_dkms"]),
    ("nomodeset", "ttm", None, ["nomodeset"]),
    ("amd_iommu=on", "ttm", None, ["amd_iommu_on"]),
    ("amd_iommu=off", "ttm", None, []),
    ("amdgpu.gtt_size=5", "ttm", None, ["gtt_size_ignored"]),
    ("quiet", "ttm", 125 * GIB // 4096 + 1, ["pages_limit_exceeds_ram"]),
    ("quiet", "ttm", 125 * GIB // 4096, []),
]


@pytest.mark.parametrize(("cmdline", "module", "limit", "expected"), CMDLINES)
def test_what_is_odd_on_the_command_line(cmdline: str, module: str | None, limit: int | None, expected: list[str]):
    facts = apu(0.5, 109, 125, cmdline=cmdline, memory_module=module, pages_limit=limit)
    assert [code for code in codes(facts) if code != "context_by_vram"] == expected


# facts, usable GiB, context by default
MEMORY = [
    (tower(), 8, 4096),
    (halo(), 63, 262144),
    (machine(amd("gfx1100", 24)), 24, 32768),
    (machine(amd("gfx1100", 24), amd("gfx1100", 24, at=1)), 48, 262144),
    (xeon(), 64, 4096),
    (machine(other("nvidia", vram=None), nvidia_driver="580"), None, None),
    ({}, None, 4096),
]


@pytest.mark.parametrize(("facts", "usable", "context"), MEMORY)
def test_what_fits(facts: dict, usable: int | None, context: int | None):
    memory = make_plan(facts)["memory"]
    assert memory["usable_bytes"] == (None if usable is None else usable * GIB)
    assert memory["default_context_length"] == context
    assert (memory["largest_model_bytes"] is None) == (usable is None)
    assert usable is None or 0 < memory["largest_model_bytes"] < memory["usable_bytes"]
    assert memory["advice"]


def test_the_advice_counts_the_gpus():
    two = machine(amd("gfx1100", 24), amd("gfx1100", 24, at=1))
    assert "48 GiB of memory of 2 GPUs" in make_plan(two)["memory"]["advice"]
    assert (
        "24 GiB of GPU memory: models of up to 20.7 GiB" in make_plan(machine(amd("gfx1100", 24)))["memory"]["advice"]
    )


def test_each_backend_counts_the_memory_that_it_sees():
    facts = apu(6, 45, 90, "gfx1150")
    facts["gpus"][0]["usable_by_backend"] = {"rocm": 6 * GIB, "vulkan": 51 * GIB}
    assert make_plan(facts)["memory"]["usable_bytes"] == 51 * GIB
    assert make_plan(facts, {"backend": "rocm"})["memory"]["usable_bytes"] == 6 * GIB


def test_a_large_context_by_default_is_told_unless_it_is_set():
    assert "context_by_vram" in codes(halo())
    assert "context_by_vram" not in codes(halo(), environment={"OLLAMA_CONTEXT_LENGTH": 8192})
    assert "context_by_vram" not in codes(halo(), engine_version="0.15.4")


# kernel release, distribution, whether Strix Halo's correction is in it
KERNELS = [
    ("6.18.4", {}, True),
    ("6.18.3-arch1-1", {"id": "arch"}, False),
    ("7.0.0-10-generic", {"id": "ubuntu", "version_id": "26.04"}, True),
    ("6.17.0-19-generic", {"id": "ubuntu", "version_id": "24.04"}, True),
    ("6.17.0-14-generic", {"id": "ubuntu", "version_id": "24.04"}, False),
    ("6.14.0-1018-oem", {"id": "ubuntu", "version_id": "24.04"}, True),
    ("6.14.0-1017-oem", {"id": "ubuntu", "version_id": "24.04"}, False),
    ("6.14.0-1018-oem", {}, True),
    ("6.17.12-300.fc43.x86_64", {"id": "fedora", "version_id": "43"}, True),
    ("6.17.12-200.fc42.x86_64", {"id": "fedora", "version_id": "42"}, False),
    ("6.12.57+deb13-amd64", {"id": "debian", "version_id": "13"}, False),
]


@pytest.mark.parametrize(("release", "distribution", "fixed"), KERNELS)
def test_the_kernels_that_have_strix_halo_s_correction(release: str, distribution: dict, fixed: bool):
    facts = {**halo(release=release), "distribution": distribution}
    assert ("strix_halo_kernel" in codes(facts)) == (not fixed)


# facts, policy, the rule that speaks
SPEAKING: list[tuple[dict, dict, str]] = [
    (halo(release="6.17.0-14-generic"), {"engine_version": "0.18.0"}, "strix_halo_rocm_fails"),
    (halo(), {"engine_version": "0.17.7"}, "strix_halo_rocm_too_old"),
    ({**halo(), "linux_firmware_version": "20251125.git1-0ubuntu1"}, {}, "linux_firmware_20251125"),
    (machine(amd("gfx1151", 0.5, integrated=True, firmware={"mes": "0x83"})), {}, "mes_firmware_0x83"),
    (machine(amd("gfx1151", 0.5, integrated=True, firmware={"mes": "0x0d000083"})), {}, "mes_firmware_0x83"),
    (machine(amd("gfx1152", 0.5, integrated=True, firmware={"mes": "0x82"})), {}, "krackan_mes_0x82"),
    (apu(8, 16, 32, "gfx1103", release="6.12.1"), {"engine_version": "0.31.1", "backend": "rocm"}, "phoenix_kernel"),
    (
        {**minipc(), "linux_firmware_version": "20250917"},
        {"engine_version": "0.31.1", "backend": "rocm"},
        "phoenix_firmware",
    ),
    (machine(amd("gfx1201", 16), kernel={"release": "6.8.0-60-generic"}), {}, "rdna4_kernel"),
    (machine(amd("gfx950", 288), kernel={"release": "6.12.1"}), {}, "kernel_too_old_for_gpu"),
    (apu(0.5, 109, 125, amdgpu_version="6.16.6"), {}, "dkms_on_apu"),
    (machine(amd("gfx1100", 24), kernel={"amdgpu_version": "6.8.5"}), {}, "driver_older_than_rocm"),
    (apu(32, 30, 62, "gfx1150"), {"engine_version": "0.32.12"}, "vulkan_large_models_on_igpu"),
]
SILENT: list[tuple[dict, dict, str]] = [
    (halo(release="6.17.0-14-generic"), {"engine_version": "0.20.7"}, "strix_halo_rocm_fails"),
    (halo(), {"engine_version": "0.18.0"}, "strix_halo_rocm_too_old"),
    ({**halo(), "linux_firmware_version": "20260110-1"}, {}, "linux_firmware_20251125"),
    (machine(amd("gfx1151", 0.5, integrated=True, firmware={"mes": "0x80"})), {}, "mes_firmware_0x83"),
    (machine(amd("gfx1100", 24, firmware={"mes": "0x83"})), {}, "mes_firmware_0x83"),
    (
        machine(amd("gfx1152", 0.5, integrated=True, firmware={"mes": "0x82"}), kernel={"release": "7.0.1"}),
        {},
        "krackan_mes_0x82",
    ),
    (apu(8, 16, 32, "gfx1103", release="6.12.1"), {}, "phoenix_kernel"),
    (
        {**minipc(), "linux_firmware_version": "20260110"},
        {"engine_version": "0.31.1", "backend": "rocm"},
        "phoenix_firmware",
    ),
    (machine(amd("gfx1201", 16), kernel={"release": "6.8.0", "amdgpu_version": "6.16"}), {}, "rdna4_kernel"),
    (machine(amd("gfx1201", 16), kernel={"release": "6.17.0-19-generic"}), {}, "rdna4_kernel"),
    (machine(amd("gfx950", 288), kernel={"release": "6.17.1"}), {}, "kernel_too_old_for_gpu"),
    (machine(amd("gfx942", 128, integrated=True), kernel={"amdgpu_version": "6.16.6"}), {}, "dkms_on_apu"),
    (machine(amd("gfx1100", 24), kernel={"amdgpu_version": "6.14.14"}), {}, "driver_older_than_rocm"),
    (
        machine(amd("gfx1100", 24), kernel={"amdgpu_version": "6.8.5"}),
        {"engine_version": "0.17.7"},
        "driver_older_than_rocm",
    ),
    (apu(8, 16, 32, "gfx1150"), {"engine_version": "0.32.12"}, "vulkan_large_models_on_igpu"),
    (apu(32, 30, 62, "gfx1150"), {"engine_version": "0.32.11"}, "vulkan_large_models_on_igpu"),
    (halo(release=None), {}, "strix_halo_kernel"),
]


@pytest.mark.parametrize(("facts", "policy", "code"), SPEAKING)
def test_a_rule_speaks_where_it_applies(facts: dict, policy: dict, code: str):
    assert code in codes(facts, **policy)


@pytest.mark.parametrize(("facts", "policy", "code"), SILENT)
def test_a_rule_is_silent_elsewhere(facts: dict, policy: dict, code: str):
    assert code not in codes(facts, **policy)


def test_every_rule_is_tested_and_every_condition_is_known():
    tested = {code for _facts, _policy, code in SPEAKING} | {"strix_halo_kernel"}
    assert {rule["code"] for rule in hosts.RULES} == tested
    documented = host_rules.hosts.__doc__ or ""
    texts = {"code", "message", "remedy", "source", "step", "avoid"}
    assert [name for rule in hosts.RULES for name in rule if name not in texts and name not in documented] == []
    assert all(rule["source"] in hosts.SOURCES and rule["message"] and rule["remedy"] for rule in hosts.RULES)


def test_a_card_that_its_kernel_does_not_bind_gets_the_rule_too():
    card = amd("gfx1201", 16, driver=None, node=None, hidden_reason="No driver.", hidden_from=["rocm", "vulkan"])
    assert {"rdna4_kernel", "gpu_unusable"} <= set(codes(machine(card, kernel={"release": "6.8.0-60-generic"})))


INSTALLED = {
    "unit": {"owner": "installer", "environment": {"OLLAMA_NUM_GPU": "-1", "HSA_OVERRIDE_GFX_VERSION": "11.0.0"}}
}

# facts, policy, warning
WARNINGS: list[tuple[dict, dict, str]] = [
    (tower(), {"engine_version": "0.35.1"}, "engine_newer_than_known"),
    (tower(), {"engine_version": "0.1.20"}, "engine_older_than_known"),
    (
        machine(amd("gfx1010", 8), amd("gfx1036", 0.5, at=1, integrated=True)),
        {"engine_version": "0.24.0", "backend": "vulkan"},
        "vulkan_igpu_not_masked",
    ),
    (
        machine(amd("gfx1012", 8, node=None, hidden_reason="PCI rejects atomics 123<145", hidden_from=["rocm"])),
        {},
        "pcie_atomics_firmware",
    ),
    (
        machine(amd("gfx803", 8, node=None, hidden_reason="PCI rejects atomics 730<0", hidden_from=["rocm"])),
        {},
        "gpu_hidden_from_rocm",
    ),
    (machine(amd("gfx1100", 24, hidden_reason="permission denied")), {}, "gpu_not_permitted"),
    (machine(amd(None, 2, driver="radeon")), {}, "radeon_driver"),
    (machine(amd(None, 16)), {}, "gfx_unknown"),
    (nvidia("470.1"), {}, "nvidia_driver"),
    (wsl(), {}, "wsl2_no_gpu"),
    (machine(platform="vm"), {}, "vm_without_gpu"),
    (tower(), {"environment": {"OLLAMA_HOST": "0.0.0.0"}}, "api_exposed"),
    (tower(), {"environment": {"CUDA_VISIBLE_DEVICES": "0"}}, "cuda_mask_on_amd"),
    (desktop(), {"environment": {"OLLAMA_IGPU_ENABLE": 1}}, "lever_kept"),
    ({**desktop(), "kfd": {"present": True, "group": "root", "gid": 0, "mode": "0600"}}, {}, "kfd_closed"),
    (xeon(), {"environment": {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"}}, "override_unused"),
    (tower(), {"environment": {"OLLAMA_GPU_OVERHEAD": 1}}, "no_effect"),
    (tower(), {"installation": INSTALLED}, "installed_never_read"),
    (tower(), {"installation": INSTALLED}, "installed_override"),
    (tower(), {"installation": INSTALLED}, "adopted"),
    (tower(), {"installation": {"libraries": ["/usr/local/lib/ollama/rocm.bak"]}}, "stale_library"),
    (tower(), {"installation": {"unit": {"environment": {"OLLAMA_HOST": "0.0.0.0"}}}}, "api_exposed"),
    (
        tower(),
        {"installation": {"unit": {"environment": {"OLLAMA_LLM_LIBRARY": "rocm"}}}},
        "installed_stale_library_name",
    ),
    (tower(), {"installation": {"variants": ["snap"]}}, "other_ollama"),
]


@pytest.mark.parametrize(("facts", "policy", "code"), WARNINGS)
def test_what_a_person_is_warned_of(facts: dict, policy: dict, code: str):
    warning = next(item for item in make_plan(facts, policy)["warnings"] if item["code"] == code)
    assert warning["message"]
    assert warning["remedy"]


QUIET: list[tuple[dict, dict]] = [
    (tower(), {}),
    (desktop(), {"environment": {"OLLAMA_HOST": "127.0.0.1:11434"}}),
    (nvidia(), {"environment": {"OLLAMA_HOST": "http://localhost:11434"}}),
    (minipc(), {}),
    (xeon(), {}),
    (machine(), {}),
    (tower(), {"installation": {"libraries": ["/l/vulkan", "/l/rocm_v7_2", "/l/cuda_v13"], "unit": {"owner": "ours"}}}),
]


@pytest.mark.parametrize(("facts", "policy"), QUIET)
def test_a_sound_host_gets_no_warnings(facts: dict, policy: dict):
    assert codes(facts, **policy) == []


# facts, the steps for a person
STEPS: list[tuple[dict, list[str]]] = [
    (minipc(), ["carve_out"]),
    (halo(), []),
    (desktop(), []),
    (wsl(), []),
    (nvidia("470.1"), ["nvidia_driver"]),
    (machine(amd(None, 2, driver="radeon", pci_id="1002:6798")), ["amdgpu_for_gcn"]),
    (machine(amd(None, 2, driver="radeon", pci_id="1002:68f9")), []),
    (machine(amd("gfx1100", 24, hidden_reason="permission denied"), platform="container"), ["container_devices"]),
    ({**halo(), "linux_firmware_version": "20251125"}, ["linux_firmware_20251125"]),
]


@pytest.mark.parametrize(("facts", "expected"), STEPS)
def test_what_only_a_person_can_do(facts: dict, expected: list[str]):
    assert steps(facts) == expected
    assert all(step["what"] and step["why"] and step["how"] for step in make_plan(facts)["steps"])


@pytest.mark.parametrize(("platform", "remedy"), [("bare_metal", "udev"), ("container", "gid=GID")])
def test_a_closed_kfd_is_opened_where_its_mode_is_set(platform: str, remedy: str):
    plan = make_plan({**desktop(), "platform": platform, "kfd": {"present": True, "mode": "0600"}})
    (warning,) = [warning for warning in plan["warnings"] if warning["code"] == "kfd_closed"]
    assert remedy in warning["remedy"]


def test_a_container_with_a_gpu_of_its_own_does_not_mind_the_others():
    others = [amd("gfx942", 192, at=at, hidden_reason="The device cgroup denies it.") for at in (0, 1)]
    plan = make_plan(machine(*others, amd("gfx942", 192, at=2), platform="container"))
    assert (plan["rungs"][0]["devices"], plan["steps"]) == ([2], [])
    assert "ROCR_VISIBLE_DEVICES" not in plan["rungs"][0]["environment"]  # ROCm counts what it sees
    assert "gpu_not_permitted" not in [warning["code"] for warning in plan["warnings"]]


def test_every_gpu_is_accounted_for():
    devices = make_plan(machine(*desktop()["gpus"], other("other", at=2)))["devices"]
    assert [(device["index"], device["used"]) for device in devices] == [(0, True), (1, False), (2, False)]
    assert "beside" in devices[1]["reason"]
    assert "vendor" in devices[2]["reason"]
    assert devices[1]["known_issues"]
