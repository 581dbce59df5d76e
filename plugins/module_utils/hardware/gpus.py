# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of a machine: what PCI shows and what KFD offers, brought together."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import (
    arch,
    gfx_from_gc,
    is_integrated,
    pci_device,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.intel import is_intel_integrated
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.hidden import hidden_reason
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.kfd import KfdNode, read_nodes
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.names import product_name
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.pci import PciGpu, find_gpus
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot, to_int


def read_gpus(
    sysroot: Sysroot, extra: dict[str, Any], memory_bytes: int | None, more: list[PciGpu]
) -> list[dict[str, Any]]:
    """One entry per device that a runtime enumerates, a card or each partition of one, by PCI address."""
    cards = find_gpus(sysroot) + more
    gpus = [_describe(sysroot, extra, memory_bytes, card, node) for card, node in _pair(cards, read_nodes(sysroot))]
    gpus.sort(key=lambda g: (g["pci_address"] is None, g["pci_address"] or "", g["partition"] or 0, g["kfd_node"] or 0))
    return [{"index": index, **gpu} for index, gpu in enumerate(gpus)]


def _pair(cards: list[PciGpu], nodes: list[KfdNode]) -> list[tuple[PciGpu | None, KfdNode | None]]:
    """Which KFD nodes belong to which card. Nodes without a card, and cards without a node, stand alone."""
    pairs: list[tuple[PciGpu | None, KfdNode | None]] = []
    amd = [card for card in cards if card.vendor == "amd"]
    alone = list(amd)
    hidden = [node for node in nodes if node.hidden]
    for node in sorted(nodes, key=lambda node: node.is_bare):
        if not node.hidden:
            card = _card_of(node, amd, alone)
            if card or not (amd and node.is_bare):
                pairs.append((card, node))
            alone = [c for c in alone if c is not card]
    others: list[tuple[PciGpu | None, KfdNode | None]] = [(card, None) for card in cards if card.vendor != "amd"]
    if not alone:
        # A tree without the PCI devices: a hidden node is still a GPU.
        return pairs + others + [(None, node) for node in hidden]
    # A hidden node tells nothing of itself: only where one node and one card are left is it clear whose it is.
    denied = None if not hidden else hidden[0] if len(hidden) == len(alone) == 1 else KfdNode(-1, hidden=True)
    return pairs + others + [(card, denied) for card in alone]


def _card_of(node: KfdNode, cards: list[PciGpu], alone: list[PciGpu]) -> PciGpu | None:
    """By address, else by render node, else the only card left of the same device id."""
    for slot in (node.slot, f"{node.slot[:-1]}0" if node.slot else None):
        at_slot = [
            card
            for card in cards
            if slot
            and card.address
            and card.address.endswith(f":{slot}")
            and node.device_id in (None, card.device_id)
            and node.domain in (None, int(card.address.split(":")[0], 16))
        ]
        if at_slot:
            return at_slot[0]
    if node.render_minor:
        at_minor = [card for card in alone if card.render_minor == node.render_minor]
        if at_minor:
            return at_minor[0]
    if node.device_id is None and node.location is None:
        like = [card for card in alone if node.gfx and pci_device(card.device_id).get("gfx") == node.gfx]
        return alone[0] if len(alone) == 1 else like[0] if len(like) == 1 else None
    same = [card for card in alone if card.device_id == node.device_id and not (card.address and node.location)]
    return same[0] if len(same) == 1 else None


def _describe(
    sysroot: Sysroot, extra: dict[str, Any], memory_bytes: int | None, card: PciGpu | None, node: KfdNode | None
) -> dict[str, Any]:
    vendor = card.vendor if card else "amd"
    device_id = card.device_id if card else (node.device_id if node else None)
    gfx, gfx_source = _gfx(sysroot, extra, card, node, device_id) if vendor == "amd" else (None, None)
    integrated = _integrated(sysroot, extra, card, gfx, device_id)
    minor = node.render_minor if node and node.render_minor else card.render_minor if card else None
    gpu: dict[str, Any] = {
        "vendor": vendor,
        "gfx": gfx,
        "gfx_source": gfx_source,
        "product": product_name(sysroot, extra, card, device_id),
        "pci_id": f"{card.vendor_id if card else '1002'}:{device_id}" if device_id else None,
        "pci_revision": card.revision if card else None,
        "pci_address": (card.address if card else None) or _address_of(node),
        "partition": node.partition if node else None,
        "integrated": integrated,
        "driver": card.driver if card else None,
        "render_node": f"/dev/dri/renderD{minor}" if minor else None,
        # ROCr's way to write it; APUs have none, and partitions share it.
        "uuid": f"GPU-{node.unique_id:016x}" if node and node.unique_id and node.partition is None else None,
        "kfd_node": node.node if node and node.node >= 0 else None,
        "firmware": _firmware(sysroot, card),
        **_memory(sysroot, card, node, integrated, memory_bytes, arch(gfx, extra).get("graphics", True)),
    }
    gpu["hidden_reason"], gpu["hidden_from"] = hidden_reason(sysroot, gpu, bool(node and node.hidden))
    return gpu


def _gfx(
    sysroot: Sysroot, extra: dict[str, Any], card: PciGpu | None, node: KfdNode | None, device_id: str | None
) -> tuple[str | None, str | None]:
    """The silicon, by the order of trust: KFD, the GC version through the kernel's map, the PCI id."""
    gc = _gc_version(sysroot, card)
    for gfx, source in (
        (node.gfx if node else None, "kfd"),
        (gfx_from_gc(*gc, extra) if gc else None, "ip_discovery"),
        (pci_device(device_id, None, extra).get("gfx"), "pci_id"),
    ):
        if gfx:
            return gfx, source
    return None, None


def _gc_version(sysroot: Sysroot, card: PciGpu | None) -> tuple[int, int, int] | None:
    """The graphics core's IP version: GC is a link to its hardware id, 11, and missing from some copies."""
    dies = f"{card.directory}/ip_discovery/die" if card else ""
    if not card or not sysroot.exists(dies):
        return None
    for die in sysroot.listdir(dies):
        for block in ("GC", "11"):
            for instance in sysroot.listdir(f"{dies}/{die}/{block}"):
                path = f"{dies}/{die}/{block}/{instance}"
                parts = [sysroot.read_int(f"{path}/{name}") for name in ("major", "minor", "revision")]
                if None not in parts:
                    return tuple(part for part in parts if part is not None)  # type: ignore[return-value]
    return None


def _integrated(
    sysroot: Sysroot, extra: dict[str, Any], card: PciGpu | None, gfx: str | None, device_id: str | None
) -> bool | None:
    if card and card.vendor == "nvidia":
        return False
    if card and card.vendor == "intel":
        return is_intel_integrated(card.device_id, card.address)
    if card and card.vendor == "other":
        return None
    known = is_integrated(gfx, device_id, extra)
    if known is None and card:
        # A chip that no table knows: only cards have board information, or VRAM of a named maker.
        maker = sysroot.read(f"{card.directory}/mem_info_vram_vendor")
        if sysroot.exists(f"{card.directory}/board_info") or maker not in (None, "", "unknown"):
            return False
    return known


def _memory(
    sysroot: Sysroot,
    card: PciGpu | None,
    node: KfdNode | None,
    integrated: bool | None,
    memory_bytes: int | None,
    graphics: bool,
) -> dict[str, Any]:
    """Vulkan uses carve-out and GTT of an APU; ROCm what the KFD bank says, which on most APUs is the GTT alone."""

    def total(name: str) -> int | None:
        return sysroot.read_int(f"{card.directory}/mem_info_{name}_total") if card else None

    bank = node.bank_bytes if node else None
    is_partition = node is not None and node.partition is not None
    vram = total("vram") or None
    if integrated is False and bank and (is_partition or vram is None):
        vram = bank
    gtt = total("gtt") or None
    if integrated:
        # GTT is the host's memory: more than there is cannot be had, whatever the parameter says.
        shared = min(gtt, memory_bytes) if gtt and memory_bytes else gtt
        by_backend = {"rocm": bank, "vulkan": vram + shared if vram and shared else None, "cuda": None}
    else:
        is_amd = card is None or card.vendor == "amd"
        by_backend = {"rocm": bank or vram if is_amd else None, "vulkan": vram, "cuda": None}
    if not graphics:
        by_backend["vulkan"] = None
    return {
        "vram_bytes": vram,
        "vram_visible_bytes": total("vis_vram") or None,
        "gtt_bytes": gtt,
        "usable_by_backend": by_backend,
        "usable_bytes": max((value for value in by_backend.values() if value), default=None),
    }


def _firmware(sysroot: Sysroot, card: PciGpu | None) -> dict[str, str]:
    """Versions of the loaded firmware by engine, without leading zeros; 0 is one that the chip does not load."""
    if not card or card.vendor != "amd":
        return {}
    directory = f"{card.directory}/fw_version"
    names = [name for name in sysroot.listdir(directory) if name.endswith("_fw_version")]
    versions = {re.sub("_fw_version$", "", name): to_int(sysroot.read(f"{directory}/{name}")) for name in names}
    return {name: hex(version) for name, version in versions.items() if version}


def _address_of(node: KfdNode | None) -> str | None:
    """The card's address, from the topology alone; kernels of 2018 leave out the domain, which was 0 then."""
    if not node or not node.slot or not node.location:
        return None
    slot = node.slot if node.partition is None else f"{node.slot[:-1]}0"
    return f"{node.domain or 0:04x}:{slot}"
