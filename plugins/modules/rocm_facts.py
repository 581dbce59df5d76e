#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: rocm_facts
short_description: Tell which ROCm a host has, by what is really there
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Reads the prefixes below C(/opt), the packages that own them, the alternatives, and for which architectures each
    rocBLAS has Tensile files. Asks C(rocminfo) where it is installed.
  - Changes nothing.
options:
  packages:
    description: Packages whose versions are wanted.
    type: list
    elements: str
    default: []
  prefix:
    description: The prefix whose C(rocminfo) is asked, such as C(/opt/rocm/core-10.1). By default the one on the PATH.
    type: path
    default: ""
  active_version:
    description: The version that is meant to be the active one; C(switch) of the result says what that takes.
    type: str
    default: ""
  gfx:
    description: Architectures that O(tensile_libpath) must have.
    type: list
    elements: str
    default: []
  tensile_libpath:
    description: A folder of Tensile files from a rocBLAS of one's own, to be compared with the libraries there.
    type: path
    default: ""
  bundled:
    description: Version of the ROCm that the engine brings. For O(tensile_libpath), where no rocBLAS is there yet.
    type: str
    default: ""
  users:
    description: Users that are meant to open the GPU's device nodes.
    type: list
    elements: str
    default: []
  sysroot:
    description: Where files are read.
    type: path
    default: /
attributes:
  check_mode:
    description: The same as a normal run.
    support: full
  diff_mode:
    description: Nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: What of ROCm is there is known
  lamplighter.fleet.rocm_facts:

- name: The architectures that each version has kernels for
  ansible.builtin.debug:
    msg: "{{ ansible_facts['rocm_facts'].lines | items2dict('version', 'gfx') }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host.
  returned: success
  type: dict
  contains:
    rocm_facts:
      description: What was found. Unknown is null.
      returned: success
      type: dict
      contains:
        lines:
          description:
            - AMD's installations below C(/opt), the older first, each with C(version), C(path), C(packages) that own
              its files, C(legacy) (whether it is of the line up to 7.2.4) and C(gfx), the architectures of its kernels.
          type: list
          elements: dict
        packages:
          description: The version of each wanted package, null for one that is not installed.
          type: dict
        missing:
          description: Wanted packages that are not installed.
          type: list
          elements: str
        active:
          description: The version that C(/opt/rocm) leads to.
          type: str
        switch:
          description: Alternatives to set, each with C(name) and C(path), so that the wanted version is the active one.
          type: list
          elements: dict
        rocblas:
          description: Every rocBLAS library, an engine's own too, with C(path), C(version) and C(gfx).
          type: list
          elements: dict
        agents:
          description: What rocminfo says, with C(tool), its return C(code), C(gfx), and what it C(said) on failure.
          type: dict
        tensile:
          description: The folder O(tensile_libpath) with C(path), C(gfx), C(rocblas) and C(problem), empty if it fits.
          type: dict
        access:
          description:
            - C(missing), the groups that users still need (C(user), C(group)); C(nameless), ids of groups without a
              name that own device nodes; C(unknown_users).
          type: dict
        record:
          description: What the role rocm has installed, with C(packages) and C(access).
          type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.installed import gather


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "prefix": {"type": "path", "default": ""},
            "active_version": {"type": "str", "default": ""},
            "gfx": {"type": "list", "elements": "str", "default": []},
            "tensile_libpath": {"type": "path", "default": ""},
            "bundled": {"type": "str", "default": ""},
            "users": {"type": "list", "elements": "str", "default": []},
            "sysroot": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    found = gather(lambda command: run(command, seconds=60), packages_wanted=params.pop("packages"), **params)
    module.exit_json(changed=False, ansible_facts={"rocm_facts": found})


if __name__ == "__main__":
    main()
