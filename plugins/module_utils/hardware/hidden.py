# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a runtime cannot use a GPU that is in the machine."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import amdgpu_switch, is_before_gcn
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.host import kernel_release
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.kfd import is_incomplete
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

KERNEL_LOGS = ("var/log/kern.log", "var/log/dmesg", "var/log/messages", "var/log/syslog")
LOG_TAIL = 2 * 1024 * 1024
# amdkfd/kfd_device.c: the MEC firmware that the card has, and the one that works without PCIe atomics (0: none does).
ATOMICS = re.compile(
    r"skipped device 1002:([0-9a-f]{1,4}), PCI rejects atomics(?: (\d{1,9})<(\d{1,9}))?", re.IGNORECASE
)
MISSING_FIRMWARE = re.compile(
    r"Direct firmware load for (amdgpu/\S+) failed|Failed to load firmware \"(amdgpu/[^\"]+)\""
)
PROBE = r"(?:probe of {0}|{0}: probe with driver amdgpu) failed with error (-\d+)"
NO_ROOM = "-12"
GPU_DRIVERS_OF_GUESTS = ("vfio-pci", "pci-stub", "xen-pciback", "gim")
MODPROBE_DIRECTORIES = ("etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d")
BACKENDS = {"amd": ("rocm", "vulkan"), "nvidia": ("cuda", "vulkan"), "intel": ("vulkan",)}


def hidden_reason(sysroot: Sysroot, gpu: dict[str, Any], denied: bool) -> tuple[str | None, list[str]]:
    """A sentence for a person and the backends that cannot reach the GPU; nothing hidden: (None, [])."""
    driver, every = gpu["driver"], list(BACKENDS.get(gpu["vendor"], ()))
    if not every:
        return None, []
    if denied:
        return "The device cgroup of this container or job denies the GPU: pass it /dev/kfd and /dev/dri.", every
    if driver in GPU_DRIVERS_OF_GUESTS:
        return f"The driver {driver} keeps it for a virtual machine.", every
    # Copies of trees lack much; only in a whole /sys is what is missing a fact.
    is_whole = sysroot.exists("sys/module") and sysroot.exists("sys/bus/pci/devices")
    is_idle = not driver and not any(gpu[key] is not None for key in ("vram_bytes", "kfd_node", "render_node"))
    if gpu["vendor"] == "amd":
        return _hidden_amd(sysroot, gpu, is_whole, is_idle)
    if gpu["vendor"] == "nvidia" and driver and driver != "nvidia":
        return f"{driver} drives it: CUDA needs NVIDIA's own driver.", ["cuda"]
    # In WSL2 Windows has the driver; a copy may have lost the link to one that is there.
    has_driver = sysroot.exists("dev/dxg") or sysroot.exists("proc/driver/nvidia/version")
    if is_idle and is_whole and not has_driver:
        return "No driver holds it: none is loaded that knows it.", every
    return None, []


def _hidden_amd(sysroot: Sysroot, gpu: dict[str, Any], is_whole: bool, is_idle: bool) -> tuple[str | None, list[str]]:
    every, device_id = list(BACKENDS["amd"]), (gpu["pci_id"] or "").partition(":")[2]
    if is_before_gcn(device_id):
        return "The chip is older than GCN (2012): no driver brings Vulkan or ROCm to it.", every
    if gpu["driver"] == "radeon":
        switch = amdgpu_switch(device_id)
        remedy = f": {switch} on the kernel's command line gives it to amdgpu" if switch else ""
        return f"The old radeon driver holds it, without Vulkan and ROCm{remedy}.", every
    if is_idle and is_whole:
        return _no_driver(sysroot, gpu["pci_address"]), every
    shows_kfd = sysroot.exists("sys/class/kfd") or is_whole
    if gpu["kfd_node"] is None and shows_kfd and not is_incomplete(sysroot):
        return _no_kfd_node(sysroot, gpu), ["rocm"]
    # In a container /sys is the host's, /dev is not.
    if sysroot.exists("dev/null"):
        if gpu["render_node"] and not sysroot.exists(gpu["render_node"]):
            return f"{gpu['render_node']} does not exist here: pass /dev/dri to this container.", every
        if gpu["kfd_node"] is not None and not sysroot.exists("dev/kfd"):
            return "/dev/kfd does not exist here: pass /dev/kfd to this container.", ["rocm"]
    return None, []


def _no_driver(sysroot: Sysroot, address: str | None) -> str:
    words = (sysroot.read("proc/cmdline") or "").split()
    kept_out = next((word for word in words if re.search(r"blacklist=(.*,)?amdgpu(,|$)", word)), None)
    if "nomodeset" in words or kept_out:
        return f"No driver holds it: {kept_out or 'nomodeset'} on the kernel's command line keeps amdgpu from it."
    if not sysroot.exists("sys/module/amdgpu"):
        file = _keeps_out(sysroot)
        if not file and _lacks_amdgpu(sysroot):
            return (
                "No driver holds it: this kernel comes without amdgpu. Install the rest of it (Ubuntu: "
                "linux-modules-extra) or a full one (Debian: linux-image-amd64, not -cloud-), and reboot."
            )
        return f"No driver holds it: {f'{file} keeps amdgpu out' if file else 'the amdgpu module is not loaded'}."
    this_boot = kernel_log(sysroot).rpartition("Linux version ")[2]
    missing = MISSING_FIRMWARE.findall(this_boot.rpartition("Fatal error during GPU init")[0])
    if missing:
        return (
            f"amdgpu gave up without the firmware {''.join(missing[-1])}: install the distribution's firmware for AMD "
            "GPUs, rebuild the initramfs and reboot."
        )
    refused = re.search(PROBE.format(re.escape(address)), this_boot) if address else None
    if refused:
        hint = "enable Above 4G Decoding in the BIOS setup" if refused[1] == NO_ROOM else "the lines before say why"
        return f"amdgpu gave up ('{refused[0]}'): {hint}."
    return "No driver holds it though amdgpu is loaded: the kernel or its firmware is older than the card."


def _lacks_amdgpu(sysroot: Sysroot) -> bool:
    """Kernels for clouds have few drivers."""
    release = kernel_release(sysroot)
    lists = [sysroot.read(f"{top}/modules/{release}/modules.dep") for top in ("lib", "usr/lib")]
    known = next((text for text in lists if text), None)
    return known is not None and "/amdgpu.ko" not in known


def _keeps_out(sysroot: Sysroot) -> str | None:
    """The file of modprobe.d that keeps amdgpu from being loaded."""
    for directory in MODPROBE_DIRECTORIES:
        for name in sysroot.listdir(directory):
            text = sysroot.read(f"{directory}/{name}") if name.endswith(".conf") else None
            if re.search(r"^\s*(blacklist\s+amdgpu\s*$|install\s+amdgpu\s+\S*/(false|true))", text or "", re.MULTILINE):
                return f"/{directory}/{name}"
    return None


def _no_kfd_node(sysroot: Sysroot, gpu: dict[str, Any]) -> str:
    if not gpu["gfx"]:
        return "ROCm's kernel interface (KFD) does not know this chip, and gives it no node."
    if not sysroot.exists("sys/class/kfd"):
        return "The kernel has no ROCm interface (/sys/class/kfd): it was built without CONFIG_HSA_AMD, or is not ours."
    device_id = gpu["pci_id"].split(":")[1] if gpu["pci_id"] else ""
    usual = "; a PCIe slot, or a virtual machine's port, without atomics is the usual cause" * (not gpu["integrated"])
    return atomics_reason(kernel_log(sysroot), device_id) or (
        f"The kernel gives it no ROCm node (KFD), and no readable kernel log says why{usual}."
    )


def atomics_reason(log: str, device_id: str) -> str | None:
    """What the last refusal of this device in a kernel log means."""
    refused = [match for match in ATOMICS.finditer(log) if match[1].lower().zfill(4) == device_id]
    if not refused:
        return None
    have, need = refused[-1][2], refused[-1][3]
    line = f"The kernel gives it no ROCm node (KFD) because its PCIe slot has no atomics ('{refused[-1][0]}')"
    if need is None:
        return f"{line}: use a slot of the processor, or Vulkan."
    if int(need) == 0:
        return f"{line}: no firmware helps this chip; use a slot of the processor, or Vulkan."
    if int(have) < int(need):
        return f"{line}: a linux-firmware with MEC firmware {need} or later works without them, this one has {have}."
    return f"{line}."


def kernel_log(sysroot: Sysroot) -> str:
    """As much of the kernel's log as can be read: this boot's ring buffer of this machine, else the files."""
    if os.path.realpath(sysroot.root) == "/":
        ring = _ring_buffer()
        if ring:
            return ring
    return "\n".join(sysroot.read(path, LOG_TAIL) or "" for path in KERNEL_LOGS)


def _ring_buffer() -> str:
    records = []
    try:
        handle = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # not root, or a container
        return ""
    try:
        while True:
            try:
                records.append(os.read(handle, 8192))
            except OSError as error:
                # EPIPE: records were overwritten while we read; the next read goes on after them.
                if error.errno != errno.EPIPE:
                    break
    finally:
        os.close(handle)
    return b"".join(records).decode("utf-8", "replace")
