# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
name: systemd_environment
short_description: Write environment variables as lines of a systemd unit
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Turns a dictionary into C(Environment=) lines from which systemd reads exactly these names and values.
  - Variables without a value (null) are left out, booleans become 1 and 0, lists are joined by commas.
  - With O(file) they become lines of a file for C(EnvironmentFile=), which can be closed to other readers.
  - A quote, a newline or a control character in a value is an error, and so is a name that no variable can have.
options:
  _input:
    description: Names and values of the variables.
    type: dict
    required: true
  file:
    description: Whether the lines are for an environment file instead of for a unit.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Two lines, sorted by name
  ansible.builtin.debug:
    msg: "{{ {'OLLAMA_NUM_PARALLEL': 2, 'OLLAMA_FLASH_ATTENTION': true} | lamplighter.fleet.systemd_environment }}"
"""

RETURN = r"""
_value:
  description: The lines, sorted by the name of the variable.
  type: list
  elements: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import (
    VariableError,
    environment_file_line,
    environment_line,
    environment_lines,
)


def systemd_environment(environment: dict[str, object], file: bool = False) -> list[str]:
    try:
        return environment_lines(environment, environment_file_line if file else environment_line)
    except VariableError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"systemd_environment": systemd_environment}
