# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue is well formed, agrees with the kernel's own tables, and takes additions of an inventory."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import (
    PCI_IDS,
    arch,
    gfx_from_gc,
    gfx_from_kfd,
    is_integrated,
    pci_device,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import arches as arches_module
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import pci_ids as pci_ids_module
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.schema import ADDITIONS, check_additions
from hypothesis import given
from hypothesis import strategies as st

ARCHES = arches_module.ARCHES
# kgd2kfd_probe of the kernel: what KFD calls each GC IP version.
KERNEL_MAP = {
    "9.0.1": "900", "9.1.0": "902", "9.2.2": "902", "9.2.1": "904", "9.3.0": "90c", "9.4.0": "906", "9.4.1": "908",
    "9.4.2": "90a", "9.4.3": "942", "9.4.4": "942", "9.5.0": "950", "10.1.10": "1010", "10.1.2": "1011",
    "10.1.1": "1012", "10.1.3": "1013", "10.1.4": "1013", "10.3.0": "1030", "10.3.2": "1031", "10.3.4": "1032",
    "10.3.1": "1033", "10.3.5": "1034", "10.3.3": "1035", "10.3.6": "1036", "10.3.7": "1036", "11.0.0": "1100",
    "11.0.3": "1101", "11.0.2": "1102", "11.0.1": "1103", "11.0.4": "1103", "11.5.0": "1150", "11.5.1": "1151",
    "11.5.2": "1152", "11.5.3": "1153", "11.5.4": "1154", "11.5.6": "1154", "11.7.0": "1170", "11.7.1": "1171",
    "12.0.0": "1200", "12.0.1": "1201", "12.1.0": "1250",
}  # fmt: skip
# The kernel's own list of APUs (amdgpu_discovery.c), by GC IP version.
KERNEL_APUS = {
    "9.1.0", "9.2.2", "9.3.0", "10.1.3", "10.1.4", "10.3.1", "10.3.3", "10.3.6", "10.3.7", "11.0.1", "11.0.4",
    "11.5.0", "11.5.1", "11.5.2", "11.5.3", "11.5.4", "11.5.6", "11.7.0", "11.7.1",
}  # fmt: skip
PCI_SAMPLES = [
    ("15bf", None, "gfx1103", True),
    ("747e", "c8", "gfx1101", False),
    ("731f", "c1", "gfx1010", False),
    ("1586", None, "gfx1151", True),
    ("74a0", None, "gfx942", True),
    ("74a1", None, "gfx942", False),
    ("164e", None, "gfx1036", True),
    ("744c", "c8", "gfx1100", False),
]
WRONG: list[tuple[Any, str]] = [
    ([], "inference_catalogue is []: it must be of type object"),
    ({"arch": {}}, "unknown key 'arch': allowed are arches, pci_ids"),
    ({"arches": {"1103": {}}}, "'1103': it must match ^gfx"),
    ({"arches": {"gfx1103\n": {}}}, "it must match ^gfx"),
    ({"arches": {"gfx1103": {"integrated": "no"}}}, "gfx1103.integrated is 'no': it must be of type boolean or null"),
    ({"arches": {"gfx1103": {"kfd_version": True}}}, "kfd_version is True: it must be of type integer"),
    ({"arches": {"gfx1103": {"backend": "cuda"}}}, "allowed are rocm, vulkan, cpu"),
    ({"arches": {"gfx1103": {"override": {"good": {"11.0": "x"}}}}}, "'11.0': it must match"),
    ({"arches": {"gfx1103": {"issues": [""]}}}, "issues[0] is empty"),
    ({"pci_ids": {7480: {}}}, "key 7480, which YAML reads as a int: put it in quotes"),
    ({"pci_ids": {"15BF": {}}}, "'15BF': it must match"),
    ({"pci_ids": {"15bf": {"gfx": "1103"}}}, "pci_ids.15bf.gfx is '1103': it must match"),
]


def test_the_catalogue_fits_its_schema() -> None:
    jsonschema.validate({"arches": ARCHES, "pci_ids": PCI_IDS}, ADDITIONS)
    assert check_additions({"arches": ARCHES, "pci_ids": PCI_IDS}) == []


def test_every_entry_names_known_sources() -> None:
    keys = re.compile(r"[A-Z0-9]+")
    for gfx, entry in ARCHES.items():
        assert entry["sources"], gfx
        assert {s for s in entry["sources"] if keys.fullmatch(s)} <= set(arches_module.SOURCES), gfx
    assert {entry["source"] for entry in PCI_IDS.values()} <= set(pci_ids_module.SOURCES)


def test_every_pci_id_leads_to_a_known_architecture() -> None:
    assert {entry["gfx"] for entry in PCI_IDS.values() if entry["gfx"]} <= set(ARCHES)


def test_no_pci_id_stands_twice() -> None:
    ids = [device_id for devices in pci_ids_module.CHIPS.values() for device_id in devices]
    assert len(ids) == len(set(ids)) == 356


def test_pci_ids_and_architectures_agree_on_integrated() -> None:
    odd = {i for i, e in PCI_IDS.items() if ARCHES.get(e["gfx"], {}).get("integrated") not in (None, e["integrated"])}
    assert odd == set()


def test_a_kfd_version_is_named_as_its_architecture() -> None:
    for gfx, entry in ARCHES.items():
        if "kfd_version" in entry:
            assert gfx_from_kfd(entry["kfd_version"]) == gfx


def test_a_value_is_not_both_good_and_bad() -> None:
    for entry in ARCHES.values():
        override = entry.get("override", {"good": {}, "bad": {}})
        assert not set(override["good"]) & set(override["bad"])


@pytest.mark.parametrize(("gc", "gfx"), KERNEL_MAP.items())
def test_gc_version_by_the_kernels_map(gc: str, gfx: str) -> None:
    assert gfx_from_gc(*map(int, gc.split("."))) == f"gfx{gfx}"


def test_the_catalogue_has_no_gc_version_that_the_kernel_lacks() -> None:
    assert {gc for entry in ARCHES.values() for gc in entry.get("gc", [])} == set(KERNEL_MAP)


@pytest.mark.parametrize("gc", KERNEL_MAP)
def test_integrated_by_the_kernels_list(gc: str) -> None:
    assert is_integrated(f"gfx{KERNEL_MAP[gc]}", "74a1") is (gc in KERNEL_APUS)


@pytest.mark.parametrize(("device_id", "revision", "gfx", "integrated"), PCI_SAMPLES)
def test_pci_samples(device_id: str, revision: str | None, gfx: str, integrated: bool) -> None:
    entry = pci_device(device_id, revision)
    assert (entry["gfx"], entry["integrated"], is_integrated(gfx, device_id)) == (gfx, integrated, integrated)


def test_the_product_is_that_of_the_revision() -> None:
    names = [pci_device("747e", revision).get("product") for revision in ("c8", "ff", "zz", None)]
    assert names == ["AMD Radeon RX 7800 XT", "AMD Radeon RX 7700 XT", None, None]
    assert pci_device("74a0", None)["product"] == pci_device("74a0", "00")["product"]
    assert pci_device("74a0", None)["product"] is not None


def test_what_is_not_known_is_empty() -> None:
    assert (arch("gfx9999"), arch(None), pci_device("ffff"), pci_device(None)) == ({}, {}, {}, {})
    assert is_integrated(None, None) is None
    assert gfx_from_gc(99, 0, 0) is None
    assert [gfx_from_kfd(version) for version in (0, 1, 91700, 90017)] == [None, None, None, None]


def test_additions_add_and_win_field_by_field() -> None:
    extra = {
        "arches": {"gfx1300": {"gc": ["13.0.0"], "integrated": True}, "gfx1103": {"backend": "rocm"}},
        "pci_ids": {"15bf": {"products": {"c1": "Mine"}}},
    }
    assert check_additions(extra) == []
    assert gfx_from_gc(13, 0, 0, extra) == "gfx1300"
    assert is_integrated("gfx1300", None, extra) is True
    assert (arch("gfx1103", extra)["backend"], arch("gfx1103", extra)["kfd_version"]) == ("rocm", 110003)
    assert (pci_device("15bf", "c1", extra)["product"], pci_device("15bf", "c1", extra)["gfx"]) == ("Mine", "gfx1103")


@pytest.mark.parametrize(("additions", "message"), WRONG)
def test_wrong_additions_are_named(additions: Any, message: str) -> None:
    assert message in " ".join(check_additions(additions))


KEYS = st.sampled_from(["arches", "pci_ids", "gfx1103", "15bf", "override", "good", "issues", "gfx", "integrated"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["gfx1103", "rocm", "11.0.2"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_the_check_on_targets_agrees_with_jsonschema(additions: Any) -> None:
    # jsonschema searches a pattern, and $ lets one final newline pass; ours does not.
    valid = jsonschema.Draft202012Validator(ADDITIONS).is_valid(additions)
    assert (check_additions(additions) == []) is valid or "\\n" in repr(additions)


@given(st.integers())
def test_no_number_breaks_the_kfd_name(version: int) -> None:
    assert gfx_from_kfd(version) is None or re.fullmatch("gfx[0-9]{1,2}[0-9a-f]{2}", gfx_from_kfd(version) or "")
