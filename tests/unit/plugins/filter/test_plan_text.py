# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.plan_text import FilterModule, plan_text
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan

from tests.unit.plan_hosts import amd, desktop, halo, machine, minipc, nvidia, other, tower, wsl, xeon

HOSTS = {
    "minipc": minipc(),
    "desktop": desktop(),
    "tower": tower(),
    "halo": halo(),
    "nvidia": nvidia(),
    "xeon": xeon(),
    "wsl": wsl(),
}

# host, what its text says, in this order
SAID: list[tuple[str, list[str]]] = [
    (
        "minipc",
        [
            "minipc: Ollama 0.32.15 with Vulkan on Radeon 780M",
            "8 GiB of its own",
            "1. vulkan",
            "2. rocm-override",
            "OLLAMA_IGPU_ENABLE=1",
            "Refused",
            "1. Optional: lower the BIOS",
        ],
    ),
    ("desktop", ["with ROCm on Radeon RX 7800 XT", "1. rocm ", "ROCR_VISIBLE_DEVICES=0", "Left out", "beside"]),
    ("tower", ["with Vulkan on Radeon RX 5700 XT", "Refused", "rocm: gfx1010 is not in"]),
    ("halo", ["with ROCm", "Kernel", "ttm.pages_limit=28573696", "reboot", "Warning", "OLLAMA_CONTEXT_LENGTH"]),
    ("nvidia", ["with CUDA on GeForce RTX 3070", "8 GiB"]),
    ("xeon", ["with the processor", "no GPU", "64 GiB of RAM", "1. cpu"]),
    ("wsl", ["Ollama on Windows", "WSL2", "Will use", "If needed", "winget install"]),
]


@pytest.mark.parametrize(("host", "parts"), SAID)
def test_the_text_of_a_host(host: str, parts: list[str]):
    text = " ".join(plan_text(make_plan(HOSTS[host]), HOSTS[host], host).split())
    at = [text.find(part.strip()) for part in parts]
    assert -1 not in at, parts[at.index(-1)]
    assert at == sorted(at)


@pytest.mark.parametrize("host", HOSTS)
def test_the_text_fits_a_screen(host: str):
    lines = plan_text(make_plan(HOSTS[host]), HOSTS[host], host).splitlines()
    assert len(lines) <= 32
    assert [line for line in lines if len(line) > 92 or line != line.rstrip()] == []


def test_a_host_of_which_nothing_is_known_has_a_text():
    assert "Nothing is known" in plan_text(make_plan({}))


def test_a_host_that_may_end_on_the_processor_says_so():
    assert "The processor would do, too." in plan_text(make_plan(tower(), {"accept": ["cpu"]}), tower())
    assert "fails" in plan_text(make_plan(tower()), tower())


def test_gpus_of_one_kind_are_counted():
    facts = machine(*[amd("gfx1100", 24, at=at, product="RX 7900 XTX") for at in range(4)], other("other", at=4))
    text = plan_text(make_plan(facts), facts, "rig")
    assert "4 x RX 7900 XTX (gfx1100), 24 GiB" in text
    assert "1 x" not in text


PENDING = {
    "name": "ttm.pages_limit",
    "value": "5",
    "state": "present",
    "waits": True,
    "reason": "/sys/module/ttm shows 4",
}


def asked(name: str, value: str | None, route: str, ok: bool | None = False) -> dict:
    return {"name": name, "wanted": value, "route": route, "ok": ok, "reason": f"{name} is not so"}


# what is set and waits, what the inventory asks for, what the text says, what it does not say
KERNEL: list[tuple[list, dict, list[str], list[str]]] = [
    ([], {}, ["ttm.pages_limit=28573696: lets", "kernel_params_from_plan: true"], ["waits"]),
    ([PENDING], {}, ["ttm.pages_limit=5 is set, and waits for a reboot: /sys/module/ttm shows 4."], ["from_plan"]),
    (
        [{**PENDING, "name": "amd_iommu", "value": None, "state": "absent", "reason": "taken away"}],
        {},
        ["amd_iommu is taken away, and waits for a reboot", "from_plan"],
        [],
    ),
    (
        [],
        {"in_force": [asked("ttm.pages_limit", "7", "modprobe")], "reboot_required": True, "reboot": "never"},
        ["ttm.pages_limit=7: will be set by modprobe.d.", "left to you"],
        ["from_plan", "28573696"],
    ),
    (
        [],
        {"in_force": [asked("amd_iommu", "off", "cmdline")], "reboot_required": True, "reboot": "if_needed"},
        ["amd_iommu=off: will be set on the kernel's command line; memory is", "NPU", "will be rebooted", "from_plan"],
        [],
    ),
    (
        [PENDING],
        {"in_force": [asked("ttm.pages_limit", "5", "modprobe")], "reboot_required": True, "reboot": "never"},
        ["ttm.pages_limit=5: set, and waits for a reboot: ttm.pages_limit is not so."],
        ["will be set", "from_plan"],
    ),
    (
        [],
        {
            "in_force": [asked("ttm.pages_limit", "5", "modprobe"), asked("amdgpu.gttsize", None, "cmdline")],
            "not_taken": [asked("ttm.pages_limit", "5", "modprobe")],
            "conflicts": [{"path": "/etc/x", "line": 3, "name": "b", "value": "4", "remedy": "Remove it there."}],
            "reboot_required": False,
        },
        ["did not come into force with the last boot", "no amdgpu.gttsize: will be", "/etc/x:3 sets b to 4. Remove it"],
        ["will be rebooted", "left to you"],
    ),
    (
        [],
        {"in_force": [asked("x", None, "cmdline", True), asked("y", "1", "cmdline", True)]},
        ["y=1: in force."],
        ["no x"],
    ),
]


@pytest.mark.parametrize(("waiting", "preview", "parts", "not_said"), KERNEL)
def test_kernel_parameters_are_told_before_they_are_set(
    waiting: list, preview: dict, parts: list[str], not_said: list[str]
):
    facts = halo()
    facts["kernel"]["parameters"] = waiting
    text = plan_text(make_plan(facts), facts, "halo", preview)
    said = " ".join(text[text.index("Kernel") :].split())
    assert [part for part in parts if part not in said] == []
    assert [part for part in not_said if part in said] == []


def test_the_filter_has_its_name():
    assert FilterModule().filters() == {"plan_text": plan_text}
