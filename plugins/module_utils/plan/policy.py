# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory asks for, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import ollama
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama_environment import check_environment
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.schema import check_additions
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.fastest import PURPOSES
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.arguments import TIMEOUTS
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.verdict import LONG_PROMPT

ENGINES = ("ollama", "llama_server")
BACKENDS = ("rocm", "vulkan", "cuda", "cpu")
CHOICES = ("auto", "fastest", *BACKENDS)


class PlanError(ValueError):
    """The inventory asks for something that cannot be had; the message says what to write instead."""


# What the modules that prove and measure take; they would refuse the rest once all is installed.
LADDER = {"prompt_tokens": (LONG_PROMPT, 32768), "predict_tokens": (2, 4096), **TIMEOUTS}


@dataclass(frozen=True)
class Policy:
    engine: str
    engine_version: str
    backend: str
    accept: tuple
    environment: dict
    problems: list
    catalogue: dict
    proven: dict
    installation: dict
    unified_memory_bytes: int | None
    software_vulkan: bool = False
    rocm: dict = field(default_factory=dict)
    measure_for: str = "generation"
    model: str = ""
    installed: dict = field(default_factory=dict)

    @property
    def forced(self) -> str | None:
        """The one backend that the inventory insists on."""
        return self.backend if self.backend in BACKENDS else None


def _choice(name: str, value: Any, allowed: tuple) -> str:
    if value not in allowed:
        raise PlanError(f"{name} is {value!r}. Allowed: {', '.join(allowed)}. Correct it in the inventory.")
    return str(value)


def _dict(name: str, value: Any) -> dict:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PlanError(f"{name} is {value!r}. It must be a dictionary. Correct it in the inventory.")
    return dict(value)


def _flag(name: str, value: Any) -> bool:
    if value not in (None, True, False):
        raise PlanError(f"{name} is {value!r}. Allowed: true, false. Correct it in the inventory.")
    return bool(value)


def _engine_version(engine: str, value: Any) -> str:
    if value is None or value == "":
        return ollama.DEFAULT_VERSION if engine == "ollama" else ""
    if not isinstance(value, str):
        example = ollama.DEFAULT_VERSION if engine == "ollama" else "b10488"
        raise PlanError(f'{engine}_version is {value!r}. Write it in quotes, such as "{example}".')
    if engine == "ollama":
        try:
            ollama.version_key(value)
        except ValueError as error:
            raise PlanError(str(error)) from error
    elif not re.fullmatch(r"b?\d{1,7}|\d{1,5}(\.\d{1,5}){1,3}", value, re.ASCII):
        raise PlanError(
            f"llama_server_version is {value!r}. Write llama.cpp's build, such as b10488, or a package's version."
        )
    return value


def _environment(engine: str, value: Any, version: str) -> tuple:
    environment = _dict("environment", value)
    if engine == "llama_server":
        foreign = sorted(str(name) for name in environment if str(name).startswith("OLLAMA_"))
        if foreign:
            raise PlanError(
                f"environment sets {', '.join(foreign)}, which llama-server does not read. Use LLAMA_ARG_*."
            )
    release = version if engine == "ollama" else ollama.DEFAULT_VERSION
    normalised, problems = check_environment(environment, release)
    errors = [problem for problem in problems if problem["severity"] == "error"]
    if errors:
        lines = [f"environment {item['name']}={item['value']}: {item['message']} {item['remedy']}" for item in errors]
        raise PlanError("\n".join(lines))
    if "OLLAMA_LLM_LIBRARY" in normalised:
        raise PlanError(
            f"environment OLLAMA_LLM_LIBRARY={normalised['OLLAMA_LLM_LIBRARY']}: the plan sets it for each rung. "
            f"Remove it, and choose with inference_backend: {', '.join(CHOICES)}."
        )
    return normalised, problems


def _check_ladder(wanted: dict) -> None:
    for name, (lowest, highest) in LADDER.items():
        value = wanted.get(name)
        if value is not None and not (re.fullmatch(r"\d{1,9}", str(value)) and lowest <= int(value) <= highest):
            raise PlanError(f"ladder_{name} is {value!r}. Write a number from {lowest} to {highest}.")


def read_policy(policy: Any) -> Policy:
    raw = _dict("policy", policy)
    engine = _choice("engine", raw.get("engine") or "ollama", ENGINES)
    version = _engine_version(engine, raw.get("engine_version"))
    accept = raw.get("accept") or []
    if not isinstance(accept, (list, tuple)):
        raise PlanError(f"accept is {accept!r}. It must be a list out of {', '.join(BACKENDS)}, such as [cpu].")
    environment, problems = _environment(engine, raw.get("environment"), version)
    additions = _dict("catalogue", raw.get("catalogue"))
    wrong = check_additions(additions, "catalogue")
    if wrong:
        raise PlanError("\n".join(wrong))
    wanted = raw.get("unified_memory_bytes")
    if wanted is not None and (not isinstance(wanted, int) or isinstance(wanted, bool) or wanted <= 0):
        raise PlanError(f"unified_memory_bytes is {wanted!r}. Write a number of bytes, or leave it out.")
    _check_ladder(_dict("ladder", raw.get("ladder")))
    return Policy(
        engine=engine,
        engine_version=version,
        backend=_choice("backend", raw.get("backend") or "auto", CHOICES),
        accept=tuple(_choice("accept", backend, BACKENDS) for backend in accept),
        environment=environment,
        problems=problems,
        catalogue=additions,
        proven=_dict("proven", raw.get("proven")),
        installation=_dict("installation", raw.get("installation")),
        unified_memory_bytes=wanted,
        software_vulkan=_flag("accept_software_vulkan", raw.get("accept_software_vulkan")),
        rocm=_dict("rocm", raw.get("rocm")),
        measure_for=_choice("measure_for", raw.get("measure_for") or "generation", tuple(PURPOSES)),
        model=str(raw.get("model") or ""),
        installed=_dict("installed", raw.get("installed")),
    )
