# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
name: llama_server_models
short_description: Which files the wanted instances of llama-server load
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Returns the path of each model and of each model that drafts for one.
  - What is wrong with an instance is no error here; P(lamplighter.fleet.llama_server_units#filter) tells it.
positional: models_directory
options:
  _input:
    description: The instances, see the variable C(llama_server_instances) of the role.
    type: list
    elements: dict
    required: true
  models_directory:
    description: Where the models are that are given by a name.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: The files
  ansible.builtin.debug:
    msg: "{{ llama_server_instances | lamplighter.fleet.llama_server_models('/srv/models') }}"
"""

RETURN = r"""
_value:
  description: Paths, each once.
  type: list
  elements: str
"""

from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.instances import wanted_files


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"llama_server_models": wanted_files}
