#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: ollama_facts
short_description: Tell which Ollama a host has, whoever installed it
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Reads what is installed, which unit starts it, with which environment, and where its models are.
  - Changes nothing, works without root, and does not fail because something is missing.
options:
  root:
    description: Directory below which M(lamplighter.fleet.engine_release) installs.
    type: path
    default: /opt/ollama
  user:
    description: User that the service gets where no foreign unit names one.
    type: str
    default: ollama
  models:
    description: Directory wanted for the models. Without it the directory in force is looked at.
    type: path
  port:
    description: Port at which to look for a listener.
    type: int
    default: 11434
  fact:
    description: Local fact in which the proven rung is remembered.
    type: path
    default: /etc/ansible/facts.d/lamplighter.fact
  llama_server:
    description: Executable of llama-server whose build is told, for a host that it serves.
    type: path
  model_files:
    description: Files that an engine is to load, of which size and time are told.
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
- name: The installation is known
  lamplighter.fleet.ollama_facts:

- name: Whose unit it is
  ansible.builtin.debug:
    var: ansible_facts['ollama_facts'].unit.owner
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host.
  returned: success
  type: dict
  contains:
    ollama_facts:
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
        zstd:
          description: Whether the program zstd is there.
          type: bool
        binary:
          description: The C(path) and C(version) of the executable that the unit starts, else of the one on the PATH.
          type: dict
        cli:
          description: Path of the command that a user gets by typing C(ollama).
          type: str
        cli_target:
          description: What the command is a link to.
          type: str
        current:
          description: The installed version in use, of those that this collection installed.
          type: str
        previous:
          description: The version that was in use before it.
          type: str
        versions:
          description: Complete installed versions, each with C(version) and C(archives).
          type: list
          elements: dict
        libraries:
          description: Folders of C(lib/ollama) beside the executable; the engine probes each, leftovers too.
          type: list
          elements: str
        unit:
          description:
            - The unit with C(path), C(owner) (V(ours), V(installer), V(distribution), V(foreign) or V(none)),
              C(user), C(group), C(exec_start) and C(drop_ins) (each with C(path) and C(ours)).
            - C(environment_files) are the files of other hands that set variables, which count for more than a drop-in.
            - C(environment) is what unit, drop-ins and these files give together, secrets hidden.
            - C(duplicates) has the files of each variable that several set.
          type: dict
        service:
          description:
            - The service with C(active), C(sub), C(enabled), C(main_pid) and C(stale).
            - C(stale) tells that files of the unit or of the release are newer than the running process.
          type: dict
        account:
          description:
            - The service's C(user), whether it C(exists), its C(uid), C(home), C(home_exists) and C(comment).
            - C(home) is what a foreign unit sets as HOME, if it does.
          type: dict
        models:
          description:
            - The models directory with C(path), C(exists), C(parent_exists), C(owner) and C(bytes).
            - C(owner) is somebody else than the service's user if that owns the blobs or the manifests in it.
          type: dict
        listener:
          description: Who listens on the port, with C(addresses), C(pid), C(command) and C(unit); null if nobody does.
          type: dict
        variants:
          description: Other forms of Ollama on this host, of V(snap), V(flatpak), V(docker) and V(podman).
          type: list
          elements: str
        installed:
          description:
            - What the figures and proofs of a host hold for, with C(version) (the build of O(llama_server), such as
              V(b11669)) and C(models) (O(model_files), each with C(path), C(size) in bytes and C(modified) in seconds
              since 1970).
          type: dict
        llama_server_units:
          description: Services that the role llama_server made here and that run or are enabled; they may hold the GPU.
          type: list
          elements: str
          sample: [llama-server-chat.service]
        proven:
          description: The rung that an earlier run has proven, with C(engine), C(engine_version), C(backend) and C(id).
          type: dict
"""

from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.installation import gather_briefly
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.installation import gather
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/ollama"},
            "user": {"type": "str", "default": "ollama"},
            "models": {"type": "path"},
            "port": {"type": "int", "default": 11434},
            "fact": {"type": "path", "default": "/etc/ansible/facts.d/lamplighter.fact"},
            "llama_server": {"type": "path"},
            "model_files": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    settings = dict(module.params)
    other = (settings.pop("llama_server"), settings.pop("model_files"))
    facts = gather(lambda command: run(command, seconds=10)[1], **settings)
    facts.update(gather_briefly(partial(run, seconds=10), *other))
    module.exit_json(changed=False, ansible_facts={"ollama_facts": facts})


if __name__ == "__main__":
    main()
