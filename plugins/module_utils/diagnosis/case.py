# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor's rules look at, and where they write what they found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Machine

# A cause is mended before what follows from it: the machine, its kernel, who may open the GPU, what is installed,
# what it is told, what it then logs.
STAGES = ("machine", "kernel", "access", "installation", "environment", "log", "memory", "network")
RANKS = {"critical": 0, "error": 0, "warning": 1, "info": 2}


@dataclass
class Case:
    """One host: the evidence, and what the plan's rules make of it. Whatever is not known is empty."""

    evidence: dict[str, Any]
    version: str
    wanted_version: str
    environment: dict[str, str]
    plan: dict[str, Any]
    machine: Machine
    engine: dict[str, Any]
    catalogue: dict[str, Any]
    host: str = "HOST"
    findings: list[dict[str, Any]] = field(default_factory=list)
    fine: list[str] = field(default_factory=list)

    def part(self, *names: str) -> dict[str, Any]:
        """A dictionary of the evidence by its path; an empty one where there is none."""
        value: Any = self.evidence
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}

    def items(self, *names: str) -> list[Any]:
        """A list of the evidence by its path; an empty one where there is none."""
        value = self.part(*names[:-1]).get(names[-1])
        return value if isinstance(value, list) else []

    @property
    def cmdline(self) -> list[str]:
        """The words of the kernel's command line; the plan's machine has those of modprobe.d, too."""
        return str(self.part("gpu_facts", "kernel").get("cmdline") or "").split()

    @property
    def first_rung(self) -> dict[str, Any]:
        return self.plan["rungs"][0]

    @property
    def used_gpus(self) -> list[Any]:
        return [gpu for gpu in self.machine.gpus if gpu.index in self.first_rung["devices"]]

    def add(
        self, stage: str, code: str, severity: str, message: str, remedy: str, command: str = "", seen: str = ""
    ) -> None:
        """Record what is wrong. A code is told once: the first to see it is nearest to the cause."""
        if any(
            known["code"] == code and (known["seen"] == seen or not (known["seen"] and seen)) for known in self.findings
        ):
            return
        self.findings.append(
            {
                "code": code,
                "stage": stage,
                "severity": severity,
                "message": _words(message),
                "seen": seen.strip(),
                "remedy": _words(remedy),
                "command": command.replace("{host}", self.host),
            }
        )

    def has(self, *codes: str) -> bool:
        return any(finding["code"] in codes for finding in self.findings)


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def in_order(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order to mend them: what costs the GPU before what costs speed, causes before what follows from them."""
    return sorted(findings, key=lambda one: (RANKS[one["severity"]], STAGES.index(one["stage"])))
