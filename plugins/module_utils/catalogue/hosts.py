# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels, drivers and firmware that are known to be wrong for an architecture.

A rule speaks when every condition that it names holds on the host; a value that the facts do not
have (null) never makes a rule speak. Conditions:

gfx                  one of these architectures is used
integrated           an integrated GPU is used
backends             the plan's first rung uses one of these
kernel_below         the kernel is older than the line for its flavour (see KERNEL_LINES), or than this version
kernel_from          the kernel is at or after that line
no_dkms, dkms        amdgpu is the kernel's own / comes from amdgpu-dkms
dkms_below           amdgpu-dkms is older than this
firmware             linux-firmware's version begins with one of these dates
firmware_below       linux-firmware is older than this date
mes                  the MES firmware has one of these versions
rocm_below           the ROCm that the engine bundles is older; rocm_from: not older; rocm_is: one of these
engine_from          the engine is at or after this release
usable_from          the GPU can use at least so many bytes

`avoid` names a backend that goes behind Vulkan where the rule speaks; `step` marks what only a person can do.
"""

from __future__ import annotations

from typing import Any

SOURCES = {
    "strix_halo": "https://github.com/ROCm/rocm-docs (docs/reference/system-optimization/rdna3-5.rst)",
    "mes_0x83": "https://github.com/ROCm/ROCm/issues/5724",
    "phoenix": "https://github.com/ROCm/ROCm/issues/5180",
    "krackan": "https://github.com/ROCm/ROCm/issues/5844",
    "rdna4_ga": "https://github.com/ROCm/ROCm/issues/5102",
    "kernel_gc": "https://git.kernel.org (drivers/gpu/drm/amd/amdkfd/kfd_device.c of 6.12 and 7.3)",
    "dkms_apu": "https://github.com/ROCm/ROCm/issues/5562",
    "ollama_linux": "https://github.com/ollama/ollama/blob/main/docs/linux.mdx",
    "vulkan_igpu": "https://github.com/ollama/ollama/issues/18272",
    "matrix": "https://github.com/ROCm/rocm-docs (compatibility matrix, footnotes on Radeon)",
}

# The same correction reached each kind of kernel in another version: Strix Halo's is mainline 7f26af7/7445db6.
KERNEL_LINES: dict[str, dict[str, Any]] = {
    "strix_halo": {
        "mainline": "6.18.4",
        "ubuntu_hwe": "6.17.0-19",
        "ubuntu_oem": "6.14.0-1018",
        # Distributions that carry the correction whatever their kernel's number says.
        "fixed_distributions": {"ubuntu": "26.04", "fedora": "43"},
    },
}

RULES: list[dict[str, Any]] = [
    {
        "code": "strix_halo_kernel",
        "gfx": ["gfx1151"],
        "kernel_below": "strix_halo",
        "message": "Kernel {kernel} lacks the Strix Halo compute fix: ROCm is shaky on it and 7.2.0 fails.",
        "remedy": "Boot a kernel with the fix: 6.18.4 or newer; on Ubuntu 24.04 HWE 6.17.0-19 or OEM 6.14.0-1018.",
        "source": "strix_halo",
    },
    {
        "code": "strix_halo_rocm_fails",
        "gfx": ["gfx1151"],
        "kernel_below": "strix_halo",
        "rocm_is": ["7.2"],
        "avoid": "rocm",
        "message": "ROCm {rocm} in this engine fails on kernel {kernel}.",
        "remedy": "Use Ollama 0.20.7 or newer, and a kernel with the Strix Halo fix (6.18.4).",
        "source": "strix_halo",
    },
    {
        "code": "strix_halo_rocm_too_old",
        "gfx": ["gfx1151"],
        "kernel_from": "strix_halo",
        "rocm_below": "7.2",
        "avoid": "rocm",
        "message": "ROCm {rocm} in this engine does not work on kernel {kernel}: Strix Halo needs 7.2 there.",
        "remedy": "Use Ollama 0.18.0 or newer.",
        "source": "strix_halo",
    },
    {
        "code": "linux_firmware_20251125",
        "gfx": ["gfx1151"],
        "firmware": ["20251125"],
        "message": "linux-firmware {firmware} hangs Strix Halo under compute (MES 0x83).",
        "remedy": "Install linux-firmware 20260110 or newer (or 20251111), rebuild the initramfs and reboot.",
        "step": True,
        "source": "mes_0x83",
    },
    {
        "code": "mes_firmware_0x83",
        "gfx": ["gfx1151"],
        "mes": [0x83],
        "message": "The GPU runs MES firmware 0x83, which hangs Strix Halo under compute (linux-firmware 20251125).",
        "remedy": "Install linux-firmware 20260110 or newer (or 20251111), rebuild the initramfs and reboot.",
        "step": True,
        "source": "mes_0x83",
    },
    {
        "code": "krackan_mes_0x82",
        "gfx": ["gfx1152"],
        "mes": [0x82],
        "kernel_below": "7.0",
        "message": "MES firmware 0x82 is reported to hang on gfx1152; kernel {kernel} cannot recover it.",
        "remedy": "Boot kernel 7.0 or newer, which resets the ring alone, and install the newest linux-firmware.",
        "source": "krackan",
    },
    {
        "code": "phoenix_kernel",
        "gfx": ["gfx1103"],
        "backends": ["rocm"],
        "kernel_below": "6.18.13",
        "message": "ROCm on gfx1103 is reported to hang the MES on kernels before 6.18.13 (this one: {kernel}).",
        "remedy": "Boot kernel 6.18.13 or newer with linux-firmware 20260110 or newer, or use Vulkan.",
        "source": "phoenix",
    },
    {
        "code": "phoenix_firmware",
        "gfx": ["gfx1103"],
        "firmware_below": "20260110",
        "backends": ["rocm"],
        "message": "linux-firmware {firmware} is older than the one that ends the MES hangs of gfx1103.",
        "remedy": "Install linux-firmware 20260110 or newer, rebuild the initramfs and reboot.",
        "step": True,
        "source": "phoenix",
    },
    {
        "code": "rdna4_kernel",
        "gfx": ["gfx1200", "gfx1201"],
        "kernel_below": "6.9",
        "no_dkms": True,
        "message": "Kernel {kernel} does not bind RDNA4 cards (Ubuntu 24.04's 6.8 is known not to).",
        "remedy": "Boot the distribution's newer kernel: on Ubuntu 24.04 linux-generic-hwe-24.04.",
        "source": "rdna4_ga",
    },
    {
        "code": "kernel_too_old_for_gpu",
        "gfx": ["gfx950", "gfx1153", "gfx1154", "gfx1170", "gfx1171", "gfx1250"],
        "kernel_below": "6.13",
        "no_dkms": True,
        "message": "Kernel {kernel} does not know {gfx}: 6.12 lacks it.",
        "remedy": "Boot a kernel newer than 6.12, or install amdgpu-dkms for Instinct.",
        "source": "kernel_gc",
    },
    {
        "code": "dkms_on_apu",
        "integrated": True,
        "dkms": True,
        "message": "amdgpu-dkms {dkms} drives an APU: AMD wants the kernel's own driver there.",
        "remedy": "Remove amdgpu-dkms and reboot; memory limits then belong to ttm, no longer to amdttm.",
        "source": "dkms_apu",
    },
    {
        "code": "driver_older_than_rocm",
        "dkms_below": "6.12",
        "backends": ["rocm"],
        "rocm_from": "7.0",
        "message": "amdgpu-dkms {dkms} is older than ROCm {rocm} in this engine expects: discovery may time out.",
        "remedy": "Install the driver of ROCm 7 (amdgpu-install 30.10 or newer), or use the kernel's own driver.",
        "source": "ollama_linux",
    },
    {
        "code": "vulkan_large_models_on_igpu",
        "integrated": True,
        "backends": ["vulkan"],
        "engine_from": "0.32.12",
        "usable_from": 34359738368,
        "message": "Since Ollama 0.32.12 Vulkan fails on very large models on an integrated GPU.",
        "remedy": "If a large model ends in 'Not enough memory for command submission', use a smaller quantisation.",
        "source": "vulkan_igpu",
    },
]
