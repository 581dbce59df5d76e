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


def test_the_filter_has_its_name():
    assert FilterModule().filters() == {"plan_text": plan_text}
