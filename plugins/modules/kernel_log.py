#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_log
short_description: Finds the GPU's faults in the kernel's log
description:
  - Reads the kernel's journal of this boot, or a file with C(dmesg) or C(journalctl -k) output, and lists the faults
    of amdgpu, KFD, NVIDIA's and Intel's drivers by code, each with a remedy, and whether the kernel ended the engine.
  - The prefixes of all kernels from 5 to 7, any locale and reversed journals are understood.
options:
  path:
    description: A file on the host. Without it the kernel's journal of this boot is read.
    type: path
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
- name: Look for faults of the GPU since boot
  lamplighter.fleet.kernel_log:
  become: true
  register: kernel

- name: Stop where the GPU hung
  ansible.builtin.assert:
    that: kernel.kernel_log.faults | selectattr('severity', 'eq', 'critical') | length == 0
    fail_msg: "{{ kernel.kernel_log.faults | map(attribute='remedy') | join(' ') }}"
"""

RETURN = r"""
kernel_log:
  description: The faults in the log.
  returned: success
  type: dict
  contains:
    faults:
      description: One entry per code, in the order of the log.
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
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.sources import (
    LogError,
    file_lines,
    kernel_lines,
    signatures_beside,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={"path": {"type": "path"}, "signatures": {"type": "list", "elements": "dict"}},
        supports_check_mode=True,
    )
    path = module.params["path"]
    try:
        lines = file_lines(path) if path else kernel_lines()
        kernel_log = read_kernel_log(lines, module.params["signatures"] or signatures_beside())
    except LogError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, kernel_log=kernel_log)


if __name__ == "__main__":
    main()
