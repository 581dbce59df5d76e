# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama import (
    CHANGES,
    FIRST_KNOWN,
    NEWEST_KNOWN,
    SOURCES,
    reached,
    release,
    releases_with,
    version_key,
)

IN_ORDER = [
    "0.1.29",
    "0.1.30",
    "0.2.6",
    "0.9.4",
    "0.12.11",
    "0.30.0-rc1",
    "0.30.0",
    "0.33.0-rc2",
    "0.33.0-rc10",
    "0.33.0",
]


def test_releases_are_ordered_by_number_and_candidates_come_first():
    assert sorted([*IN_ORDER[5:], *IN_ORDER[:5]], key=version_key) == IN_ORDER


@pytest.mark.parametrize(
    "text", ["", "v0.32.15", "latest", "0.32", "0.32.15.1", "0.32.15 ", "0.32.15-beta", "0.3²2.15", "0.32.15\n"]
)
def test_what_is_no_release_is_refused_with_what_to_write(text: str):
    with pytest.raises(ValueError, match=r"no Ollama release.*0\.32\.15"):
        version_key(text)


def test_a_candidate_already_behaves_as_its_release():
    assert reached("0.30.0-rc1", "0.30.0")
    assert not reached("0.24.0", "0.30.0")


# version: architectures that are in the ROCm build, and that are not
ARCHITECTURES = [
    ("0.1.29", {"gfx900", "gfx906", "gfx1010", "gfx1030", "gfx1102"}, {"gfx1151", "gfx1200", "gfx1103"}),
    ("0.6.1", {"gfx900"}, {"gfx1151"}),
    ("0.6.2", {"gfx1151"}, {"gfx1201"}),
    ("0.6.4", {"gfx1200", "gfx1201"}, {"gfx950"}),
    ("0.12.3", {"gfx900", "gfx906"}, set()),
    ("0.12.4", {"gfx908", "gfx1010"}, {"gfx900", "gfx906"}),
    ("0.17.7", {"gfx940", "gfx941", "gfx942"}, {"gfx950", "gfx1103", "gfx1150"}),
    ("0.18.0", {"gfx950", "gfx1103", "gfx1150"}, {"gfx940", "gfx941"}),
    ("0.31.1", {"gfx1010", "gfx1012", "gfx1103"}, {"gfx1031"}),
    ("0.31.2", {"gfx1030", "gfx1150", "gfx1151"}, {"gfx1010", "gfx1012", "gfx1103"}),
]


@pytest.mark.parametrize(("version", "inside", "outside"), ARCHITECTURES)
def test_the_architectures_of_a_build(version: str, inside: set, outside: set):
    gfx = set(release(version)["gfx"])
    assert inside <= gfx
    assert not outside & gfx


def test_the_build_that_is_installed_by_default():
    instinct, radeon = {"gfx908", "gfx90a", "gfx942", "gfx950"}, {"gfx1030", "gfx1100", "gfx1101", "gfx1102"}
    newest = {"gfx1150", "gfx1151", "gfx1200", "gfx1201"}
    assert set(release("0.32.15")["gfx"]) == instinct | radeon | newest


BEHAVIOUR = [
    ("0.3.6", {"archive": "binary", "rocm": "6.1.2", "vulkan": "absent", "log": "classic"}),
    ("0.3.7", {"archive": "tgz"}),
    ("0.5.8", {"rocm_library": "rocm"}),
    ("0.9.4", {"checksums": False}),
    ("0.12.3", {"rocm": "6.3.3", "log": "classic", "library_by_folder": False}),
    ("0.12.4", {"log": "go", "library_by_folder": True, "igpu": "used"}),
    ("0.12.6", {"vulkan": "source_only", "vulkan_library": None}),
    ("0.12.11", {"vulkan": "opt_in", "checksums": True, "vulkan_library": "vulkan"}),
    ("0.13.5", {"archive": "tgz"}),
    ("0.14.0", {"archive": "tar.zst"}),
    ("0.18.0", {"rocm": "7.2"}),
    ("0.20.7", {"rocm": "7.2.1"}),
    ("0.24.0", {"vulkan": "opt_in", "igpu": "used", "rocm_library": "rocm", "log": "go"}),
    ("0.30.0", {"vulkan": "default", "igpu": "dropped", "igpu_admitted": [], "rocm_library": "rocm_v7_2"}),
    ("0.30.2", {"igpu_admitted": ["gfx1151"], "nvidia_driver_minimum": None}),
    ("0.30.11", {"nvidia_driver_minimum": 550}),
    ("0.32.15", {"archive": "tar.zst", "log": "llama_server", "newer_than_known": False}),
]


@pytest.mark.parametrize(("version", "expected"), BEHAVIOUR)
def test_the_behaviour_of_a_release(version: str, expected: dict):
    known = release(version)
    assert {key: known[key] for key in expected} == expected


def test_a_newer_release_behaves_as_the_newest_known_and_says_so():
    newer, newest = release("0.35.1"), release(NEWEST_KNOWN)
    assert newer["newer_than_known"]
    assert not newest["newer_than_known"]
    assert newer["gfx"] == newest["gfx"]


def test_an_older_release_behaves_as_the_oldest_known_and_says_so():
    assert release("0.1.10")["older_than_known"]
    assert release("0.1.10")["gfx"] == release(FIRST_KNOWN)["gfx"]


def test_when_an_architecture_came_and_went():
    assert releases_with("gfx1103") == {"since": "0.18.0", "until": "0.31.2"}
    assert releases_with("gfx1151") == {"since": "0.6.2", "until": None}
    assert releases_with("gfx1031") == {"since": None, "until": None}
    assert release("0.32.15")["gfx_dropped"]["gfx1010"]["since"] == "0.31.2"


def test_every_change_has_a_source_and_stands_in_order():
    keys = [version_key(since) for since, _change, _source in CHANGES]
    assert keys == sorted(keys)
    assert all(SOURCES[source].startswith("https://") for _since, _change, source in CHANGES)
