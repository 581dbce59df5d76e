#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: ollama_model
short_description: Have a model in Ollama, or not
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Pulls a model from a registry, makes one from a GGUF file, copies one from another models directory, or removes one.
  - Reports a change only if the engine has something else afterwards.
  - What was fetched is read again and compared with its checksums, where O(models) is its directory on this host.
    Ollama itself does not check what it already had.
options:
  name:
    description:
      - Name of the model, such as V(llama3.2:3b). Without a tag it is V(latest).
      - As for the engine, upper and lower case are the same, and V(registry.ollama.ai/library/) may stand before it.
    type: str
    required: true
  state:
    description:
      - V(present) leaves a model alone that is there, except for one made from another file than O(path).
      - V(latest) fetches or makes it again. Whether that changes anything is known only afterwards,
        so that check mode foretells no change of a model that is there.
    type: str
    choices: [present, absent, latest]
    default: present
  source:
    description:
      - Where the model comes from.
      - V(registry) is the registry that the name tells.
      - V(gguf) is the GGUF file at O(path).
      - V(blobs) is another models directory at O(path), out of which the model's files are copied to O(models).
    type: str
    choices: [registry, gguf, blobs]
    default: registry
  path:
    description:
      - The GGUF file or the models directory, on the host.
      - With O(source=registry) and O(link), a GGUF file that the model's weights may be taken from.
    type: path
  sha256:
    description: Checksum that the GGUF file must have. With it, the file is read only when it is needed.
    type: str
  models:
    description: The engine's models directory, into which O(source=blobs) copies and O(link) links.
    type: path
    default: /usr/share/ollama/.ollama/models
  link:
    description: Share the GGUF file at O(path) with the engine by a hard link, where one file system holds both.
    type: bool
    default: false
  insecure:
    description: Speak plain HTTP to the registry that the name tells, such as one in the local network.
    type: bool
    default: false
  progress_file:
    description: A file in which the module tells how far a download is.
    type: path
  url:
    description: Address of the engine's API.
    type: str
    default: http://127.0.0.1:11434
  start_timeout:
    description: Seconds to wait for the first answer; an engine that has just been started discovers its GPUs first.
    type: int
    default: 240
  timeout:
    description:
      - Seconds without a word from the engine after which a request is given up.
      - It is silent while it reads again what it has fetched, for a large model many minutes.
    type: int
    default: 3600
attributes:
  check_mode:
    description:
      - Tells what would change. An engine that does not answer is taken for one that will have no model yet,
        but O(state=absent) removes one whose manifest is in O(models).
    support: full
  diff_mode:
    description: Nothing to show but the digest.
    support: none
"""

EXAMPLES = r"""
- name: A small model from the registry is there
  lamplighter.fleet.ollama_model:
    name: llama3.2:3b

- name: A model from a registry in the local network is there
  lamplighter.fleet.ollama_model:
    name: registry.lan:5000/house/assistant:3b
    insecure: true

- name: A model made from a file is there
  lamplighter.fleet.ollama_model:
    name: house-assistant
    source: gguf
    path: /srv/models/house-assistant.gguf
    sha256: 1c114a6b220c5efca2ef2b1e5f01d1e535e26f6cd6d1678c8489325d2835e525

- name: A model nobody uses is gone
  lamplighter.fleet.ollama_model:
    name: llama2
    state: absent
"""

RETURN = r"""
model:
  description: The name with its tag, as the engine lists it.
  returned: success
  type: str
  sample: llama3.2:3b
digest:
  description: Digest of the model, in hexadecimal; empty if the engine does not have it.
  returned: success
  type: str
verified:
  description: Whether every blob of the model was read and has the checksum that its name tells.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import Api, ApiError
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.models import Wanted, ensure


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "latest"], "default": "present"},
            "source": {"type": "str", "choices": ["registry", "gguf", "blobs"], "default": "registry"},
            "path": {"type": "path"},
            "sha256": {"type": "str"},
            "models": {"type": "path", "default": "/usr/share/ollama/.ollama/models"},
            "link": {"type": "bool", "default": False},
            "insecure": {"type": "bool", "default": False},
            "progress_file": {"type": "path"},
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "start_timeout": {"type": "int", "default": 240},
            "timeout": {"type": "int", "default": 3600},
        },
        required_if=[("source", "gguf", ["path"]), ("source", "blobs", ["path"])],
        supports_check_mode=True,
    )
    options = module.params
    wanted = Wanted(
        name=options["name"],
        state=options["state"],
        source=options["source"],
        path=options["path"],
        sha256=options["sha256"],
        store=options["models"],
        link=options["link"],
        insecure=options["insecure"],
    )
    try:
        api = Api(options["url"], options["timeout"])
        changed, digest, verified = ensure(
            api, wanted, options["start_timeout"], module.check_mode, Progress(options["progress_file"])
        )
    except (ApiError, OSError) as error:
        module.fail_json(msg=f"model {wanted.tag}: {error}")
    module.exit_json(changed=changed, model=wanted.tag, digest=digest, verified=verified)


if __name__ == "__main__":
    main()
