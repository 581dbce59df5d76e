# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trees of the fleet's machines have the layout that Linux gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.standins import machine_tree

MACHINES = Path(machine_tree.__file__).parent / "machines"
NAMES = sorted(file.stem for file in MACHINES.glob("*.yml"))


def described(name: str) -> dict[str, Any]:
    return yaml.safe_load((MACHINES / f"{name}.yml").read_text())


def properties(node: Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in node.read_text().splitlines())}


@pytest.mark.parametrize("name", NAMES)
def test_links_stay_inside_the_tree_and_lead_somewhere(name: str, tmp_path: Path) -> None:
    machine_tree.write_tree(described(name), tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_symlink():
            assert path.exists(), path
            assert path.resolve().is_relative_to(tmp_path.resolve()), path


@pytest.mark.parametrize("name", NAMES)
def test_each_gpu_is_the_same_one_in_pci_drm_and_kfd(name: str, tmp_path: Path) -> None:
    machine = described(name)
    machine_tree.write_tree(machine, tmp_path)
    nodes = sorted(tmp_path.glob("sys/class/kfd/kfd/topology/nodes/*"))
    amd = [gpu for gpu in machine.get("gpus", []) if gpu["vendor"] == "amd"]
    assert len(nodes) == (len(amd) + 1 if amd else 0)
    for number, gpu in enumerate(amd):
        node = properties(nodes[number + 1] / "properties")
        device = tmp_path / "sys/class/drm" / f"renderD{node['drm_render_minor']}" / "device"
        assert device.resolve().name == gpu["address"]
        assert (tmp_path / "sys/bus/pci/devices" / gpu["address"]).resolve() == device.resolve()
        assert int((device / "device").read_text(), 16) == node["device_id"]
        bus, slot = gpu["address"].split(":")[1:]
        device_number, function = slot.split(".")
        assert node["location_id"] == int(bus, 16) * 256 + int(device_number, 16) * 8 + int(function)
        assert node["local_mem_size"] == 0


@pytest.mark.parametrize(
    ("name", "pool"),
    [("desktop", "vram"), ("minipc", "gtt"), ("halo", "gtt")],
)
def test_kfd_bank_is_vram_of_a_card_and_gtt_of_an_apu(name: str, pool: str, tmp_path: Path) -> None:
    machine_tree.write_tree(described(name), tmp_path)
    bank = properties(tmp_path / "sys/class/kfd/kfd/topology/nodes/1/mem_banks/0/properties")
    total = int((tmp_path / f"sys/class/drm/card1/device/mem_info_{pool}_total").read_text())
    assert bank["size_in_bytes"] == total


def test_gc_version_is_not_the_gfx_name(tmp_path: Path) -> None:
    machine_tree.write_tree(described("desktop"), tmp_path)
    gc = tmp_path / "sys/class/drm/card1/device/ip_discovery/die/0/GC/0"
    assert [(gc / part).read_text().strip() for part in ("major", "minor", "revision")] == ["11", "0", "3"]
    assert properties(tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties")["gfx_target_version"] == 110001


def test_writing_again_leaves_nothing_of_another_machine(tmp_path: Path) -> None:
    machine_tree.write_tree(described("desktop"), tmp_path)
    machine_tree.write_tree(described("xeon"), tmp_path)
    assert not (tmp_path / "sys/class/kfd").exists()
    assert [link.name for link in (tmp_path / "sys/bus/pci/devices").iterdir()] == ["0000:03:00.0"]


def test_kfd_location_is_bus_device_function(tmp_path: Path) -> None:
    machine = described("desktop")
    machine["gpus"][0]["address"] = "0000:c4:0b.3"
    machine_tree.write_tree(machine, tmp_path)
    location = properties(tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties")["location_id"]
    assert location == 0xC45B
