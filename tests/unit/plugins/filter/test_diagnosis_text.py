# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.diagnosis import FilterModule as Diagnosis
from ansible_collections.lamplighter.fleet.plugins.filter.diagnosis_text import FilterModule, diagnosis_text
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose

from tests.unit.doctor_hosts import changed, healthy
from tests.unit.plan_hosts import GIB

HEALTHY = """\
box: nothing is wrong.
----------------------
  Machine  Radeon RX 7800 XT (gfx1101), Radeon Graphics (gfx1036); 32 GiB of RAM; kernel
           6.18.13-amd64
  Engine   Ollama 0.32.15 installed by Lamplighter, inference on ROCm with 33 of 33 layers
  Fine     the API listens on this machine only; GPU, driver, kernel and firmware; the
           kernel's log has no GPU fault; the service may open /dev/dri/renderD128 and
           /dev/kfd; its libraries; its 3 environment variables; the engine's log has no
           fault; the service runs; Ollama 0.32.15 is current; inference is where the plan
           wants it; every model fits; 200 GiB of disk free."""

SICK = """\
box: 3 findings, 2 errors
-------------------------
  Machine  Radeon RX 7800 XT (gfx1101), Radeon Graphics (gfx1036); 32 GiB of RAM; kernel
           6.18.13-amd64
  Engine   Ollama 0.32.15 of the installer script, inference on the processor with 0 of 33
           layers

 1.  ERROR kfd_permission: The service runs as ollama, which may not open /dev/kfd.
     seen  /dev/kfd is root:render 0660; groups of the service: 44, 998
     do    Let ollama be in the group that owns the device, and restart the service;
           SupplementaryGroups= in a drop-in does the same. No chmod 666: udev undoes it,
           and it opens the GPU to everybody.
     run   sudo usermod --append --groups render ollama && sudo systemctl restart ollama

 2.  ERROR zero_layers_offloaded: The model runs on the CPU.
     seen  load_tensors: offloaded 0/33 layers to GPU
     do    Free memory.
     run   ollama ps

 3.  warning disk_nearly_full: 4 GiB of 500 GiB are free where the models are: a pull ends
     in the middle.
     seen  /usr/share/ollama
     do    Remove models that nobody uses, or move them: ollama_models.
     run   ollama list; ollama rm NAME

  Fine     the API listens on this machine only; GPU, driver, kernel and firmware; its
           libraries; its 3 environment variables; the service runs; Ollama 0.32.15 is
           current; every model fits.
  Unread   This user cannot see the kernel's messages.
           Run again with --become to read it all."""


def sick() -> dict[str, Any]:
    return changed(
        {
            "ollama_facts.unit.owner": "installer",
            "credentials.groups": [44, 998],
            "gpu_facts.device_nodes.1.gid": 44,
            "engine_log.backend": "cpu",
            "engine_log.offloaded": [0, 33],
            "engine_log.failures": [
                {
                    "code": "zero_layers_offloaded",
                    "severity": "error",
                    "line": "load_tensors: offloaded 0/33 layers to GPU",
                    "meaning": "The model runs on the CPU.",
                    "remedy": "Free memory.",
                    "count": 1,
                }
            ],
            "disk.free_bytes": 4 * GIB,
            "kernel_log": None,
            "unread": ["This user cannot see the kernel's messages. Read it with become: true."],
            "privileged": False,
        }
    )


@pytest.mark.parametrize(("evidence", "page"), [(healthy(), HEALTHY), (sick(), SICK)], ids=["healthy", "sick"])
def test_the_page_of_a_host(evidence: dict[str, Any], page: str):
    assert diagnosis_text(diagnose(evidence, {}, "box"), evidence, "box") == page


@pytest.mark.parametrize("evidence", [{}, {"gpu_facts": {"gpus": []}}, {"engine_log": {"engine": "llama_server"}}])
def test_a_host_of_which_little_is_known_has_a_page(evidence: dict[str, Any]):
    assert diagnosis_text(diagnose(evidence), evidence).startswith("this host: ")


def test_a_line_of_a_log_cannot_steer_the_terminal_and_is_cut():
    evidence = sick()
    evidence["engine_log"]["failures"][0]["line"] = "\x1b[31mred\x07 " + "x " * 400
    page = diagnosis_text(diagnose(evidence), evidence)
    assert "\x1b" not in page
    assert "\x07" not in page
    assert "..." in page
    assert max(map(len, page.splitlines())) <= 92


def test_what_is_only_good_to_know_is_no_finding():
    evidence = changed({"ollama_facts.variants": ["snap"]})
    page = diagnosis_text(diagnose(evidence), evidence, "box")
    assert page.startswith("box: nothing is wrong.")
    assert "To know  other_ollama: Ollama may also be here as snap." in page


def test_nothing_read_is_not_nothing_wrong():
    evidence = changed({"unread": ["the kernel's log"], "kernel_log": None})
    assert diagnosis_text(diagnose(evidence), evidence).startswith("this host: nothing wrong in what could be read.")


def test_the_filters_have_their_names():
    assert set(FilterModule().filters()) == {"diagnosis_text"}
    assert Diagnosis().filters()["diagnosis"](healthy(), {}, "box")["healthy"]
