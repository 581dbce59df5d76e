# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rungs a host gets, in which order, with which environment."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.hidden import GPU_DRIVERS_OF_GUESTS
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan

from tests.unit.plan_hosts import GIB, amd, desktop, halo, machine, minipc, nvidia, other, tower, wsl, xeon

RX_7900 = amd("gfx1100", 24, product="RX 7900 XTX")
RX_6700 = amd("gfx1031", 12, product="RX 6700 XT")


def rungs(facts: dict, **policy: Any) -> list[str]:
    return [rung["id"] for rung in make_plan(facts, policy)["rungs"]]


def environment(facts: dict, rung: str, **policy: Any) -> dict[str, str]:
    return next(entry["environment"] for entry in make_plan(facts, policy)["rungs"] if entry["id"] == rung)


# name, facts, release, rungs in order
LADDERS: list[tuple[str, dict, str, list[str]]] = [
    ("the demo's minipc", minipc(), "0.32.15", ["vulkan", "rocm-override", "cpu"]),
    ("the demo's desktop", desktop(), "0.32.15", ["rocm", "vulkan", "cpu"]),
    ("the demo's tower", tower(), "0.32.15", ["vulkan", "cpu"]),
    ("the demo's halo", halo(), "0.32.15", ["rocm", "vulkan", "cpu"]),
    ("the demo's nvidia", nvidia(), "0.32.15", ["cuda", "vulkan", "cpu"]),
    ("the demo's xeon", xeon(), "0.32.15", ["cpu"]),
    ("the demo's wsl", wsl(), "0.32.15", ["cpu"]),
    ("a tower before gfx1010 was dropped", tower(), "0.31.1", ["rocm", "vulkan", "cpu"]),
    ("a tower before Vulkan", tower(), "0.12.10", ["rocm", "cpu"]),
    ("a minipc while gfx1103 was built", minipc(), "0.31.1", ["vulkan", "rocm", "cpu"]),
    ("a minipc before Vulkan", minipc(), "0.12.3", ["rocm-override", "cpu"]),
    ("an APU with a small carve-out of old", halo(), "0.12.3", ["cpu"]),
    ("the same while carve-outs did not count", halo(), "0.12.4", ["rocm", "cpu"]),
    ("a halo before gfx1151", halo(), "0.6.1", ["cpu"]),
    ("a Vega 20 while it was built", machine(amd("gfx906", 32)), "0.12.3", ["rocm", "cpu"]),
    ("a Vega 20 today", machine(amd("gfx906", 32)), "0.32.15", ["vulkan", "cpu"]),
    ("a Vega 20 without any way", machine(amd("gfx906", 32)), "0.12.5", ["cpu"]),
    ("Strix Point", machine(amd("gfx1150", 4, integrated=True)), "0.32.15", ["vulkan", "rocm", "cpu"]),
    ("Krackan", machine(amd("gfx1152", 0.5, integrated=True)), "0.32.15", ["vulkan", "cpu"]),
    ("an RX 6700 XT", machine(RX_6700), "0.32.15", ["rocm-override", "vulkan", "cpu"]),
    ("Rembrandt", machine(amd("gfx1035", 2, integrated=True)), "0.32.15", ["vulkan", "rocm-override", "cpu"]),
    ("Cezanne: its override hangs", machine(amd("gfx90c", 2, integrated=True)), "0.32.15", ["vulkan", "cpu"]),
    ("a V520 on gfx1010's code", machine(amd("gfx1011", 8)), "0.31.1", ["vulkan", "rocm-override", "cpu"]),
    ("a V520 when that is gone", machine(amd("gfx1011", 8)), "0.31.2", ["vulkan", "cpu"]),
    ("Raphael alone: the processor is faster", machine(amd("gfx1036", 0.5, integrated=True)), "0.32.15", ["cpu"]),
    ("MI300X has no Vulkan", machine(amd("gfx942", 192)), "0.32.15", ["rocm", "cpu"]),
    ("MI300A", machine(*[amd("gfx942", 128, at=at, integrated=True) for at in (0, 1)]), "0.32.15", ["rocm", "cpu"]),
    ("RDNA4", machine(amd("gfx1201", 16)), "0.6.4", ["rocm", "cpu"]),
    ("an unknown architecture", machine(amd(None, 16)), "0.32.15", ["vulkan", "cpu"]),
    ("an Intel Arc", machine(other("intel")), "0.32.15", ["vulkan", "cpu"]),
    ("a display adapter of a server", machine(other("other")), "0.32.15", ["cpu"]),
    ("NVIDIA in WSL2", machine(platform="wsl2", nvidia_driver="580.1"), "0.32.15", ["cuda", "cpu"]),
    (
        "NVIDIA beside an AMD iGPU",
        machine(other("nvidia"), amd("gfx1103", 2, at=1, integrated=True), nvidia_driver="580"),
        "0.32.15",
        ["cuda", "vulkan", "cpu"],
    ),
]


@pytest.mark.parametrize(("facts", "version", "expected"), [case[1:] for case in LADDERS], ids=[c[0] for c in LADDERS])
def test_the_ladder_of_a_host(facts: dict, version: str, expected: list[str]):
    assert rungs(facts, engine_version=version) == expected


# facts, release, rung, its whole environment
ENVIRONMENTS: list[tuple[str, dict, str, str, dict[str, str]]] = [
    ("minipc", minipc(), "0.32.15", "vulkan", {"OLLAMA_LLM_LIBRARY": "vulkan", "OLLAMA_IGPU_ENABLE": "1"}),
    (
        "minipc override",
        minipc(),
        "0.32.15",
        "rocm-override",
        {"OLLAMA_LLM_LIBRARY": "rocm_v7_2", "OLLAMA_IGPU_ENABLE": "1", "HSA_OVERRIDE_GFX_VERSION": "11.0.2"},
    ),
    ("minipc opt-in", minipc(), "0.24.0", "vulkan", {"OLLAMA_LLM_LIBRARY": "vulkan", "OLLAMA_VULKAN": "1"}),
    ("minipc native", minipc(), "0.24.0", "rocm", {"OLLAMA_LLM_LIBRARY": "rocm"}),
    (
        "desktop",
        desktop(),
        "0.32.15",
        "rocm",
        {"OLLAMA_LLM_LIBRARY": "rocm_v7_2", "OLLAMA_IGPU_ENABLE": "0", "ROCR_VISIBLE_DEVICES": "0"},
    ),
    ("desktop on Vulkan", desktop(), "0.32.15", "vulkan", {"OLLAMA_LLM_LIBRARY": "vulkan", "OLLAMA_IGPU_ENABLE": "0"}),
    ("tower", tower(), "0.32.15", "vulkan", {"OLLAMA_LLM_LIBRARY": "vulkan"}),
    ("halo", halo(), "0.32.15", "rocm", {"OLLAMA_LLM_LIBRARY": "rocm_v7_2"}),
    (
        "halo before it was admitted",
        halo(),
        "0.30.1",
        "rocm",
        {"OLLAMA_LLM_LIBRARY": "rocm_v7_2", "OLLAMA_IGPU_ENABLE": "1"},
    ),
    ("halo with an unknown release", halo(), "0.35.1", "rocm", {}),
    ("nvidia", nvidia(), "0.32.15", "cuda", {}),
    ("NVIDIA of an unknown kind", nvidia(integrated=None), "0.32.15", "vulkan", {"OLLAMA_LLM_LIBRARY": "vulkan"}),
    (
        "AMD of an unknown kind",
        machine(amd(None, 4) | {"integrated": None}),
        "0.32.15",
        "vulkan",
        {"OLLAMA_LLM_LIBRARY": "vulkan", "OLLAMA_IGPU_ENABLE": "1"},
    ),
    ("cpu", minipc(), "0.32.15", "cpu", {"OLLAMA_LLM_LIBRARY": "cpu"}),
    ("cpu of old", machine(RX_7900), "0.12.3", "cpu", {"ROCR_VISIBLE_DEVICES": "-1"}),
    ("nvidia's cpu of old", nvidia(), "0.12.3", "cpu", {"CUDA_VISIBLE_DEVICES": "-1"}),
    ("rocm of old", machine(RX_7900), "0.12.3", "rocm", {}),
    (
        "MI300A is no iGPU to Ollama",
        machine(amd("gfx942", 128, integrated=True)),
        "0.32.15",
        "rocm",
        {"OLLAMA_LLM_LIBRARY": "rocm_v7_2"},
    ),
    (
        "CUDA beside AMD",
        machine(other("nvidia", vram=24), amd("gfx1100", 24, at=1), nvidia_driver="580"),
        "0.32.15",
        "cuda",
        {"OLLAMA_VULKAN": "0", "ROCR_VISIBLE_DEVICES": "-1"},
    ),
    (
        "ROCm beside NVIDIA",
        machine(other("nvidia", vram=8), amd("gfx1100", 24, at=1), nvidia_driver="580"),
        "0.32.15",
        "rocm",
        {"OLLAMA_LLM_LIBRARY": "rocm_v7_2"},
    ),
    (
        "ROCm beside NVIDIA, unknown release",
        machine(other("nvidia"), amd("gfx1100", 24, at=1), nvidia_driver="580"),
        "0.35.0",
        "rocm",
        {"CUDA_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "0"},
    ),
]


@pytest.mark.parametrize(
    ("facts", "version", "rung", "expected"), [case[1:] for case in ENVIRONMENTS], ids=[c[0] for c in ENVIRONMENTS]
)
def test_the_environment_of_a_rung(facts: dict, version: str, rung: str, expected: dict[str, str]):
    assert environment(facts, rung, engine_version=version) == expected


def test_rocm_counts_gpus_by_their_kfd_nodes():
    facts = machine(amd("gfx1036", 0.5, integrated=True, node=2), amd("gfx1100", 24, at=1, node=1))
    assert environment(facts, "rocm")["ROCR_VISIBLE_DEVICES"] == "0"
    facts = machine(amd("gfx1036", 0.5, integrated=True, node=1), amd("gfx1100", 24, at=1, node=2))
    assert environment(facts, "rocm")["ROCR_VISIBLE_DEVICES"] == "1"


def test_rocm_counts_by_place_when_no_node_is_known_and_says_so():
    facts = machine(amd("gfx1036", 0.5, integrated=True, node=None), amd("gfx1100", 24, at=1, node=None))
    plan = make_plan(facts)
    assert plan["rungs"][0]["environment"]["ROCR_VISIBLE_DEVICES"] == "1"
    assert "rocr_order_guessed" in [warning["code"] for warning in plan["warnings"]]


def test_two_architectures_in_the_build_are_both_used_without_override():
    rung = make_plan(machine(RX_7900, amd("gfx1201", 16, at=1)))["rungs"][0]
    assert rung["devices"] == [0, 1]
    assert not {"ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"} & set(rung["environment"])


def test_a_card_outside_the_build_is_masked_beside_one_inside():
    plan = make_plan(machine(RX_6700, amd("gfx1100", 24, at=1)))
    assert plan["rungs"][0]["devices"] == [1]
    assert plan["rungs"][0]["environment"]["ROCR_VISIBLE_DEVICES"] == "1"
    assert plan["rungs"][1]["devices"] == [0, 1]
    assert not any("HSA_OVERRIDE_GFX_VERSION" in rung["environment"] for rung in plan["rungs"])
    assert "rocm-override" in [item["option"] for item in plan["refused"]]


def test_two_architectures_outside_the_build_get_no_override():
    plan = make_plan(machine(RX_6700, amd("gfx1032", 8, at=1)))
    assert [rung["id"] for rung in plan["rungs"]] == ["vulkan", "cpu"]
    assert "two architectures" in " ".join(item["reason"] for item in plan["refused"])


def test_one_override_serves_two_cards_of_one_architecture():
    rung = make_plan(machine(RX_6700, amd("gfx1031", 12, at=1)))["rungs"][0]
    assert (rung["id"], rung["devices"]) == ("rocm-override", [0, 1])


@pytest.mark.parametrize(
    ("nvidia_vram", "amd_vram", "first"), [(24, 16, "cuda"), (8, 16, "rocm"), (16, 16, "cuda"), (None, 16, "cuda")]
)
def test_the_vendor_with_more_memory_goes_first(nvidia_vram: int | None, amd_vram: int, first: str):
    facts = machine(other("nvidia", vram=nvidia_vram), amd("gfx1100", amd_vram, at=1), nvidia_driver="580.1")
    plan = make_plan(facts)
    assert plan["rungs"][0]["id"] == first
    assert {rung["id"] for rung in plan["rungs"]} == {"cuda", "rocm", "vulkan", "cpu"}
    assert "never spans" in " ".join(item["reason"] for item in plan["refused"])


# driver, product, release, first rung
DRIVERS: list[tuple[str | None, str, str, str]] = [
    ("550.90", "GeForce RTX 3070", "0.32.15", "cuda"),
    ("549.99", "GeForce RTX 3070", "0.32.15", "vulkan"),
    ("535.183.01", "GeForce RTX 3070", "0.30.10", "cuda"),
    ("560.35", "GeForce GTX 1080", "0.32.15", "vulkan"),
    ("570.1", "GeForce GTX 1080", "0.32.15", "cuda"),
    ("560.35", "Tesla P40", "0.32.15", "vulkan"),
    ("560.35", "GeForce GTX 1660", "0.32.15", "cuda"),
    ("560.35", "NVIDIA GeForce GTX 750 Ti", "0.32.15", "vulkan"),
    ("560.35", "NVIDIA GeForce 940MX", "0.32.15", "vulkan"),
    ("560.35", "NVIDIA GeForce MX150", "0.32.15", "vulkan"),
    ("560.35", "Quadro GP100", "0.32.15", "vulkan"),
    ("560.35", "NVIDIA GeForce MX450", "0.32.15", "cuda"),
    ("560.35", "Quadro RTX 4000", "0.32.15", "cuda"),
    (None, "GeForce RTX 3070", "0.32.15", "cuda"),
]


@pytest.mark.parametrize(("driver", "product", "version", "first"), DRIVERS)
def test_nvidia_needs_a_driver_that_is_new_enough(driver: str | None, product: str, version: str, first: str):
    facts = machine(other("nvidia", product=product), nvidia_driver=driver)
    plan = make_plan(facts, {"engine_version": version})
    assert plan["rungs"][0]["id"] == first
    assert ("nvidia_driver" in [step["code"] for step in plan["steps"]]) == (first == "vulkan")


@pytest.mark.parametrize(("driver", "expected"), [("nouveau", ["vulkan", "cpu"]), (None, ["cpu"])])
def test_nvidia_without_its_driver(driver: str | None, expected: list[str]):
    plan = make_plan(machine(other("nvidia", driver=driver)))
    assert [rung["id"] for rung in plan["rungs"]] == expected
    assert plan["degraded_if"] == ["cpu"]
    assert [step["code"] for step in plan["steps"]] == ["nvidia_driver"]


def test_a_card_on_nouveau_waits_for_its_driver_beside_any_other():
    beside = machine(amd("gfx1103", 2, integrated=True, product="780M"), other("nvidia", at=1, driver="nouveau"))
    plan = make_plan(beside)
    assert [(rung["id"], rung["devices"]) for rung in plan["rungs"][:2]] == [("vulkan", [0]), ("rocm-override", [0])]
    assert "install NVIDIA's driver" in plan["devices"][1]["reason"]
    alone = make_plan(machine(other("nvidia", driver="nouveau")))["rungs"][0]
    assert (alone["backend"], "NVK" in alone["reason"]) == ("vulkan", True)


# what the facts say of the card, rungs, whether the processor is a degradation
UNREACHABLE: list[tuple[str, dict, dict, list[str], bool]] = [
    (
        "atomics",
        {"node": None, "hidden_reason": "PCI rejects atomics 730<0", "hidden_from": ["rocm"]},
        {},
        ["vulkan", "cpu"],
        True,
    ),
    ("no KFD at all", {"node": None}, {"kfd": {"present": False}}, ["vulkan", "cpu"], True),
    (
        "denied",
        {"hidden_reason": "The device cgroup denies the GPU.", "hidden_from": ["rocm", "vulkan"]},
        {"platform": "container"},
        ["cpu"],
        True,
    ),
    ("given to a guest", {"driver": "vfio-pci"}, {}, ["cpu"], False),
    ("given to a guest of Xen", {"driver": "xen-pciback"}, {}, ["cpu"], False),
    (
        "a container without /dev/kfd",
        {"hidden_reason": "/dev/kfd does not exist here: pass /dev/kfd to this container.", "hidden_from": ["rocm"]},
        {"platform": "container"},
        ["vulkan", "cpu"],
        True,
    ),
    ("on the old driver", {"driver": "radeon", "node": None}, {}, ["cpu"], False),
    (
        "no driver",
        {"driver": None, "hidden_reason": "No driver holds it.", "hidden_from": ["rocm", "vulkan"]},
        {},
        ["cpu"],
        True,
    ),
    ("no render node", {"render_node": None}, {"device_nodes": [{"path": "/dev/kfd"}]}, ["rocm", "cpu"], True),
]


@pytest.mark.parametrize(
    ("card", "host", "expected", "degrades"), [case[1:] for case in UNREACHABLE], ids=[case[0] for case in UNREACHABLE]
)
def test_a_card_that_cannot_be_reached(card: dict, host: dict, expected: list[str], degrades: bool):
    plan = make_plan(machine(amd("gfx1100", 24, **card), **host))
    assert [rung["id"] for rung in plan["rungs"]] == expected
    assert plan["degraded_if"] == (["cpu"] if degrades else [])
    assert plan["status"] == ("cpu" if expected == ["cpu"] else "gpu")
    assert plan["warnings"] or card.get("driver") in GPU_DRIVERS_OF_GUESTS or "kfd" in host or "device_nodes" in host


def test_a_card_without_kfd_node_beside_one_with():
    plan = make_plan(machine(RX_7900, amd("gfx1100", 24, at=1, node=None)))
    assert [(rung["id"], rung["devices"]) for rung in plan["rungs"]] == [("rocm", [0]), ("vulkan", [0, 1]), ("cpu", [])]


def test_partitions_of_one_card_are_all_used():
    parts = [amd("gfx942", 24, at=at, pci_address="0000:05:00.0", partition=at) for at in range(8)]
    plan = make_plan(machine(*parts))
    assert plan["rungs"][0]["devices"] == list(range(8))
    assert plan["memory"]["usable_bytes"] == 8 * 24 * GIB
    assert "8 x" in plan["rungs"][0]["reason"]


@pytest.mark.parametrize("architecture", ["aarch64", "riscv64"])
def test_ollama_has_gpu_builds_for_amd64_alone(architecture: str):
    told = machine(RX_7900, cpu={"architecture": architecture})
    for facts, policy in ((told, {}), (machine(RX_7900), {"installation": {"machine": architecture}})):
        plan = make_plan(facts, policy)
        assert [rung["id"] for rung in plan["rungs"]] == ["cpu"]
        assert plan["degraded_if"] == ["cpu"]
        (warning,) = plan["warnings"]
        assert (warning["code"], architecture in warning["message"]) == ("no_build_for_gpu", True)
        assert f"no Vulkan build for {architecture}" in plan["devices"][0]["reason"] + str(plan["refused"])
    assert rungs(told, engine="llama_server")[0] == "rocm"
    assert rungs(machine(other("nvidia"), nvidia_driver="580", cpu={"architecture": "aarch64"})) == ["cuda", "cpu"]


def test_a_vendor_that_is_not_named_is_known_by_its_pci_id():
    card = {**RX_7900, "vendor": None, "pci_id": "1002:744c"}
    assert rungs(machine(RX_7900, card)) == ["rocm", "vulkan", "cpu"]
    assert make_plan({"gpus": [card]})["status"] == "gpu"


def test_the_reason_for_vulkan_names_who_brings_it():
    mixed = machine(other("nvidia"), amd("gfx1010", 8, at=1), nvidia_driver="580")
    reasons = [
        next(rung["reason"] for rung in make_plan(facts)["rungs"] if rung["id"] == "vulkan")
        for facts in (nvidia(), tower(), mixed)
    ]
    assert [reason.split(": ")[1] for reason in reasons] == [
        "NVIDIA's driver brings Vulkan, too",
        "Mesa's Vulkan driver needs no ROCm",
        "Vulkan drives them together",
    ]


def test_requirements_of_the_rungs():
    needs = {rung["id"]: rung["requires"] for rung in make_plan(desktop())["rungs"]}
    assert needs == {"rocm": ["rocm_payload", "kfd"], "vulkan": ["vulkan_icd"], "cpu": []}
    assert make_plan(nvidia())["rungs"][0]["requires"] == ["nvidia_driver"]


# facts, release, kernel: whether ROCm goes first on Strix Halo
HALO = [
    ("6.18.4", "0.32.15", True),
    ("6.17.0-14-generic", "0.32.15", True),
    ("6.17.0-14-generic", "0.18.0", False),
    ("6.18.4", "0.17.7", False),
    ("6.18.4", "0.18.0", True),
    (None, "0.17.7", True),
]


@pytest.mark.parametrize(("release", "version", "rocm_first"), HALO)
def test_rocm_steps_back_where_it_is_known_to_fail(release: str | None, version: str, rocm_first: bool):
    order = rungs(halo(release=release), engine_version=version)
    assert order == (["rocm", "vulkan", "cpu"] if rocm_first else ["vulkan", "rocm", "cpu"])


def test_the_inventory_s_catalogue_decides_the_order_and_the_override():
    arches = {"gfx1031": {"backend": "vulkan"}}
    assert rungs(machine(RX_6700), catalogue={"arches": arches}) == ["vulkan", "rocm-override", "cpu"]
    arches = {"gfx1152": {"override": {"good": {"11.5.1": "measured here"}}}}
    krackan = machine(amd("gfx1152", 0.5, integrated=True))
    assert environment(krackan, "rocm-override", catalogue={"arches": arches})["HSA_OVERRIDE_GFX_VERSION"] == "11.5.1"


def test_llama_server_has_no_levers_of_ollama():
    plan = make_plan(
        {**desktop(), "distribution": {"id": "ubuntu", "version_id": "24.04"}},
        {"engine": "llama_server", "engine_version": "b10488"},
    )
    assert [rung["id"] for rung in plan["rungs"]] == ["rocm", "vulkan", "cpu"]
    assert plan["rungs"][0]["environment"] == {"ROCR_VISIBLE_DEVICES": "0"}
    assert plan["rungs"][-1]["arguments"] == ["--device", "none"]
    assert plan["rocm"]["install"]
    installed = {**desktop(), "rocm": {"version": "7.2.1"}}
    assert not make_plan(installed, {"engine": "llama_server"})["rocm"]["install"]
    assert rungs(tower(), engine="llama_server") == ["vulkan", "cpu"]
