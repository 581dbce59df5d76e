#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a WSL2 host has before it is wired to Ollama on Windows."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: wsl_client_facts
short_description: Finds what decides how a WSL2 host is wired to Ollama on Windows
version_added: 0.1.0
description:
  - Refuses an address that cannot be one, and a host that has no way to Windows, with what to do about it.
  - Finds the shells that are there, and each C(OLLAMA_HOST) that somebody else has set in files.
  - Nothing is changed, and no program is run.
author:
  - Lamplighter contributors (@lamplighter)
options:
  host:
    description:
      - The address of Ollama, as a name, an address or a URL. Empty to have it found by I(way).
    type: str
    default: ''
  port:
    description: The port of Ollama on Windows, where I(host) is empty or names none.
    type: int
    default: 11434
  way:
    description:
      - How Windows is reached, as the plan says it in C(wsl.address.way). V(auto) is left to the host.
    type: str
    choices: [auto, gateway, loopback, none]
    default: auto
  refusal:
    description: What to say where I(way) is V(none).
    type: str
    default: WSL2 has no way to Windows in this networking mode.
  sysroot:
    description: The directory below which every file is read.
    type: path
    default: /
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: There is nothing to show.
"""

EXAMPLES = r"""
- name: Know the shells of the host, and who else sets OLLAMA_HOST
  lamplighter.fleet.wsl_client_facts:
    way: gateway
"""

RETURN = r"""
ansible_facts:
  description: What was found.
  returned: success
  type: dict
  contains:
    wsl_client_facts:
      description: The facts.
      returned: success
      type: dict
      contains:
        address:
          description: C(way), C(scheme), C(host), C(port), C(path), and the C(url) that comes of them now, or null.
          type: dict
        others:
          description:
            - Each C(OLLAMA_HOST) that is not ours, with C(path), C(line), C(value), and C(said), which tells all of it.
            - C(alone) is false where the line does other things as well, so that it cannot be taken out. Otherwise
              C(text) is the line.
          type: list
          elements: dict
        replaced:
          description: Files in which this collection has put such a value out of force.
          type: list
          elements: str
        proxies:
          description: Proxies that those files set.
          type: list
          elements: str
        bashrc:
          description: The file that interactive bash reads, null where it is not there.
          type: str
        zshenv:
          description: The file that every zsh reads, null without zsh.
          type: str
        fish:
          description: Whether fish is there.
          type: bool
        podman:
          description: Whether Podman is there.
          type: bool
        docker:
          description: Whether Docker is there.
          type: bool
        ollama_host_of_unit:
          description: Whether an C(ollama.service) of this host says itself where it listens.
          type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.wsl import gateway
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.address import AddressError, resolve
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.client import gather


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 11434},
            "way": {"type": "str", "choices": ["auto", "gateway", "loopback", "none"], "default": "auto"},
            "refusal": {"type": "str", "default": "WSL2 has no way to Windows in this networking mode."},
            "sysroot": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    given, sysroot = module.params, Sysroot(module.params["sysroot"])
    problems = []
    if not 0 < given["port"] < 65536:
        problems.append(f"wsl_client_port is {given['port']}. A port is between 1 and 65535; Ollama's is 11434.")
    if given["way"] == "none" and not given["host"].strip():
        problems.append(given["refusal"])
    try:
        address = resolve(given["way"], given["host"], given["port"], gateway(sysroot.read("proc/net/route")))
    except AddressError as error:
        problems.append(f"wsl_client_host: {error}")
    if problems:
        module.fail_json(msg="\n".join(problems))
    module.exit_json(ansible_facts={"wsl_client_facts": {"address": address, **gather(sysroot)}})


if __name__ == "__main__":
    main()
