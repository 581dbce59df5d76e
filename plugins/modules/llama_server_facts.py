#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: llama_server_facts
short_description: Tell which llama-server a host has, what that build can, and which services run it
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Asks the binary for its version, its options and its devices, since these change between builds.
  - Reads which services of the name C(llama-server-NAME) there are, who listens on their ports, and whether their
    models can be loaded.
  - Changes nothing and does not fail because something is missing.
options:
  binary:
    description: The executable. Without it the C(llama-server) of the PATH is looked at.
    type: path
  root:
    description: Directory below which M(lamplighter.fleet.engine_release) installs releases of llama.cpp.
    type: path
    default: /opt/llama.cpp
  user:
    description: User of the services, who must be able to execute the binary and to read the models.
    type: str
    default: llama-server
  environment:
    description: Environment in which the devices are listed, as a rung of the plan sets it. No secrets.
    type: dict
    default: {}
  ports:
    description: Ports at which to look for a listener.
    type: list
    elements: int
    default: []
  models:
    description: Files that the services are to load.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: The same as a normal run.
    support: full
  diff_mode:
    description: Nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: The build is known
  lamplighter.fleet.llama_server_facts:

- name: What --device may name
  ansible.builtin.debug:
    var: ansible_facts['llama_server_facts'].devices
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host.
  returned: success
  type: dict
  contains:
    llama_server_facts:
      description: What was found. Unknown is null.
      returned: success
      type: dict
      contains:
        machine:
          description: The machine's architecture as the kernel names it.
          type: str
          sample: x86_64
        os:
          description: The distribution by C(/etc/os-release), with C(id), C(id_like) (a list) and C(version_id).
          type: dict
        systemd:
          description: Whether systemd runs this host.
          type: bool
        binary:
          description: Path of the executable.
          type: str
          sample: /usr/bin/llama-server
        version:
          description: The build.
          type: str
          sample: b11669
        source:
          description: Who installed it, V(ours), V(distribution), V(binary) or V(none).
          type: str
        problem:
          description: Why the executable cannot be used; null if nothing is wrong with it.
          type: str
        options:
          description:
            - What C(--help) tells of each option, with C(names), C(values) (how many), C(choices) and C(environment).
            - C(automatic) is whether it has an automatic value, C(removed) what to use instead of one that is gone.
          type: list
          elements: dict
        devices:
          description: What C(--list-devices) tells, with C(name), C(description), C(total_bytes) and C(free_bytes).
          type: list
          elements: dict
        current:
          description: The installed release in use, of those that this collection installed.
          type: str
        versions:
          description: Complete installed releases.
          type: list
          elements: str
        units:
          description:
            - Services named C(llama-server-NAME), with C(name), C(path), C(ours), C(active), C(enabled), C(main_pid)
              and C(stale).
            - C(stale) tells that the unit, the engine or the model changed since the process began.
          type: list
          elements: dict
        account:
          description: The service's C(user), whether it C(exists), its C(uid), C(home) and C(comment).
          type: dict
        listeners:
          description: By port who listens, with C(addresses), C(pid), C(command) and C(unit); null if nobody does.
          type: dict
        models:
          description:
            - The C(path) of each model, its C(size) in bytes, when it was C(modified) (in seconds since 1970), and the
              C(problem) with it, null if it can be loaded.
          type: list
          elements: dict
"""

from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.installation import gather
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "binary": {"type": "path"},
            "root": {"type": "path", "default": "/opt/llama.cpp"},
            "user": {"type": "str", "default": "llama-server"},
            "environment": {"type": "dict", "default": {}},
            "ports": {"type": "list", "elements": "int", "default": []},
            "models": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    # A ROCm library may take long to find its devices.
    facts = gather(partial(run, seconds=60), **module.params)
    module.exit_json(changed=False, ansible_facts={"llama_server_facts": facts})


if __name__ == "__main__":
    main()
