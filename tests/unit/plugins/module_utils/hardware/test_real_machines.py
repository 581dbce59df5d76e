# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines as people own them: what is found, and what the plan makes of it.

Ids, classes, drivers, sizes and topologies are those of public dumps: ROCm/k8s-device-plugin testdata (MI210, MI300X,
MI308X), ilya-zlobintsev/LACT test data, lspci and rocminfo outputs in ROCm, Proxmox and i915-sriov issues.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan

from tests.unit.machines import (
    GIB,
    HOST,
    Link,
    Tree,
    cpu_node,
    drm_card,
    kfd_node,
    pci_device,
    write,
)

BMC = pci_device("0000:63:00.0", "1a03:2000", "41", driver="ast")
ROCM, VULKAN, CUDA = ["rocm"], ["vulkan"], ["cuda"]
NO_AMD = ["rocm", "vulkan"]


def host(
    kernel: str = "6.12.48+deb13-amd64", ram: int = 32, cmdline: str = "quiet", os: str = "", **files: str
) -> Tree:
    """The machine around the GPUs; a keyword is a path with __ for each slash."""
    tree = {
        **HOST,
        "proc/sys/kernel/osrelease": f"{kernel}\n",
        "proc/cmdline": f"{cmdline}\n",
        "proc/meminfo": f"MemTotal: {ram * GIB // 1024} kB\n",
        "sys/class/kfd/kfd/dev": "511:0\n",
    }
    if os:
        name, _colon, version = os.partition(":")
        tree["etc/os-release"] = f'ID={name}\nVERSION_ID="{version}"\n'
    return {**tree, **{path.replace("__", "/"): text for path, text in files.items()}}


def without_module(tree: Tree) -> Tree:
    return {path: text for path, text in tree.items() if not path.startswith(("sys/module/amdgpu", "sys/class/kfd"))}


def card(
    address: str,
    ids: str,
    revision: str,
    vram: int | None,
    kfd: int | None = None,
    node: int = 1,
    minor: int = 128,
    gtt: int = 16 * GIB,
    bank: int | None = None,
    pci_class: str = "0x030000",
    gc: tuple[int, int, int] | None = None,
) -> Tree:
    """A GPU that amdgpu drives: its PCI function, its DRM nodes and, with a target version, its KFD node."""
    bus, slot = int(address.split(":")[1], 16), address.split(":")[2]
    location = bus << 8 | int(slot[:2], 16) << 3 | int(slot[3])
    tree = {
        **pci_device(address, ids, revision, pci_class),
        **drm_card(address, minor - 128, minor, vram=vram, visible=vram, gtt=gtt, gc=gc),
    }
    if kfd:
        domain = int(address.split(":")[0], 16)
        tree.update(kfd_node(node, kfd, int(ids[5:], 16), location, bank or vram, minor, domain=domain))
    return tree


class Machine(NamedTuple):
    """What is there, and the right answer: platform, GPUs, first backend, words of the plan or of the facts."""

    name: str
    tree: Tree
    platform: str
    # gfx, integrated, driver, bytes that ROCm and Vulkan can use in GiB (or None), hidden from
    gpus: list[tuple[str | None, bool | None, str | None, tuple[int | None, int | None], list[str]]]
    backend: str
    says: str
    degraded: bool = True


MI300X_PARTITIONS = {
    path: text
    for part in range(4)
    for path, text in kfd_node(
        2 + part, 90402, 0x74A1, 0x0500 + part, 24 * GIB, 128 + part, num_xcc=1, unique_id=5
    ).items()
}
# Each further partition has a DRM device on the platform bus (amdgpu_xcp), without vendor, device and class.
XCP: Tree = {
    f"sys/devices/platform/amdgpu_xcp_{n}/{path}": text
    for n in range(3)
    for path, text in (
        ("uevent", "DRIVER=amdgpu_xcp\nMODALIAS=platform:amdgpu_xcp\n"),
        (f"drm/renderD{129 + n}/dev", f"226:{129 + n}\n"),
    )
}
XCP_LINKS: Tree = {
    path: link
    for n in range(3)
    for path, link in (
        (f"sys/class/drm/renderD{129 + n}", Link(f"sys/devices/platform/amdgpu_xcp_{n}/drm/renderD{129 + n}")),
        (
            f"sys/devices/platform/amdgpu_xcp_{n}/drm/renderD{129 + n}/device",
            Link(f"sys/devices/platform/amdgpu_xcp_{n}"),
        ),
    )
}
QEMU = {"sys__class__dmi__id__sys_vendor": "QEMU\n", "sys__class__dmi__id__product_name": "Standard PC (Q35)\n"}
DEV: Tree = {"dev/null": ""}
LXC = {"run__systemd__container": "lxc\n"}
RX_7900_XTX = card("0000:03:00.0", "1002:744c", "c8", 25753026560, 110000, gc=(11, 0, 0))
RX_6800 = card("0000:0b:00.0", "1002:73bf", "c3", 17163091968, 100300, gc=(10, 3, 0))
AMPERE = "".join(
    f"processor\t: {n}\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd evtstrm aes asimdhp asimddp\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n"
    for n in range(4)
)
RISCV = "".join(
    f"processor\t: {n}\nhart\t\t: {n + 1}\nisa\t\t: rv64imafdc_zicntr_zba_zbb\nuarch\t\t: sifive,u74-mc\n\n"
    for n in range(4)
)
MACHINES = [
    Machine(
        "MI50 with old Ubuntu, beside a BMC",
        {
            **host("5.15.0-119-generic", 256, os="ubuntu:22.04"),
            **card("0000:43:00.0", "1002:66a1", "02", 34342961152, 90006, pci_class="0x038000"),
            **BMC,
        },
        "bare_metal",
        [("gfx906", False, "amdgpu", (31, 31), []), (None, None, "ast", (None, None), [])],
        "vulkan",
        "gfx906 is not in Ollama 0.32.15's ROCm build (dropped in 0.12.4)",
    ),
    Machine(
        "two MI100",
        {
            **host("6.8.0-60-generic", 512, os="ubuntu:22.04"),
            **card("0000:23:00.0", "1002:738c", "01", 34342961152, 90008, 2, 128, pci_class="0x120000"),
            **card("0000:c3:00.0", "1002:738c", "01", 34342961152, 90008, 3, 129, pci_class="0x120000"),
        },
        "bare_metal",
        [("gfx908", False, "amdgpu", (31, None), [])] * 2,
        "rocm",
        "2 x AMD Instinct MI100 (gfx908)",
    ),
    Machine(
        "MI210",
        {
            **host("5.14.0-503.el9.x86_64", 512, os="rhel:9.5"),
            **card("0000:26:00.0", "1002:740f", "02", 68702699520, 90010, 5, 131, pci_class="0x038000", gc=(9, 4, 2)),
        },
        "bare_metal",
        [("gfx90a", False, "amdgpu", (63, None), [])],
        "rocm",
        "AMD Instinct MI210 (gfx90a)",
    ),
    Machine(
        "MI300X in four partitions, whose DRM nodes are on the platform bus",
        {
            **host("6.8.0-60-generic", 2048, os="ubuntu:24.04"),
            **pci_device("0000:05:00.0", "1002:74a1", pci_class="0x120000"),
            **drm_card("0000:05:00.0", 1, 128, vram=206141652992, gtt=1024 * GIB, gc=(9, 4, 3)),
            **MI300X_PARTITIONS,
            **XCP,
            **XCP_LINKS,
        },
        "bare_metal",
        [("gfx942", False, "amdgpu", (24, None), [])] * 4,
        "rocm",
        "4 x AMD Instinct MI300X (gfx942)",
    ),
    Machine(
        "MI308X, of whose machine only the topology was copied",
        {
            **{
                path: text
                for n, location in enumerate((2560, 2561, 2562, 2563, 41984))
                for path, text in kfd_node(2 + n, 90402, 29858, location, 51539607552, 128 + n).items()
            }
        },
        "bare_metal",
        [("gfx942", False, None, (48, None), [])] * 5,
        "rocm",
        "5 x AMD Instinct MI308X (gfx942)",
    ),
    Machine(
        "a virtual function of an MI300X in a guest",
        {
            **host("6.8.0-60-generic", 240, os="ubuntu:22.04", **QEMU),
            **card("0000:00:05.0", "1002:74b5", "00", 206141652992, 90402, pci_class="0x120000", gc=(9, 4, 3)),
            **pci_device("0000:00:01.0", "1234:1111", "02", driver="bochs-drm"),
        },
        "vm",
        [(None, None, "bochs-drm", (None, None), []), ("gfx942", False, "amdgpu", (191, None), [])],
        "rocm",
        "AMD Instinct MI300X VF (gfx942)",
    ),
    Machine(
        "V710 in Azure, in a PCI domain of Hyper-V's",
        {
            **host(
                "6.8.0-1030-azure",
                64,
                os="ubuntu:22.04",
                sys__class__dmi__id__sys_vendor="Microsoft Corporation\n",
                sys__class__dmi__id__product_name="Virtual Machine\n",
            ),
            **card("0002:00:00.0", "1002:7461", "00", 25753026560, 110001, pci_class="0x038000", gc=(11, 0, 3)),
        },
        "vm",
        [("gfx1101", False, "amdgpu", (23, 23), [])],
        "rocm",
        "AMD Radeon Pro V710 MxGPU (gfx1101)",
    ),
    Machine(
        "V520 in EC2",
        {
            **host(
                "6.8.0-1021-aws",
                16,
                sys__class__dmi__id__sys_vendor="Amazon EC2\n",
                sys__class__dmi__id__product_name="g4ad.xlarge\n",
            ),
            **card("0000:00:1e.0", "1002:7362", "c3", 8438939648, 100101, pci_class="0x038000", gc=(10, 1, 2)),
        },
        "vm",
        [("gfx1011", False, "amdgpu", (7, 7), [])],
        "vulkan",
        "AMD Radeon Pro V520 (gfx1011)",
    ),
    Machine(
        "MI250X: two dies, two GPUs",
        {
            **host("5.15.0-119-generic", 512),
            **card("0000:29:00.0", "1002:740c", "01", 68702699520, 90010, 4, 128, pci_class="0x038000"),
            **card("0000:2c:00.0", "1002:740c", "01", 68702699520, 90010, 5, 129, pci_class="0x038000"),
        },
        "bare_metal",
        [("gfx90a", False, "amdgpu", (63, None), [])] * 2,
        "rocm",
        "2 x AMD Instinct MI250X / MI250 (gfx90a)",
    ),
    Machine(
        "RX 580 behind a chipset",
        {
            **host("5.15.0-119-generic", 16, os="ubuntu:22.04"),
            **cpu_node(),
            **card("0000:05:00.0", "1002:67df", "e7", 8573157376),
            "var/log/kern.log": "[    3.1] kfd kfd: amdgpu: skipped device 1002:67df, PCI rejects atomics 730<0\n",
        },
        "bare_metal",
        [("gfx803", False, "amdgpu", (7, 7), ROCM)],
        "vulkan",
        "no firmware helps this chip",
    ),
    Machine(
        "R9 Fury with its KFD node",
        {**host("6.1.0-26-amd64"), **card("0000:01:00.0", "1002:7300", "cb", 4294967296, 80003)},
        "bare_metal",
        [("gfx803", False, "amdgpu", (4, 4), [])],
        "vulkan",
        "gfx803 is not in Ollama 0.32.15's ROCm build",
    ),
    Machine(
        "R9 290 on radeon",
        {**host("6.1.0-26-amd64"), **pci_device("0000:01:00.0", "1002:67b1", "00", driver="radeon")},
        "bare_metal",
        [("gfx701", False, "radeon", (None, None), NO_AMD)],
        "cpu",
        "radeon.cik_support=0 amdgpu.cik_support=1",
        False,
    ),
    Machine(
        "HD 7970 on radeon",
        {**host("6.1.0-26-amd64"), **pci_device("0000:01:00.0", "1002:6798", "00", driver="radeon")},
        "bare_metal",
        [(None, False, "radeon", (None, None), NO_AMD)],
        "cpu",
        "radeon.si_support=0 amdgpu.si_support=1",
        False,
    ),
    Machine(
        "R7 240 on amdgpu",
        {**host(), **cpu_node(), **card("0000:01:00.0", "1002:6613", "00", 2147483648)},
        "bare_metal",
        [(None, False, "amdgpu", (2, 2), ROCM)],
        "vulkan",
        "does not know this chip",
    ),
    Machine(
        "HD 5450 on radeon: no driver makes it of use",
        {**host("6.1.0-26-amd64"), **pci_device("0000:01:00.0", "1002:68f9", "00", driver="radeon")},
        "bare_metal",
        [(None, None, "radeon", (None, None), NO_AMD)],
        "cpu",
        "older than GCN",
        False,
    ),
    Machine(
        "a server's ES1000, without a driver",
        {**host(ram=64), **pci_device("0000:0b:03.0", "1002:515e", "02", driver="")},
        "bare_metal",
        [(None, None, None, (None, None), NO_AMD)],
        "cpu",
        "no GPU for inference in this machine",
        False,
    ),
    Machine(
        "RX 7600 beside an old HD 6450",
        {
            **host("6.12.48+deb13-amd64"),
            **card("0000:03:00.0", "1002:7480", "cf", 8573157376, 110002, gc=(11, 0, 2)),
            **pci_device("0000:07:00.0", "1002:6779", "00", driver="radeon"),
        },
        "bare_metal",
        [("gfx1102", False, "amdgpu", (7, 7), []), (None, None, "radeon", (None, None), NO_AMD)],
        "rocm",
        "AMD Radeon RX 7600 (gfx1102)",
    ),
    Machine(
        "RX 5500 XT, firmware too old for its slot",
        {
            **host("6.8.0-45-generic"),
            **cpu_node(),
            **card("0000:03:00.0", "1002:7340", "c5", 8573157376, gc=(10, 1, 1)),
            "var/log/kern.log": "kfd kfd: amdgpu: skipped device 1002:7340, PCI rejects atomics 123<145\n",
        },
        "bare_metal",
        [("gfx1012", False, "amdgpu", (7, 7), ROCM)],
        "vulkan",
        "Install a newer linux-firmware",
    ),
    Machine(
        "a laptop with RX 6700S and Radeon 680M",
        {
            **host("6.11.0-14-generic", 16),
            **card("0000:03:00.0", "1002:73ef", "c4", 8573157376, 100302, 1, 128, gc=(10, 3, 4)),
            **card(
                "0000:08:00.0", "1002:1681", "0a", GIB // 2, 100305, 2, 129, gtt=8 * GIB, bank=8 * GIB, gc=(10, 3, 3)
            ),
        },
        "bare_metal",
        [("gfx1032", False, "amdgpu", (7, 7), []), ("gfx1035", True, "amdgpu", (8, 8), [])],
        "rocm",
        "HSA_OVERRIDE_GFX_VERSION=10.3.0",
    ),
    Machine(
        "RX 7900 GRE",
        {**host(), **card("0000:03:00.0", "1002:744c", "ce", 17163091968, 110000, gc=(11, 0, 0))},
        "bare_metal",
        [("gfx1100", False, "amdgpu", (15, 15), [])],
        "rocm",
        "AMD Radeon RX 7900 GRE (gfx1100)",
    ),
    Machine(
        "RX 9070 XT with Ubuntu 24.04's first kernel",
        {**host("6.8.0-45-generic", os="ubuntu:24.04"), **pci_device("0000:03:00.0", "1002:7550", "c0", driver="")},
        "bare_metal",
        [("gfx1201", False, None, (None, None), NO_AMD)],
        "cpu",
        "linux-generic-hwe-24.04",
    ),
    Machine(
        "Renoir with 8 GiB and an old kernel",
        {
            **host("5.15.0-119-generic", 7, os="ubuntu:22.04"),
            **card("0000:05:00.0", "1002:1636", "c6", GIB // 2, 90012, gtt=3 * GIB, bank=3 * GIB),
        },
        "bare_metal",
        [("gfx90c", True, "amdgpu", (3, 3), [])],
        "vulkan",
        "AMD integrated GPU 1002:1636 (gfx90c)",
    ),
    Machine(
        "Steam Deck",
        {
            **host("6.11.11-valve19-1-neptune-611", 14, os="steamos:3.7.13"),
            **card("0000:04:00.0", "1002:163f", "ae", GIB, 100303, gtt=8 * GIB, bank=8 * GIB, gc=(10, 3, 1)),
        },
        "bare_metal",
        [("gfx1033", True, "amdgpu", (8, 9), [])],
        "vulkan",
        "AMD Custom GPU 0405 (gfx1033)",
    ),
    Machine(
        "Mendocino: two compute units",
        {
            **host(ram=7),
            **card("0000:03:00.0", "1002:1506", "c1", GIB // 2, 100306, gtt=3 * GIB, bank=3 * GIB, gc=(10, 3, 7)),
        },
        "bare_metal",
        [("gfx1036", True, "amdgpu", (3, 3), [])],
        "cpu",
        "the processor is faster than this GPU",
        False,
    ),
    Machine(
        "BC-250",
        {
            **host("6.15.4-200.fc42.x86_64", 15, os="fedora:42"),
            **card("0000:01:00.0", "1002:13fe", "00", GIB // 2, 100103, gtt=7 * GIB, bank=7 * GIB),
        },
        "bare_metal",
        [("gfx1013", True, "amdgpu", (7, 7), [])],
        "vulkan",
        "gfx1013",
    ),
    Machine(
        "Krackan Point",
        {
            **host("6.17.8-arch1-1", 30, os="arch:"),
            **card(
                "0000:c4:00.0",
                "1002:1114",
                "c2",
                GIB // 2,
                110502,
                gtt=15 * GIB,
                bank=15 * GIB,
                pci_class="0x038000",
                gc=(11, 5, 2),
            ),
        },
        "bare_metal",
        [("gfx1152", True, "amdgpu", (15, 15), [])],
        "vulkan",
        "AMD Radeon 860M Graphics (gfx1152)",
    ),
    Machine(
        "Proxmox: the card is a guest's, the iGPU is split into virtual functions",
        {
            **host("6.14.11-4-pve", 64),
            **pci_device("0000:03:00.0", "1002:73bf", "c1", driver="vfio-pci"),
            **pci_device("0000:00:02.0", "8086:a780", "04", driver="i915"),
            **drm_card("0000:00:02.0"),
            **pci_device("0000:00:02.1", "8086:a780", "04", driver="vfio-pci"),
        },
        "bare_metal",
        [
            (None, True, "i915", (None, None), []),
            (None, True, "vfio-pci", (None, None), VULKAN),
            ("gfx1030", False, "vfio-pci", (None, None), NO_AMD),
        ],
        "vulkan",
        "vfio-pci holds it for a virtual machine",
    ),
    Machine(
        "an NVIDIA card that is a guest's",
        {**host("6.14.11-4-pve", 64), **pci_device("0000:01:00.0", "10de:2484", "a1", driver="vfio-pci")},
        "bare_metal",
        [(None, False, "vfio-pci", (None, None), ["cuda", "vulkan"])],
        "cpu",
        "no GPU for inference in this machine",
        False,
    ),
    Machine(
        "a laptop with nouveau",
        {
            **host(),
            **pci_device("0000:00:02.0", "8086:46a6", "0c", driver="i915"),
            **pci_device("0000:01:00.0", "10de:25a2", "a1", driver="nouveau"),
            **drm_card("0000:00:02.0", 0, 128),
            **drm_card("0000:01:00.0", 1, 129),
        },
        "bare_metal",
        [(None, True, "i915", (None, None), []), (None, False, "nouveau", (None, None), CUDA)],
        "vulkan",
        "NVIDIA's driver is not loaded (nouveau is)",
    ),
    Machine(
        "an NVIDIA card without a driver",
        {**host(), **pci_device("0000:01:00.0", "10de:2204", "a1", driver="")},
        "bare_metal",
        [(None, False, None, (None, None), ["cuda", "vulkan"])],
        "cpu",
        "Install NVIDIA's current driver",
    ),
    Machine(
        "LXC with the render node alone",
        {**host("6.14.11-4-pve", 16, **LXC), **RX_7900_XTX, **DEV, "dev/dri/renderD128": ""},
        "container",
        [("gfx1100", False, "amdgpu", (23, 23), ROCM)],
        "vulkan",
        "--device /dev/kfd",
    ),
    Machine(
        "LXC with /dev/kfd alone",
        {**host("6.14.11-4-pve", 16, **LXC), **RX_7900_XTX, **DEV, "dev/kfd": ""},
        "container",
        [("gfx1100", False, "amdgpu", (23, 23), NO_AMD)],
        "cpu",
        "/dev/dri/renderD128 does not exist here",
    ),
    Machine(
        "a container that has no GPU of its host's",
        {**host("6.14.11-4-pve", 16), **RX_7900_XTX, **DEV, ".dockerenv": ""},
        "container",
        [("gfx1100", False, "amdgpu", (23, 23), NO_AMD)],
        "cpu",
        "--device /dev/kfd --device /dev/dri",
    ),
    Machine(
        "an old container, by its control group",
        {**host("5.15.0-119-generic", proc__1__cgroup="12:memory:/docker/0123abcd\n1:name=systemd:/docker/0123abcd\n")},
        "container",
        [],
        "cpu",
        "no GPU for inference in this machine",
        False,
    ),
    Machine(
        "a guest with a display and nothing else",
        {**host(ram=8, **QEMU), **pci_device("0000:00:01.0", "1af4:1050", "01", driver="virtio-pci")},
        "vm",
        [(None, None, "virtio-pci", (None, None), [])],
        "cpu",
        "This virtual machine sees no GPU",
        False,
    ),
    Machine(
        "a guest with a card of its own",
        {
            **host("6.12.48+deb13-amd64", 32, **QEMU),
            **pci_device("0000:00:01.0", "1b36:0100", "05", driver="qxl"),
            **card("0000:06:00.0", "1002:744c", "c8", 25753026560, 110000, gc=(11, 0, 0)),
        },
        "vm",
        [(None, None, "qxl", (None, None), []), ("gfx1100", False, "amdgpu", (23, 23), [])],
        "rocm",
        "AMD Radeon RX 7900 XTX (gfx1100)",
    ),
    Machine(
        "amdgpu kept out by the command line",
        {
            **without_module(host(cmdline="quiet modprobe.blacklist=amdgpu")),
            **pci_device("0000:03:00.0", "1002:744c", "c8", driver=""),
        },
        "bare_metal",
        [("gfx1100", False, None, (None, None), NO_AMD)],
        "cpu",
        "modprobe.blacklist=amdgpu",
    ),
    Machine(
        "amdgpu kept out by a file",
        {
            **without_module(host()),
            **pci_device("0000:03:00.0", "1002:744c", "c8", driver=""),
            "etc/modprobe.d/blacklist-gpu.conf": "# for the guests\nblacklist amdgpu\n",
        },
        "bare_metal",
        [("gfx1100", False, None, (None, None), NO_AMD)],
        "cpu",
        "/etc/modprobe.d/blacklist-gpu.conf",
    ),
    Machine(
        "simpledrm alone",
        {
            **host(cmdline="quiet nomodeset"),
            **pci_device("0000:03:00.0", "1002:744c", "c8", driver=""),
            "sys/devices/platform/simple-framebuffer.0/uevent": "DRIVER=simple-framebuffer\n",
            "sys/devices/platform/simple-framebuffer.0/drm/card0/dev": "226:0\n",
            "sys/devices/platform/simple-framebuffer.0/drm/card0/device": Link(
                "sys/devices/platform/simple-framebuffer.0"
            ),
            "sys/class/drm/card0": Link("sys/devices/platform/simple-framebuffer.0/drm/card0"),
        },
        "bare_metal",
        [("gfx1100", False, None, (None, None), NO_AMD)],
        "cpu",
        "nomodeset keeps every GPU driver from binding",
    ),
    Machine(
        "no firmware",
        {
            **host("6.12.48+deb13-amd64"),
            **pci_device("0000:03:00.0", "1002:744c", "c8", driver=""),
            "var/log/kern.log": "amdgpu 0000:03:00.0: Direct firmware load for amdgpu/psp_13_0_0_sos.bin failed with "
            "error -2\namdgpu 0000:03:00.0: amdgpu: Fatal error during GPU init\n",
        },
        "bare_metal",
        [("gfx1100", False, None, (None, None), NO_AMD)],
        "cpu",
        "amdgpu/psp_13_0_0_sos.bin",
    ),
    Machine(
        "a BIOS that has no room for the card's memory",
        {
            **host(),
            **pci_device("0000:83:00.0", "1002:744c", "c8", driver=""),
            "var/log/kern.log": "amdgpu 0000:83:00.0: probe with driver amdgpu failed with error -12\n",
        },
        "bare_metal",
        [("gfx1100", False, None, (None, None), NO_AMD)],
        "cpu",
        "enable Above 4G Decoding",
    ),
    Machine(
        "an Ampere workstation with RX 6800 and a BMC",
        {**host("6.8.0-45-generic", 128, proc__cpuinfo=AMPERE), **RX_6800, **BMC},
        "bare_metal",
        [("gfx1030", False, "amdgpu", (15, 15), []), (None, None, "ast", (None, None), [])],
        "cpu",
        "Ollama has no Vulkan build for aarch64",
    ),
    Machine(
        "a RISC-V board with an RX 550",
        {
            **host("6.6.20-starfive", 8, proc__cpuinfo=RISCV),
            **cpu_node(),
            **card("0001:01:00.0", "1002:699f", "c7", 2147483648, gtt=4 * GIB),
        },
        "bare_metal",
        [("gfx803", False, "amdgpu", (2, 2), ROCM)],
        "cpu",
        "Ollama publishes nothing for riscv64",
    ),
    Machine(
        "Arc B580 on xe",
        {
            **host("6.12.48+deb13-amd64"),
            **pci_device("0000:03:00.0", "8086:e20b", driver="xe"),
            **drm_card("0000:03:00.0"),
        },
        "bare_metal",
        [(None, False, "xe", (None, None), [])],
        "vulkan",
        "Mesa's Vulkan driver needs no ROCm",
    ),
    Machine(
        "an Arc at the place of an integrated GPU, in a guest",
        {**host(**QEMU), **pci_device("0000:00:02.0", "8086:56a0", "08", driver="i915"), **drm_card("0000:00:02.0")},
        "vm",
        [(None, False, "i915", (None, None), [])],
        "vulkan",
        "Intel GPU 8086:56a0",
    ),
    Machine(
        "an integrated GPU of Intel's at another place, in a guest",
        {**host(**QEMU), **pci_device("0000:06:10.0", "8086:46a6", "0c", driver="i915"), **drm_card("0000:06:10.0")},
        "vm",
        [(None, True, "i915", (None, None), [])],
        "vulkan",
        "Intel integrated GPU 8086:46a6",
    ),
    Machine(
        "a Matrox BMC",
        {**host(ram=384), **pci_device("0000:03:00.0", "102b:0536", "04", driver="mgag200")},
        "bare_metal",
        [(None, None, "mgag200", (None, None), [])],
        "cpu",
        "no GPU for inference in this machine",
        False,
    ),
    Machine(
        "MI300A",
        {
            **host("6.8.0-60-generic", 503),
            **{
                path: text
                for n in range(4)
                for path, text in card(
                    f"000{n}:01:00.0",
                    "1002:74a0",
                    "00",
                    134822756352,
                    90402,
                    n,
                    128 + n,
                    gtt=251 * GIB,
                    pci_class="0x120000",
                    gc=(9, 4, 3),
                ).items()
            },
        },
        "bare_metal",
        [("gfx942", True, "amdgpu", (125, None), [])] * 4,
        "rocm",
        "4 x AMD Instinct MI300A (gfx942)",
    ),
    Machine(
        "two RX 570, one of them behind a chipset without atomics",
        {
            **host("4.15.0-45-generic", 16, os="ubuntu:18.04"),
            **card("0000:01:00.0", "1002:67df", "ef", 4294967296, 80003),
            **card("0000:02:00.0", "1002:67df", "ef", 4294967296, minor=129),
            "var/log/kern.log": "kfd kfd: added device 1002:67df\n"
            "kfd kfd: skipped device 1002:67df, PCI rejects atomics\n",
        },
        "bare_metal",
        [("gfx803", False, "amdgpu", (4, 4), []), ("gfx803", False, "amdgpu", (4, 4), ROCM)],
        "vulkan",
        "2 x AMD Radeon RX 570 Series (gfx803)",
    ),
    Machine(
        "Vega 56 in an enclosure, beside Intel's graphics",
        {
            **host("6.8.0-45-generic", 32),
            **cpu_node(),
            **pci_device("0000:00:02.0", "8086:9a49", "01", driver="i915"),
            **drm_card("0000:00:02.0", 0, 128),
            **card("0000:3e:00.0", "1002:687f", "c3", 8573157376, minor=129, gc=(9, 0, 1)),
            "var/log/kern.log": "kfd kfd: amdgpu: skipped device 1002:687f, PCI rejects atomics 421<0\n",
        },
        "bare_metal",
        [(None, True, "i915", (None, None), []), ("gfx900", False, "amdgpu", (7, 7), ROCM)],
        "vulkan",
        "AMD Radeon RX Vega (gfx900)",
    ),
    Machine(
        "Kaveri on amdgpu, which new kernels give no KFD node",
        {**host("6.12.48+deb13-amd64", 14), **cpu_node(), **card("0000:00:01.0", "1002:130f", "d4", GIB, gtt=7 * GIB)},
        "bare_metal",
        [("gfx700", True, "amdgpu", (None, 8), ROCM)],
        "vulkan",
        "no readable kernel log says why.",
    ),
    Machine(
        "a notebook of 2015: Intel's graphics and Topaz",
        {
            **host("6.1.0-26-amd64", 8),
            **pci_device("0000:00:02.0", "8086:1616", "09", driver="i915"),
            **drm_card("0000:00:02.0", 0, 128),
            **cpu_node(),
            **card("0000:04:00.0", "1002:6900", "81", 2147483648, minor=129, pci_class="0x038000"),
        },
        "bare_metal",
        [(None, True, "i915", (None, None), []), (None, False, "amdgpu", (2, 2), ROCM)],
        "vulkan",
        "an integrated GPU beside",
    ),
    Machine(
        "MI350X as one, of a captured topology",
        {
            **host("6.14.0-27-generic", 3023, os="ubuntu:24.04"),
            **card("0000:75:00.0", "1002:75a0", "00", 309220868096, 90500, 2, 128, pci_class="0x120000", gc=(9, 5, 0)),
        },
        "bare_metal",
        [("gfx950", False, "amdgpu", (287, None), [])],
        "rocm",
        "AMD Instinct MI350X (gfx950)",
    ),
    Machine(
        "a guest with Debian's kernel for clouds",
        {
            **without_module(host("6.12.48+deb13-cloud-amd64", 32, **QEMU)),
            **pci_device("0000:06:00.0", "1002:744c", "c8", driver=""),
            "lib/modules/6.12.48+deb13-cloud-amd64/modules.dep": "kernel/drivers/gpu/drm/tiny/bochs.ko.xz:\n",
        },
        "vm",
        [("gfx1100", False, None, (None, None), NO_AMD)],
        "cpu",
        "this kernel comes without amdgpu",
    ),
    Machine(
        "a module that is there and was not loaded",
        {
            **without_module(host("6.12.48+deb13-amd64")),
            **pci_device("0000:06:00.0", "1002:744c", "c8", driver=""),
            "usr/lib/modules/6.12.48+deb13-amd64/modules.dep": "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko.xz: x.ko\n",
        },
        "bare_metal",
        [("gfx1100", False, None, (None, None), NO_AMD)],
        "cpu",
        "the amdgpu module is not loaded",
    ),
    Machine(
        "LXC with the card's render node, and not that of the iGPU",
        {
            **host("6.14.11-4-pve", 16, **LXC),
            **card("0000:03:00.0", "1002:747e", "c8", 17163091968, 110001, 1, 129, gc=(11, 0, 3)),
            **card(
                "0000:12:00.0", "1002:164e", "c1", GIB // 2, 100306, 2, 128, gtt=8 * GIB, bank=8 * GIB, gc=(10, 3, 6)
            ),
            **DEV,
            "dev/kfd": "",
            "dev/dri/renderD129": "",
        },
        "container",
        [("gfx1101", False, "amdgpu", (15, 15), []), ("gfx1036", True, "amdgpu", (8, 8), NO_AMD)],
        "rocm",
        "'environment': {'OLLAMA_IGPU_ENABLE': '0', 'OLLAMA_LLM_LIBRARY': 'rocm_v7_2'}",
    ),
    Machine(
        "Strix Halo with a carve-out of 96 GiB, on Ubuntu 24.04's OEM kernel",
        {
            **host("6.14.0-1018-oem", 31, os="ubuntu:24.04"),
            **card("0000:c6:00.0", "1002:1586", "c1", 96 * GIB, 110501, gtt=15 * GIB, bank=15 * GIB, gc=(11, 5, 1)),
        },
        "bare_metal",
        [("gfx1151", True, "amdgpu", (15, 111), [])],
        "rocm",
        "96 GiB of RAM are lost to the system",
    ),
    Machine(
        "Hawk Point in a handheld with Fedora",
        {
            **host("6.17.7-300.fc43.x86_64", 14, os="fedora:43"),
            **card("0000:c4:00.0", "1002:1900", "c5", 2 * GIB, 110003, gtt=7 * GIB, bank=7 * GIB, gc=(11, 0, 4)),
        },
        "bare_metal",
        [("gfx1103", True, "amdgpu", (7, 9), [])],
        "vulkan",
        "(gfx1103)",
    ),
    Machine(
        "RX 9060 XT, which old lists call AMD Radeon Graphics",
        {
            **host("6.17.9-arch1-1", 32, os="arch:"),
            **card("0000:03:00.0", "1002:7590", "c0", 17095983104, 120000, gc=(12, 0, 0)),
            "usr/share/libdrm/amdgpu.ids": "7590,\tC0,\tAMD Radeon Graphics\n",
        },
        "bare_metal",
        [("gfx1200", False, "amdgpu", (15, 15), [])],
        "rocm",
        "AMD Radeon RX 9060 XT (gfx1200)",
    ),
    Machine(
        "Radeon Pro W7900 beside a T400, both with their drivers",
        {
            **host("6.8.0-45-generic", 64),
            **card("0000:0a:00.0", "1002:7448", "00", 48301604864, 110000, minor=129, gc=(11, 0, 0)),
            **pci_device("0000:0b:00.0", "10de:1fb2", "a1", driver="nvidia"),
            **drm_card("0000:0b:00.0", 1, 128),
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  x\n",
        },
        "bare_metal",
        [("gfx1100", False, "amdgpu", (44, 44), []), (None, False, "nvidia", (None, None), [])],
        "cuda",
        "its memory is not known to be less",
    ),
]


def whole_gib(gpu: dict[str, Any]) -> tuple[int | None, int | None]:
    sizes = [gpu["usable_by_backend"][backend] for backend in ("rocm", "vulkan")]
    return tuple(None if size is None else size // GIB for size in sizes)  # type: ignore[return-value]


@pytest.mark.parametrize("machine", MACHINES, ids=[machine.name for machine in MACHINES])
def test_a_machine(tmp_path: Path, machine: Machine) -> None:
    facts = gpu_facts(write(tmp_path, machine.tree))
    assert facts["platform"] == machine.platform
    found = [(g["gfx"], g["integrated"], g["driver"], whole_gib(g), g["hidden_from"]) for g in facts["gpus"]]
    assert found == machine.gpus
    plan = make_plan(facts)
    assert plan["rungs"][0]["backend"] == machine.backend
    assert machine.says in f"{plan} {facts['gpus']} {facts['warnings']}"
    assert plan["degraded_if"] == (["cpu"] if machine.degraded else [])
