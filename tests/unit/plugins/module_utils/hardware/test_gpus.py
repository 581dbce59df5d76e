# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of real layouts, each trap of detection once."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts

from tests.unit.machines import (
    DESKTOP,
    GIB,
    HOST,
    KFD,
    MINIPC,
    RADEON_780M,
    RX_7800_XT,
    Link,
    Tree,
    cpu_node,
    device_directory,
    drm_card,
    kfd_node,
    pci_device,
    write,
)

MI300X = 0x74A1
CARD = device_directory("0000:64:00.0")


def gpus(tmp_path: Path, tree: Tree, extra: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gpu_facts(write(tmp_path, tree), extra)["gpus"]
    return found


def without(tree: Tree, *parts: str) -> Tree:
    return {path: text for path, text in tree.items() if not any(part in path for part in parts)}


def test_minipc(tmp_path: Path) -> None:
    assert gpus(tmp_path, MINIPC) == [
        {
            "index": 0,
            "vendor": "amd",
            "gfx": "gfx1103",
            "gfx_source": "kfd",
            "product": "AMD Radeon 780M Graphics",
            "pci_id": "1002:15bf",
            "pci_revision": "c1",
            "pci_address": "0000:64:00.0",
            "partition": None,
            "integrated": True,
            "driver": "amdgpu",
            "render_node": "/dev/dri/renderD128",
            "uuid": None,
            "kfd_node": 1,
            "firmware": {"mes": "0x43"},
            "vram_bytes": 4 * GIB,
            "vram_visible_bytes": 4 * GIB,
            "gtt_bytes": 15 * GIB,
            # The memory bank is the GTT, not the carve-out: only Vulkan has both.
            "usable_by_backend": {"rocm": 15 * GIB, "vulkan": 19 * GIB, "cuda": None},
            "usable_bytes": 19 * GIB,
            "hidden_reason": None,
            "hidden_from": [],
        }
    ]


def test_desktop_has_card_and_igpu_and_no_audio(tmp_path: Path) -> None:
    found = gpus(tmp_path, DESKTOP)
    assert [(g["index"], g["gfx"], g["integrated"], g["product"], g["kfd_node"]) for g in found] == [
        (0, "gfx1101", False, "AMD Radeon RX 7800 XT", 1),
        (1, "gfx1036", True, None, 2),
    ]
    assert [g["render_node"] for g in found] == ["/dev/dri/renderD129", "/dev/dri/renderD128"]
    assert found[0]["usable_by_backend"] == {"rocm": 17163091968, "vulkan": 17163091968, "cuda": None}


GFX_SOURCES: list[tuple[str, Tree, str | None, str | None]] = [
    # GC 11.0.1 is not gfx1101, and 11.0.3 is.
    ("ip_discovery of a 780M", {**HOST, **RADEON_780M}, "gfx1103", "ip_discovery"),
    ("ip_discovery of a 7800 XT", {**HOST, **RX_7800_XT}, "gfx1101", "ip_discovery"),
    ("GC link lost", without({**HOST, **RADEON_780M}, "/GC"), "gfx1103", "ip_discovery"),
    (
        "GC as a plain directory",
        {
            **without({**HOST, **RADEON_780M}, "ip_discovery"),
            **{
                f"{CARD}/ip_discovery/die/0/GC/0/{k}": v
                for k, v in (("major", "11"), ("minor", "5"), ("revision", "1"))
            },
        },
        "gfx1151",
        "ip_discovery",
    ),
    ("old kernel: PCI id", without({**HOST, **RADEON_780M}, "ip_discovery"), "gfx1103", "pci_id"),
    ("unknown GC: PCI id", {**HOST, **RADEON_780M, f"{CARD}/ip_discovery/die/0/11/0/major": "13"}, "gfx1103", "pci_id"),
    ("KFD wins over GC", {**MINIPC, f"{CARD}/ip_discovery/die/0/11/0/major": "10"}, "gfx1103", "kfd"),
    ("hexadecimal stepping a", kfd_node(1, 90010, 0x740F, 0x4300), "gfx90a", "kfd"),
    ("hexadecimal stepping c", kfd_node(1, 90012, 0x1638, 0x0400), "gfx90c", "kfd"),
    (
        "kernel of 2018",
        {f"{KFD}/1/properties": "simd_count 256\nvendor_id 4098\ndevice_id 26720\n"},
        "gfx900",
        "pci_id",
    ),
    ("unknown chip", pci_device("0000:03:00.0", "1002:ffff"), None, None),
    ("GCN1", pci_device("0000:03:00.0", "1002:6613", driver="amdgpu"), None, None),
]


@pytest.mark.parametrize(
    ("tree", "gfx", "source"), [row[1:] for row in GFX_SOURCES], ids=[row[0] for row in GFX_SOURCES]
)
def test_gfx_comes_from_the_best_source(tmp_path: Path, tree: Tree, gfx: str | None, source: str | None) -> None:
    assert [(g["gfx"], g["gfx_source"]) for g in gpus(tmp_path, tree)] == [(gfx, source)]


CLASSES = [
    ("0x030000", "1002:15bf", True),
    ("0x030200", "1002:738c", True),  # Instinct as 3D controller
    ("0x038000", "1002:150e", True),  # Strix Point
    ("0x120000", "1002:74a1", True),  # Instinct as accelerator
    ("0x120000", "1dd8:100a", False),  # another maker's accelerator
    ("0x118000", "1022:17f0", False),  # NPU
    ("0x040300", "1002:ab30", False),
    ("0x060000", "1022:14e8", False),
]


@pytest.mark.parametrize(("pci_class", "ids", "is_gpu"), CLASSES)
def test_class_decides_what_a_gpu_is(tmp_path: Path, pci_class: str, ids: str, is_gpu: bool) -> None:
    assert len(gpus(tmp_path, pci_device("0000:c1:00.0", ids, pci_class=pci_class))) == is_gpu


def test_processors_and_other_vendors_nodes_are_no_gpus(tmp_path: Path) -> None:
    nvidia = kfd_node(1, 0, 0x2204, 0x0100, vendor_id=4318, simd_count=64)
    processor = kfd_node(2, 0, 0x1480, 0, simd_count=0)
    assert gpus(tmp_path, {**cpu_node(0), **nvidia, **processor}) == []


def test_only_frame_buffer_banks_are_memory_for_models(tmp_path: Path) -> None:
    other: Tree = {f"{KFD}/1/mem_banks/{n}/properties": f"heap_type {n}\nsize_in_bytes 4096\n" for n in (3, 4)}
    second: Tree = {f"{KFD}/1/mem_banks/1/properties": f"heap_type 2\nsize_in_bytes {8 * GIB}\n"}
    tree = {**kfd_node(1, 110000, 0x744C, 0x0300, 16 * GIB), **second, **other}
    assert gpus(tmp_path, tree)[0]["vram_bytes"] == 24 * GIB


def test_partitions_of_one_card(tmp_path: Path) -> None:
    share = 192 * GIB // 4
    nodes = [kfd_node(1 + p, 90402, MI300X, 0x0500 + p, share, minor=128 + p, num_xcc=2) for p in range(4)]
    card = {
        **pci_device("0000:05:00.0", "1002:74a1", pci_class="0x120000"),
        **drm_card("0000:05:00.0", 0, 128, vram=192 * GIB, gc=(9, 4, 3)),
    }
    found = gpus(tmp_path, {**card, **{path: text for node in nodes for path, text in node.items()}})
    assert [(g["pci_address"], g["partition"], g["kfd_node"], g["render_node"]) for g in found] == [
        ("0000:05:00.0", p, 1 + p, f"/dev/dri/renderD{128 + p}") for p in range(4)
    ]
    assert {(g["vram_bytes"], g["usable_bytes"], g["integrated"]) for g in found} == {(share, share, False)}
    assert {g["driver"] for g in found} == {"amdgpu"}


def test_a_card_has_a_uuid_as_rocr_writes_it(tmp_path: Path) -> None:
    tree = {
        **kfd_node(1, 110001, 0x747E, 0x0300, unique_id=598046273873802902),
        **kfd_node(2, 100306, 0x164E, 0x1200),
        **kfd_node(3, 90402, MI300X, 0x0500, unique_id=7),
        **kfd_node(4, 90402, MI300X, 0x0501, unique_id=7),
    }
    assert [g["uuid"] for g in gpus(tmp_path, tree)] == ["GPU-084cafeae17e7696", None, None, None]


def test_partitions_of_a_topology_alone(tmp_path: Path) -> None:
    nodes = {
        **kfd_node(2, 90402, MI300X, 0x0500),
        **kfd_node(3, 90402, MI300X, 0x0501),
        **kfd_node(4, 90402, MI300X, 0x2600),
    }
    assert [(g["pci_address"], g["partition"]) for g in gpus(tmp_path, nodes)] == [
        ("0000:05:00.0", 0),
        ("0000:05:00.0", 1),
        ("0000:26:00.0", None),
    ]


def test_a_node_without_a_location_has_no_address(tmp_path: Path) -> None:
    (gpu,) = gpus(tmp_path, kfd_node(1, 110003, 0x15BF, 0))
    assert (gpu["pci_address"], gpu["gfx"]) == (None, "gfx1103")


def test_a_virtual_function_is_a_card_of_its_own(tmp_path: Path) -> None:
    nodes = {**kfd_node(1, 90402, MI300X, 0x0502), **kfd_node(2, 90402, MI300X, 0x0503)}
    assert [(g["pci_address"], g["partition"]) for g in gpus(tmp_path, nodes)] == [
        ("0000:05:00.2", None),
        ("0000:05:00.3", None),
    ]


def test_cards_behind_another_pci_domain(tmp_path: Path) -> None:
    tree = {
        **pci_device("0000:03:00.0", "1002:74a1", pci_class="0x120000"),
        **pci_device("0002:03:00.0", "1002:74a1", pci_class="0x120000"),
        **kfd_node(1, 90402, MI300X, 0x0300, domain=2, minor=129),
        **kfd_node(2, 90402, MI300X, 0x0300, domain=0),
    }
    assert [(g["pci_address"], g["kfd_node"]) for g in gpus(tmp_path, tree)] == [
        ("0000:03:00.0", 2),
        ("0002:03:00.0", 1),
    ]


APU_OR_CARD = [
    (90402, 0x74A0, True),  # MI300A
    (90402, 0x74A1, False),
    (110501, 0x1586, True),
    (120000, 0x7590, False),  # its name may be "AMD Radeon Graphics", as of an iGPU
    (100103, 0x13FE, True),
]


@pytest.mark.parametrize(("gfx", "device_id", "integrated"), APU_OR_CARD)
def test_integrated_is_a_matter_of_the_chip(tmp_path: Path, gfx: int, device_id: int, integrated: bool) -> None:
    (gpu,) = gpus(tmp_path, kfd_node(1, gfx, device_id, 0x0300, 16 * GIB))
    assert gpu["integrated"] is integrated
    # The bank of an APU is not its VRAM.
    assert gpu["vram_bytes"] == (None if integrated else 16 * GIB)


def test_a_chip_of_no_table_with_board_information_is_a_card(tmp_path: Path) -> None:
    tree = {
        **pci_device("0000:03:00.0", "1002:ffff"),
        f"{device_directory('0000:03:00.0')}/board_info": "type : oam",
    }
    assert gpus(tmp_path, tree)[0]["integrated"] is False


def test_gtt_above_the_memory_of_the_host_cannot_be_had(tmp_path: Path) -> None:
    tree = {**MINIPC, f"{CARD}/mem_info_gtt_total": str(120 * GIB)}
    assert gpus(tmp_path, tree)[0]["usable_by_backend"]["vulkan"] == 36 * GIB


@pytest.mark.parametrize("text", ["0", "", "unknown", "-"])
def test_unknown_memory_is_null(tmp_path: Path, text: str) -> None:
    tree: Tree = {**HOST, **pci_device("0000:03:00.0", "1002:747e"), **drm_card("0000:03:00.0")}
    tree[f"{device_directory('0000:03:00.0')}/mem_info_vram_total"] = text
    (gpu,) = gpus(tmp_path, tree)
    assert (gpu["vram_bytes"], gpu["usable_bytes"], gpu["gtt_bytes"]) == (None, None, None)


def deny(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """As the kernel does for a device that the cgroup denies; file permissions would not stop root."""
    real = builtins.open

    def refusing(path: Any, *args: Any, **kwargs: Any) -> Any:
        if part in str(path):
            raise PermissionError(1, "Operation not permitted", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refusing)


def test_a_denied_node_is_a_hidden_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, MINIPC)
    deny(monkeypatch, "nodes/1/")
    facts = gpu_facts(root)
    (gpu,) = facts["gpus"]
    assert (gpu["gfx"], gpu["gfx_source"], gpu["kfd_node"]) == ("gfx1103", "ip_discovery", 1)
    assert "cgroup" in gpu["hidden_reason"]
    assert gpu["hidden_from"] == ["rocm", "vulkan"]
    assert any("nodes/1/properties: Operation not permitted" in warning for warning in facts["warnings"])


def test_an_empty_copy_of_a_node_is_hidden_unless_it_is_a_processor(tmp_path: Path) -> None:
    empty: Tree = {f"{KFD}/{n}/properties": "" for n in (0, 1)}
    found = gpus(tmp_path, {**empty, f"{KFD}/0/gpu_id": "0\n", f"{KFD}/1/gpu_id": ""})
    assert [(g["kfd_node"], bool(g["hidden_reason"])) for g in found] == [(1, True)]


def test_a_denied_node_of_two_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, DESKTOP)
    deny(monkeypatch, "topology/nodes/")
    assert [(g["kfd_node"], bool(g["hidden_reason"])) for g in gpu_facts(root)["gpus"]] == [(None, True), (None, True)]


def test_a_denied_node_without_pci_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, {**cpu_node(0), **kfd_node(1, 110003, 0x15BF, 0x6400)})
    deny(monkeypatch, "nodes/1/")
    (gpu,) = gpu_facts(root)["gpus"]
    assert (gpu["gfx"], gpu["kfd_node"], gpu["hidden_from"]) == (None, 1, ["rocm", "vulkan"])


NAVI14: Tree = {**HOST, **cpu_node(), **pci_device("0000:03:00.0", "1002:7340", "c5"), **drm_card("0000:03:00.0")}
POLARIS: Tree = {**HOST, **cpu_node(), **pci_device("0000:03:00.0", "1002:67df", "e7"), **drm_card("0000:03:00.0")}
LOG = "kern.log"
HIDDEN: list[tuple[str, Tree, str, list[str]]] = [
    (
        "atomics, newer firmware helps",
        {**NAVI14, f"var/log/{LOG}": "kfd kfd: amdgpu: skipped device 1002:7340, PCI rejects atomics 123<145\n"},
        "MEC firmware 145 or later",
        ["rocm"],
    ),
    (
        "atomics, nothing helps",
        {**POLARIS, f"var/log/{LOG}": "kfd kfd: amdgpu: skipped device 1002:67df, PCI rejects atomics 730<0\n"},
        "no firmware helps",
        ["rocm"],
    ),
    (
        "atomics, old wording",
        {**POLARIS, "var/log/dmesg": "kfd kfd: skipped device 1002:67df, PCI rejects atomics\n"},
        "use a slot of the processor",
        ["rocm"],
    ),
    (
        "another card's line",
        {**NAVI14, f"var/log/{LOG}": "kfd kfd: amdgpu: skipped device 1002:67df, PCI rejects atomics 730<0\n"},
        "no readable kernel log says why",
        ["rocm"],
    ),
    ("no log", NAVI14, "no readable kernel log says why", ["rocm"]),
    ("kernel without KFD", without(NAVI14, "class/kfd"), "CONFIG_HSA_AMD", ["rocm"]),
    ("chip without KFD", {**HOST, **pci_device("0000:03:00.0", "1002:6613")}, "does not know this chip", ["rocm"]),
    (
        "radeon",
        {**HOST, **pci_device("0000:03:00.0", "1002:67b1", driver="radeon")},
        "radeon driver",
        ["rocm", "vulkan"],
    ),
    ("vfio", {**HOST, **pci_device("0000:03:00.0", "1002:744c", driver="vfio-pci")}, "vfio-pci", ["rocm", "vulkan"]),
    (
        "no driver",
        {**HOST, **pci_device("0000:03:00.0", "1002:7550", driver="")},
        "older than the card",
        ["rocm", "vulkan"],
    ),
    (
        "module not loaded",
        {**without(HOST, "module/amdgpu"), **pci_device("0000:03:00.0", "1002:7550", driver="")},
        "not loaded",
        ["rocm", "vulkan"],
    ),
    (
        "container without the node",
        {**MINIPC, "dev/null": ""},
        "/dev/dri/renderD128 does not exist",
        ["rocm", "vulkan"],
    ),
]


@pytest.mark.parametrize(("tree", "reason", "backends"), [row[1:] for row in HIDDEN], ids=[row[0] for row in HIDDEN])
def test_hidden_reason(tmp_path: Path, tree: Tree, reason: str, backends: list[str]) -> None:
    (gpu,) = gpus(tmp_path, tree)
    assert reason in gpu["hidden_reason"]
    assert gpu["hidden_from"] == backends


def test_a_bare_copy_of_sysfs_hides_nothing(tmp_path: Path) -> None:
    (gpu,) = gpus(tmp_path, RX_7800_XT)
    assert (gpu["hidden_reason"], gpu["render_node"]) == (None, "/dev/dri/renderD129")


UEVENT = "DRIVER=amdgpu\nPCI_CLASS=38000\nPCI_ID=1002:150E\nPCI_SUBSYS_ID=17AA:50DA\nPCI_SLOT_NAME=0000:c4:00.0\n"
MODALIAS = "pci:v00001002d0000150Esv000017AAsd000050DAbc03sc80i00"
COPIES: list[tuple[str, Tree, tuple[str, str | None, str | None]]] = [
    ("uevent alone", {"sys/class/drm/card1/device/uevent": UEVENT}, ("gfx1150", "0000:c4:00.0", "amdgpu")),
    (
        "uevent alone, on the bus",
        {"sys/bus/pci/devices/0000:c4:00.0/uevent": UEVENT},
        ("gfx1150", "0000:c4:00.0", "amdgpu"),
    ),
    (
        "modalias alone, on the bus",
        {"sys/bus/pci/devices/0000:c4:00.0/modalias": MODALIAS},
        ("gfx1150", "0000:c4:00.0", None),
    ),
    ("modalias alone", {"sys/class/drm/card1/device/modalias": MODALIAS}, ("gfx1150", None, None)),
    (
        "ids alone",
        {"sys/class/drm/card1/device/vendor": "0x1002", "sys/class/drm/card1/device/device": "0x150e"},
        ("gfx1150", None, None),
    ),
    (
        "card and render node as plain directories",
        {
            f"sys/class/drm/{name}/device/{key}": value
            for name in ("card0", "renderD128")
            for key, value in (("vendor", "0x1002"), ("device", "0x150e"))
        },
        ("gfx1150", None, None),
    ),
    (
        "plain directories on the bus",
        {
            f"sys/bus/pci/devices/0000:c4:00.0/{k}": v
            for k, v in (("vendor", "0x1002"), ("device", "0x150e"), ("class", "0x038000"))
        },
        ("gfx1150", "0000:c4:00.0", None),
    ),
    (
        "device tree alone",
        without(pci_device("0000:c4:00.0", "1002:150e", pci_class="0x038000"), "sys/bus"),
        ("gfx1150", "0000:c4:00.0", "amdgpu"),
    ),
    (
        "a link that leads nowhere",
        {
            "sys/class/drm/card1/device/vendor": "0x1002",
            "sys/class/drm/card1/device/device": "0x150e",
            "sys/class/drm/card1/device/driver": Link("sys/bus/pci/drivers/amdgpu"),
        },
        ("gfx1150", None, "amdgpu"),
    ),
]


@pytest.mark.parametrize(("tree", "expected"), [row[1:] for row in COPIES], ids=[row[0] for row in COPIES])
def test_copies_of_trees(tmp_path: Path, tree: Tree, expected: tuple[str, str | None, str | None]) -> None:
    (gpu,) = gpus(tmp_path, tree)
    assert (gpu["gfx"], gpu["pci_address"], gpu["driver"]) == expected
    assert gpu["hidden_reason"] is None


AUDIO_ALIAS = "pci:v00001002d0000AB30sv00001002sd0000AB30bc04sc03i00"
NO_GPUS: list[Tree] = [
    {"sys/bus/pci/devices/0000:03:00.1/uevent": "PCI_CLASS=40300\nPCI_ID=1002:AB30\nPCI_SLOT_NAME=0000:03:00.1\n"},
    {"sys/bus/pci/devices/0000:03:00.1/modalias": AUDIO_ALIAS},
    {"sys/bus/pci/devices/0000:03:00.1/uevent": f"MODALIAS={AUDIO_ALIAS}\n"},
    # No class at all: only what the DRM lists is a GPU, and only of vendors that make them.
    {"sys/bus/pci/devices/0000:03:00.1/vendor": "0x1002"},
    {"sys/class/drm/card0/device/vendor": "0x1af4"},
    {"sys/class/drm/card0/device/class": "0x030000"},
]


@pytest.mark.parametrize("tree", NO_GPUS)
def test_copies_of_other_devices(tmp_path: Path, tree: Tree) -> None:
    assert gpus(tmp_path, tree) == []


def test_kfd_and_a_card_without_an_address_are_one(tmp_path: Path) -> None:
    tree: Tree = {
        **kfd_node(1, 110500, 0x150E, 0xC400),
        "sys/class/drm/card1/device/vendor": "0x1002",
        "sys/class/drm/card1/device/device": "0x150e",
    }
    (gpu,) = gpus(tmp_path, tree)
    assert (gpu["kfd_node"], gpu["pci_address"], gpu["driver"]) == (1, "0000:c4:00.0", None)


def test_two_cards_of_one_kind_without_addresses_are_told_apart_by_render_node(tmp_path: Path) -> None:
    cards = {
        f"sys/class/drm/card{n}/device/{key}": value
        for n in (0, 1)
        for key, value in (
            ("vendor", "0x1002"),
            ("device", "0x747e"),
            ("drm/renderD" + str(128 + n) + "/dev", "x"),
            ("mem_info_gtt_total", str(n + 1)),
        )
    }
    nodes = {**kfd_node(1, 110001, 0x747E, 0x0300, minor=129), **kfd_node(2, 110001, 0x747E, 0x0400, minor=128)}
    assert [(g["kfd_node"], g["gtt_bytes"]) for g in gpus(tmp_path, {**cards, **nodes})] == [(1, 2), (2, 1)]


OTHERS: list[tuple[str, str, str, str, bool | None]] = [
    ("0000:01:00.0", "10de:2484", "nvidia", "nvidia", False),
    ("0000:00:02.0", "8086:a780", "i915", "intel", True),
    ("0000:03:00.0", "8086:56a0", "xe", "intel", False),
    ("0000:02:00.0", "1a03:2000", "ast", "other", None),
    # AMD's ids of a Radeon 8060S and of an MI300A, with other makers.
    ("0000:01:00.0", "10de:1586", "nvidia", "nvidia", False),
    ("0000:02:00.0", "1a03:74a0", "ast", "other", None),
]


@pytest.mark.parametrize(("address", "ids", "driver", "vendor", "integrated"), OTHERS)
def test_other_vendors(
    tmp_path: Path, address: str, ids: str, driver: str, vendor: str, integrated: bool | None
) -> None:
    (gpu,) = gpus(tmp_path, {**HOST, **pci_device(address, ids, driver=driver)})
    assert (gpu["vendor"], gpu["integrated"], gpu["gfx"]) == (vendor, integrated, None)
    assert (gpu["hidden_reason"], gpu["hidden_from"]) == (None, [])


NAMES: list[tuple[str, Tree, str | None]] = [
    (
        "revision",
        {"usr/share/libdrm/amdgpu.ids": "# x\n747E,\tC9,\tNot this\n747E,\tE0,\tAMD Radeon New\n"},
        "AMD Radeon New",
    ),
    ("board", {f"{device_directory('0000:03:00.0')}/product_name": "Instinct X\n"}, "Instinct X"),
    (
        "pci.ids",
        {"usr/share/misc/pci.ids": "1001  Other\n\t747e  Wrong\n1002  AMD\n\t747d  No\n\t747e  Navi 32\n1003  U\n"},
        "Navi 32",
    ),
    ("pci.ids of another vendor", {"usr/share/misc/pci.ids": "1002  AMD\n1003  U\n\t747e  Wrong\n"}, None),
]


@pytest.mark.parametrize(("names", "product"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_product_of_a_revision_that_the_catalogue_lacks(tmp_path: Path, names: Tree, product: str | None) -> None:
    assert gpus(tmp_path, {**pci_device("0000:03:00.0", "1002:747e", "e0"), **names})[0]["product"] == product


def test_the_inventory_can_teach_a_chip(tmp_path: Path) -> None:
    extra = {
        "pci_ids": {"ffff": {"gfx": "gfx1300", "products": {"00": "New"}}},
        "arches": {"gfx1300": {"integrated": False, "gc": ["13.0.0"]}},
    }
    (gpu,) = gpus(tmp_path, pci_device("0000:03:00.0", "1002:ffff"), extra)
    assert (gpu["gfx"], gpu["integrated"], gpu["product"]) == ("gfx1300", False, "New")


def test_a_chip_that_nobody_knows_is_a_warning(tmp_path: Path) -> None:
    assert "1002:ffff" in gpu_facts(write(tmp_path, pci_device("0000:03:00.0", "1002:ffff")))["warnings"][0]
