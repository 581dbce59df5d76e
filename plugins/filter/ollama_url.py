# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
name: ollama_url
short_description: Where Ollama's API is, by what its OLLAMA_HOST says
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Returns the URL of the API as seen from the host itself, by Ollama's own rules for a missing host, port or scheme.
options:
  _input:
    description: The value of C(OLLAMA_HOST); null or empty for Ollama's default.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ollama listens on every address, and is asked on this one
  ansible.builtin.uri:
    url: "{{ '0.0.0.0' | lamplighter.fleet.ollama_url }}/api/version"  # http://127.0.0.1:11434/api/version
"""

RETURN = r"""
_value:
  description: The URL, without a path.
  type: str
"""

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.address import api_url


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"ollama_url": api_url}
