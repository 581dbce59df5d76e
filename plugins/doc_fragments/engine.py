# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that ask a running engine; their types are in module_utils/proof/arguments.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  engine:
    description: The engine whose API is asked.
    type: str
    choices: [ollama, llama_server]
    default: ollama
  url:
    description: Where the engine's API is.
    type: str
    default: http://127.0.0.1:11434
  unit:
    description: The systemd unit of the engine. Its journal says where the model ran, and why the engine crashed.
    type: str
    default: ollama.service
  api_key:
    description: The key that a C(llama_server) asks for.
    type: str
  model:
    description:
      - The model to generate with. It has to be there already.
      - Ollama needs it; a llama-server has one and names it itself.
    type: str
    default: ''
  start_timeout:
    description:
      - Seconds to wait for the API's first answer.
      - Ollama answers only once its discovery of GPUs is over, which may take minutes.
    type: int
    default: 240
  request_timeout:
    description:
      - Seconds that a load or a generation may take, and that the engine may be silent.
      - The default is longer than the five minutes after which Ollama itself gives a load up, so its reason is seen.
    type: int
    default: 360
  sysroot:
    description:
      - Where temperatures and the kernel's counters are read.
      - With another directory than V(/) the kernel log is read from C(var/log/kern.log) in it.
    type: path
    default: /
  gpu_addresses:
    description: PCI addresses of the GPUs that the engine uses, such as V(0000:03:00.0).
    type: list
    elements: str
    default: []
  signatures:
    description:
      - The rules by which logs are read, as in the collection's C(plugins/plugin_utils/signatures.yml).
      - Filled in on the controller.
    type: list
    elements: dict
    default: []
"""
