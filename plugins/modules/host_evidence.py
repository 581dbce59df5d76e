#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_evidence
short_description: Collects what the doctor judges a host by
version_added: 0.1.0
description:
  - Reads in one go what tells how a host does inference. The hardware, the installation, the service and what it may
    open, the engine's environment, its API, both logs, and the files in which people set things.
  - Changes nothing. What is missing or may not be read is no error, it is listed in C(unread).
  - With O(read) it reads what somebody attached instead, a support bundle or a folder of logs and command outputs.
options:
  sysroot:
    description: Directory below which the hardware's files are read.
    type: path
    default: /
  unit:
    description: The engine's systemd unit.
    type: str
    default: ollama.service
  read:
    description: A support bundle, a tar archive or a folder to read instead of this host.
    type: path
  bundle:
    description:
      - Path on the controller of a support bundle to write, a F(.tar.gz). Its texts are scrubbed on the host of user
        names, host names, addresses and secrets.
    type: path
  names:
    description: Further names to scrub, such as the host's name in the inventory.
    type: list
    elements: str
    default: []
  catalogue:
    description: What the inventory adds to the catalogue of architectures and PCI ids.
    type: dict
    default: {}
  signatures:
    description:
      - The rules by which faults are recognised. The action plugin of the same name fills them in from the
        collection's C(plugins/plugin_utils/signatures.yml); there is seldom a reason to give them.
    type: list
    elements: dict
  interop:
    description: In WSL2 also ask Windows, through C(wslinfo) and C(powershell.exe). Both only read.
    type: bool
    default: false
author:
  - Lamplighter contributors (@lamplighter)
attributes:
  check_mode:
    description: The host is only read; the bundle is not written.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Know all that tells how this host does inference
  lamplighter.fleet.host_evidence:
  register: host

- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ host.evidence | lamplighter.fleet.diagnosis | map(attribute='code') }}"

- name: Read what a user attached
  lamplighter.fleet.host_evidence:
    read: /tmp/attached.tar.gz
  delegate_to: localhost

- name: Make a support bundle
  lamplighter.fleet.host_evidence:
    bundle: /tmp/minipc.tar.gz
"""

RETURN = r"""
evidence:
  description: What was found. Unknown is null or empty.
  returned: success
  type: dict
  contains:
    gpu_facts:
      description: What M(lamplighter.fleet.gpu_facts) returns.
      type: dict
    ollama_facts:
      description: What M(lamplighter.fleet.ollama_facts) returns.
      type: dict
    engine_log:
      description: What M(lamplighter.fleet.engine_log) returns, null if there is no log or it may not be read.
      type: dict
    kernel_log:
      description: What M(lamplighter.fleet.kernel_log) returns, null if it may not be read.
      type: dict
    service:
      description: Properties of the unit that decide what it may open, as systemd names them.
      type: dict
    credentials:
      description: The C(user), C(uid) and C(groups) (numbers) that the service has or would get.
      type: dict
    variable_files:
      description: The file of the unit that gives each variable its value.
      type: dict
    process:
      description: The C(pid) and the engine's C(environment) of the running service; null where it may not be read.
      type: dict
    api:
      description: The C(version) that serves, its C(models) and the C(loaded) ones with sizes in bytes.
      type: dict
    counters:
      description: Memory in use of each GPU in bytes, and its load in percent.
      type: list
      elements: dict
    disk:
      description: The C(path) of the models, C(free_bytes) and C(total_bytes) of its file system.
      type: dict
    unfinished_downloads:
      description: Files of models whose download ended in the middle.
      type: list
      elements: str
    binaries:
      description: Copies of the program in the usual places.
      type: list
      elements: str
    containers:
      description: Running containers of an Ollama image, each with C(tool), C(id) and C(image).
      type: list
      elements: dict
    login_environment:
      description: Variables of the engine in files that shells read, each with C(path), C(name) and C(value).
      type: list
      elements: dict
    windows_client:
      description:
        - Of a WSL2 host, where it should find Ollama on Windows (C(expected)), what sessions are told (C(written)),
          what others set (C(others)), whether Windows answers (C(reach)), whom else it lets in (C(wide)) and which
          rules keep WSL2 out (C(blocking)); else null.
      type: dict
    modprobe:
      description: Options of GPU modules in modprobe.d, each with C(path), C(name) (module.parameter) and C(value).
      type: list
      elements: dict
    module_parameters:
      description: The values in force of the parameters that are set anywhere.
      type: dict
    unread:
      description: What could not be read, and why.
      type: list
      elements: str
    privileged:
      description: Whether root did the reading.
      type: bool
bundle:
  description: Path on the controller of the bundle that was written.
  returned: when O(bundle) is given
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.schema import check_additions
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.attached import AttachedError, read_attached
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.bundle import bundle_files
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.collect import Collector
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.sources import LogError, signatures_beside


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sysroot": {"type": "path", "default": "/"},
            "unit": {"type": "str", "default": "ollama.service"},
            "read": {"type": "path"},
            "bundle": {"type": "path"},
            "names": {"type": "list", "elements": "str", "default": []},
            "catalogue": {"type": "dict", "default": {}},
            "signatures": {"type": "list", "elements": "dict"},
            "interop": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("read", "bundle")],
        supports_check_mode=True,
    )
    given = module.params
    errors = check_additions(given["catalogue"])
    if errors:
        module.fail_json(msg=" ".join(errors))
    try:
        signatures = given["signatures"] or signatures_beside()
        if given["read"]:
            module.exit_json(evidence=read_attached(given["read"], signatures, given["catalogue"]))
    except (AttachedError, LogError) as error:
        module.fail_json(msg=str(error))
    collector = Collector(given["sysroot"], given["unit"], signatures, given["catalogue"], given["interop"])
    evidence = collector.collect()
    if given["bundle"] and not module.check_mode:
        # The action plugin writes them on the controller.
        module.exit_json(evidence=evidence, files=bundle_files(evidence, collector, given["names"]))
    module.exit_json(evidence=evidence)


if __name__ == "__main__":
    main()
