# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.filter.gpu_access import FilterModule

NODES = [
    {"path": "/dev/kfd", "gid": 993, "group": None},
    {"path": "/dev/dri/renderD128", "gid": 44, "group": "video"},
    {"path": "/dev/dri/renderD129", "gid": 44, "group": "video"},
    {"path": "/dev/dri/card0", "gid": 0, "group": "root"},
    {"path": "/dev/dri/card1", "gid": None, "group": None},
]
GPUS = [
    {"index": 0, "render_node": "/dev/dri/renderD128"},
    {"index": 1, "render_node": "/dev/dri/renderD129"},
    {"index": 2, "render_node": None},
]
PATHS = [node["path"] for node in NODES]
GROUPS = ["gpu-993", "video"]


@pytest.mark.parametrize(
    ("rung", "nodes", "awaited", "groups", "nameless"),
    [
        ({"backend": "cpu"}, [], [], [], []),
        ({"backend": "rocm", "devices": [1]}, PATHS, ["/dev/kfd", "/dev/dri/renderD129"], GROUPS, [993]),
        ({"backend": "vulkan", "devices": [0, 2]}, PATHS, ["/dev/dri/renderD128"], GROUPS, [993]),
        ({"backend": "cuda", "devices": [0]}, PATHS, [], GROUPS, [993]),
    ],
)
def test_access(
    rung: dict[str, Any], nodes: list[str], awaited: list[str], groups: list[str], nameless: list[int]
) -> None:
    found = FilterModule().filters()["gpu_access"]({"device_nodes": NODES, "gpus": GPUS}, rung, "gpu-")
    assert found == {"nodes": nodes, "awaited": awaited, "groups": groups, "nameless": nameless}


def test_nothing_is_known() -> None:
    found = FilterModule().filters()["gpu_access"]({}, {"backend": "vulkan"}, "gpu-")
    assert found == {"nodes": [], "awaited": [], "groups": [], "nameless": []}
