# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
name: llama_server_units
short_description: Turn the wanted instances of llama-server into services that this host can run
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Completes each instance and gives it C(unit), C(url), C(keyed) (whether it has an API key, which is taken out) and
    C(exec_start), the arguments that its command line needs with the installed build, quoted for systemd.
  - Everything that is wrong with the instances is one error, such as an option that the build does not know, a port or
    a name used twice, or a model that is not there.
  - Before the build is installed, what depends on it is left out.
options:
  _input:
    description: The instances, see the variable C(llama_server_instances) of the role.
    type: list
    elements: dict
    required: true
  facts:
    description: What M(lamplighter.fleet.llama_server_facts) found.
    type: dict
    required: true
  rung:
    description: The rung of the plan that is to be in force.
    type: dict
    required: true
  gpus:
    description: The list C(gpus) of M(lamplighter.fleet.gpu_facts).
    type: list
    elements: dict
    required: true
  models_directory:
    description: Where the models are that are given by a name.
    type: str
    required: true
  expected:
    description: Names of models that another role would have put there by now, if this were no check mode.
    type: list
    elements: str
    default: []
  leaving:
    description: Units of another engine that would have stood down by now, if this were no check mode.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: The command line of each instance
  ansible.builtin.debug:
    msg: "{{ llama_server_instances | lamplighter.fleet.llama_server_units(ansible_facts['llama_server_facts'], \
      inference_plan.rungs[0], ansible_facts['gpu_facts'].gpus, models_directory) | map(attribute='exec_start') }}"
"""

RETURN = r"""
_value:
  description: The instances.
  type: list
  elements: dict
"""

from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.command import CommandError
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.instances import plan_units


def llama_server_units(
    instances: Any,
    facts: dict[str, Any],
    rung: dict[str, Any],
    gpus: list[dict[str, Any]],
    models_directory: str,
    expected: Sequence[str] = (),
    leaving: Sequence[str] = (),
) -> list[dict[str, Any]]:
    try:
        return plan_units(instances, facts, rung, gpus, models_directory, expected, leaving)
    except CommandError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"llama_server_units": llama_server_units}
