# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: diagnosis
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Say what is wrong with a host's inference, and in which order to mend it
description:
  - Judges the evidence that M(lamplighter.fleet.host_evidence) collects. It is pure and reads nothing.
  - What is not known is not judged.
positional: policy, host
options:
  _input:
    description: The C(evidence) of the host.
    type: dict
    required: true
  policy:
    description: What the inventory wants, as for P(lamplighter.fleet.inference_plan#filter).
    type: dict
    default: {}
  host:
    description: The host's name in the inventory, for the commands.
    type: str
    default: HOST
"""

EXAMPLES = r"""
- name: What is wrong
  ansible.builtin.debug:
    msg: "{{ (evidence | lamplighter.fleet.diagnosis).findings | map(attribute='code') }}"
"""

RETURN = r"""
_value:
  description:
    - C(findings), in the order to mend them, each with C(code), C(stage), C(severity) (V(critical), V(error),
      V(warning) or V(info)), C(message), C(seen) (the line that shows it, may be empty), C(remedy) and C(command) (may
      be empty).
    - C(count) of the findings by severity.
    - C(healthy) tells that nothing is wrong that costs the GPU or speed.
    - C(fine) is what was looked at and found right, in a few words each.
    - C(unread) is what could not be read.
    - C(version) of the engine, null if unknown, and C(plan), the plan for what is installed.
  type: dict
"""

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose


def diagnosis(evidence: Any, policy: Any = None, host: str = "HOST") -> dict[str, Any]:
    """Judge one host."""
    return diagnose(evidence, policy, host)


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"diagnosis": diagnosis}
