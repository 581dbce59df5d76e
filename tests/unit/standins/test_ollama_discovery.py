# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in finds, drops and masks devices as Ollama 0.30 and later do."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.standins import machine_tree
from tests.standins.ollama.build_releases import base_files, rocm_files
from tests.standins.ollama.engine import discovery, hardware, llama_server
from tests.standins.ollama.engine.environ import Environment

MACHINES = Path(machine_tree.__file__).parent / "machines"


@functools.cache
def archived_files() -> dict[str, bytes]:
    """Both archives, each file no longer than what discovery may read of it."""
    return {name: content[:4096] for name, content in {**base_files("0.32.15"), **rocm_files()}.items()}


class World:
    """A machine whose nodes may be opened, with both archives unpacked and Mesa installed unless told otherwise."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, machine: str) -> None:
        self.root, self.patch = folder / "machine", patch
        description = yaml.safe_load((MACHINES / f"{machine}.yml").read_text())
        machine_tree.write_tree(description, self.root)
        for gpu in description["gpus"]:
            counter = self.root / "standin/counters" / gpu["address"] / "mem_info_vram_used"
            counter.parent.mkdir(parents=True)
            counter.write_text("0\n")
        self.closed: set[str] = set()
        patch.setattr(hardware, "may_open", lambda path: path not in self.closed)
        self.libraries = folder / "lib/ollama"
        for name, content in archived_files().items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.icds = folder / "icds"
        self.add_icd("radeon_icd.json")
        self.add_icd("nvidia_icd.json")

    def add_icd(self, name: str) -> None:
        file = self.icds / "usr/share/vulkan/icd.d" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")

    def discover(self, scenario: dict[str, Any] | None = None, **variables: str) -> list[tuple[str, str, str]]:
        """Library, label and PCI address of each device that survives."""

        def probe(_program: Path, environment: Environment, directory: Path) -> list[dict[str, Any]]:
            child = Environment(discovery.child_environment(environment, directory))
            library = llama_server.backend_of(child.variables["GGML_BACKEND_PATH"])
            machine = hardware.Hardware(child, self.root, self.icds)
            fault = (scenario or {}).get((library or "").lower())
            return json.loads(json.dumps([d.as_dict() for d in llama_server.devices_of(library, machine, fault)]))

        self.patch.setattr(discovery, "probe", probe)
        self.patch.setattr(discovery, "system_memory", lambda: (1, 1))
        found = discovery.discover(Environment(variables), self.libraries, {"discovery_seconds": 0})
        return [(device.library, device.compute, device.address) for device, _directory in found]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    return lambda machine: World(tmp_path, monkeypatch, machine)


CARD, SMALL = "0000:03:00.0", "0000:11:00.0"
APU = "0000:c5:00.0"
TOWER = "0000:28:00.0"


@pytest.mark.parametrize(
    ("machine", "variables", "expected"),
    [
        # ROCm wins over Vulkan for the same card; the small GPU is dropped by rocBLAS and, in Vulkan, as integrated.
        ("desktop", {}, [("ROCm", "gfx1101", CARD)]),
        ("desktop", {"OLLAMA_LLM_LIBRARY": "vulkan"}, [("Vulkan", "0.0", CARD)]),
        ("desktop", {"OLLAMA_LLM_LIBRARY": "cpu"}, []),
        ("desktop", {"OLLAMA_LLM_LIBRARY": "rocm"}, []),
        ("desktop", {"OLLAMA_LLM_LIBRARY": "rocm_v7_2"}, [("ROCm", "gfx1101", CARD)]),
        ("desktop", {"ROCR_VISIBLE_DEVICES": "1", "OLLAMA_VULKAN": "0"}, []),
        ("desktop", {"CUDA_VISIBLE_DEVICES": "1", "OLLAMA_VULKAN": "0"}, []),
        ("desktop", {"CUDA_VISIBLE_DEVICES": "0", "OLLAMA_VULKAN": "0"}, [("ROCm", "gfx1101", CARD)]),
        ("desktop", {"GGML_VK_VISIBLE_DEVICES": "-1", "OLLAMA_LLM_LIBRARY": "vulkan"}, []),
        # One override for two chips: the label of both changes, and the integrated one is still dropped.
        ("desktop", {"HSA_OVERRIDE_GFX_VERSION": "11.0.0", "OLLAMA_VULKAN": "0"}, [("ROCm", "gfx1100", CARD)]),
        ("desktop", {"HSA_OVERRIDE_GFX_VERSION": "gfx1100", "OLLAMA_VULKAN": "0"}, []),
        ("minipc", {}, []),
        ("minipc", {"OLLAMA_IGPU_ENABLE": "1"}, [("Vulkan", "0.0", APU)]),
        ("minipc", {"OLLAMA_IGPU_ENABLE": "off"}, [("Vulkan", "0.0", APU)]),
        ("minipc", {"OLLAMA_IGPU_ENABLE": "1", "OLLAMA_VULKAN": "off"}, [("Vulkan", "0.0", APU)]),
        ("minipc", {"OLLAMA_IGPU_ENABLE": "1", "HSA_OVERRIDE_GFX_VERSION": "11.0.2"}, [("ROCm", "gfx1102", APU)]),
        ("halo", {}, [("ROCm", "gfx1151", "0000:c2:00.0")]),
        ("halo", {"OLLAMA_IGPU_ENABLE": "0"}, []),
        ("halo", {"OLLAMA_LLM_LIBRARY": "vulkan"}, []),
        # rocBLAS still has files for gfx1010: discovery admits it, and loading will fail.
        ("tower", {}, [("ROCm", "gfx1010", TOWER)]),
        ("nvidia", {}, [("CUDA", "8.6", "0000:01:00.0")]),
        ("nvidia", {"CUDA_VISIBLE_DEVICES": "-1", "OLLAMA_VULKAN": "0"}, []),
        ("xeon", {}, []),
    ],
)
def test_devices(world, machine: str, variables: dict[str, str], expected: list[tuple[str, str, str]]) -> None:
    assert world(machine).discover(**variables) == expected


@pytest.mark.parametrize(
    ("machine", "closed", "expected"),
    [
        ("desktop", {"/dev/kfd"}, [("Vulkan", "0.0", CARD)]),
        ("desktop", {"/dev/kfd", "/dev/dri/renderD128", "/dev/dri/renderD129"}, []),
        ("nvidia", {"/dev/nvidia0"}, []),
    ],
)
def test_a_closed_node_is_a_missing_device(world, machine: str, closed: set[str], expected: list[Any]) -> None:
    machine_world = world(machine)
    machine_world.closed = closed
    assert machine_world.discover() == expected


def test_vulkan_needs_its_driver(world) -> None:
    minipc = world("minipc")
    (minipc.icds / "usr/share/vulkan/icd.d/radeon_icd.json").unlink()
    assert minipc.discover(OLLAMA_IGPU_ENABLE="1") == []


def test_without_rocblas_files_nothing_is_filtered(world) -> None:
    minipc = world("minipc")
    for file in minipc.libraries.glob("rocm_v7_2/rocblas/library/*.dat"):
        file.unlink()
    assert minipc.discover(OLLAMA_IGPU_ENABLE="1") == [("ROCm", "gfx1103", APU)]


def test_a_copy_of_a_library_folder_is_probed_too(world) -> None:
    desktop = world("desktop")
    (desktop.libraries / "rocm_v7_2").rename(desktop.libraries / "rocm.bak")
    assert desktop.discover() == [("ROCm", "gfx1101", CARD)]


@pytest.mark.parametrize(
    ("machine", "variables", "line"),
    [
        (
            "minipc",
            {},
            'level=INFO source=runner.go:421 msg="dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1"',
        ),
        (
            "minipc",
            {},
            'msg="dropping ROCm device — no rocblas support for gfx target" device=ROCm0 gfx_target=gfx1103',
        ),
        ("desktop", {"ROCR_VISIBLE_DEVICES": "0"}, 'msg="user overrode visible devices" ROCR_VISIBLE_DEVICES=0'),
        (
            "desktop",
            {},
            'library=ROCm compute=gfx1101 name=ROCm0 description="AMD Radeon RX 7800 XT" libdirs=ollama,rocm_v7_2',
        ),
        ("xeon", {}, 'msg="inference compute" id=cpu library=cpu'),
    ],
)
def test_log(world, machine: str, variables: dict[str, str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    world(machine).discover(**variables)
    assert line in capsys.readouterr().err


def test_kernels_are_fewer_than_rocblas_files(world) -> None:
    folder = world("tower").libraries / "rocm_v7_2"
    assert discovery.rocblas_targets(folder) - llama_server.kernels_in(folder / "libggml-hip.so") == {
        "gfx1010",
        "gfx1012",
    }


def test_denied_by_scenario(world) -> None:
    assert world("desktop").discover({"rocm": "denied", "vulkan": "denied"}) == []


@pytest.mark.parametrize(
    ("version", "name"),
    [(90010, "gfx90a"), (90402, "gfx942"), (100306, "gfx1036"), (110501, "gfx1151"), (101203, "gfx10c3")],
)
def test_gfx_name_is_decimal_then_hexadecimal(version: int, name: str) -> None:
    assert hardware.gfx_name(version) == name
