# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment that the engine has: what it never reads, and what means something else than was meant."""

from __future__ import annotations

import re

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama_environment import (
    GPU_SELECTION,
    VARIABLES,
    check_environment,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.commands import RESTART, SITE
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import HIDDEN, SECRET_NAME
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.engine import (
    good_overrides,
    in_build,
    override_target,
)

_OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
_OF_CLIENTS = ("OLLAMA_HOST", "OLLAMA_EDITOR", "OLLAMA_NOHISTORY")
_CODES = {"bad_value": "environment_bad_value", "never_read": "environment_never_read"}
# Here it is not what somebody is about to do, it is what costs the GPU now.
_SEVERITIES = {"stale_library_name": "error"}


def environment_variables(case: Case) -> None:
    """Rules of the catalogue, on what the service really gets."""
    before = len(case.findings)
    ours = {name: value for name, value in case.environment.items() if of_engine(name)}
    _normalised, problems = check_environment(ours, case.version)
    for problem in problems:
        code = _CODES.get(problem["code"], problem["code"])
        case.add(
            "environment",
            code,
            _SEVERITIES.get(code, problem["severity"]),
            problem["message"],
            problem["remedy"],
            edit_command(case, problem["name"]),
            seen_in(case, problem["name"], problem["value"]),
        )
    for name, files in case.part("ollama_facts", "unit", "duplicates").items():
        case.add(
            "environment",
            "set_twice",
            "info",
            f"{name} is set in several files of the unit; the last one counts.",
            "Keep one of them.",
            "systemctl cat ollama",
            f"{name}: {', '.join(files)}",
        )
    _overrides(case)
    _forced_processor(case)
    _not_for_services(case)
    if ours and len(case.findings) == before:
        case.fine.append(f"its {len(ours)} environment variables")


def of_engine(name: str) -> bool:
    """Whether a variable is meant for the engine or its GPU libraries."""
    return name.startswith(("OLLAMA_", "GGML_", "HSA_", "LLAMA_ARG_", "ROCBLAS_")) or name in (
        *GPU_SELECTION,
        *VARIABLES,
        "HTTP_PROXY",
    )


def edit_command(case: Case, name: str) -> str:
    """Our own drop-in is written by the play, any other file by whoever made it."""
    path = case.part("variable_files").get(name)
    ours = [item["path"] for item in case.items("ollama_facts", "unit", "drop_ins") if item.get("ours")]
    if path in ours or (path is None and ours):
        return SITE
    # What a package brought is not edited, but overruled.
    edit = f"sudoedit {path}" if path and path.startswith("/etc/") else "sudo systemctl edit ollama"
    return f"{edit} && sudo systemctl daemon-reload && {RESTART}"


def shown(name: str, value: str) -> str:
    """The variable as it may be told: a key, and the password of an address, stay where they are."""
    kept = HIDDEN if SECRET_NAME.search(name) else re.sub(r"(://)[^/@\s]{1,200}@", r"\1...@", value)
    return f"{name}={kept}"


def seen_in(case: Case, name: str, value: str) -> str:
    """The variable and the file that sets it."""
    path = case.part("variable_files").get(name)
    return f"{path}: {shown(name, value)}" if path else shown(name, value)


def _overrides(case: Case) -> None:
    value = case.environment.get(_OVERRIDE)
    if not value or not re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{1,2}", value):
        return
    amd = sorted({gpu.gfx for gpu in case.machine.gpus if gpu.vendor == "amd" and gpu.gfx})
    # Those that the mask hides are not touched by it.
    masked = "ROCR_VISIBLE_DEVICES" in case.environment
    target, seen, command = override_target(value), seen_in(case, _OVERRIDE, value), edit_command(case, _OVERRIDE)
    if len(amd) > 1 and not masked:
        case.add(
            "environment",
            "override_two_architectures",
            "error",
            f"One override is in force for {' and '.join(amd)}: it makes {target} of both, and breaks at least one.",
            "Mask the GPU that is not to be used with ROCR_VISIBLE_DEVICES, and set the override only if the other "
            "one needs it.",
            command,
            seen,
        )
        return
    used = [gpu.gfx for gpu in case.used_gpus if gpu.gfx] or amd
    for gfx in used[:1]:
        good = good_overrides(gfx, case.engine, case.catalogue)
        if in_build(gfx, case.engine, case.catalogue) and target != gfx:
            case.add(
                "environment",
                "override_on_native",
                "error",
                f"{gfx} is supported by {case.engine['title']} as it is; the override makes {target} of it.",
                f"Remove {_OVERRIDE}.",
                command,
                seen,
            )
        elif target != gfx and value not in good:
            bad = catalogue.arch(gfx, case.catalogue).get("override", {}).get("bad", {}).get(value)
            known = f"is known to be bad: {bad}" if bad else f"is not known to work with {case.engine['title']}"
            advice = f"Set it to {good[0]}." if good else "Remove it: no value is known good; use Vulkan."
            case.add(
                "environment",
                "override_wrong",
                "error",
                f"The override makes {target} of {gfx}, which {known}.",
                advice,
                command,
                seen,
            )


def _forced_processor(case: Case) -> None:
    accepted = "cpu" in case.plan["accept"] or case.plan["backend"] == "cpu"
    if case.environment.get("OLLAMA_LLM_LIBRARY") != "cpu" or case.plan["status"] != "gpu" or accepted:
        return
    case.add(
        "environment",
        "processor_forced",
        "error",
        "The engine is told to use the processor, although this machine has a GPU for it.",
        "Remove OLLAMA_LLM_LIBRARY, or say that the processor is wanted with inference_accept: [cpu].",
        SITE,
        "OLLAMA_LLM_LIBRARY=cpu",
    )


def _not_for_services(case: Case) -> None:
    for entry in case.items("login_environment"):
        if of_engine(entry["name"]) and entry["name"] not in _OF_CLIENTS and entry["name"] not in case.environment:
            case.add(
                "environment",
                "environment_of_logins",
                "warning",
                f"{entry['name']} is set for people who log in; a service does not read it there.",
                "Set it for the service: a drop-in of ollama.service with Environment=, or the role's variables.",
                "sudo systemctl edit ollama",
                f"{entry['path']}: {shown(entry['name'], entry['value'])}",
            )
