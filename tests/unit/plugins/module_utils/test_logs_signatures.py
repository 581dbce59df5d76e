# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
import yaml
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.plugin_utils import signatures as store

ROOT = pathlib.Path(store.PATH).parents[2]
ENTRIES: list[dict[str, Any]] = yaml.safe_load(pathlib.Path(store.PATH).read_text(encoding="utf-8"))["signatures"]

# Every fault that readers of the logs rely on: taking one out of signatures.yml must be noticed.
ENGINE_CODES = [
    "unsupported_gfx",
    "rocm_device_dropped",
    "igpu_dropped",
    "runner_crashed",
    "gpu_discovery_timeout",
    "rocblas_tensile_missing",
    "hipblaslt_tensile_missing",
    "rocm_library_missing",
    "gpu_libraries_missing",
    "gpu_runner_missing",
    "kfd_permission",
    "kfd_not_present",
    "no_devices_enumerated",
    "zero_vram_reported",
    "zero_layers_offloaded",
    "partial_offload",
    "gpu_detected_but_model_on_cpu",
    "not_enough_vram",
    "low_available_vram",
    "gpu_oom",
    "vram_not_recovered",
    "memory_access_fault",
    "nvidia_driver_too_old",
    "amd_driver_too_old",
    "no_avx",
    "server_exit",
    "override_invalid",
    "load_timeout",
    "port_in_use",
    "cuda_init_failed",
    "model_unsupported",
    "not_enough_memory",
    "model_unreadable",
    "argument_invalid",
]
KERNEL_CODES = [
    "ring_timeout",
    "mes_hang",
    "hws_hang",
    "page_fault",
    "gpu_reset",
    "recovered",
    "reset_failed",
    "vram_lost",
    "device_lost",
    "missing_firmware",
    "gpu_init_failed",
    "pcie_atomics",
    "smu_hang",
    "gpu_oom",
    "nvidia_xid",
    "resume_failed",
    "kfd_unsupported",
    "oom_killed",
    "ras_error",
    "over_temperature",
    "intel_gpu_hang",
]


def codes(log: str, lines: str) -> set[str]:
    if log == "engine":
        return {failure["code"] for failure in read_engine_log(lines.split("\n"), store.load())["failures"]}
    return {fault["code"] for fault in read_kernel_log(lines.split("\n"), store.load())["faults"]}


def test_the_file_keeps_to_its_schema() -> None:
    schema = json.loads((ROOT / "tests/unit/plugins/signatures.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(pathlib.Path(store.PATH).read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize(("log", "wanted"), [("engine", ENGINE_CODES), ("kernel", KERNEL_CODES)])
def test_every_code_is_there_once(log: str, wanted: list[str]) -> None:
    assert sorted(entry["code"] for entry in ENTRIES if entry["log"] == log) == sorted(wanted)


EXAMPLES = [
    pytest.param(entry, line, kind == "positive", id=f"{entry['log']}-{entry['code']}-{kind}-{number}")
    for entry in ENTRIES
    for kind in ("positive", "negative")
    for number, line in enumerate(entry[kind])
]


@pytest.mark.parametrize(("entry", "lines", "expected"), EXAMPLES)
def test_example(entry: dict[str, Any], lines: str, expected: bool) -> None:
    assert (entry["code"] in codes(entry["log"], lines)) is expected


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["match"]], ids=lambda entry: entry["code"])
def test_a_rule_of_one_line_has_both_examples(entry: dict[str, Any]) -> None:
    assert entry["positive"]
    assert entry["negative"]


def test_patterns_have_no_nested_quantifiers() -> None:
    """A repeated group that repeats itself, or a search that runs to the end from each place, is not linear."""
    nested = re.compile(r"\([^()]*[*+][^()]*\)[*+{]|^(?!\^).*\.[*+]")
    for entry in ENTRIES:
        for form in entry["match"]:
            for pattern in [form.get("pattern", ""), *form.get("attributes", {}).values()]:
                assert not nested.search(pattern), (entry["code"], pattern)


def test_hosts_get_what_they_need_and_no_more() -> None:
    sent = store.load("kernel")
    assert {entry["log"] for entry in sent} == {"kernel"}
    assert not {"positive", "negative", "source"} & set(sent[0])


def test_the_troubleshooting_page_is_up_to_date() -> None:
    tool = [sys.executable, str(ROOT / "tools/troubleshooting_page.py"), "--check"]
    assert subprocess.run(tool, check=False).returncode == 0
