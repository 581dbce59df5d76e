# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan makes of a WSL2 host: whose engine, by which way, and what to expect of Windows."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.wsl import WAYS, windows_backend

from tests.unit.plan_hosts import machine, xeon


def gpu(gfx: str | None, vendor: str = "amd", integrated: bool = False) -> dict[str, Any]:
    return {"product": "a GPU", "vendor": vendor, "gfx": gfx, "integrated": integrated}


def wsl_host(**wsl: Any) -> dict[str, Any]:
    told = {"version": 2, "networking_mode": "nat", "interop": True, "windows_gpus": [gpu("gfx1010")], **wsl}
    return {**machine(platform="wsl2", ram=16), "wsl": told}


BACKENDS: list[tuple[str, list[Any] | None, str | None, str]] = [
    ("not asked", None, None, "not known"),
    ("no GPU", [], "cpu", "no GPU"),
    ("RX 5700 XT", [gpu("gfx1010")], "vulkan", "gfx1010 is not in Ollama's ROCm build for Windows"),
    ("RX 7800 XT", [gpu("gfx1101")], "rocm", "gfx1101"),
    ("a GPU that is newer than the catalogue", [gpu(None)], "vulkan", "not known"),
    ("without graphics", [gpu("gfx942")], "cpu", "no GPU"),
    ("Intel", [gpu(None, "intel")], "cpu", "no GPU"),
    ("a card before the processor's own", [gpu("gfx1036", integrated=True), gpu("gfx1010")], "vulkan", "gfx1010"),
    ("NVIDIA beside AMD", [gpu("gfx1101"), gpu(None, "nvidia")], "cuda", "NVIDIA"),
    ("nonsense", ["x", None, {}], "cpu", "no GPU"),
]


@pytest.mark.parametrize(("gpus", "backend", "why"), [row[1:] for row in BACKENDS], ids=[row[0] for row in BACKENDS])
def test_backend_of_windows(gpus: list[Any] | None, backend: str | None, why: str) -> None:
    found = windows_backend(gpus, {})
    assert found[0] == backend
    assert why in found[1]


MODES = [
    ("nat", "gateway"),
    ("mirrored", "loopback"),
    ("consomme", "loopback"),
    ("virtioproxy", "loopback"),
    ("bridged", "none"),
    ("none", "none"),
    (None, "auto"),
    ("something new", "auto"),
]


@pytest.mark.parametrize(("mode", "way"), MODES)
def test_way_to_windows(mode: str | None, way: str) -> None:
    address = make_plan(wsl_host(networking_mode=mode))["wsl"]["address"]
    assert address["way"] == way
    assert bool(address["remedy"]) == (way == "none")


def test_wsl_1_has_no_way_whatever_its_mode() -> None:
    wsl = make_plan(wsl_host(version=1, networking_mode="nat"))["wsl"]
    assert wsl["address"]["way"] == "none"
    assert "--set-version" in wsl["address"]["remedy"]


def test_every_mode_without_a_way_says_what_to_do() -> None:
    assert all(remedy for way, _why, remedy in WAYS.values() if way == "none")


USES = [
    (wsl_host(), {}, "windows"),
    (wsl_host(), {"wsl_use": "local"}, "local"),
    ({**wsl_host(), "nvidia": {"driver_version": "580.1"}}, {}, "local"),
    ({**wsl_host(), "nvidia": {"driver_version": "580.1"}}, {"wsl_use": "windows"}, "windows"),
    (machine(platform="wsl2"), {}, "windows"),
]


@pytest.mark.parametrize(("facts", "policy", "use"), USES)
def test_use(facts: dict[str, Any], policy: dict[str, Any], use: str) -> None:
    wsl = make_plan(facts, policy)["wsl"]
    assert wsl["use"] == use
    assert [one["option"] for one in wsl["options"] if one["chosen"]] == [
        {"windows": "Ollama on Windows", "local": "Ollama in WSL2"}[use]
    ]
    assert bool(wsl["steps"]) == (use == "windows")


def test_other_platforms_have_no_such_plan() -> None:
    assert make_plan(xeon())["wsl"] is None


STEPS = [
    ({"networking_mode": "nat"}, ["windows_ollama", "windows_nat"]),
    ({"networking_mode": "mirrored"}, ["windows_ollama"]),
    ({"networking_mode": "mirrored", "interop": False}, ["windows_ollama", "wsl_interop"]),
]


@pytest.mark.parametrize(("wsl", "codes"), STEPS)
def test_steps(wsl: dict[str, Any], codes: list[str]) -> None:
    assert [step["code"] for step in make_plan(wsl_host(**wsl))["wsl"]["steps"]] == codes


ROCM_HERE = [
    ({"windows_gpus": [gpu("gfx1010")], "dxg": True}, False, "AMD supports it on gfx1100"),
    ({"windows_gpus": [gpu("gfx1201")], "dxg": False}, False, "no /dev/dxg"),
    ({"windows_gpus": [gpu("gfx1201")], "dxg": True, "rocdxg": False}, True, "needs librocdxg"),
    ({"windows_gpus": [gpu("gfx1201")], "dxg": True, "rocdxg": True}, True, "librocdxg is installed"),
    ({"windows_gpus": None, "dxg": True}, False, "not known"),
]


@pytest.mark.parametrize(("wsl", "possible", "reason"), ROCM_HERE)
def test_rocm_in_wsl_is_an_option_and_never_chosen(wsl: dict[str, Any], possible: bool, reason: str) -> None:
    option = make_plan(wsl_host(**wsl))["wsl"]["options"][2]
    assert (option["possible"], option["chosen"]) == (possible, False)
    assert reason in option["reason"]
