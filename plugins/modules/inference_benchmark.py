#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: inference_benchmark
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Measure how fast a running engine is
description:
  - Loads a model, warms up, and generates several times from prompts that differ from their first token on, so that
    no cache has any of them.
  - Prompt and generation speed are the engine's own timings. The time to the first token is taken from the streamed
    answer. Loading is in neither.
  - An engine that crashes is no failure of the module. What was measured until then is kept and marked.
  - Changes nothing that lasts. The model is unloaded afterwards, or left loaded if it was loaded before.
options:
  prompt_tokens:
    description:
      - Length of the prompts, in common words.
      - Most tokenizers have one token for each; RV(benchmark.evaluated_prompt_tokens) tells how many it really were.
    type: int
    default: 512
  predict_tokens:
    description: How many tokens are generated for each prompt.
    type: int
    default: 128
  context:
    description:
      - Length of the context in tokens. By default what the prompt needs under any tokenizer, as a power of two.
      - llama-server has its context from its start; there this only says what is expected.
    type: int
    default: 0
  repetitions:
    description: How many times it is measured.
    type: int
    default: 3
  warmup:
    description: How many more times before that, which do not count.
    type: int
    default: 1
  llama_bench:
    description:
      - Run C(llama-bench) beside llama-server, with the server's own options, and compare.
      - It loads the model a second time, so there has to be memory for two.
    type: bool
    default: false
extends_documentation_fragment:
  - action_common_attributes
  - lamplighter.fleet.engine
attributes:
  check_mode:
    support: full
    details: Nothing is loaded, and nothing is measured.
  diff_mode:
    support: none
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: How fast this host is
  lamplighter.fleet.inference_benchmark:
    model: qwen3:0.6b
    gpu_addresses: ["0000:03:00.0"]
  register: result
  failed_when: not result.benchmark.complete

- name: How fast an instance of llama-server is
  lamplighter.fleet.inference_benchmark:
    engine: llama_server
    url: http://127.0.0.1:8080
    unit: llama-server-chat.service
    model: qwen3-0.6b
    api_key: "{{ vault_llama_server_api_key }}"
"""

RETURN = r"""
benchmark:
  description: The figures and what they rest on.
  returned: when not in check mode
  type: dict
  contains:
    schema:
      description: Version of this form.
      type: int
    complete:
      description: Whether every repetition was measured.
      type: bool
    engine:
      description: The engine.
      type: str
    engine_version:
      description: What the engine's API says its version is, or null if it never answered.
      type: str
    unit:
      description: The systemd unit of the engine.
      type: str
    backend:
      description: Where the model ran by the engine's log, V(rocm), V(vulkan), V(cuda), V(cpu) or V(unknown).
      type: str
    placement:
      description: What of the model is on the GPU.
      type: dict
      contains:
        offloaded:
          description: Layers on the GPU and layers in all, by the log, or null.
          type: list
          elements: int
        size:
          description: Bytes of the loaded model by the API, or null.
          type: int
        size_vram:
          description: Bytes of it in GPU memory by the API, or null.
          type: int
    model:
      description: The model.
      type: str
    digest:
      description: The digest of the model by the API, or null.
      type: str
    context:
      description: Length of the context of a slot, in tokens.
      type: int
    parallel:
      description: How many requests the engine serves at once, or null.
      type: int
    prompt_tokens:
      description: The length of the prompts that was asked for.
      type: int
    predict_tokens:
      description: The number of tokens that was asked for.
      type: int
    repetitions:
      description: The number of repetitions that was asked for.
      type: int
    evaluated_prompt_tokens:
      description: Prompt tokens that the engine evaluated in each repetition.
      type: list
      elements: int
    generated_tokens:
      description: Tokens that were generated in each repetition.
      type: list
      elements: int
    load_seconds:
      description: Seconds that loading the model took, or null where it was loaded already.
      type: float
    prompt_tokens_per_second:
      description: Speed of the prompt's evaluation, or null if it was never measured.
      type: dict
      contains: &figure
        median:
          description: Median of the repetitions.
          type: float
        min:
          description: Lowest.
          type: float
        max:
          description: Highest.
          type: float
        spread_percent:
          description: From lowest to highest, in percent of the median.
          type: float
        samples:
          description: Each repetition's.
          type: list
          elements: float
    generation_tokens_per_second:
      description: Speed of the generation, or null.
      type: dict
      contains: *figure
    time_to_first_token_seconds:
      description: From sending the request to the first token of its answer, or null.
      type: dict
      contains: *figure
    llama_bench:
      description: What C(llama-bench) measured with the server's options, null if it was not asked for.
      type: dict
      contains:
        build:
          description: Its build, such as V(b10488), or null.
          type: str
        prompt_tokens_per_second:
          description: Speed of the prompt's evaluation, or null.
          type: float
        generation_tokens_per_second:
          description: Speed of the generation, or null.
          type: float
        error:
          description: Why there is nothing, or null.
          type: str
    conditions:
      description: The state of the machine. Each is null where nothing tells.
      type: dict
      contains:
        temperature_c_before:
          description: Highest temperature of the GPUs, without any that of the processor, before the load.
          type: float
        temperature_c:
          description: Highest temperature until the end.
          type: float
        busy_before:
          description: Load of the GPUs in percent before the load of the model.
          type: int
        busy_percent:
          description: Highest load of the GPUs in percent that was seen.
          type: int
        load_average:
          description: Load average of the last minute before the benchmark.
          type: float
        cores:
          description: Logical processors.
          type: int
        throttled:
          description: What held the clocks of the GPUs down, such as V(temperature) or V(power).
          type: list
          elements: str
        cpu_throttle_events:
          description: How often the processor was slowed down for its heat meanwhile.
          type: int
    seconds:
      description: How long it all took.
      type: float
    error:
      description: The error that ended the benchmark early, in the engine's own words, or null.
      type: str
    failed_at:
      description: What was being done then, such as V(repetition 2 of 3), or null.
      type: str
    exit:
      description: What systemd says of the end of the engine's process, or null.
      type: str
    failures:
      description: What the log complains about, the worst first, if the benchmark ended early.
      type: list
      elements: dict
      contains:
        code:
          description: The kind of failure, such as V(runner_crashed).
          type: str
        severity:
          description: V(warning), V(error) or V(critical).
          type: str
        line:
          description: The first such line of the log.
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
    log:
      description: The last lines of the engine's log, if the benchmark ended early.
      type: list
      elements: str
    warnings:
      description: Why the figures may not be what the machine can do.
      type: list
      elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.clients import client_of
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.run import benchmark
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.arguments import ENGINE, problem
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

# name -> (lowest, highest)
RANGES = {
    "prompt_tokens": (16, 131072),
    "predict_tokens": (2, 16384),
    "context": (0, 1 << 20),
    "repetitions": (1, 100),
    "warmup": (0, 10),
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ENGINE,
            "prompt_tokens": {"type": "int", "default": 512, "no_log": False},
            "predict_tokens": {"type": "int", "default": 128, "no_log": False},
            "context": {"type": "int", "default": 0},
            "repetitions": {"type": "int", "default": 3},
            "warmup": {"type": "int", "default": 1},
            "llama_bench": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    settings = module.params
    wrong = problem(settings, RANGES)
    if wrong:
        module.fail_json(msg=wrong)
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg="Check mode: nothing was measured.")
    host = Host(settings["unit"], Sysroot(settings["sysroot"]), settings["gpu_addresses"])
    client = client_of(settings["engine"], settings["url"], settings["api_key"])
    result = benchmark(host, client, settings, lambda lines: read_engine_log(lines, settings["signatures"]))
    module.exit_json(changed=False, benchmark=result)


if __name__ == "__main__":
    main()
