#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: windows_interop
short_description: Read and set what Ollama on Windows needs, from WSL2 or over the network
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Runs one of its own operations on a Windows host through Windows PowerShell. Values are typed, and no text of the
    inventory is ever part of a command but as one quoted literal.
  - Inside WSL2 it starts C(powershell.exe) of the Windows that runs it, by its full path.
  - "For a Windows host of the inventory (WinRM, PSRP or SSH) the same scripts go through
    M(ansible.windows.win_powershell), which needs the collection C(ansible.windows) on the controller."
  - An operation reads first, changes only what differs, and reads again. Before the first change it writes down on the
    Windows side, in C(%LOCALAPPDATA%\Lamplighter\windows_host.json), what was there.
  - What needs an administrator's rights that the session does not have is not tried. It is returned in RV(pending) as
    the exact command, and what must not be without it waits.
options:
  operation:
    description:
      - V(state) reads everything, V(gpus) the graphics cards, V(firewall) the rules that let somebody reach the port,
        V(log) the end of Ollama's server log.
      - V(apply) makes it so as the other options say; what is left out stays as it is.
      - V(undo) brings back what was there before.
    type: str
    choices: [state, gpus, firewall, log, apply, undo]
    default: state
  port:
    description: Port of Ollama's API.
    type: int
    default: 11434
  lines:
    description: How many lines of the log V(operation=log) returns.
    type: int
    default: 200
  bind:
    description:
      - Where Ollama listens, as far as WSL2 needs it; decides E(OLLAMA_HOST) and the firewall rule by O(mode).
      - V(auto) is V(any) with NAT, and nothing in modes in which WSL2 has the loopback address of Windows.
      - V(any) listens everywhere, and the firewall admits WSL2 only. V(vethernet) listens on the address of WSL2's
        adapter, which may be another one after each start of Windows. V(loopback) is for Windows alone.
    type: str
    choices: [auto, any, vethernet, loopback]
  mode:
    description: Networking mode of WSL2. V(auto) is what C(.wslconfig) of the user says.
    type: str
    choices: [auto, nat, mirrored, consomme, virtioproxy, bridged, none, wsl1]
    default: auto
  environment:
    description:
      - Environment variables to store; null takes one away.
      - What an earlier run has set and this one does not name goes back to what was there before.
    type: dict
  scope:
    description: Whose environment it is. V(machine) needs an administrator.
    type: str
    choices: [user, machine]
    default: user
  firewall:
    description:
      - V(present), the Windows firewall admits WSL2 on O(port), and nobody else by this rule.
      - V(absent), our rule is not there. Rules of others stay in both cases.
      - Not together with O(bind), which decides it.
    type: str
    choices: [present, absent]
  firewall_scope:
    description:
      - V(interface) admits what comes from WSL2's network through WSL2's own adapter. Windows makes a new adapter at
        each start, so a scheduled task of the system renews the rule when a network comes up.
      - V(subnet) admits WSL2's present subnet, and needs no task. It holds as long as WSL2 keeps its subnet.
    type: str
    choices: [interface, subnet]
    default: interface
  hyperv_ports:
    description:
      - TCP ports of WSL2 itself that the Hyper-V firewall lets others reach in mirrored mode.
      - An empty list closes what was opened so.
    type: list
    elements: int
  hyperv_remote:
    description: Who may reach them, as addresses, networks or V(LocalSubnet).
    type: list
    elements: str
    default: [LocalSubnet]
  install:
    description: The Ollama that is to be installed, unless this version is there.
    type: dict
    suboptions:
      url:
        description: Address of the installer, over HTTPS.
        type: str
        required: true
      sha256:
        description: Its checksum, which is compared before the installer is started.
        type: str
        required: true
      version:
        description: The version that it installs.
        type: str
        required: true
  restart:
    description: Whether Ollama is started again where its environment changed, and started where it does not run.
    type: bool
    default: true
  powershell:
    description: Path of C(powershell.exe). Default is below the automount root that C(/etc/wsl.conf) names.
    type: path
  timeout:
    description: Seconds that Windows has for an answer. A download and an installation have an hour.
    type: int
    default: 120
attributes:
  check_mode:
    description: Reads Windows and changes nothing.
    support: full
  diff_mode:
    description: Shows what is replaced.
    support: full
"""

EXAMPLES = r"""
- name: Ollama on Windows can be reached from WSL2, and from nowhere else
  lamplighter.fleet.windows_interop:
    operation: apply
    bind: auto
    environment:
      OLLAMA_VULKAN: "1"

- name: Windows is as it was
  lamplighter.fleet.windows_interop:
    operation: undo
"""

RETURN = r"""
what:
  description: What was changed, or would be, one sentence each.
  returned: V(operation=apply) and V(operation=undo)
  type: list
  elements: str
  sample: [OLLAMA_HOST of the user is 0.0.0.0:11434]
before:
  description: What was there, by what it concerns.
  returned: V(operation=apply) and V(operation=undo)
  type: dict
  sample: {user.OLLAMA_HOST: null}
after:
  description: What is there now, or would be.
  returned: V(operation=apply) and V(operation=undo)
  type: dict
  sample: {user.OLLAMA_HOST: "0.0.0.0:11434"}
pending:
  description: What only an administrator can do, and what waits for it.
  returned: V(operation=apply) and V(operation=undo)
  type: list
  elements: dict
  contains:
    what:
      description: What it makes so.
      type: str
      returned: success
      sample: the firewall admits WSL2, and nobody else
    command:
      description: What to enter in PowerShell as administrator.
      type: str
      returned: success
      sample: New-NetFirewallRule -Name 'Lamplighter-Ollama-WSL'
state:
  description: What Windows says of itself.
  returned: V(operation=state), V(operation=apply) and V(operation=undo)
  type: dict
  sample: {elevated: false, installed: true, version: 0.32.15}
gpus:
  description: The graphics cards, as C(Win32_VideoController) has them.
  returned: V(operation=gpus)
  type: list
  elements: dict
  sample: [{Name: AMD Radeon RX 5700 XT, PNPDeviceID: 'PCI\VEN_1002&DEV_731F', DriverVersion: 32.0.21025.1024}]
rules:
  description: The firewall rules that let somebody reach Ollama on the port.
  returned: V(operation=firewall)
  type: list
  elements: dict
  sample: [{name: Lamplighter-Ollama-WSL, remote_address: [LocalSubnet]}]
wide:
  description: The firewall rules that open Ollama to more than WSL2. They are left alone.
  returned: V(operation=firewall) and V(operation=apply)
  type: list
  elements: dict
  sample: [{name: ollama.exe, id: "{1B}", reason: it admits Any on Any}]
blocking:
  description: The firewall rules that keep WSL2 from Ollama. They are left alone.
  returned: V(operation=apply)
  type: list
  elements: dict
  sample: [{name: ollama.exe, id: "{2C}"}]
wsl:
  description: The adapter of WSL2 on Windows; null where there is none.
  returned: V(operation=firewall)
  type: dict
  sample: {alias: vEthernet (WSL), address: 172.22.16.1, prefix: 20}
path:
  description: Path of the log on Windows.
  returned: V(operation=log)
  type: str
  sample: C:\Users\Ada\AppData\Local\Ollama\server.log
lines:
  description: Its last lines.
  returned: V(operation=log)
  type: list
  elements: str
  sample: [Listening on 127.0.0.1:11434]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import interop, operations
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.arguments import ARGUMENT_SPEC
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "powershell": {"type": "path"},
            "timeout": {"type": "int", "default": 120},
        },
        mutually_exclusive=[("bind", "firewall")],
        supports_check_mode=True,
    )
    given: dict[str, Any] = dict(module.params)
    operation, path, seconds = given.pop("operation"), given.pop("powershell"), given.pop("timeout")
    try:
        powershell = path or interop.find_powershell(interop.automount_root(Sysroot().read("etc/wsl.conf") or ""))
        result = interop.run_operation(operation, given, powershell, seconds=seconds, check=module.check_mode)
    except WindowsError as error:
        module.fail_json(msg=str(error))
    for warning in operations.warnings(result):
        module.warn(warning)
    module.exit_json(**operations.as_result(operation, result))


if __name__ == "__main__":
    main()
