# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama import NEWEST_KNOWN, version_key
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama_environment import (
    NEVER_READ,
    REMOVED,
    VARIABLES,
    check_environment,
)
from hypothesis import given
from hypothesis import strategies as st

ACCEPTED: list[tuple[str, Any, str]] = [
    ("OLLAMA_VULKAN", True, "1"),
    ("OLLAMA_VULKAN", "false", "0"),
    ("OLLAMA_VULKAN", "T", "1"),
    ("OLLAMA_IGPU_ENABLE", 0, "0"),
    ("OLLAMA_FLASH_ATTENTION", "1", "1"),
    ("OLLAMA_NUM_PARALLEL", 4, "4"),
    ("OLLAMA_NUM_PARALLEL", " 04 ", "4"),
    ("OLLAMA_GPU_OVERHEAD", 2**64 - 1, str(2**64 - 1)),
    ("OLLAMA_KEEP_ALIVE", -1, "-1"),
    ("OLLAMA_KEEP_ALIVE", "1h30m", "1h30m"),
    ("OLLAMA_LOAD_TIMEOUT", "90s", "90s"),
    ("OLLAMA_KV_CACHE_TYPE", "q8_0", "q8_0"),
    ("OLLAMA_DEBUG", True, "1"),
    ("OLLAMA_DEBUG", 2, "2"),
    ("OLLAMA_HOST", "0.0.0.0:11434", "0.0.0.0:11434"),
    ("OLLAMA_MODELS", "/srv/models", "/srv/models"),
    ("HSA_OVERRIDE_GFX_VERSION", "10.3.0", "10.3.0"),
    ("ROCR_VISIBLE_DEVICES", 0, "0"),
    ("ROCR_VISIBLE_DEVICES", "0,GPU-0123abcd", "0,GPU-0123abcd"),
    ("GGML_VK_VISIBLE_DEVICES", "-1", "-1"),
    ("LLAMA_ARG_FIT_TARGET", 2048, "2048"),
    ("HTTPS_PROXY", "http://proxy:3128", "http://proxy:3128"),
    ("AMD_LOG_LEVEL", 1, "1"),
]


@pytest.mark.parametrize(("name", "value", "text"), ACCEPTED)
def test_sound_values_are_written_as_ollama_reads_them(name: str, value: Any, text: str):
    assert check_environment({name: value}, "0.32.15")[0] == {name: text}


# name, value, release, code, what the remedy says
REFUSED: list[tuple[str, Any, str, str, str]] = [
    ("OLLAMA_VULKAN", "off", "0.32.15", "bad_value", "Write 1 or 0"),
    ("OLLAMA_IGPU_ENABLE", "no", "0.32.15", "bad_value", "Write 1 or 0"),
    ("OLLAMA_FLASH_ATTENTION", "auto", "0.32.15", "bad_value", "unset"),
    ("OLLAMA_SCHED_SPREAD", "yes", "0.32.15", "bad_value", "Write 1 or 0"),
    ("OLLAMA_NUM_PARALLEL", -1, "0.32.15", "bad_value", "whole number"),
    ("OLLAMA_NUM_PARALLEL", "4.5", "0.32.15", "bad_value", "whole number"),
    ("OLLAMA_NUM_PARALLEL", 1025, "0.32.15", "bad_value", "1024"),
    ("OLLAMA_GPU_OVERHEAD", "1G", "0.32.15", "bad_value", "bytes"),
    ("OLLAMA_GPU_OVERHEAD", 2**64, "0.32.15", "bad_value", "bytes"),
    ("OLLAMA_KEEP_ALIVE", "five minutes", "0.32.15", "bad_value", "5m"),
    ("OLLAMA_KV_CACHE_TYPE", "q5_1", "0.24.0", "bad_value", "q4_0"),
    ("OLLAMA_KV_CACHE_TYPE", "q3", "0.32.15", "bad_value", "iq4_nl"),
    ("OLLAMA_DEBUG", 3, "0.32.15", "bad_value", "0, 1, 2"),
    ("OLLAMA_MODELS", "models", "0.32.15", "bad_value", "from /"),
    ("OLLAMA_HOST", "here or there", "0.32.15", "bad_value", "host:port"),
    ("OLLAMA_NUM_GPU", -1, "0.32.15", "never_read", "num_gpu"),
    ("OLLAMA_NUM_THREAD", 8, "0.32.15", "never_read", "num_thread"),
    ("OLLAMA_NUM_CTX", 8192, "0.32.15", "never_read", "OLLAMA_CONTEXT_LENGTH"),
    ("GGML_VULKAN_DEVICE", 0, "0.32.15", "never_read", "GGML_VK_VISIBLE_DEVICES"),
    ("OLLAMA_INTEL_GPU", 1, "0.12.11", "removed", "Vulkan"),
    ("OLLAMA_MAX_VRAM", 1, "0.32.15", "removed", "LLAMA_ARG_FIT_TARGET"),
    ("OLLAMA_IGPU_ENABLE", 1, "0.24.0", "not_yet_read", "newer release"),
    ("OLLAMA_VULKAN", 1, "0.12.10", "not_yet_read", "newer release"),
    ("OLLAMA_CONTEXT_LENGHT", 1, "0.32.15", "unknown_name", "OLLAMA_CONTEXT_LENGTH"),
    ("OLAMA_HOST", "x", "0.32.15", "unknown_name", "OLLAMA_HOST"),
    ("OLLAMA_XYZZY", "x", "0.32.15", "unknown_name", ""),
    ("a name", "x", "0.32.15", "bad_name", "letters"),
    ("HSA_OVERRIDE_GFX_VERSION", "gfx1100", "0.32.15", "bad_value", "10.3.0"),
    ("HSA_OVERRIDE_GFX_VERSION", "11.0", "0.32.15", "bad_value", "10.3.0"),
    ("HSA_OVERRIDE_GFX_VERSION", 11.0, "0.32.15", "bad_value", "10.3.0"),
    ("GGML_VK_VISIBLE_DEVICES", "GPU-1", "0.32.15", "bad_value", "0,1"),
    ("ROCR_VISIBLE_DEVICES", "first", "0.32.15", "bad_value", "indexes"),
    ("OLLAMA_ORIGINS", "a\nExecStart=/bin/sh", "0.32.15", "bad_text", "bare value"),
    ("OLLAMA_ORIGINS", "a\x00", "0.32.15", "bad_text", "bare value"),
    ("OLLAMA_ORIGINS", '"http://a"', "0.32.15", "bad_text", "bare value"),
    ("HTTPS_PROXY", "http://a'b", "0.32.15", "bad_text", "bare value"),
    ("OLLAMA_ORIGINS", ["a", "b"], "0.32.15", "bad_type", "text"),
]


@pytest.mark.parametrize(("name", "value", "version", "code", "remedy"), REFUSED)
def test_what_ollama_would_misread_is_refused(name: str, value: Any, version: str, code: str, remedy: str):
    normalised, problems = check_environment({name: value}, version)
    assert normalised == {}
    assert [(problem["code"], problem["severity"]) for problem in problems] == [(code, "error")]
    assert remedy in problems[0]["remedy"]
    assert problems[0]["name"] == name


def test_a_removed_variable_is_read_before_its_removal():
    assert check_environment({"OLLAMA_INTEL_GPU": "1"}, "0.12.10") == ({"OLLAMA_INTEL_GPU": "1"}, [])


def test_two_masks_for_rocm_are_refused():
    _normalised, problems = check_environment({"ROCR_VISIBLE_DEVICES": 0, "HIP_VISIBLE_DEVICES": 0}, "0.32.15")
    assert [problem["code"] for problem in problems] == ["two_masks"]


@pytest.mark.parametrize(("version", "codes"), [("0.24.0", []), ("0.30.0", ["no_effect"])])
def test_the_overhead_that_does_nothing_is_told(version: str, codes: list):
    normalised, problems = check_environment({"OLLAMA_GPU_OVERHEAD": 1024}, version)
    assert normalised == {"OLLAMA_GPU_OVERHEAD": "1024"}
    assert [(problem["code"], problem["severity"]) for problem in problems] == [(code, "warning") for code in codes]


@pytest.mark.parametrize(
    ("name", "code"), [("HTTP_PROXY", "http_proxy"), ("HSA_OVERRIDE_GFX_VERSION_1", "suffixed_override")]
)
def test_what_has_side_effects_is_told(name: str, code: str):
    assert [problem["code"] for problem in check_environment({name: "10.3.0"}, "0.32.15")[1]] == [code]


# value, release, whether it hides every GPU
LIBRARIES = [
    ("rocm_v7_2", "0.32.15", False),
    ("rocm", "0.32.15", True),
    ("rocm", "0.24.0", False),
    ("cpu_avx2", "0.32.15", True),
    ("cpu_avx2", "0.5.7", False),
    ("cpu", "0.32.15", False),
    ("vulkan", "0.12.5", True),
    ("cuda_v13", "0.32.15", False),
    ("cuda_jetpack6", "0.32.15", False),
]


@pytest.mark.parametrize(("library", "version", "stale"), LIBRARIES)
def test_a_library_folder_that_is_gone_is_told(library: str, version: str, stale: bool):
    problems = check_environment({"OLLAMA_LLM_LIBRARY": library}, version)[1]
    assert [problem["code"] for problem in problems] == (["stale_library_name"] if stale else [])


def test_null_is_not_set():
    assert check_environment({"OLLAMA_HOST": None}, "0.32.15") == ({}, [])


def test_the_tables_do_not_contradict_each_other():
    assert not set(VARIABLES) & set(REMOVED)
    assert not set(VARIABLES) & set(NEVER_READ)
    assert all(spec["type"] != "choice" or spec["choices"] for spec in VARIABLES.values())
    assert all(version_key(since) <= version_key(NEWEST_KNOWN) for since, _instead in REMOVED.values())


@given(
    st.dictionaries(
        st.sampled_from(sorted(VARIABLES)) | st.text(), st.none() | st.booleans() | st.integers() | st.text()
    )
)
def test_whatever_passes_is_one_line_and_passes_again(environment: dict):
    normalised, problems = check_environment(environment, "0.32.15")
    assert check_environment(normalised, "0.32.15")[0] == normalised
    assert all(isinstance(text, str) and not set(text) & set("\n\r\0\"'") for text in normalised.values())
    refused = {problem["name"] for problem in problems if problem["severity"] == "error"}
    assert set(map(str, environment)) == refused | set(normalised) | {n for n, v in environment.items() if v is None}
