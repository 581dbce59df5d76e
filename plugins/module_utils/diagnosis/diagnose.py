# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the evidence of one host to its findings: a pure function."""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import ollama
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama_environment import check_environment
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis import (
    access,
    environment,
    installation,
    logs,
    machine,
    network,
    windows,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case, in_order
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.engine import read_engine
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import mapping, read_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError, read_policy

# The order in which a code that several see is told by the one nearest to its cause.
CHECKS = (
    network.exposure,
    machine.plan_warnings,
    machine.parameters_in_force,
    logs.kernel_faults,
    access.device_access,
    installation.libraries,
    installation.vulkan_driver,
    environment.environment_variables,
    logs.engine_faults,
    installation.service,
    installation.versions,
    installation.gpu_in_use,
    machine.lendable_memory,
    network.models,
    network.disk,
    network.clients,
)
# Of a WSL2 host whose engine is that of Windows; on one that has its own as well, they come last.
OF_WINDOWS = (windows.answers, windows.firewall, windows.wiring, windows.values)
# Of the engine's environment, what the plan judges itself.
_FOR_THE_PLAN = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION", "OLLAMA_CONTEXT_LENGTH")


def _installed_version(evidence: dict[str, Any]) -> str | None:
    said = [
        mapping(evidence.get("api")).get("version"),
        mapping(evidence.get("engine_log")).get("version"),
        mapping(mapping(evidence.get("ollama_facts")).get("binary")).get("version"),
    ]
    return next((version for version in map(installation.release_number, said) if version), None)


def engine_environment(evidence: dict[str, Any]) -> dict[str, str]:
    """What the service really gets: of its process where that can be read, else of its unit."""
    process = mapping(mapping(evidence.get("process")).get("environment"))
    unit = mapping(mapping(mapping(evidence.get("ollama_facts")).get("unit")).get("environment"))
    return {str(name): str(value) for name, value in (process or unit).items()}


def _with_modprobe(facts: dict[str, Any], evidence: dict[str, Any]) -> dict[str, Any]:
    """A parameter in modprobe.d is judged as one of the command line."""
    words = [f"{item['name']}={item['value']}" for item in evidence.get("modprobe") or []]
    kernel = mapping(facts.get("kernel"))
    cmdline = " ".join([*words, str(kernel.get("cmdline") or "")]).strip()
    return {**facts, "kernel": {**kernel, "cmdline": cmdline}} if words else facts


def make_case(evidence: dict[str, Any], policy: dict[str, Any] | None = None, host: str = "HOST") -> Case:
    """The evidence with a plan for what is installed; what the inventory wants goes as far as it can be had."""
    given = {key: value for key, value in mapping(policy).items() if value is not None}
    facts, found = mapping(evidence.get("gpu_facts")), mapping(evidence.get("ollama_facts"))
    wanted = installation.release_number(given.get("engine_version")) or ollama.DEFAULT_VERSION
    version = _installed_version(evidence) or wanted
    variables = engine_environment(evidence)
    sound, _problems = check_environment(variables, version)
    installed = {"engine_version": version, "installation": found, "proven": found.get("proven") or {}}
    chosen = {name: sound[name] for name in _FOR_THE_PLAN if name in sound}
    policies: list[dict[str, Any]] = [
        {**given, **installed, "environment": chosen},
        {**given, **installed},
        {**installed, "catalogue": given.get("catalogue") or {}},
        {"engine_version": version},
    ]
    refusals = []
    for one in policies:
        try:
            plan = make_plan(_with_modprobe(facts, evidence), one)
            break
        except PlanError as error:
            refusals.append(str(error))
    checked = read_policy(one)
    case = Case(
        evidence=evidence,
        version=version,
        wanted_version=wanted,
        environment=variables,
        plan=plan,
        machine=read_facts(facts, checked.catalogue),
        engine=read_engine(checked),
        catalogue=checked.catalogue,
        host=host,
    )
    # What the plan refuses of the service's environment has rules of its own here.
    if len(refusals) > 1:
        case.add(
            "environment",
            "inventory_refused",
            "error",
            f"The inventory asks for what this host cannot have. {refusals[1]}",
            "Correct it in the inventory.",
            "ansible-playbook playbooks/plan.yml --limit {host}",
        )
    return case


def diagnose(evidence: Any, policy: dict[str, Any] | None = None, host: str = "HOST") -> dict[str, Any]:
    """Never raises for what the evidence lacks: what nobody could read is not judged, and `unread` says so."""
    known = mapping(evidence)
    case = make_case(known, policy, host)
    for check in OF_WINDOWS if windows.uses_windows(case) else (*CHECKS, *OF_WINDOWS):
        check(case)
    findings = in_order(case.findings)
    count = dict.fromkeys(("critical", "error", "warning", "info"), 0)
    for finding in findings:
        count[finding["severity"]] += 1
    return {
        "findings": findings,
        "count": count,
        "healthy": not any(count[severity] for severity in ("critical", "error", "warning")),
        "fine": list(dict.fromkeys(case.fine)),
        "unread": list(known.get("unread") or []),
        "version": _installed_version(known),
        "plan": case.plan,
    }
