# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory may ask for, what it is told when it may not, and what counts as success."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import (
    BACKENDS,
    CHOICES,
    ENGINES,
    LADDER,
    PlanError,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.arguments import TIMEOUTS
from ansible_collections.lamplighter.fleet.plugins.modules import inference_benchmark, inference_proof
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plan_hosts import amd, desktop, halo, machine, minipc, nvidia, other, tower, xeon

OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
RX_6700 = amd("gfx1031", 12, product="RX 6700 XT")

RAPHAEL = machine(amd("gfx1036", 0.5, integrated=True))
TWO_CARDS = machine(amd("gfx1100", 24, uuid="GPU-aa"), amd("gfx1100", 24, at=1, uuid="GPU-bb"))

# facts, policy, what the message names: the variable, the value, what to do
REFUSED: list[tuple[dict, Any, list[str]]] = [
    (xeon(), "auto", ["policy", "'auto'", "dictionary"]),
    (xeon(), {"engine": "vllm"}, ["engine", "'vllm'", "ollama, llama_server"]),
    (xeon(), {"engine_version": "v0.32"}, ["ollama_version", "'v0.32'", "0.32.15"]),
    (xeon(), {"engine_version": "latest"}, ["ollama_version", "'latest'", "0.32.15"]),
    (xeon(), {"engine_version": 0.32}, ["ollama_version is 0.32.", "quotes", "0.32.15"]),
    (xeon(), {"engine": "llama_server", "engine_version": "new"}, ["llama_server_version is 'new'.", "b10488"]),
    (xeon(), {"engine": "llama_server", "engine_version": 10488}, ["llama_server_version is 10488.", '"b10488"']),
    (xeon(), {"backend": "hip"}, ["backend", "'hip'", "rocm, vulkan, cuda, cpu"]),
    (xeon(), {"accept": "cpu"}, ["accept", "'cpu'", "[cpu]"]),
    (xeon(), {"accept": ["cpus"]}, ["accept", "'cpus'", "cpu"]),
    (xeon(), {"environment": ["A=1"]}, ["environment", "['A=1']", "dictionary"]),
    (xeon(), {"environment": {"OLLAMA_NUM_GPU": -1}}, ["OLLAMA_NUM_GPU=-1", "num_gpu"]),
    (xeon(), {"environment": {"OLLAMA_VULKAN": "off"}}, ["OLLAMA_VULKAN=off", "true", "1 or 0"]),
    (xeon(), {"environment": {"OLLAMA_LLM_LIBRARY": "rocm"}}, ["OLLAMA_LLM_LIBRARY=rocm", "inference_backend"]),
    (xeon(), {"engine": "llama_server", "environment": {"OLLAMA_HOST": "x"}}, ["OLLAMA_HOST", "LLAMA_ARG_"]),
    (xeon(), {"catalogue": {"archs": {}}}, ["catalogue", "'archs'", "arches"]),
    (xeon(), {"unified_memory_bytes": "64G"}, ["unified_memory_bytes", "'64G'", "bytes"]),
    (halo(), {"unified_memory_bytes": 0}, ["unified_memory_bytes", "0", "bytes"]),
    (halo(), {"unified_memory_bytes": 200 * 1024**3}, ["unified_memory_bytes", "200 GiB", "125 GiB", "Allowed"]),
    (xeon(), {"ladder": {"prompt_tokens": 511}}, ["ladder_prompt_tokens is 511. Write a number from 512 to 32768."]),
    (xeon(), {"ladder": {"predict_tokens": 1}}, ["ladder_predict_tokens", "1", "from 2 to 4096"]),
    (xeon(), {"ladder": {"start_timeout": "3601"}}, ["ladder_start_timeout", "'3601'", "from 1 to 3600"]),
    (xeon(), {"ladder": {"request_timeout": "6m"}}, ["ladder_request_timeout", "'6m'", "from 1 to 3600"]),
    (xeon(), {"ladder": {"request_timeout": 1.5}}, ["ladder_request_timeout", "1.5"]),
    (xeon(), {"backend": "vulkan"}, ["'vulkan'", "no GPU", "auto, cpu"]),
    ({}, {"backend": "rocm"}, ["'rocm'", "nothing is known", "cpu"]),
    (tower(), {"backend": "rocm"}, ["'rocm'", "dropped in 0.31.2", "vulkan"]),
    (desktop(), {"backend": "cuda"}, ["'cuda'", "(it has no GPU of NVIDIA's)", "rocm, vulkan, cpu"]),
    (nvidia(), {"backend": "rocm"}, ["'rocm'", "(it has no GPU of AMD's)", "cuda"]),
    (RAPHAEL, {"backend": "cuda"}, ["'cuda'", "auto, rocm, vulkan, cpu"]),
    (minipc(), {"backend": "vulkan", "environment": {"OLLAMA_VULKAN": 0}}, ["OLLAMA_VULKAN=0", "remove"]),
    (desktop(), {"environment": {OVERRIDE: "11.0.0"}}, ["11.0.0", "native", "Remove it"]),
    (machine(RX_6700), {"environment": {OVERRIDE: "11.0.0"}}, ["11.0.0", "bad", "10.3.0"]),
    (tower(), {"environment": {OVERRIDE: "10.3.0"}}, ["10.3.0", "gfx1010"]),
    (minipc(), {"environment": {OVERRIDE: "11.0.0"}}, ["11.0.0", "11.0.2"]),
    (machine(RX_6700), {"environment": {OVERRIDE: "9.0.0"}}, ["9.0.0", "gfx900", "gfx1030"]),
    (
        machine(RX_6700, amd("gfx1010", 8, at=1)),
        {"environment": {OVERRIDE: "10.3.0"}, "catalogue": {"arches": {"gfx1010": {"override": {"good": {}}}}}},
        ["10.3.0", "two architectures"],
    ),
    (desktop(), {"environment": {"HIP_VISIBLE_DEVICES": "0"}}, ["HIP_VISIBLE_DEVICES=0", "ROCR_VISIBLE_DEVICES"]),
    (desktop(), {"environment": {"ROCR_VISIBLE_DEVICES": "2"}}, ["ROCR_VISIBLE_DEVICES=2", "0 to 1"]),
    (TWO_CARDS, {"environment": {"ROCR_VISIBLE_DEVICES": "0,GPU-cc"}}, ["0,GPU-cc", "0 to 1", "GPU-aa", "GPU-bb"]),
]


@pytest.mark.parametrize(("facts", "policy", "said"), REFUSED)
def test_what_cannot_be_had_is_refused_in_words(facts: dict, policy: Any, said: list[str]):
    with pytest.raises(PlanError) as refusal:
        make_plan(facts, policy)
    assert [words for words in said if words not in str(refusal.value)] == []


def test_facts_must_be_a_dictionary():
    with pytest.raises(PlanError, match="gpu_facts"):
        make_plan(["gfx1100"])


# facts, policy, whether the processor is a degradation
SUCCESS: list[tuple[dict, dict, list[str]]] = [
    (tower(), {}, ["cpu"]),
    (tower(), {"accept": ["cpu"]}, []),
    (tower(), {"backend": "cpu"}, []),
    (xeon(), {}, []),
    ({}, {}, []),
    (machine(amd("gfx1036", 0.5, integrated=True)), {}, []),
    (minipc(), {"environment": {"OLLAMA_IGPU_ENABLE": 0}}, []),
    (minipc(), {"engine_version": "0.6.0", "environment": {"ROCR_VISIBLE_DEVICES": -1}}, ["cpu"]),
]


@pytest.mark.parametrize(("facts", "policy", "degraded"), SUCCESS)
def test_what_counts_as_success(facts: dict, policy: dict, degraded: list[str]):
    assert make_plan(facts, policy)["degraded_if"] == degraded


@pytest.mark.parametrize("backend", ["rocm", "vulkan", "cpu"])
def test_a_backend_that_is_insisted_on_is_the_only_rung(backend: str):
    assert [rung["backend"] for rung in make_plan(desktop(), {"backend": backend})["rungs"]] == [backend]


def test_fastest_measures_every_rung_and_forgets_what_was_proven():
    plan = make_plan(desktop(), {"backend": "fastest", "proven": {"id": "vulkan", "backend": "vulkan"}})
    assert plan["measure"]
    assert [rung["id"] for rung in plan["rungs"]] == ["rocm", "vulkan", "cpu"]
    raphael = make_plan(machine(amd("gfx1036", 0.5, integrated=True)), {"backend": "fastest"})
    assert [rung["id"] for rung in raphael["rungs"]] == ["vulkan", "rocm-override", "cpu"]


def test_an_engine_of_another_release_is_measured_again():
    measured = {"fingerprint": {}, "rungs": {"rocm": {"generation": 40.0}, "vulkan": {"generation": 52.0}}}
    proven = {"id": "vulkan", "backend": "vulkan", "engine_version": "0.32.15", "measured": measured}
    plan = make_plan(desktop(), {"backend": "fastest", "engine_version": "0.32.15", "proven": proven})
    assert (plan["measure"], plan["rungs"][0]["id"]) == (False, "vulkan")
    plan = make_plan(desktop(), {"backend": "fastest", "engine_version": "0.33.0-rc2", "proven": proven})
    assert (plan["measure"], plan["rungs"][0]["id"]) == (True, "rocm")


PROVEN: list[tuple[dict, dict, str]] = [
    ({"backend": "vulkan", "id": "vulkan", "engine": "ollama", "engine_version": "0.32.15"}, {}, "vulkan"),
    ({"backend": "vulkan"}, {}, "vulkan"),
    ({"backend": "vulkan", "id": "vulkan", "engine_version": "0.31.1"}, {}, "rocm"),
    ({"backend": "vulkan", "id": "vulkan", "engine": "llama_server"}, {}, "rocm"),
    ({"backend": "cuda", "id": "cuda"}, {}, "rocm"),
    ({"backend": "cpu", "id": "cpu"}, {}, "rocm"),
    ({"backend": "cpu", "id": "cpu"}, {"accept": ["cpu"]}, "cpu"),
    ({}, {}, "rocm"),
]


@pytest.mark.parametrize(("proven", "policy", "first"), PROVEN)
def test_the_proven_rung_goes_first_while_it_holds(proven: dict, policy: dict, first: str):
    plan = make_plan(desktop(), {"engine_version": "0.32.15", "proven": proven, **policy})
    assert plan["rungs"][0]["id"] == first
    assert len(plan["rungs"]) == 3
    forgotten = bool(proven) and first == "rocm"
    assert any(item["option"].startswith("remembered") for item in plan["refused"]) == forgotten


def test_the_inventory_s_environment_comes_last_on_every_rung():
    plan = make_plan(desktop(), {"environment": {"OLLAMA_NUM_PARALLEL": 2, "ROCR_VISIBLE_DEVICES": "0,1"}})
    assert {rung["environment"]["OLLAMA_NUM_PARALLEL"] for rung in plan["rungs"]} == {"2"}
    assert plan["rungs"][0]["environment"]["ROCR_VISIBLE_DEVICES"] == "0,1"


def test_what_makes_a_rung_is_kept_from_the_inventory():
    mixed = machine(other("nvidia", vram=24), amd("gfx1100", 24, at=1), nvidia_driver="580")
    plan = make_plan(mixed, {"environment": {"OLLAMA_VULKAN": 1, "ROCR_VISIBLE_DEVICES": 0}})
    cuda, rocm = plan["rungs"][:2]
    assert (cuda["environment"]["OLLAMA_VULKAN"], cuda["environment"]["ROCR_VISIBLE_DEVICES"]) == ("0", "-1")
    assert rocm["environment"]["ROCR_VISIBLE_DEVICES"] == "0"


def test_an_override_of_the_inventory_is_used_where_it_is_good_and_nowhere_else():
    plan = make_plan(machine(RX_6700), {"environment": {OVERRIDE: "10.3.0"}})
    assert [rung["environment"].get(OVERRIDE) for rung in plan["rungs"]] == ["10.3.0", None, None]


def test_the_inventory_can_do_without_vulkan():
    plan = make_plan(desktop(), {"environment": {"OLLAMA_VULKAN": False}})
    assert [rung["id"] for rung in plan["rungs"]] == ["rocm", "cpu"]
    assert "OLLAMA_VULKAN=0" in " ".join(item["reason"] for item in plan["refused"])


@pytest.mark.parametrize(("name", "rung"), [("CUDA_VISIBLE_DEVICES", "cuda"), ("GGML_VK_VISIBLE_DEVICES", "vulkan")])
def test_the_inventory_can_hide_every_device_of_a_backend(name: str, rung: str):
    identities = [entry["id"] for entry in make_plan(nvidia(), {"environment": {name: -1}})["rungs"]]
    assert rung not in identities
    assert len(identities) == 2


def test_a_host_that_is_to_use_its_processor_says_why_its_gpu_rests():
    plan = make_plan(tower(), {"backend": "cpu"})
    assert plan["devices"][0]["reason"] == "the inventory wants the processor"


MASKS = [(1, [1]), ("GPU-BB", [1]), ("GPU-aa,1", [0, 1]), ("0", [0])]


@pytest.mark.parametrize(("mask", "devices"), MASKS)
def test_the_inventory_s_mask_narrows_rocm_down(mask: Any, devices: list[int]):
    rung = make_plan(TWO_CARDS, {"environment": {"ROCR_VISIBLE_DEVICES": mask}})["rungs"][0]
    assert (rung["devices"], rung["environment"]["ROCR_VISIBLE_DEVICES"]) == (devices, str(mask))


@pytest.mark.parametrize(("backend", "rung"), [("vulkan", "vulkan"), ("rocm", "rocm-override"), ("auto", "cpu")])
def test_a_gpu_that_the_processor_outruns_is_used_where_a_backend_of_it_is_named(backend: str, rung: str):
    assert [one["id"] for one in make_plan(RAPHAEL, {"backend": backend})["rungs"]] == [rung]


def test_a_llama_cpp_of_ones_own_may_be_built_for_any_gpu():
    facts = machine(amd("gfx906", 32, product="MI50"))
    (rung,) = make_plan(facts, {"engine": "llama_server", "backend": "rocm"})["rungs"]
    assert (rung["id"], rung["reason"]) == (
        "rocm",
        "MI50 (gfx906): the inventory insists on a llama.cpp that is built for gfx906",
    )
    assert make_plan(facts, {"engine": "llama_server"})["rungs"][0]["id"] == "vulkan"
    with pytest.raises(PlanError, match=r"dropped in 0\.12\.4"):
        make_plan(facts, {"backend": "rocm"})


NVIDIAS = machine(other("nvidia"), other("nvidia", at=1), nvidia_driver="580")
UNCOUNTED = [
    (NVIDIAS, "CUDA_VISIBLE_DEVICES", "0", "Nothing to do"),
    (TWO_CARDS, "HIP_VISIBLE_DEVICES", "1", "Use ROCR_VISIBLE_DEVICES"),
    (machine(amd("gfx1010", 8), amd("gfx1010", 8, at=1)), "GGML_VK_VISIBLE_DEVICES", "1", "Nothing to do"),
    (NVIDIAS, "CUDA_VISIBLE_DEVICES", "0,1", ""),
    (NVIDIAS, "GGML_VK_VISIBLE_DEVICES", "0", ""),
    (nvidia(), "CUDA_VISIBLE_DEVICES", "0", ""),
]


@pytest.mark.parametrize(("facts", "name", "mask", "remedy"), UNCOUNTED)
def test_a_mask_of_another_numbering_is_told(facts: dict, name: str, mask: str, remedy: str):
    warnings = make_plan(facts, {"environment": {name: mask}})["warnings"]
    told = [warning["remedy"] for warning in warnings if warning["code"] == "mask_not_counted"]
    assert [text.startswith(remedy) for text in told] == [True] * bool(remedy)


def test_a_uuid_that_the_facts_do_not_have_may_be_right():
    facts = machine(amd("gfx1100", 24, uuid="GPU-aa"), amd("gfx1100", 24, at=1))
    assert make_plan(facts, {"environment": {"ROCR_VISIBLE_DEVICES": "GPU-cc"}})["rungs"][0]["devices"] == [0, 1]


def test_the_plan_changes_neither_facts_nor_policy_and_is_the_same_twice():
    facts, policy = desktop(), {"environment": {"OLLAMA_DEBUG": 1}, "accept": ["cpu"], "proven": {"id": "vulkan"}}
    before = copy.deepcopy((facts, policy))
    assert make_plan(facts, policy) == make_plan(facts, policy)
    assert (facts, policy) == before


def test_the_ladder_takes_what_both_modules_take():
    proof, benchmark = inference_proof.RANGES, inference_benchmark.RANGES
    both = {
        name: (max(proof[name][0], benchmark[name][0]), min(proof[name][1], benchmark[name][1]))
        for name in ("prompt_tokens", "predict_tokens")
    }
    assert {**both, **TIMEOUTS} == LADDER
    edges = {name: text for name, (lowest, highest) in LADDER.items() for text in (lowest, str(highest))}
    assert make_plan(xeon(), {"ladder": {**edges, "start_timeout": None}})
    assert make_plan(xeon(), {"ladder": {name: lowest for name, (lowest, _highest) in LADDER.items()}})


def test_nothing_known_is_a_plan_for_the_processor_with_a_warning():
    for facts in ({}, {"gpus": None}, {"gpus": "none", "kernel": 6}):
        plan = make_plan(facts)
        assert [rung["id"] for rung in plan["rungs"]] == ["cpu"]
        assert [warning["code"] for warning in plan["warnings"]] == ["facts_missing"]


_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
_gfx = st.sampled_from(["gfx1036", "gfx1103", "gfx1010", "gfx1031", "gfx1100", "gfx942", "gfx1151", "gfx1", None])
_gpu = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 8) | _scalars,
        "vendor": st.sampled_from(["amd", "nvidia", "intel", "other"]) | _scalars,
        "gfx": _gfx | _scalars,
        "product": st.sampled_from(["GTX 1080", "x"]) | _scalars,
        "pci_id": st.sampled_from(["1002:747e", "10de:1234"]) | _scalars,
        "integrated": st.booleans() | _scalars,
        "vram_bytes": st.integers(0, 2**40) | _scalars,
        "gtt_bytes": st.integers(0, 2**40) | _scalars,
        "usable_by_backend": st.dictionaries(st.sampled_from(["rocm", "vulkan"]), _scalars) | _scalars,
        "render_node": st.just("/dev/dri/renderD128") | _scalars,
        "kfd_node": st.integers(0, 8) | _scalars,
        "driver": st.sampled_from(["amdgpu", "radeon", "nvidia", "nouveau", "vfio-pci"]) | _scalars,
        "hidden_reason": st.sampled_from(["PCI rejects atomics 1<2", "permission denied"]) | _scalars,
        "hidden_from": st.lists(st.sampled_from(["rocm", "vulkan"])) | _scalars,
        "firmware": st.dictionaries(st.just("mes"), st.sampled_from(["0x83", "?"]) | _scalars) | _scalars,
    },
)
_facts = st.fixed_dictionaries(
    {},
    optional={
        "platform": st.sampled_from(["bare_metal", "vm", "container", "wsl2"]) | _scalars,
        "memory_bytes": st.integers(0, 2**40) | _scalars,
        "kernel": st.dictionaries(
            st.sampled_from(["release", "cmdline", "memory_module", "pages_limit", "amdgpu_version"]),
            st.sampled_from(["6.17.0-14-generic", "ttm", "amdgpu.gttsize=1 nomodeset", "6.1.0"]) | _scalars,
        )
        | _scalars,
        "kfd": st.dictionaries(st.just("present"), _scalars) | _scalars,
        "nvidia": st.dictionaries(st.just("driver_version"), st.just("535.1") | _scalars) | _scalars,
        "distribution": st.dictionaries(st.sampled_from(["id", "version_id"]), _scalars) | _scalars,
        "linux_firmware_version": st.just("20251125-1") | _scalars,
        "device_nodes": st.lists(_scalars, max_size=2) | _scalars,
        "gpus": st.lists(_gpu | _scalars, max_size=4) | _scalars,
    },
)
_policy = st.fixed_dictionaries(
    {},
    optional={
        "engine": st.sampled_from(ENGINES),
        "engine_version": st.sampled_from(["0.1.20", "0.6.2", "0.12.11", "0.30.0", "0.32.15", "0.40.0", "b10488"])
        | _scalars,
        "backend": st.sampled_from(CHOICES) | _scalars,
        "accept": st.lists(st.sampled_from(BACKENDS)) | _scalars,
        "environment": st.dictionaries(
            st.sampled_from([OVERRIDE, "ROCR_VISIBLE_DEVICES", "OLLAMA_VULKAN", "OLLAMA_IGPU_ENABLE"]),
            st.sampled_from(["0", "1", "10.3.0", "-1"]) | _scalars,
        )
        | _scalars,
        "proven": st.dictionaries(st.sampled_from(["id", "backend", "engine_version"]), _scalars) | _scalars,
        "installation": st.dictionaries(st.sampled_from(["unit", "libraries", "variants"]), _scalars) | _scalars,
    },
)


@settings(max_examples=400)
@given(_facts, _policy)
def test_any_facts_and_policy_give_a_plan_or_a_plain_refusal(facts: dict, policy: dict):
    try:
        plan = make_plan(facts, policy)
    except PlanError:
        return
    identities = [rung["id"] for rung in plan["rungs"]]
    assert len(set(identities)) == len(identities)
    if policy.get("backend") in (None, "auto", "fastest") and not policy.get("proven"):
        assert identities[-1] == "cpu"
    for rung in plan["rungs"]:
        assert rung["backend"] in BACKENDS
        assert rung["reason"]
        assert all(isinstance(value, str) for value in rung["environment"].values())
        assert (OVERRIDE in rung["environment"]) == (rung["id"] == "rocm-override")
    assert (plan["status"] == "gpu") == any(rung["backend"] != "cpu" for rung in plan["rungs"])
