# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.fleet_rows import fleet_rows

GPU = {"index": 0, "product": "Radeon RX 7800 XT", "gfx": "gfx1101", "pci_id": "1002:747e"}
IGPU = {"index": 1, "product": None, "gfx": "gfx1036", "pci_id": "1002:164e"}
PLAN = {
    "devices": [{"index": 0, "used": True}, {"index": 1, "used": False}],
    "steps": [{"what": "Raise the carve-out"}],
}
RESULT = {"backend": "rocm", "verdict": "proven", "tokens_per_second": {"prompt": 900.0, "generation": 91.5}}
FACTS = {"gpu_facts": {"gpus": [GPU, IGPU]}}


def row(**variables):
    return fleet_rows({"desktop": variables}, ["desktop"])[0]


def test_a_proven_host_shows_its_gpu_speed_and_what_a_person_can_do():
    assert row(ansible_facts=FACTS, inference_plan=PLAN, inference_result=RESULT) == {
        "host": "desktop",
        "gpu": "Radeon RX 7800 XT (gfx1101)",
        "backend": "rocm",
        "verdict": "proven",
        "tokens_per_second": 91.5,
        "advice": "Raise the carve-out",
    }


def test_a_host_that_fell_over_on_the_way_shows_where():
    shown = row(inference_failure="The archives: no route to mirror\nTraceback")
    assert (shown["verdict"], shown["advice"]) == ("failed", "The archives: no route to mirror")


def test_a_failed_proof_keeps_its_verdict():
    failed = dict(RESULT, verdict="failed", backend="cpu")
    shown = row(ansible_facts=FACTS, inference_plan=PLAN, inference_result=failed, inference_failure="ROCm crashed")
    assert (shown["verdict"], shown["backend"], shown["advice"]) == ("failed", "cpu", "ROCm crashed")


def test_an_unreachable_host_has_a_row_too():
    assert (row()["verdict"], row()["gpu"]) == ("not reached", "unknown")


def test_a_gpu_without_a_product_name_is_shown_by_its_pci_id():
    plan = {"devices": [{"index": 1, "used": True}]}
    assert row(ansible_facts=FACTS, inference_plan=plan)["gpu"] == "1002:164e (gfx1036)"


def test_an_accepted_processor_beside_a_gpu_is_degraded_and_says_what_failed():
    rungs = [
        {"id": "rocm", "verdict": "failed", "reasons": ["the runner crashed", "and more"]},
        {"id": "vulkan", "verdict": "failed", "reasons": []},
        {"id": "cpu", "verdict": "proven", "reasons": []},
    ]
    result = dict(RESULT, backend="cpu", rungs=rungs)
    shown = row(ansible_facts=FACTS, inference_plan={**PLAN, "status": "gpu"}, inference_result=result)
    assert shown["verdict"] == "degraded"
    assert shown["advice"] == "rocm failed: the runner crashed; vulkan failed; Raise the carve-out"
    without_gpu = row(ansible_facts=FACTS, inference_plan={**PLAN, "status": "cpu"}, inference_result=result)
    assert without_gpu["verdict"] == "proven"


@pytest.mark.parametrize(
    ("use", "gpus", "shown"),
    [
        ("windows", [{"product": "AMD Radeon RX 5700 XT", "gfx": "gfx1010"}], "AMD Radeon RX 5700 XT (gfx1010)"),
        ("windows", [], "none"),
        ("windows", None, "Windows'"),
        ("local", [{"product": "AMD Radeon RX 5700 XT", "gfx": "gfx1010"}], "Radeon RX 7800 XT (gfx1101)"),
    ],
)
def test_a_wsl2_host_has_the_gpus_of_the_engine_that_it_uses(use, gpus, shown):
    facts = {"gpu_facts": {**FACTS["gpu_facts"], "wsl": {"windows_gpus": gpus}}}
    assert row(ansible_facts=facts, inference_plan={**PLAN, "wsl": {"use": use}})["gpu"] == shown
