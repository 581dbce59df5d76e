# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts as typed values: what is missing, null or of a wrong type is unknown (None)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue

# Boards of these architectures are accelerators even where the kernel calls them APUs (MI300A).
ACCELERATOR_APUS = ("gfx940", "gfx942")
PCI_VENDORS = {"1002": "amd", "10de": "nvidia", "8086": "intel"}


def whole(value: Any) -> int | None:
    """A count or a size; never a boolean, a text or a negative number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) and value else None


def mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


@dataclass(frozen=True)
class Gpu:
    index: int
    vendor: str
    gfx: str | None
    product: str
    pci_address: str | None
    integrated: bool | None
    vram_bytes: int | None
    gtt_bytes: int | None
    usable_bytes: int | None
    usable_by_backend: dict
    render_node: str | None
    kfd_node: int | None
    uuid: str | None
    driver: str | None
    hidden_reason: str | None
    hidden_from: tuple
    firmware: dict
    # Too old for any engine, and the parameters that give a GCN1 or GCN2 chip to amdgpu.
    before_gcn: bool = False
    amdgpu_switch: str | None = None
    # In the catalogue, be it as one without an architecture for ROCm.
    known_chip: bool = False

    @property
    def name(self) -> str:
        return f"{self.product} ({self.gfx})" if self.gfx else self.product

    @property
    def shares_memory(self) -> bool:
        """An integrated GPU that a discrete card outshines; accelerators are none."""
        return self.integrated is True and self.gfx not in ACCELERATOR_APUS

    def memory(self, backend: str) -> int | None:
        """Bytes that this backend can use on the GPU."""
        own = whole(self.usable_by_backend.get(backend))
        if own is not None:
            return own
        if backend == "vulkan" and self.integrated and self.vram_bytes is not None and self.gtt_bytes is not None:
            return self.vram_bytes + self.gtt_bytes
        return self.usable_bytes if self.usable_bytes is not None else self.vram_bytes


@dataclass(frozen=True)
class Machine:
    platform: str | None
    memory_bytes: int | None
    cpu: dict
    kernel_release: str | None
    cmdline: str
    # What kernel_params has set, and what of it waits for a reboot.
    kernel_parameters: tuple
    memory_module: str | None
    pages_limit: int | None
    amdgpu_version: str | None
    kfd_present: bool | None
    kfd_mode: str | None
    rocm_version: str | None
    rocm_path: str | None
    nvidia_known: bool
    nvidia_driver: str | None
    distribution: dict
    linux_firmware: str | None
    has_render_nodes: bool | None
    gpus_known: bool
    gpus: tuple = field(default_factory=tuple)


def _nameless(vendor: str, pci_id: str | None, integrated: bool | None) -> str:
    maker = {"amd": "AMD ", "nvidia": "NVIDIA ", "intel": "Intel "}.get(vendor, "")
    return f"{maker}{'integrated GPU' if integrated else 'GPU'} {pci_id or ''}".strip()


def _gpu(position: int, raw: dict, extra: dict) -> Gpu:
    pci_id = text(raw.get("pci_id"))
    vendor = text(raw.get("vendor")) or PCI_VENDORS.get((pci_id or "").partition(":")[0], "other")
    gfx, integrated = text(raw.get("gfx")), _flag(raw.get("integrated"))
    device_id = pci_id.lower().split(":")[-1] if pci_id else None
    if vendor == "amd":
        if gfx is None and device_id:
            gfx = (catalogue.pci_device(device_id, text(raw.get("pci_revision")), extra) or {}).get("gfx")
        if integrated is None and gfx:
            integrated = catalogue.is_integrated(gfx, device_id, extra)
    index, hidden_from = whole(raw.get("index")), raw.get("hidden_from")
    return Gpu(
        index=position if index is None else index,
        vendor=vendor,
        gfx=gfx,
        product=text(raw.get("product")) or _nameless(vendor, pci_id, integrated),
        pci_address=text(raw.get("pci_address")),
        integrated=integrated,
        vram_bytes=whole(raw.get("vram_bytes")),
        gtt_bytes=whole(raw.get("gtt_bytes")),
        usable_bytes=whole(raw.get("usable_bytes")),
        usable_by_backend=mapping(raw.get("usable_by_backend")),
        render_node=text(raw.get("render_node")),
        kfd_node=whole(raw.get("kfd_node")),
        uuid=text(raw.get("uuid")),
        driver=text(raw.get("driver")),
        hidden_reason=text(raw.get("hidden_reason")),
        hidden_from=tuple(hidden_from) if isinstance(hidden_from, list) else (),
        firmware=mapping(raw.get("firmware")),
        before_gcn=vendor == "amd" and gfx is None and catalogue.is_before_gcn(device_id, extra),
        amdgpu_switch=catalogue.amdgpu_switch(device_id) if vendor == "amd" else None,
        known_chip=vendor == "amd" and bool(catalogue.pci_device(device_id, None, extra)),
    )


def read_facts(facts: dict, extra: dict) -> Machine:
    """gpu_facts as a Machine; `extra` is the inventory's addition to the catalogue."""
    kernel, nvidia = mapping(facts.get("kernel")), mapping(facts.get("nvidia"))
    raw_gpus = facts.get("gpus")
    gpus = entries(raw_gpus)
    nodes = facts.get("device_nodes")
    paths = [str(mapping(node).get("path")) for node in nodes] if isinstance(nodes, list) else None
    return Machine(
        platform=text(facts.get("platform")),
        memory_bytes=whole(facts.get("memory_bytes")),
        cpu=mapping(facts.get("cpu")),
        kernel_release=text(kernel.get("release")),
        cmdline=text(kernel.get("cmdline")) or "",
        kernel_parameters=tuple(one for one in entries(kernel.get("parameters")) if text(one.get("name"))),
        memory_module=text(kernel.get("memory_module")),
        pages_limit=whole(kernel.get("pages_limit")),
        amdgpu_version=text(kernel.get("amdgpu_version")) or text(facts.get("amdgpu_version")),
        kfd_present=_flag(mapping(facts.get("kfd")).get("present")),
        kfd_mode=text(mapping(facts.get("kfd")).get("mode")),
        rocm_version=text(mapping(facts.get("rocm")).get("version")),
        rocm_path=text(mapping(facts.get("rocm")).get("path")),
        nvidia_known=isinstance(facts.get("nvidia"), dict),
        nvidia_driver=text(nvidia.get("driver_version")),
        distribution=mapping(facts.get("distribution")),
        linux_firmware=text(facts.get("linux_firmware_version")),
        has_render_nodes=None if paths is None else any("renderD" in path for path in paths),
        gpus_known=isinstance(raw_gpus, list),
        gpus=tuple(_gpu(position, raw, extra) for position, raw in enumerate(gpus)),
    )


def rocr_order(machine: Machine) -> list:
    """AMD GPUs as ROCm counts them: in the order of their KFD nodes; by position where no node is known."""
    amd = [gpu for gpu in machine.gpus if gpu.vendor == "amd" and not gpu.hidden_reason]
    with_node = [gpu for gpu in amd if gpu.kfd_node is not None]
    if with_node:
        return sorted(with_node, key=lambda gpu: gpu.kfd_node or 0)
    return [] if machine.kfd_present is False else amd
