#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_results
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Record benchmarks on the controller and compare them with earlier ones
description:
  - Appends results of M(lamplighter.fleet.inference_benchmark) to the file of the host, C(<folder>/<host>.jsonl), and
    compares each with the last accepted one of the same host, engine, unit, model, context and numbers of tokens.
  - The first result is accepted, and so is the first on a backend that is not slower. Any other is accepted only when
    told to, so that a host that gets slower by a little each time is seen, too.
  - Works on the controller as the user who runs the playbook; no host is touched. Hosts side by side and playbooks
    side by side wait for each other.
  - A line that was cut off, by a full disk for example, is told of and left out.
options:
  folder:
    description: Folder on the controller.
    type: str
    required: true
  chart:
    description: File on the controller that is written anew from all results in the folder, as one page of HTML.
    type: str
    default: ""
  benchmarks:
    description: Each a RV(lamplighter.fleet.inference_benchmark#module:benchmark).
    type: list
    elements: dict
    required: true
  machine:
    description: What else is recorded, such as C(gpus), C(gfx), C(kernel) and C(driver).
    type: dict
    default: {}
  threshold:
    description:
      - Percent by which a speed may be lower than the accepted one.
      - A time counts as the speed that it is; 11 % more time is 10 % less speed.
    type: float
    default: 10
  accept:
    description: Compare later results with these.
    type: bool
    default: false
extends_documentation_fragment:
  - action_common_attributes
attributes:
  check_mode:
    support: full
    details: Compares, and writes nothing.
  diff_mode:
    support: none
  platform:
    platforms: posix
"""

EXAMPLES = r"""
- name: The results are recorded
  lamplighter.fleet.benchmark_results:
    folder: benchmarks
    chart: benchmarks/index.html
    benchmarks:
      - "{{ result.benchmark }}"
  register: recorded
  failed_when: recorded.comparisons | selectattr('verdict', 'in', ['slower', 'broken']) | length > 0
"""

RETURN = r"""
path:
  description: The file of the host.
  returned: success
  type: str
problems:
  description: What is wrong with lines of that file.
  returned: success
  type: list
  elements: str
comparisons:
  description: One for each benchmark.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: The host.
      type: str
    engine:
      description: The engine.
      type: str
    unit:
      description: Its systemd unit.
      type: str
    model:
      description: The model.
      type: str
    backend:
      description: Where it ran.
      type: str
    complete:
      description: Whether every repetition was measured.
      type: bool
    verdict:
      description:
        - V(first) if there is nothing to compare with, V(steady), V(faster) or V(slower) than the threshold allows, or
          V(broken) if the benchmark ended early.
      type: str
    accepted:
      description: Whether later results are compared with this one.
      type: bool
    baseline:
      description: When the accepted result was measured, or null.
      type: str
    prompt:
      description: Median of the prompt tokens per second, or null.
      type: float
    generation:
      description: Median of the generated tokens per second, or null.
      type: float
    first_token:
      description: Median of the seconds to the first token, or null.
      type: float
    changes:
      description: Change against the accepted result in percent, null if unknown.
      type: dict
      contains:
        prompt:
          description: Of the prompt's speed.
          type: float
        generation:
          description: Of the generation's speed.
          type: float
        first_token:
          description: Of the time to the first token, where more is worse. Less than 20 ms counts as none.
          type: float
    causes:
      description: What is different from the accepted result and may explain it.
      type: list
      elements: str
    warnings:
      description: Why the figures may not be what the machine can do.
      type: list
      elements: str
    error:
      description: What ended the benchmark early, or null.
      type: str
    failed_at:
      description: What was being done then, or null.
      type: str
    exit:
      description: What systemd says of the end of the engine, or null.
      type: str
    failures:
      description: Codes of what the log complained about then.
      type: list
      elements: str
"""
