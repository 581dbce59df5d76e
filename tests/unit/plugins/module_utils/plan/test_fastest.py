# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of measurements and failures, and for how long it holds."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.fastest import changes, choose, speed, told

from tests.unit.plan_hosts import amd, desktop, machine, nvidia, xeon

FIGURES = {"rocm": {"prompt": 900.0, "generation": 41.0}, "vulkan": {"prompt": 400.0, "generation": 52.0}}
ORDER = ["rocm", "vulkan", "cpu"]

# (what it is about, measured, purpose, chosen)
CHOICES: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("generation", FIGURES, "generation", "vulkan"),
    ("prompt", FIGURES, "prompt", "rocm"),
    ("mixed: 1/(0.8/900+0.2/41) = 173, 1/(0.8/400+0.2/52) = 171", FIGURES, "mixed", "rocm"),
    ("within the noise", {"rocm": {"generation": 50}, "vulkan": {"generation": 52}}, "generation", "rocm"),
    ("just the noise", {"rocm": {"generation": 100}, "vulkan": {"generation": 105}}, "generation", "rocm"),
    ("beyond it", {"rocm": {"generation": 100}, "vulkan": {"generation": 106}}, "generation", "vulkan"),
    ("a figure is missing", {"rocm": {"prompt": 9}, "vulkan": {"generation": 1}}, "generation", "vulkan"),
    ("zero is no figure", {"rocm": {"generation": 0}}, "generation", None),
    ("nonsense", {"rocm": "fast", "vulkan": None}, "mixed", None),
    ("no rung of the plan", {"cuda": {"generation": 9}}, "generation", None),
    ("nothing", {}, "generation", None),
]


@pytest.mark.parametrize(("measured", "purpose", "chosen"), [case[1:] for case in CHOICES], ids=[c[0] for c in CHOICES])
def test_choice(measured: dict[str, Any], purpose: str, chosen: str | None) -> None:
    assert choose(measured, purpose, ORDER) == chosen


def test_a_mix_is_counted_by_time() -> None:
    assert speed({"prompt": 400, "generation": 50}, "mixed") == pytest.approx(1 / (0.8 / 400 + 0.2 / 50))
    quick = {"cpu": {"generation": 1657.3}, "vulkan": {"generation": 58.64}}
    assert told(quick, "generation", "cpu") == "measured (generation): cpu 1657 t/s, vulkan 58.6 t/s: cpu kept"
    assert told(FIGURES, "generation", "vulkan") == "measured (generation): rocm 41 t/s, vulkan 52 t/s: vulkan kept"


def test_what_is_unknown_has_not_changed() -> None:
    assert changes({"kernel": "6.12", "driver": ""}, {"kernel": "6.18", "driver": "580"}) == [
        "kernel was 6.12 and is 6.18"
    ]
    assert changes({"kernel": "6.12"}, {"kernel": ""}) == changes(None, {"kernel": "6.18"}) == []


def remembered(facts: dict[str, Any], rung: str, **policy: Any) -> dict[str, Any]:
    """What a run on this host has left in the local fact."""
    plan = make_plan(facts, {"backend": "fastest", **policy})
    fingerprint = plan["fingerprint"]
    known = {"engine": plan["engine"], "engine_version": plan["engine_version"], "fingerprint": fingerprint}
    return {**known, "id": rung, "backend": rung, "measured": {"fingerprint": fingerprint, "rungs": FIGURES}}


def test_what_was_measured_decides_and_is_told() -> None:
    proven = remembered(desktop(), "vulkan", model="qwen3:0.6b")
    plan = make_plan(desktop(), {"backend": "fastest", "model": "qwen3:0.6b", "proven": proven})
    assert not plan["measure"]
    assert plan["rungs"][0]["id"] == "vulkan"
    assert "measured (generation): rocm 41 t/s, vulkan 52 t/s: vulkan kept" in plan["rungs"][0]["reason"]
    assert plan["measured"] == proven["measured"]


def test_another_purpose_chooses_without_measuring_again() -> None:
    proven = remembered(desktop(), "vulkan")
    plan = make_plan(desktop(), {"backend": "fastest", "proven": proven, "measure_for": "prompt"})
    assert (plan["measure"], plan["rungs"][0]["id"]) == (False, "rocm")


NEWER = {"kernel": {"release": "7.3.4-amd64"}}
# (what changed, facts, policy, words of the refusal)
CHANGED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("kernel", {**desktop(), "kernel": {"release": "7.3.4"}}, {}, "kernel was 6.18.13-amd64 and is 7.3.4"),
    ("firmware", {**desktop(), "linux_firmware_version": "20260110"}, {}, "firmware was 20251111 and is 20260110"),
    ("driver", {**desktop(), "amdgpu_version": "6.18.4"}, {}, "driver was amdgpu 6.18.3 and is amdgpu 6.18.4"),
    ("model", desktop(), {"model": "qwen3:8b"}, "model was qwen3:0.6b and is qwen3:8b"),
    ("engine", desktop(), {"engine_version": "0.32.14"}, "engine_version was 0.32.15 and is 0.32.14"),
    (
        "gpu",
        machine(amd("gfx1100", 24, product="RX 7900 XTX")),
        {},
        "gpu was gfx1101 16 GiB at 0000:03:00.0, gfx1036 0 GiB at 0000:04:00.0 and is gfx1100",
    ),
]


@pytest.mark.parametrize(("facts", "policy", "words"), [case[1:] for case in CHANGED], ids=[c[0] for c in CHANGED])
def test_a_change_has_all_measured_again(facts: dict[str, Any], policy: dict[str, Any], words: str) -> None:
    then = {**desktop(), "linux_firmware_version": "20251111", "amdgpu_version": "6.18.3"}
    proven = remembered(then, "vulkan", model="qwen3:0.6b")
    plan = make_plan(facts, {"backend": "fastest", "model": "qwen3:0.6b", "proven": proven, **policy})
    assert plan["measure"]
    assert plan["rungs"][0]["id"] == "rocm"
    assert any(words in refused["reason"] for refused in plan["refused"])


def test_forgetting_has_all_measured_again() -> None:
    assert make_plan(desktop(), {"backend": "fastest", "proven": {}})["measure"]


def test_a_lower_rung_climbs_again_when_the_kernel_has_changed() -> None:
    proven = {key: value for key, value in remembered(desktop(), "vulkan").items() if key != "measured"}
    same = make_plan(desktop(), {"proven": proven})
    assert same["rungs"][0]["id"] == "vulkan"
    after = make_plan({**desktop(), "kernel": {"release": "7.3.4-amd64"}}, {"proven": proven})
    assert after["rungs"][0]["id"] == "rocm"
    assert any("proven when kernel was 6.18.13-amd64 and is 7.3.4-amd64" in item["reason"] for item in after["refused"])
    proven["fingerprint"] = {**proven["fingerprint"], "model": "qwen3:0.6b"}
    another = make_plan(desktop(), {"proven": proven, "model": "qwen3:8b"})
    assert another["rungs"][0]["id"] == "vulkan"


def test_the_best_rung_stays_whatever_has_changed() -> None:
    proven = {key: value for key, value in remembered(desktop(), "rocm").items() if key != "measured"}
    after = make_plan({**desktop(), "kernel": {"release": "7.3.4-amd64"}}, {"proven": proven})
    assert after["rungs"][0]["reason"].startswith("proven on this host before")
    assert not any(item["option"].startswith("remembered") for item in after["refused"])


# --- llama-server ---


def test_software_vulkan_is_a_rung_only_where_it_is_accepted() -> None:
    assert [rung["id"] for rung in make_plan(xeon(), {"engine": "llama_server"})["rungs"]] == ["cpu"]
    plan = make_plan(xeon(), {"engine": "llama_server", "accept_software_vulkan": True})
    rung = plan["rungs"][0]
    assert [entry["id"] for entry in plan["rungs"]] == ["vulkan", "cpu"]
    assert (rung["environment"], rung["requires"]) == ({"GGML_VK_VISIBLE_DEVICES": "0"}, ["vulkan_software"])
    assert (plan["degraded_if"], plan["status"]) == ([], "cpu")
    assert plan["accept_software_vulkan"]


@pytest.mark.parametrize(
    ("facts", "policy"),
    [
        (xeon(), {"engine": "ollama"}),
        (desktop(), {"engine": "llama_server"}),
        (nvidia(), {"engine": "llama_server"}),
        (machine(amd("gfx942", 192)), {"engine": "llama_server"}),
    ],
)
def test_software_vulkan_is_for_llama_server_on_a_host_without_a_gpu(facts: dict, policy: dict) -> None:
    plan = make_plan(facts, {**policy, "accept_software_vulkan": True})
    assert all("vulkan_software" not in rung["requires"] for rung in plan["rungs"])


def test_the_processor_of_a_software_host_can_be_the_fastest() -> None:
    policy = {"engine": "llama_server", "backend": "fastest", "accept_software_vulkan": True}
    proven = remembered(xeon(), "cpu", **{key: policy[key] for key in ("engine", "accept_software_vulkan")})
    proven["measured"]["rungs"] = {"vulkan": {"generation": 25.0}, "cpu": {"generation": 900.0}}
    plan = make_plan(xeon(), {**policy, "proven": proven})
    assert (plan["measure"], [rung["id"] for rung in plan["rungs"]]) == (False, ["cpu", "vulkan"])


def test_the_processor_stays_proven_where_the_other_rung_is_software() -> None:
    policy = {"engine": "llama_server", "accept_software_vulkan": True}
    proven = {key: value for key, value in remembered(xeon(), "cpu", **policy).items() if key != "measured"}
    assert [rung["id"] for rung in make_plan(xeon(), {**policy, "proven": proven})["rungs"]] == ["cpu", "vulkan"]
    gpu = {key: value for key, value in remembered(desktop(), "cpu").items() if key != "measured"}
    assert make_plan(desktop(), {"proven": gpu})["rungs"][0]["id"] == "rocm"
    # Windows lends WSL2 its NVIDIA GPU, which is no device there.
    lent = {**desktop(), "platform": "wsl2", "gpus": [], "nvidia": {"driver_version": "580.1"}}
    gpu = {key: value for key, value in remembered(lent, "cpu").items() if key != "measured"}
    assert make_plan(lent, {"proven": gpu})["rungs"][0]["id"] == "cuda"


OTHERS: list[tuple[str, dict[str, Any], str | None]] = [
    ("ollama", {"llama_server_units": ["llama-server-chat.service"]}, "llama-server-chat.service"),
    ("ollama", {"llama_server_units": []}, None),
    # A run that was to bring llama-server was killed: Ollama is what is remembered, and not what runs.
    (
        "ollama",
        {"llama_server_units": ["llama-server-a.service"], "proven": {"engine": "ollama"}},
        "llama-server-a.service",
    ),
    ("llama_server", {"service": {"active": "active"}, "unit": {"owner": "ours"}}, "ollama.service"),
    ("llama_server", {"service": {"active": "inactive"}, "unit": {"owner": "installer"}}, None),
    ("llama_server", {"service": {"active": "activating"}}, "ollama.service"),
    ("llama_server", {"service": {"active": "inactive", "enabled": True}}, "ollama.service"),
    ("llama_server", {"service": {"active": "inactive", "enabled": None}}, None),
]


@pytest.mark.parametrize(("engine", "installation", "unit"), OTHERS)
def test_the_other_engine_is_announced_to_stand_down(engine: str, installation: dict, unit: str | None) -> None:
    plan = make_plan(desktop(), {"engine": engine, "installation": installation})
    assert plan["replaces"] == ([unit] if unit else [])
    found = [warning["message"] for warning in plan["warnings"] if warning["code"] == "other_engine_stands_down"]
    assert bool(found) == bool(unit)
    assert not unit or unit in found[0]


def test_what_is_odd_about_an_ollama_is_no_matter_to_llama_server() -> None:
    found = {"libraries": ["/usr/local/lib/ollama/rocm.bak"], "unit": {"owner": "installer"}}
    codes = {
        warning["code"]
        for warning in make_plan(desktop(), {"engine": "llama_server", "installation": found})["warnings"]
    }
    assert not codes & {"adopted", "stale_library"}


def test_a_build_for_rocm_needs_the_hosts_libraries() -> None:
    rocm = make_plan(desktop(), {"engine": "llama_server"})["rungs"][0]
    assert rocm["requires"] == ["rocm_libraries", "kfd"]


def test_a_version_that_the_inventory_leaves_open_is_not_compared() -> None:
    proven = {"engine": "llama_server", "engine_version": "b11669", "backend": "vulkan", "id": "vulkan"}
    assert make_plan(desktop(), {"engine": "llama_server", "proven": proven})["rungs"][0]["id"] == "vulkan"
    newer = make_plan(desktop(), {"engine": "llama_server", "engine_version": "b11700", "proven": proven})
    assert newer["rungs"][0]["id"] == "rocm"


BUILD = {"version": "b11669", "models": [{"path": "/m.gguf", "size": 830112, "modified": 0}]}
NEW_FILE = {"path": "/m.gguf", "size": 830112, "modified": 86400}
# (what it is about, the host's llama-server now, what the refusal says of it)
EXCHANGED: list[tuple[str, dict[str, Any], str | None]] = [
    ("nothing", BUILD, None),
    ("a package was upgraded", {**BUILD, "version": "b11700"}, "engine_version was b11669 and is b11700"),
    (
        "a file was exchanged",
        {**BUILD, "models": [NEW_FILE]},
        "model_files was /m.gguf (830112 bytes of 1970-01-01 00:00:00) and is"
        " /m.gguf (830112 bytes of 1970-01-02 00:00:00)",
    ),
    ("the file is yet to come", {**BUILD, "models": [{"path": "/m.gguf", "size": None, "modified": None}]}, None),
    ("one of two is yet to come", {**BUILD, "models": [NEW_FILE, {"path": "/n", "size": None}]}, None),
    ("nothing is known", {}, None),
]


@pytest.mark.parametrize(("now", "words"), [case[1:] for case in EXCHANGED], ids=[case[0] for case in EXCHANGED])
def test_what_is_exchanged_underneath_is_measured_again(now: dict[str, Any], words: str | None) -> None:
    policy = {"engine": "llama_server", "model": "/m.gguf"}
    proven = remembered(desktop(), "vulkan", **policy, installed=BUILD)
    plan = make_plan(desktop(), {**policy, "backend": "fastest", "proven": proven, "installed": now})
    assert plan["measure"] == bool(words)
    refused = [item["reason"] for item in plan["refused"] if item["option"] == "remembered vulkan"]
    assert refused == ([f"measured when {words}"] if words else [])


def test_a_lower_rung_climbs_again_with_another_build_and_not_with_another_file() -> None:
    proven = remembered(desktop(), "vulkan", engine="llama_server", installed=BUILD)
    del proven["measured"]
    policy = {"engine": "llama_server", "proven": {**proven, "engine_version": "b11669"}}
    rungs = {
        name: make_plan(desktop(), {**policy, "installed": {**BUILD, **now}})["rungs"][0]["id"]
        for name, now in {"same": {}, "file": {"models": [NEW_FILE]}, "build": {"version": "b11700"}}.items()
    }
    assert rungs == {"same": "vulkan", "file": "vulkan", "build": "rocm"}


def test_the_inventorys_word_on_the_version_counts_more_than_what_is_there_before_it_is_installed() -> None:
    policy = {"engine": "llama_server", "engine_version": "b11700", "installed": BUILD}
    assert make_plan(desktop(), policy)["fingerprint"]["engine_version"] == "b11700"


def test_what_another_engine_has_proven_is_told_as_that() -> None:
    proven = remembered(desktop(), "vulkan")
    plan = make_plan(desktop(), {"engine": "llama_server", "proven": proven, "installed": BUILD})
    (refused,) = [item["reason"] for item in plan["refused"] if item["option"] == "remembered vulkan"]
    assert refused == "proven when engine was ollama and is llama_server"


def test_the_model_that_ollama_was_measured_with_may_be_a_file_that_is_exchanged() -> None:
    then = {"version": None, "models": BUILD["models"]}
    proven = remembered(desktop(), "vulkan", model="mine", installed=then)
    policy = {"backend": "fastest", "model": "mine", "proven": proven}
    assert not make_plan(desktop(), {**policy, "installed": then})["measure"]
    assert make_plan(desktop(), {**policy, "installed": {"version": None, "models": [NEW_FILE]}})["measure"]
