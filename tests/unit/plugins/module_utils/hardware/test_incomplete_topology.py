# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of trees whose KFD topology lost files: what is missing there is no fact about the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts

from tests.unit.machines import DESKTOP, GIB, KFD, RADEON_780M, Tree, write

BANK = f"heap_type 1\nsize_in_bytes {15 * GIB}\n"
BARE: Tree = {f"{KFD}/1/gpu_id": "59419\n", f"{KFD}/1/mem_banks/0/properties": BANK}
CARD = "sys/class/drm/card0/device"


def gpus(tmp_path: Path, tree: Tree) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gpu_facts(write(tmp_path, tree))["gpus"]
    return found


def desktop_without(*parts: str) -> Tree:
    return {path: text for path, text in DESKTOP.items() if not any(part in path for part in parts)}


def test_the_only_node_is_the_only_cards(tmp_path: Path) -> None:
    (gpu,) = gpus(tmp_path, {**BARE, **RADEON_780M})
    assert (gpu["gfx_source"], gpu["kfd_node"], gpu["hidden_reason"]) == ("ip_discovery", 1, None)
    assert gpu["usable_by_backend"]["rocm"] == 15 * GIB


def test_a_node_goes_to_the_card_that_is_left(tmp_path: Path) -> None:
    found = gpus(tmp_path, {**desktop_without("nodes/1/properties"), **BARE})
    assert [(g["pci_address"], g["kfd_node"]) for g in found] == [("0000:03:00.0", 1), ("0000:12:00.0", 2)]


def trimmed(number: int, gfx: int) -> Tree:
    """The lines that people paste: no device, no place, no render node."""
    return {f"{KFD}/{number}/properties": f"cpu_cores_count 0\nsimd_count 80\ngfx_target_version {gfx}\n"}


def test_the_lines_that_people_paste_belong_to_the_only_card(tmp_path: Path) -> None:
    (gpu,) = gpus(tmp_path, {**trimmed(1, 110003), **RADEON_780M})
    assert (gpu["gfx_source"], gpu["kfd_node"], gpu["pci_id"]) == ("kfd", 1, "1002:15bf")


def test_the_lines_that_people_paste_belong_to_the_card_of_that_architecture(tmp_path: Path) -> None:
    tree = {**desktop_without("nodes/1", "nodes/2"), **trimmed(1, 100306), **trimmed(2, 110001)}
    assert [(g["gfx"], g["kfd_node"]) for g in gpus(tmp_path, tree)] == [("gfx1101", 2), ("gfx1036", 1)]


def test_two_nodes_are_not_guessed(tmp_path: Path) -> None:
    found = gpus(tmp_path, desktop_without(f"{KFD}/0", "nodes/1/properties", "nodes/2/properties"))
    assert [(g["kfd_node"], g["hidden_reason"]) for g in found] == [(None, None), (None, None)]


def test_a_node_without_a_card_is_still_a_gpu(tmp_path: Path) -> None:
    assert [(g["vendor"], g["gfx"], g["kfd_node"]) for g in gpus(tmp_path, BARE)] == [("amd", None, 1)]


def test_module_parameters_beside_a_card_do_not_make_a_whole_sysfs(tmp_path: Path) -> None:
    part: Tree = {f"{CARD}/vendor": "0x1002\n", f"{CARD}/device": "0x1586\n"}
    (gpu,) = gpus(tmp_path, {**part, "sys/module/ttm/parameters/pages_limit": "15630278\n"})
    assert (gpu["gfx"], gpu["hidden_reason"], gpu["hidden_from"]) == ("gfx1151", None, [])


def test_a_processors_node_is_no_gpu(tmp_path: Path) -> None:
    assert gpus(tmp_path, {f"{KFD}/0/gpu_id": "0\n"}) == []


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        ({f"{CARD}/vendor": "0x1002\n", f"{CARD}/class": "0x030000\n"}, "without a PCI id"),
        (BARE, "of KFD node 1"),
    ],
)
def test_a_gpu_without_an_id_is_named_by_what_is_known(tmp_path: Path, tree: Tree, name: str) -> None:
    (warning,) = gpu_facts(write(tmp_path, tree))["warnings"]
    assert f"The AMD GPU {name} is" in warning
