# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: inference_plan
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Decide how a host runs models, with reasons
description:
  - Makes the plan of a host from what C(lamplighter.fleet.gpu_facts) found and from what the inventory wants.
  - It is pure. The same facts and policy give the same plan, and nothing is read or run.
  - What the facts lack counts as unknown. A host of which nothing is known gets the processor and a warning.
positional: policy
options:
  _input:
    description: The C(gpu_facts) of the host.
    type: dict
    required: true
  policy:
    description: What the inventory wants. Every key is optional.
    type: dict
    default: {}
    suboptions:
      engine:
        description: The program that serves models.
        type: str
        choices: [ollama, llama_server]
        default: ollama
      engine_version:
        description: Its version, such as V(0.32.15) or V(0.33.0-rc2); for llama-server a build such as V(b10488).
        type: str
      backend:
        description:
          - V(auto) orders what the host can have; V(fastest) has each rung measured and then begins with the fastest.
          - A named backend is the only rung, and an error where the hardware cannot have it.
        type: str
        choices: [auto, fastest, rocm, vulkan, cuda, cpu]
        default: auto
      accept:
        description: Backends that count as success although a better one was planned, such as V(cpu).
        type: list
        elements: str
        default: []
      environment:
        description: The inventory's own variables for the engine. They come last, except for what makes a rung.
        type: dict
        default: {}
      catalogue:
        description: Additions to the catalogue, with C(arches) and C(pci_ids).
        type: dict
        default: {}
      proven:
        description:
          - The rung that an earlier run proved on this host, with C(engine), C(engine_version), C(backend) and C(id).
            It goes first while the engine is the same. One that is not the best also needs the same C(fingerprint).
          - With C(backend=fastest) the fastest of C(measured) goes first while its C(fingerprint) is that of the host.
        type: dict
        default: {}
      measure_for:
        description: What V(fastest) compares, V(generation), V(prompt) or V(mixed).
        type: str
        default: generation
      model:
        description: The model that proofs and measurements are made with; a part of the fingerprint.
        type: str
      ladder:
        description:
          - What the proofs of the role ladder are to be made with, C(prompt_tokens), C(predict_tokens),
            C(start_timeout) and C(request_timeout). Only checked here.
        type: dict
        default: {}
      installed:
        description:
          - What the host has of an engine whose version the inventory leaves open, with C(version) and C(models) (each
            with C(path), C(size) and C(modified)); a part of the fingerprint.
        type: dict
        default: {}
      accept_software_vulkan:
        description:
          - Whether Mesa's llvmpipe, a Vulkan device that is a program on the processor, makes a rung V(vulkan) where no
            GPU does. Only for C(engine=llama_server).
        type: bool
        default: false
      rocm:
        description: The inventory's wishes for ROCm, the variables of the role rocm without their prefix.
        type: dict
        default: {}
      installation:
        description: The C(ollama_facts) of the host. What is odd about it becomes a warning.
        type: dict
        default: {}
      wsl_use:
        description:
          - The engine that a WSL2 host uses. V(auto) is Windows' unless WSL2 itself has a GPU for it.
        type: str
        choices: [auto, windows, local]
        default: auto
      unified_memory_bytes:
        description: How much system memory an integrated GPU may borrow. Computed from the RAM if left out.
        type: int
"""

EXAMPLES = r"""
- name: Decide for this host
  ansible.builtin.set_fact:
    inference_plan: "{{ ansible_facts['gpu_facts'] | lamplighter.fleet.inference_plan({'engine_version': '0.32.15'}) }}"
"""

RETURN = r"""
_value:
  description:
    - C(engine), C(engine_version), C(backend) and C(accept) as asked for.
    - C(measure) tells that every rung is to be measured, for C(measure_for). C(measured) has the remembered
      measurements that have put the first rung first, else it is empty; C(fingerprint) is what they hold for.
    - C(accept_software_vulkan) as asked for.
    - C(status) is V(gpu) if a rung uses a GPU, else V(cpu).
    - C(rungs), in the order to try, each with C(id), C(backend), C(reason), C(environment) (names and texts),
      C(requires) (out of V(rocm_payload), V(rocm_libraries), V(kfd), V(vulkan_icd), V(vulkan_software) and
      V(nvidia_driver)) and C(devices) (GPU indexes); for llama-server also C(arguments).
    - C(degraded_if) lists the backends that are no success on this host.
    - C(devices) has every GPU, C(used) or not, with the C(reason) and C(known_issues).
    - C(kernel) has C(parameters) (each with C(name), C(value), C(state) as of M(lamplighter.fleet.kernel_params), and
      C(reason)), C(pending) (the same of those that are set and wait for a reboot), C(reboot), C(gtt_bytes) and
      C(reason).
    - C(rocm) has C(install), C(bundled) and C(reason).
    - C(memory) has C(usable_bytes), C(free_bytes), C(largest_model_bytes), C(advice),
      C(default_context_length) (null if unknown).
    - C(wsl), null where it is no WSL2, has C(use) (V(windows) or V(local)), C(windows_backend) (the expected one)
      with C(why), C(address) (C(way), C(why), C(remedy)), C(options) and C(steps).
    - C(replaces) has the units of another engine that stand down before this one starts.
    - C(warnings) have C(code), C(message) and C(remedy); C(refused) have C(option), C(reason) and C(devices).
    - C(steps) are what only a person can do, with C(code), C(what), C(why) and C(how).
  type: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError


def inference_plan(facts: Any, policy: Any = None) -> dict[str, Any]:
    """Decide for one host."""
    try:
        return make_plan(facts, policy)
    except PlanError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"inference_plan": inference_plan}
