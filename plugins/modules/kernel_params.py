#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: kernel_params
short_description: Set kernel parameters by name, whatever the machine boots with
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Sets parameters that the kernel reads at boot, by their name and never by a piece of text, and says whether they
    are in force.
  - "A module's parameter goes by default into C(/etc/modprobe.d/zz-lamplighter.conf), and the initramfs is rebuilt
    (C(update-initramfs), C(dracut) or C(mkinitcpio)): a mistake there cannot keep the machine from booting."
  - Everything else goes onto the command line of the boot loader. GRUB by a drop-in in C(/etc/default/grub.d) or, where
    C(grub-mkconfig) does not read that, C(/etc/default/grub); grubby; systemd-boot and unified kernel images by
    C(/etc/kernel/cmdline); C(kernelstub); C(rpm-ostree).
  - A new GRUB configuration replaces the old one only after it has passed C(grub-script-check) and holds the values.
  - What is to be rebuilt is written down first in C(/var/lib/lamplighter/kernel_params.json), with what was there
    before. When a run is interrupted, the machine boots as before and the next run completes it.
  - Never reboots.
options:
  name:
    description: Name of one parameter, such as V(ttm.pages_limit) or V(amd_iommu). Dashes and underscores are the same.
    type: str
  value:
    description: Its value, one line; nothing for a parameter that has none, such as V(quiet).
    type: str
  state:
    description:
      - V(present), the parameter has this value and no other, also where somebody else has set one.
      - V(absent), what this module has set is taken back, and what was there before is there again.
      - V(masked), the command line does not have the parameter, whoever has set it.
    type: str
    choices: [present, absent, masked]
    default: present
  params:
    description: Several parameters at once, with one rebuild.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      value:
        description: As O(value).
        type: str
      state:
        description: As O(state).
        type: str
        choices: [present, absent, masked]
        default: present
  gtt_gib:
    description:
      - How much RAM, in GiB, integrated GPUs may borrow.
      - Sets C(pages_limit) and C(page_pool_size) of the module that holds amdgpu (C(ttm), or C(amdttm) and C(amd_ttm)
        of C(amdgpu-dkms)) in pages of the host's size, and masks C(amdgpu.gttsize) and the other modules' parameters.
      - More than the host's RAM is an error, more than nine tenths a warning.
    type: float
  purge:
    description: Whether everything that this module has set earlier, and that is not named now, is taken back.
    type: bool
    default: false
  route:
    description:
      - V(auto) takes V(modprobe) for the parameters of loadable modules, unless the command line has the parameter
        already (it would win), and V(cmdline) for everything else.
    type: str
    choices: [auto, modprobe, cmdline]
    default: auto
attributes:
  check_mode:
    description: >-
      Reads the boot configuration and changes nothing. As a plain user it takes the running kernel's command line
      where only root can read more.
    support: full
  diff_mode:
    description: Shows our modprobe.d file and the command line before and after.
    support: full
"""

EXAMPLES = r"""
- name: The GPU may borrow 96 GiB of RAM from the next boot on
  lamplighter.fleet.kernel_params:
    gtt_gib: 96

- name: The IOMMU is off, and a blog post's parameter is gone
  lamplighter.fleet.kernel_params:
    params:
      - name: amd_iommu
        value: "off"
      - name: amdgpu.gttsize
        state: masked

- name: The IOMMU is as it was before
  lamplighter.fleet.kernel_params:
    name: amd_iommu
    state: absent

- name: Everything is as it was
  lamplighter.fleet.kernel_params:
    purge: true
"""

RETURN = r"""
loader:
  description:
    - What holds the command line, V(grub), V(grubby), V(kernel-install), V(kernelstub) or V(rpm-ostree).
    - Null where that cannot be told and is not needed.
  returned: success
  type: str
  sample: grub
written:
  description: Files of ours, and files that we edit, that exist now.
  returned: success
  type: list
  elements: str
  sample: [/etc/modprobe.d/zz-lamplighter.conf]
in_force:
  description: What the running kernel says of each parameter that is set.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the parameter.
      type: str
      returned: success
      sample: ttm.pages_limit
    route:
      description: V(modprobe) or V(cmdline).
      type: str
      returned: success
      sample: modprobe
    wanted:
      description: The value that is set; null for none.
      type: str
      returned: success
      sample: "25165824"
    cmdline:
      description: The value in C(/proc/cmdline); null where it is not there.
      type: str
      returned: success
      sample: "25165824"
    parameter:
      description: The value in C(/sys/module); null where there is none.
      type: str
      returned: success
      sample: "25165824"
    gtt_bytes:
      description: The largest C(mem_info_gtt_total); null without an AMD GPU or for other parameters.
      type: int
      returned: success
      sample: 103079215104
    ok:
      description: Whether all that can be asked agree; null when there is nothing to ask.
      type: bool
      returned: success
      sample: true
    reason:
      description: What does not agree; empty if all does.
      type: str
      returned: success
      sample: ""
not_taken:
  description: Those of RV(in_force) that are not in force although the machine has booted since they were written.
  returned: success
  type: list
  elements: dict
  sample: []
conflicts:
  description: Where somebody else sets one of the parameters.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the parameter.
      type: str
      returned: success
      sample: ttm.pages_limit
    value:
      description: Its value there.
      type: str
      returned: success
      sample: "27648000"
    path:
      description: The file.
      type: str
      returned: success
      sample: /etc/default/grub
    line:
      description: The line in the file.
      type: int
      returned: success
      sample: 11
    wins:
      description: Whether that value has the last word.
      type: bool
      returned: success
      sample: false
    remedy:
      description: What to do about it.
      type: str
      returned: success
      sample: "Nothing: it is overridden."
reboot_required:
  description: Whether a change waits for the next boot. In check mode, whether it would.
  returned: success
  type: bool
  sample: true
reboot_reasons:
  description: Names of the parameters that wait.
  returned: success
  type: list
  elements: str
  sample: [ttm.pages_limit]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import memory, transaction
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import (
    STATES,
    KernelParamsError,
    Param,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot


def main() -> None:
    state = {"type": "str", "choices": list(STATES), "default": "present"}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "value": {"type": "str"},
            "state": state,
            "params": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": {"type": "str", "required": True}, "value": {"type": "str"}, "state": state},
            },
            "gtt_gib": {"type": "float"},
            "purge": {"type": "bool", "default": False},
            "route": {"type": "str", "choices": list(transaction.ROUTES), "default": "auto"},
        },
        required_by={"value": "name"},
        supports_check_mode=True,
    )
    options = module.params
    # A name in the locale's words would be compared with the program's own.
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    host = Host(Sysroot("/"), module.get_bin_path, module.run_command, os.geteuid() == 0)
    params = [Param(**param) for param in options["params"]]
    if options["name"] is not None:
        params.append(Param(options["name"], options["value"], options["state"]))
    try:
        warnings, sized = memory.sized(options["gtt_gib"], host.sysroot, host.release)
        result = transaction.run(host, [*sized, *params], options["route"], options["purge"], module.check_mode)
    except KernelParamsError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"the kernel parameters cannot be set: {error}")
    for warning in [*warnings, *result.pop("warnings")]:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
