#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: inference_proof
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Prove where a running engine computes
description:
  - Loads a model, generates from a long prompt that no cache has seen, and asks three independent witnesses where
    that happened. They are the engine's own log (library and layers), its API (bytes in GPU memory) and the kernel
    (growth of VRAM and GTT, load of the GPU).
  - A crash of the engine is a verdict, not a failure of the module.
  - Changes nothing that lasts. The model is unloaded afterwards, or left loaded if it was loaded before.
options:
  expect:
    description: The backend that is to be proven.
    type: str
    choices: [rocm, vulkan, cuda, cpu]
    required: true
  accept:
    description: Other backends that are worth V(degraded) rather than V(failed).
    type: list
    elements: str
    choices: [rocm, vulkan, cuda, cpu]
    default: []
  accept_software_vulkan:
    description:
      - Whether a Vulkan device that is a program on the processor (Mesa's llvmpipe) counts as V(vulkan).
      - The kernel has no counters for it, so that only the log and the API bear witness.
    type: bool
    default: false
  prompt_tokens:
    description: Length of the prompt, at least 512, as some faults show only on long prompts.
    type: int
    default: 640
  predict_tokens:
    description: How many tokens are generated, from 1 to 4096.
    type: int
    default: 64
extends_documentation_fragment:
  - action_common_attributes
  - lamplighter.fleet.engine
attributes:
  check_mode:
    support: full
    details: Nothing is loaded or generated, and nothing is claimed.
  diff_mode:
    support: none
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: The model runs on the GPU
  lamplighter.fleet.inference_proof:
    model: qwen3:0.6b
    expect: rocm
    gpu_addresses: ["0000:03:00.0"]
  register: result
  failed_when: result.proof.verdict != 'proven'
"""

RETURN = r"""
proof:
  description: The verdict and all that it rests on.
  returned: when not in check mode
  type: dict
  contains:
    verdict:
      description:
        - V(proven) if the witnesses agree that all layers ran on the expected backend.
        - V(degraded) if it works with less, such as some layers or another backend.
        - V(failed) if it does not work, if witnesses contradict each other, or if there are too few of them.
      type: str
      returned: always
      sample: proven
    backend:
      description: Where the model ran, V(rocm), V(vulkan), V(cuda), V(cpu) or V(unknown).
      type: str
      returned: always
    expect:
      description: The backend that was to be proven.
      type: str
      returned: always
    model:
      description: The model that was used.
      type: str
      returned: always
    engine_version:
      description: What the engine's API says its version is, or null if it never answered.
      type: str
      returned: always
    reasons:
      description: Sentences that explain the verdict, the most important first.
      type: list
      elements: str
      returned: always
    remedies:
      description: What a person can do, the most important first.
      type: list
      elements: str
      returned: always
    contradictions:
      description: Pairs of witnesses that cannot both be right. Any of them prevents V(proven).
      type: list
      elements: str
      returned: always
    faults:
      description: What the kernel reported between the beginning and the end of the proof.
      type: list
      elements: dict
      returned: always
      contains: &told
        code:
          description: The kind of fault, such as V(ring_timeout).
          type: str
        severity:
          description: V(info), V(warning), V(error) or V(critical). Of the kernel the last two prevent V(proven).
          type: str
        line:
          description: The first such line of the kernel log.
          type: str
        count:
          description: How many such lines there are.
          type: int
        meaning:
          description: What it means.
          type: str
        remedy:
          description: What to do about it.
          type: str
    evidence:
      description: What each witness said.
      type: dict
      returned: always
      contains:
        log:
          description: The engine's log.
          type: dict
          contains:
            available:
              description: Whether the journal could be read.
              type: bool
            backend:
              description: The backend that the log names, or null.
              type: str
            offloaded:
              description: Layers on the GPU and layers in all, for this proof's own load, or null.
              type: list
              elements: int
            software:
              description: Name of the Vulkan device where it is a program on the processor, or null.
              type: str
            line:
              description: The line that says so, or null.
              type: str
            failures:
              description: What the log complains about, those of this proof's own load first.
              type: list
              elements: dict
              contains: *told
        api:
          description: The engine's API.
          type: dict
          contains:
            available:
              description: Whether the API listed the model while it was loaded.
              type: bool
            size:
              description: Bytes of the loaded model, or null.
              type: int
            size_vram:
              description: Bytes of it in GPU memory, or null.
              type: int
            resident:
              description: Whether the model is loaded for as long as the engine runs, so that no load could be watched.
              type: bool
        kernel:
          description: The counters of the GPUs in use, from before the load to the end of the generation.
          type: dict
          contains:
            available:
              description: Whether there are such counters. NVIDIA's need C(nvidia-smi).
              type: bool
            moved:
              description: Whether memory grew by what the model needs and the GPU worked, or null if not available.
              type: bool
            vram_growth_bytes:
              description: Growth of VRAM in use, all GPUs together, or null.
              type: int
            gtt_growth_bytes:
              description: Growth of GTT (system memory that the GPU has mapped) in use, or null.
              type: int
            held_bytes:
              description: GPU memory of the process of an engine whose model is resident, or null.
              type: int
            busy_percent:
              description: The highest load seen, or null.
              type: int
            samples:
              description: How many times the counters were read.
              type: int
        speed:
          description: Speeds of the measured generation, null where the engine gave no timing.
          type: dict
          contains:
            prompt:
              description: Prompt tokens per second.
              type: float
            generation:
              description: Generated tokens per second.
              type: float
            prompt_tokens:
              description: Prompt tokens that were evaluated.
              type: int
            generated_tokens:
              description: Tokens that were generated.
              type: int
            load_seconds:
              description: Seconds that loading the model took.
              type: float
        kernel_log:
          description: The kernel's log.
          type: dict
          contains:
            available:
              description: Whether it could be read. If not, V(faults) is empty for lack of knowledge.
              type: bool
        error:
          description: The error that ended the proof early, in the engine's own words, or null.
          type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.arguments import ENGINE, problem
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import ENGINES
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.run import prove
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.verdict import GPU_BACKENDS, LONG_PROMPT
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

# name -> (lowest, highest)
RANGES = {
    "prompt_tokens": (LONG_PROMPT, 32768),
    "predict_tokens": (1, 4096),
}


def main() -> None:
    backends = [*GPU_BACKENDS, "cpu"]
    module = AnsibleModule(
        argument_spec={
            **ENGINE,
            "expect": {"type": "str", "choices": backends, "required": True},
            "accept": {"type": "list", "elements": "str", "choices": backends, "default": []},
            "accept_software_vulkan": {"type": "bool", "default": False},
            "prompt_tokens": {"type": "int", "default": 640, "no_log": False},
            "predict_tokens": {"type": "int", "default": 64, "no_log": False},
        },
        supports_check_mode=True,
    )
    settings = module.params
    wrong = problem(settings, RANGES)
    if wrong:
        module.fail_json(msg=wrong)
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg="Check mode: nothing was generated, so nothing is claimed.")
    host = Host(settings["unit"], Sysroot(settings["sysroot"]), settings["gpu_addresses"])
    proof = prove(
        host,
        ENGINES[settings["engine"]](settings["url"], api_key=settings["api_key"]),
        settings,
        lambda lines: read_engine_log(lines, settings["signatures"]),
        lambda lines: read_kernel_log(lines, settings["signatures"]),
    )
    module.exit_json(changed=False, proof=proof)


if __name__ == "__main__":
    main()
