# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Windows host can do for its WSL2 guests, by the architecture of its AMD GPU."""

from __future__ import annotations

SOURCES = {
    "presets": "https://github.com/ollama/ollama/blob/main/llama/server/CMakePresets.json",
    "wsl": "https://rocm.docs.amd.com/projects/radeon-ryzen/en/latest/docs/compatibility/compatibilityrad/wsl/wsl_compatibility.html",
    "librocdxg": "https://github.com/ROCm/librocdxg",
}

# ROCm 7 libraries in Ollama for Windows, of the CMake preset for Windows; other AMD GPUs have Vulkan there.
WINDOWS_ROCM = ("gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1150", "gfx1151", "gfx1200", "gfx1201")

# GPUs that AMD supports inside WSL2, through /dev/dxg and librocdxg.
WSL_ROCM = ("gfx1100", "gfx1101", "gfx1150", "gfx1151", "gfx1200", "gfx1201")
WSL_ROCM_DRIVER = "26.2.2"
