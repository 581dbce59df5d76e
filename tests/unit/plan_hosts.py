# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of machines, as gpu_facts returns them, for the tests of the plan."""

from __future__ import annotations

from typing import Any

GIB = 1024**3


def amd(gfx: str | None, vram: float, *, at: int = 0, node: int | None = -1, integrated: bool = False, **more: Any):
    """One AMD GPU; `node` -1 gives it the KFD node after its place."""
    gtt = more.pop("gtt", 15.5)
    return {
        "index": at,
        "vendor": "amd",
        "gfx": gfx,
        "gfx_source": "kfd" if gfx else None,
        "product": more.pop("product", f"AMD {gfx}"),
        "pci_id": "1002:0000",
        "pci_revision": "c8",
        "pci_address": f"0000:0{at + 3}:00.0",
        "integrated": integrated,
        "vram_bytes": int(vram * GIB),
        "vram_visible_bytes": None,
        "gtt_bytes": int(gtt * GIB),
        "usable_bytes": int((vram + gtt if integrated else vram) * GIB),
        "render_node": f"/dev/dri/renderD{128 + at}",
        "kfd_node": at + 1 if node == -1 else node,
        "driver": "amdgpu",
        "hidden_reason": None,
        **more,
    }


def other(vendor: str, *, at: int = 0, vram: float | None = 8, **more: Any) -> dict[str, Any]:
    """A GPU of another vendor."""
    drivers = {"nvidia": "nvidia", "intel": "i915"}
    return {
        "index": at,
        "vendor": vendor,
        "gfx": None,
        "product": more.pop("product", f"{vendor} GPU"),
        "pci_id": "10de:2484",
        "pci_address": f"0000:0{at + 3}:00.0",
        "integrated": more.pop("integrated", False),
        "vram_bytes": None if vram is None else int(vram * GIB),
        "gtt_bytes": None,
        "usable_bytes": None if vram is None else int(vram * GIB),
        "render_node": f"/dev/dri/renderD{128 + at}",
        "kfd_node": None,
        "driver": drivers.get(vendor),
        "hidden_reason": None,
        **more,
    }


def machine(*gpus: dict[str, Any], ram: float = 32, **more: Any) -> dict[str, Any]:
    """The facts of a host with these GPUs."""
    kernel = {"release": "6.18.13-amd64", "cmdline": "quiet", "memory_module": "ttm", "pages_limit": None}
    kernel.update(more.pop("kernel", {}))
    has_amd = any(gpu["vendor"] == "amd" for gpu in gpus)
    return {
        "platform": "bare_metal",
        "memory_bytes": int(ram * GIB),
        "cpu": {"model": "A processor", "physical_cores": 8, "logical_cores": 16, "flags": ["avx2"]},
        "kernel": kernel,
        "kfd": {"present": has_amd, "group": "render", "gid": 104, "mode": "0660"},
        "rocm": {"version": None, "path": None},
        "nvidia": {"driver_version": more.pop("nvidia_driver", None)},
        "gpus": list(gpus),
        "warnings": [],
        **more,
    }


def minipc() -> dict[str, Any]:
    return machine(amd("gfx1103", 8, gtt=11.5, integrated=True, product="Radeon 780M"), ram=23)


def desktop() -> dict[str, Any]:
    return machine(
        amd("gfx1101", 16, product="Radeon RX 7800 XT"),
        amd("gfx1036", 0.5, at=1, integrated=True, product="Radeon Graphics"),
    )


def tower() -> dict[str, Any]:
    return machine(amd("gfx1010", 8, product="Radeon RX 5700 XT"))


def halo(**kernel: Any) -> dict[str, Any]:
    return machine(amd("gfx1151", 0.5, gtt=62.5, integrated=True, product="Radeon 8060S"), ram=125, kernel=kernel)


def nvidia(driver: str | None = "580.95", **more: Any) -> dict[str, Any]:
    return machine(other("nvidia", product="GeForce RTX 3070", **more), nvidia_driver=driver)


def xeon() -> dict[str, Any]:
    return machine(ram=64)


def wsl() -> dict[str, Any]:
    return machine(platform="wsl2", ram=16)
