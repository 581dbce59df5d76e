# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the engine that the inventory names behaves."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import ollama
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Gpu, mapping
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import Policy

# What a build of llama.cpp holds is chosen by who builds it: its architectures are not known from a version.
LLAMA_SERVER: dict[str, Any] = {
    "rocm": None,
    "gfx": None,
    "gfx_dropped": {},
    "vulkan": "default",
    "igpu": "used",
    "igpu_admitted": [],
    "rocm_library": None,
    "vulkan_library": None,
    "library_by_folder": False,
    "context_by_vram": False,
    "nvidia_driver_minimum": None,
    "nvidia_driver_minimum_pascal": None,
    "older_than_known": False,
    "newer_than_known": False,
    "archive": None,
    "log": "llama_server",
}


def read_engine(policy: Policy) -> dict:
    release = ollama.release(policy.engine_version) if policy.engine == "ollama" else dict(LLAMA_SERVER)
    title = "Ollama" if policy.engine == "ollama" else "llama-server"
    return {**release, "name": policy.engine, "title": f"{title} {policy.engine_version}".strip()}


def replaced_units(policy: Policy) -> list:
    """Units of the engine that the host is not to have, where they run or would at the next boot."""
    if policy.engine == "ollama":
        units = policy.installation.get("llama_server_units")
        return [str(name) for name in units] if isinstance(units, list) else []
    service = mapping(policy.installation.get("service"))
    running = service.get("active") in ("active", "activating", "reloading")
    return ["ollama.service"] if running or service.get("enabled") is True else []


def override_target(value: str) -> str:
    """The architecture that an HSA_OVERRIDE_GFX_VERSION makes of the silicon: 10.3.0 is gfx1030."""
    major, minor, stepping = (int(part) for part in value.split("."))
    return f"gfx{major}{minor:x}{stepping:x}"


def in_build(gfx: str, engine: dict, extra: dict) -> bool:
    """Does the engine carry ROCm code for this architecture?"""
    if engine["gfx"] is None:
        return catalogue.arch(gfx, extra).get("backend") == "rocm"
    return gfx in engine["gfx"]


def good_overrides(gfx: str, engine: dict, extra: dict) -> list:
    """Overrides that are known good for the silicon and whose target the engine carries."""
    good = catalogue.arch(gfx, extra).get("override", {}).get("good", {})
    return [
        value
        for value in good
        if re.fullmatch(r"\d+\.\d+\.\d+", value) and in_build(override_target(value), engine, extra)
    ]


def rocm_refusal(gpu: Gpu, engine: dict, extra: dict) -> str:
    """Why this engine's ROCm cannot drive the silicon as it is."""
    if engine["gfx"] is None:
        return f"ROCm is not advised for {gpu.gfx}"
    dropped = engine["gfx_dropped"].get(gpu.gfx)
    if dropped:
        return f"{gpu.gfx} is not in {engine['title']}'s ROCm build (dropped in {dropped['since']})"
    since = ollama.releases_with(gpu.gfx)["since"] if gpu.gfx else None
    later = f" (it came with {since})" if since else ""
    return f"{gpu.gfx} is not in {engine['title']}'s ROCm build{later}"


def advice(gpu: Gpu, extra: dict) -> str:
    """The backend that the catalogue advises for the silicon."""
    return str(catalogue.arch(gpu.gfx, extra).get("backend") or "vulkan")
