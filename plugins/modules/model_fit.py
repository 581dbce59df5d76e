#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: model_fit
short_description: Tell what wanted models would take on this host, before anything is fetched
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Checks the entries of C(models_list), looks which models are there, and asks the servers of the others for
    the manifest and the header, but never for the weights.
  - Tells for each model what it takes in memory by its own metadata, the largest context that fits and how many
    requests at once, and whether it may be fetched.
  - Reads only. A file on the controller (C(source=file)) is looked at on the controller.
options:
  models:
    description: The list of models, as the variable C(models_list) of the role P(lamplighter.fleet.models#role) has it.
    type: list
    elements: raw
    required: true
  engine:
    description: The engine of the host, and of entries that name none. Only what it is to get takes room.
    type: str
    choices: [ollama, llama_server]
    default: ollama
  models_directory:
    description: Directory of the GGUF files.
    type: path
    default: /var/lib/lamplighter/models
  store:
    description: Ollama's models directory.
    type: path
    default: /usr/share/ollama/.ollama/models
  available_bytes:
    description: Memory for weights, context and compute buffers together. Unknown if left out.
    type: int
  gpu:
    description: Whether that is the memory of a GPU. The token embeddings stay beside it then.
    type: bool
    default: true
  default_context:
    description: Tokens of context of entries that name none.
    type: int
    default: 4096
  default_parallel:
    description: Requests at once of entries that name none.
    type: int
    default: 1
  default_cache_type:
    description: Type of the key and value cache of entries that name none.
    type: str
    default: f16
  flash_attention:
    description: Whether the engine computes attention without keeping its scores.
    type: bool
    default: true
  allow_oversize:
    description: Whether a model may be fetched that does not fit, or of which that is not known.
    type: bool
    default: false
  share:
    description: Whether Ollama gets a file by a hard link where that can be, so that it takes its room once.
    type: bool
    default: true
  registry_url:
    description: Address of Ollama's registry, or of a mirror of it.
    type: str
    default: https://registry.ollama.ai
  ask_from:
    description:
      - Who asks the servers of models that are not there.
      - V(nobody) looks at this host only.
    type: str
    choices: [host, controller, nobody]
    default: host
  given:
    description: What is known of models by name, from an earlier look on the controller. Meant for the action plugin.
    type: dict
    default: {}
  timeout:
    description: Seconds without an answer after which a server is given up.
    type: int
    default: 30
attributes:
  check_mode:
    description: The same as a normal run.
    support: full
  diff_mode:
    description: Nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: What a model would take is known
  lamplighter.fleet.model_fit:
    models:
      - name: llama3.2:3b
        context: 8192
    available_bytes: "{{ inference_plan.memory.free_bytes }}"
  register: fit

- name: It is told
  ansible.builtin.debug:
    msg: "{{ fit.models | lamplighter.fleet.models_text }}"
"""

RETURN = r"""
models:
  description:
    - For each entry its C(name), C(tag), C(state), C(source), C(engines), C(path) (null if it is no file), C(src),
      C(url) and C(sha256).
    - C(manifest_path) is where Ollama keeps its manifest below C(store), C(removable) what there is of an absent one.
    - C(there) tells for each engine whether it has the model, C(missing) whether one of them lacks it, C(file_there)
      whether the verified file is at C(path), C(seen) whether this user may look into Ollama's directory.
    - C(asked) is false for a missing model whose server was not asked.
    - C(bytes) is what there is to fetch, C(blobs) and C(manifest) what a registry told.
    - C(need) has bytes, C(weights) (with C(layers) and C(output)), C(host) (beside the GPU), C(kv), C(compute),
      C(total), C(per_slot), the band C(least) and C(most), then C(context), C(parallel) and C(unsure), the reasons
      for which the estimate is less sure.
      Null with a C(problem) if it cannot be known.
    - C(available_bytes), C(fits), C(largest_context), C(trained_context) and C(sensible_parallel) are null if unknown.
    - C(refused) is the reason for which it must not be fetched, or null.
  returned: success
  type: list
  elements: dict
problems:
  description: Everything for which nothing may be done, in words. An empty list if all is well.
  returned: success
  type: list
  elements: str
"""

from dataclasses import fields

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.look import Host, look
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.wanted import read_entries


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "models": {"type": "list", "elements": "raw", "required": True},
            "engine": {"type": "str", "choices": ["ollama", "llama_server"], "default": "ollama"},
            "models_directory": {"type": "path", "default": "/var/lib/lamplighter/models"},
            "store": {"type": "path", "default": "/usr/share/ollama/.ollama/models"},
            "available_bytes": {"type": "int"},
            "gpu": {"type": "bool", "default": True},
            "default_context": {"type": "int", "default": 4096},
            "default_parallel": {"type": "int", "default": 1},
            "default_cache_type": {"type": "str", "default": "f16"},
            "flash_attention": {"type": "bool", "default": True},
            "allow_oversize": {"type": "bool", "default": False},
            "share": {"type": "bool", "default": True},
            "registry_url": {"type": "str", "default": "https://registry.ollama.ai"},
            "ask_from": {"type": "str", "choices": ["host", "controller", "nobody"], "default": "host"},
            "given": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    entries, problems = read_entries(module.params["models"], module.params["engine"])
    if problems:
        module.exit_json(changed=False, models=[], problems=problems)
    host = Host(**{one.name: module.params[one.name] for one in fields(Host)})
    results, problems = look(entries, host, module.params["given"], ask=module.params["ask_from"] == "host")
    module.exit_json(changed=False, models=results, problems=problems)


if __name__ == "__main__":
    main()
