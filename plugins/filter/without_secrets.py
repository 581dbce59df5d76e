# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
name: without_secrets
short_description: An environment as it may be shown
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Hides the values of variables whose name tells a secret (token, secret, password, API key, credential, private key)
    and the password within an address such as V(http://user:password@proxy:3128).
  - An environment that it leaves as it is holds no secret that can be known by its form.
options:
  _input:
    description: Names and values of the variables.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The template is shown unless there is a secret in it
  ansible.builtin.debug:
    msg: "{{ environment == environment | lamplighter.fleet.without_secrets }}"
  vars:
    environment: {HTTPS_PROXY: "http://reader:password@proxy.example:3128"}
"""

RETURN = r"""
_value:
  description: The variables, V((hidden\)) in place of every secret.
  type: dict
"""

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import without_secrets


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"without_secrets": without_secrets}
