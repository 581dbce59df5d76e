#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_log
short_description: Says what the log of Ollama or llama-server shows
description:
  - Reads a log file or the journal of a systemd unit and says which version ran, which GPUs it found, on which
    backend inference runs, how many layers of the model are on the GPU, and what went wrong, each with a remedy.
  - Only the last start in the log counts.
  - Any Ollama from 0.1.20 on and llama-server alone are understood; so are logs with the prefixes of journald, docker,
    docker compose, kubectl and podman, of Windows, wrapped, coloured or cut.
options:
  path:
    description: A log file on the host.
    type: path
  unit:
    description: A systemd unit whose journal is read, its last start only.
    type: str
  signatures:
    description:
      - The rules by which faults are recognised. The action plugin of the same name fills them in from the
        collection's C(plugins/plugin_utils/signatures.yml); there is seldom a reason to give them.
    type: list
    elements: dict
author:
  - Lamplighter contributors (@lamplighter)
attributes:
  check_mode:
    description: The module only reads.
    support: full
  diff_mode:
    description: Nothing is changed, so there is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Read the log of the service
  lamplighter.fleet.engine_log:
    unit: ollama.service
  register: ollama_log

- name: Show on what the models run
  ansible.builtin.debug:
    msg: "{{ ollama_log.engine_log.backend }}: {{ ollama_log.engine_log.failures | map(attribute='code') | list }}"

- name: Read a file that a user sent
  lamplighter.fleet.engine_log:
    path: /tmp/server.log
"""

RETURN = r"""
engine_log:
  description: What the last start in the log says.
  returned: success
  type: dict
  contains:
    engine:
      description: C(ollama) or C(llama_server), null where the text is no log of either.
      type: str
      sample: ollama
    version:
      description: The version the engine names, for llama-server its build; null where the log does not say.
      type: str
      sample: 0.32.15
    starts:
      description: How many starts the log holds.
      type: int
      sample: 1
    backend:
      description: On what inference runs, one of C(rocm), C(vulkan), C(cuda), C(cpu) and C(unknown).
      type: str
      sample: rocm
    backend_source:
      description:
        - C(load) where the load of a model tells the backend, C(discovery) where only the search for GPUs does.
        - Null where the backend is unknown.
      type: str
      sample: load
    devices:
      description: The GPUs that the engine found and kept.
      type: list
      elements: dict
      contains:
        library:
          description: Library that drives it, such as C(rocm), C(vulkan), C(cuda) or C(metal).
          type: str
        gfx:
          description: Architecture of an AMD GPU as the log names it (an override shows here), or null.
          type: str
        name:
          description: Name of the GPU, or its PCI id, or null.
          type: str
        total_bytes:
          description: Its memory in bytes, or null.
          type: int
        available_bytes:
          description: How much of it was free, in bytes, or null.
          type: int
        integrated:
          description: Whether it is an integrated GPU, null where the log does not say.
          type: bool
    offloaded:
      description:
        - Layers on the GPU and layers of the model, for the load that decided the backend.
        - Null where the log does not say; Ollama from 0.30 on says nothing where all is on the CPU.
      type: list
      elements: int
      sample: [33, 33]
    failures:
      description: What went wrong, one entry per code, in the order of the log.
      type: list
      elements: dict
      contains:
        code:
          description: Name of the fault, listed in docs/troubleshooting.md.
          type: str
        severity:
          description: One of C(info), C(warning), C(error) and C(critical).
          type: str
        line:
          description: The first line that shows it.
          type: str
        meaning:
          description: What it means.
          type: str
        remedy:
          description: What to do.
          type: str
        count:
          description: How many lines show it.
          type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.sources import (
    LogError,
    file_lines,
    signatures_beside,
    unit_lines,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "unit": {"type": "str"},
            "signatures": {"type": "list", "elements": "dict"},
        },
        mutually_exclusive=[("path", "unit")],
        required_one_of=[("path", "unit")],
        supports_check_mode=True,
    )
    path, unit = module.params["path"], module.params["unit"]
    try:
        lines = file_lines(path) if path else unit_lines(unit)
        engine_log = read_engine_log(lines, module.params["signatures"] or signatures_beside())
    except LogError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, engine_log=engine_log)


if __name__ == "__main__":
    main()
