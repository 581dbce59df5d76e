# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: diagnosis_text
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: A host's diagnosis as a page to read
description:
  - Tells what the machine has, what the engine uses, what is wrong in the order to mend it with the command for each,
    and what was found right.
positional: evidence, host
options:
  _input:
    description: The diagnosis, as C(lamplighter.fleet.diagnosis) makes it.
    type: dict
    required: true
  evidence:
    description: The evidence that it was made from.
    type: dict
    default: {}
  host:
    description: The name of the host.
    type: str
    default: this host
"""

EXAMPLES = r"""
- name: Show the diagnosis
  ansible.builtin.debug:
    msg: "{{ found | lamplighter.fleet.diagnosis_text(host.evidence, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: Lines of at most 92 characters, but for lines of logs and commands; no control codes.
  type: str
"""

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.plugin_utils import blocks

LABEL = 9
LONGEST = 300
OWNERS = {
    "ours": "installed by Lamplighter",
    "installer": "of the installer script",
    "distribution": "of the distribution",
    "foreign": "with a unit of somebody's own",
}
# Of what is only good to know the first sentence will do.
SENTENCE = re.compile(r"(?<=[.:]) (?=[A-Z0-9])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\x1b\[[0-9;]*m")


def _part(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, dict) else {}


def _block(label: str, text: str, indent: int = 2, width: int = LABEL) -> list[str]:
    return blocks.block(label, text, indent=indent, width=width, copied=True)


def _gib(size: Any) -> str:
    return f"{size / blocks.GIB:.0f} GiB" if isinstance(size, int) else "? GiB"


def _machine(evidence: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    facts = _part(evidence, "gpu_facts")
    # A server's console chip is no GPU that an engine could use.
    gpus = [gpu for gpu in plan["devices"] if gpu["vendor"] != "other"]
    names = [f"{gpu['product']} ({gpu['gfx']})" if gpu["gfx"] else gpu["product"] for gpu in gpus]
    known = isinstance(facts.get("gpus"), list)
    logged = [device.get("name") or device["library"] for device in _part(evidence, "engine_log").get("devices") or []]
    guessed = f"by the engine's log {', '.join(logged)}" if logged else "its GPUs are not known"
    parts = [", ".join(names) or ("no GPU to use" if known else guessed)]
    if facts.get("memory_bytes"):
        parts.append(f"{_gib(facts['memory_bytes'])} of RAM")
    if _part(facts, "kernel").get("release"):
        parts.append(f"kernel {_part(facts, 'kernel')['release']}")
    return "; ".join([*parts, *blocks.platform_text(facts)])


def _engine(diagnosis: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    found, log = _part(evidence, "ollama_facts"), _part(evidence, "engine_log")
    name = blocks.ENGINES.get(str(log.get("engine")), "Ollama")
    if not diagnosis["version"] and not found.get("binary") and not log.get("engine"):
        return "none"
    parts = [
        f"{name} {log.get('version') if log.get('engine') == 'llama_server' else diagnosis['version'] or ''}".strip()
    ]
    owner = OWNERS.get(str(_part(found, "unit").get("owner")))
    if owner:
        parts[0] += f" {owner}"
    if evidence.get("containers"):
        parts.append(f"in a container ({evidence['containers'][0]['tool']})")
    if log.get("backend") in blocks.BACKENDS:
        layers = " with {} of {} layers".format(*log["offloaded"]) if log.get("offloaded") else ""
        surely = "" if log.get("backend_source") == "load" else " (no model was loaded yet)"
        parts.append(f"inference on {blocks.BACKENDS[log['backend']]}{layers}{surely}")
    elif _part(found, "service").get("active"):
        parts.append(f"service {_part(found, 'service')['active']}")
    return ", ".join(parts)


def _headline(diagnosis: Mapping[str, Any], host: str) -> str:
    count = diagnosis["count"]
    wrong = count["critical"] + count["error"]
    total = wrong + count["warning"]
    if not total:
        return (
            f"{host}: nothing is wrong." if not diagnosis["unread"] else f"{host}: nothing wrong in what could be read."
        )
    errors = {0: "no error", 1: "1 error"}.get(wrong, f"{wrong} errors")
    return f"{host}: {total} finding{'s' * (total > 1)}, {errors}"


def _finding(at: int, finding: Mapping[str, Any]) -> list[str]:
    severity = {"critical": "ERROR", "error": "ERROR", "warning": "warning"}[finding["severity"]]
    lines = ["", *_block(f"{at}.", f"{severity} {finding['code']}: {finding['message']}", 1, 4)]
    if finding["seen"]:
        seen = " ".join(CONTROL.sub("", finding["seen"]).split())
        seen = seen if len(seen) <= LONGEST else seen[: LONGEST - 3] + "..."
        lines += _block("seen", seen, 5, 6)
    lines += _block("do", finding["remedy"], 5, 6)
    if finding["command"]:
        # In one line: it is to be copied.
        lines.append(f"{'':5}{'run':<6}{finding['command']}")
    return lines


def diagnosis_text(
    diagnosis: Mapping[str, Any], evidence: Mapping[str, Any] | None = None, host: str = "this host"
) -> str:
    """One page for one host."""
    evidence = evidence or {}
    headline = _headline(diagnosis, host)
    wrong = [finding for finding in diagnosis["findings"] if finding["severity"] != "info"]
    notes = [finding for finding in diagnosis["findings"] if finding["severity"] == "info"]
    lines = [
        headline,
        "-" * len(headline),
        *_block("Machine", _machine(evidence, diagnosis["plan"])),
        *_block("Engine", _engine(diagnosis, evidence)),
    ]
    for at, finding in enumerate(wrong, 1):
        lines += _finding(at, finding)
    lines += [""] if wrong else []
    lines += _block("Fine", "; ".join(diagnosis["fine"]) + ".") if diagnosis["fine"] else []
    for at, note in enumerate(notes):
        lines += _block("" if at else "To know", f"{note['code']}: {SENTENCE.split(note['message'])[0]}")
    plain_user = evidence.get("privileged") is False
    for at, unread in enumerate(diagnosis["unread"]):
        # What a module advises is said once for all of them.
        lines += _block("" if at else "Unread", unread.split(". ")[0].rstrip(".") + "." if plain_user else unread)
    if diagnosis["unread"] and plain_user:
        lines += _block("", "Run again with --become to read it all.")
    return "\n".join(line.rstrip() for line in lines)


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"diagnosis_text": diagnosis_text}
