# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
name: ollama_environment
short_description: Check an environment against what a release of Ollama reads
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Returns the environment as texts that Ollama understands, with booleans as 1 and 0.
  - Variables without a value (null) are left out, lists are joined by commas.
  - A name that the release does not read or a value that it would misread is an error that says what to write instead.
options:
  _input:
    description: Names and values of the variables.
    type: dict
    required: true
  version:
    description: The release that will read them.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: "{'OLLAMA_FLASH_ATTENTION': '1'}"
  ansible.builtin.debug:
    msg: "{{ {'OLLAMA_FLASH_ATTENTION': true} | lamplighter.fleet.ollama_environment('0.32.15') }}"
"""

RETURN = r"""
_value:
  description: The variables that have a value.
  type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama_environment import check_environment


def ollama_environment(environment: dict[str, object], version: str) -> dict[str, str]:
    texts = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in environment.items()
        if value != []
    }
    normalised, problems = check_environment(texts, version)
    errors = [problem for problem in problems if problem["severity"] == "error"]
    if errors:
        raise AnsibleFilterError(
            "\n".join(f"{error['name']}={error['value']}: {error['message']} {error['remedy']}" for error in errors)
        )
    return normalised


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"ollama_environment": ollama_environment}
