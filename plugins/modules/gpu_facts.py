#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a host's GPUs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: gpu_facts
short_description: Finds what a host has for local inference
version_added: 0.1.0
description:
  - Reads the GPUs of a host, and what decides how they can be used, from C(/sys), C(/proc), C(/dev) and a few other
    files. ROCm, Vulkan and root are not needed.
  - The architecture of an AMD GPU comes from the KFD topology, else from the IP version of its graphics core through
    the kernel's own map, else from its PCI id. Names decide nothing.
  - Nothing is changed, and nothing that is missing or may not be read is an error. What is not known is null.
  - C(nvidia-smi) is the only program that may be run, on hosts with an NVIDIA GPU whose I(sysroot) is C(/), unless
    I(interop) allows to ask Windows.
author:
  - Lamplighter contributors (@lamplighter)
options:
  sysroot:
    description:
      - The directory below which every file is read. Another one than C(/) holds a copy of a machine's files.
    type: path
    default: /
  catalogue:
    description:
      - What the inventory adds to the catalogue of AMD architectures and PCI ids, or overrides in it.
      - C(arches) is a dictionary by architecture, C(pci_ids) one by PCI device id.
    type: dict
    default: {}
  interop:
    description:
      - In WSL2 also ask C(wslinfo) for the networking mode and Windows' PowerShell for the GPUs of the Windows host.
      - Both are only read, and given up after some seconds.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: There is nothing to show.
"""

EXAMPLES = r"""
- name: Know the GPUs of the host
  lamplighter.fleet.gpu_facts:

- name: Read the tree that another machine sent
  lamplighter.fleet.gpu_facts:
    sysroot: /srv/machine

- name: Know a chip that is newer than the catalogue
  lamplighter.fleet.gpu_facts:
    catalogue:
      pci_ids:
        "75b3":
          gfx: gfx1201
          integrated: false
"""

RETURN = r"""
ansible_facts:
  description: What was found.
  returned: always
  type: dict
  contains:
    gpu_facts:
      description: The facts, of which unknown ones are null.
      type: dict
      contains:
        platform: {description: "V(bare_metal), V(vm), V(container) or V(wsl2).", type: str}
        distribution:
          description: Of os-release.
          type: dict
          contains:
            id: {description: "Name of the distribution, in lower case.", type: str}
            version_id: {description: Version of the distribution., type: str}
            id_like: {description: "Distributions that it comes from, nearest first.", type: list, elements: str}
        memory_bytes:
          description: Memory of the host, without what the firmware carves out for an integrated GPU.
          type: int
        cpu:
          description: The processor.
          type: dict
          contains:
            architecture: {description: "Such as V(x86_64), V(aarch64) or V(riscv64).", type: str}
            model: {description: Name of the processor., type: str}
            physical_cores: {description: Number of cores., type: int}
            logical_cores: {description: Number of hardware threads., type: int}
            flags: {description: "Those features that matter for inference, sorted.", type: list, elements: str}
        kernel:
          description: The running kernel.
          type: dict
          contains:
            release: {description: As C(uname -r) says it., type: str}
            cmdline: {description: What it was started with., type: str}
            memory_module:
              description: The module that manages amdgpu's memory, V(ttm), V(amdttm) or V(amd_ttm).
              type: str
            pages_limit:
              description: The module's limit on the host's memory that GPUs may use, in pages.
              type: int
            page_pool_size: {description: "Size of the module's pool, in pages.", type: int}
            amdgpu_version: {description: "Version of amdgpu-dkms, null for the kernel's own driver.", type: str}
            parameters:
              description: What M(lamplighter.fleet.kernel_params) has set or taken away, as its files tell.
              type: list
              elements: dict
              contains:
                name: {description: Name of the parameter., type: str}
                value: {description: "Its value, null for none.", type: str}
                state:
                  description: V(present), V(masked), or V(absent) for one that is in force until the next boot.
                  type: str
                route: {description: "V(modprobe) or V(cmdline), null for one that is taken away.", type: str}
                in_force: {description: "Whether the running kernel agrees, null where it cannot be asked.", type: bool}
                waits: {description: Whether it was changed since the last boot and is not in force yet., type: bool}
                reason: {description: What does not agree., type: str}
        linux_firmware_version: {description: "Version of the firmware package, where a file tells it.", type: str}
        kfd:
          description: ROCm's kernel interface, C(/dev/kfd).
          type: dict
          contains:
            present: {description: Whether it is there., type: bool}
            group: {description: "Name of its group, null if the group has none.", type: str}
            gid: {description: Number of its group., type: int}
            mode: {description: "Its permissions, four octal digits.", type: str}
        device_nodes:
          description: C(/dev/kfd) and the render nodes.
          type: list
          elements: dict
          contains:
            path: {description: Path of the node., type: str}
            owner: {description: "Name of its owner, null if the owner has none.", type: str}
            uid: {description: Number of its owner., type: int}
            group: {description: "Name of its group, null if the group has none.", type: str}
            gid: {description: Number of its group., type: int}
            mode: {description: "Its permissions, four octal digits.", type: str}
        rocm:
          description: The installed ROCm.
          type: dict
          contains:
            version: {description: Its version; of a distribution's own packages only major and minor., type: str}
            path: {description: Where it is., type: str}
        nvidia:
          description: NVIDIA's driver.
          type: dict
          contains:
            driver_version: {description: Version of the loaded kernel module., type: str}
        vulkan_icds: {description: File names of the Vulkan drivers that are installed., type: list, elements: str}
        gpus:
          description: What a runtime can enumerate, by PCI address. A partition of a card is an entry of its own.
          type: list
          elements: dict
          contains:
            index: {description: Position in this list., type: int}
            vendor: {description: "V(amd), V(nvidia), V(intel) or V(other).", type: str}
            gfx:
              description: Architecture of the silicon, such as V(gfx1103); an override does not change it.
              type: str
            gfx_source:
              description: Where the architecture is from, V(kfd), V(ip_discovery) or V(pci_id).
              type: str
            product: {description: Name for people., type: str}
            pci_id: {description: "Vendor and device id, such as V(1002:15bf).", type: str}
            pci_revision: {description: "Two hexadecimal digits, such as V(c8).", type: str}
            pci_address: {description: Such as V(0000:03:00.0)., type: str}
            partition:
              description: Number of the partition of a card in the CPX or DPX mode, null for a whole card.
              type: int
            integrated: {description: Whether it shares the memory of the processor., type: bool}
            driver: {description: The kernel driver that holds it., type: str}
            vram_bytes: {description: "Its own memory, of an integrated GPU the firmware's carve-out.", type: int}
            vram_visible_bytes: {description: The part of it that the processor can address., type: int}
            gtt_bytes: {description: The most of the host's memory that it can map., type: int}
            usable_by_backend:
              description:
                - Bytes that a model can use through V(rocm), V(vulkan) and V(cuda).
                - On an integrated GPU Vulkan uses carve-out and GTT; ROCm what the KFD memory bank says.
              type: dict
            usable_bytes: {description: The largest of these., type: int}
            render_node: {description: Path of its render node., type: str}
            uuid: {description: "Its name for C(ROCR_VISIBLE_DEVICES); null for an integrated GPU.", type: str}
            kfd_node: {description: Number of its node in the KFD topology., type: int}
            firmware: {description: "Versions of its firmware by engine, such as C(mes) V(0x83).", type: dict}
            hidden_reason: {description: "Why a runtime cannot use it, and what to do; null if it can.", type: str}
            hidden_from: {description: The backends that cannot use it for this reason., type: list, elements: str}
        wsl:
          description: The Windows Subsystem for Linux; null where it is another platform.
          type: dict
          contains:
            version: {description: V(1) or V(2)., type: int}
            networking_mode:
              description:
                - As C(wslinfo --networking-mode) says it, such as V(nat), V(mirrored), V(consomme) or V(none).
                - Without I(interop) what the network interfaces tell, else null.
              type: str
            interop: {description: Whether Windows programs can be started., type: bool}
            automount_root: {description: Where the drives of Windows are mounted., type: str}
            powershell: {description: "Path of Windows PowerShell, null where it is not there.", type: str}
            gateway: {description: "The gateway of the default route, which is Windows in the mode V(nat).", type: str}
            systemd: {description: Whether systemd runs., type: bool}
            dxg: {description: "Whether C(/dev/dxg) is there, through which Windows lends its GPU.", type: bool}
            rocdxg: {description: "Whether librocdxg is installed, which brings ROCm to C(/dev/dxg).", type: bool}
            windows_gpus:
              description: The GPUs of the Windows host; null where they were not asked for or Windows did not tell.
              type: list
              elements: dict
              contains:
                product: {description: Name for people., type: str}
                vendor: {description: "V(amd), V(nvidia), V(intel) or V(other).", type: str}
                pci_id: {description: "Vendor and device id, such as V(1002:731f).", type: str}
                pci_revision: {description: "Two hexadecimal digits, such as V(c1).", type: str}
                gfx: {description: Architecture of the silicon by its PCI id., type: str}
                integrated: {description: Whether it shares the memory of the processor., type: bool}
                driver_version: {description: Version of Windows' driver., type: str}
        warnings: {description: "What could not be read, and what is odd.", type: list, elements: str}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.schema import check_additions
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.interop import run_operation


def ask_windows(powershell: str) -> list[dict[str, Any]]:
    gpus: list[dict[str, Any]] = run_operation("gpus", {}, powershell, seconds=20)["gpus"]
    return gpus


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sysroot": {"type": "path", "default": "/"},
            "catalogue": {"type": "dict", "default": {}},
            "interop": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    errors = check_additions(module.params["catalogue"])
    if errors:
        module.fail_json(msg=" ".join(errors))
    facts = gpu_facts(module.params["sysroot"], module.params["catalogue"], module.params["interop"], ask_windows)
    module.exit_json(ansible_facts={"gpu_facts": facts})


if __name__ == "__main__":
    main()
