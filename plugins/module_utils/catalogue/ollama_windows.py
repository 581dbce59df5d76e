# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Windows host can do for its WSL2 guests, by the architecture of its AMD GPU."""

from __future__ import annotations

SOURCES = {
    "presets": "https://github.com/ollama/ollama/blob/main/llama/server/CMakePresets.json",
    "librocdxg": "https://github.com/ROCm/librocdxg#wsl-compatiblity-matrix",
    "wsl_driver": "https://github.com/unslothai/unsloth/blob/main/scripts/install_rocm_wsl_strixhalo.sh",
}

# ROCm 7 libraries in Ollama for Windows, of the CMake preset for Windows; other AMD GPUs have Vulkan there.
WINDOWS_ROCM = ("gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1150", "gfx1151", "gfx1200", "gfx1201")

# The GPUs of AMD's matrix for WSL2 (through /dev/dxg and librocdxg): RX 7900, 7800 XT, 9060 and 9070, Radeon PRO W7700
# to W7900, AI PRO R9700, Ryzen AI 9 (HX 370, 375, 365) and AI Max. RX 6000, RX 7600 and Radeon 780M are not among them.
WSL_ROCM = ("gfx1100", "gfx1101", "gfx1150", "gfx1151", "gfx1200", "gfx1201")
# AMD's matrix names no first driver; those who install it need this one.
WSL_ROCM_DRIVER = "26.2.2"
