#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a WSL2 host uses the GPU of Windows."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: windows_ollama_proof
short_description: Proves that Ollama on Windows answers this WSL2 host from its GPU
version_added: 0.1.0
description:
  - Asks for the version of Ollama on Windows, lets a model answer a prompt that no cache has seen, and compares what
    Windows' API, and where it is given its log, say of where the model is.
  - Where Ollama does not answer, the evidence tells which of the possible causes it is.
  - The model must be there. It stays loaded for as long as the server's own setting says.
author:
  - Lamplighter contributors (@lamplighter)
options:
  url:
    description: The address of Ollama on Windows. Empty where none could be found.
    type: str
    default: ''
  way:
    description: How Windows is reached.
    type: str
    choices: [auto, gateway, loopback, given, none]
    default: auto
  mode:
    description: The networking mode of WSL2.
    type: str
    default: ''
  model:
    description: The model that answers. Without it only the way to Windows is proven.
    type: str
    default: ''
  expect:
    description: The backend that Windows should use. V(gpu) is any but the processor.
    type: str
    choices: [rocm, vulkan, cuda, gpu, cpu]
    default: gpu
  accept:
    description: Backends that count as success as well.
    type: list
    elements: str
    choices: [rocm, vulkan, cuda, cpu]
    default: []
  powershell:
    description:
      - Path of Windows' C(powershell.exe), through which Windows is asked for Ollama's log, or why it does not answer.
      - Empty where Windows may not be asked.
    type: str
    default: ''
  prompt_tokens:
    description: Length of the prompt, 512 or more because some faults show only on long ones.
    type: int
    default: 640
  predict_tokens:
    description: Length of the answer.
    type: int
    default: 64
  connect_timeout:
    description: Seconds until the connection and the version must be there.
    type: int
    default: 5
  start_timeout:
    description:
      - Seconds that an Ollama which has just been started may take until it answers. It listens at once, and answers
        when it has looked for GPUs.
    type: int
    default: 180
  request_timeout:
    description: Seconds that a load or a generation may take.
    type: int
    default: 360
  sysroot:
    description: The directory below which the host's own files are read.
    type: path
    default: /
attributes:
  check_mode:
    support: full
    description: It is skipped, because the engine may not be there yet.
  diff_mode:
    support: none
    description: There is nothing to show.
"""

EXAMPLES = r"""
- name: Know whether Windows' GPU works for this host
  lamplighter.fleet.windows_ollama_proof:
    url: http://172.22.16.1:11434
    way: gateway
    mode: nat
    model: qwen3:0.6b
    expect: vulkan
"""

RETURN = r"""
proof:
  description: In the form of M(lamplighter.fleet.inference_proof).
  returned: success
  type: dict
  contains:
    verdict:
      description: V(proven), V(degraded) or V(failed).
      type: str
    backend:
      description: The backend that Windows' log names. Without a log V(gpu) or V(cpu), by the API.
      type: str
    engine_version:
      description: The version of Ollama on Windows, or null.
      type: str
    reasons:
      description: Why it is this verdict.
      type: list
      elements: str
    remedies:
      description: What to do.
      type: list
      elements: str
    contradictions:
      description: Pairs of witnesses that cannot both be right.
      type: list
      elements: str
    faults:
      description: Empty, since Windows' kernel is not asked.
      type: list
      elements: dict
    evidence:
      description:
        - What each said. C(reach) has C(code) (V(ok), or the cause), C(message), C(remedy) and what that rests on;
          C(log), C(api) and C(speed) are those of M(lamplighter.fleet.inference_proof).
      type: dict
"""

from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.proof import asker, prove, spare_proxy


def main() -> None:
    backends = ["rocm", "vulkan", "cuda", "cpu"]
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": ""},
            "way": {"type": "str", "choices": ["auto", "gateway", "loopback", "given", "none"], "default": "auto"},
            "mode": {"type": "str", "default": ""},
            "model": {"type": "str", "default": ""},
            "expect": {"type": "str", "choices": ["rocm", "vulkan", "cuda", "gpu", "cpu"], "default": "gpu"},
            "accept": {"type": "list", "elements": "str", "choices": backends, "default": []},
            "powershell": {"type": "str", "default": ""},
            "prompt_tokens": {"type": "int", "default": 640, "no_log": False},
            "predict_tokens": {"type": "int", "default": 64, "no_log": False},
            "connect_timeout": {"type": "int", "default": 5},
            "start_timeout": {"type": "int", "default": 180},
            "request_timeout": {"type": "int", "default": 360},
            "sysroot": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(skipped=True, msg="A proof needs the engine, which may not be there yet.")
    url = module.params["url"] or None
    if url:
        spare_proxy(url)

    def read_log(lines: Any) -> Any:
        return read_engine_log(lines, [])

    port = urlsplit(url or "").port or 11434
    sysroot = Sysroot(module.params["sysroot"])
    proof = prove(url, module.params, sysroot, read_log, asker(module.params["powershell"], port))
    module.exit_json(changed=False, proof=proof)


if __name__ == "__main__":
    main()
