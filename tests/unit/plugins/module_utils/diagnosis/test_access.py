# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.access import hidden_by_sandbox, may_open


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "may"),
    [
        ("0000", 0, [], True),
        ("0660", 998, [104], True),
        ("0660", 998, [44], False),
        ("0640", 998, [104], False),
        ("0606", 998, [104], False),  # the group's own rights count for its members, not those of all
        ("0666", 998, [], True),
        ("0664", 998, [], False),
        ("0600", 5, [], True),
        ("0400", 5, [104], False),
        ("0066", 5, [104], False),
    ],
)
def test_owner_group_and_mode_decide(mode: str, uid: int, groups: list[int], may: bool):
    assert may_open({"uid": 5, "gid": 104, "mode": mode}, uid, groups) is may


@pytest.mark.parametrize(
    ("path", "service", "hidden"),
    [
        ("/dev/kfd", {}, None),
        ("/dev/kfd", {"PrivateDevices": "yes"}, "PrivateDevices=yes"),
        ("/dev/kfd", {"PrivateDevices": "no", "DevicePolicy": "auto", "DeviceAllow": []}, None),
        ("/dev/kfd", {"DevicePolicy": "auto", "DeviceAllow": ["char-drm rw"]}, "DevicePolicy=auto without"),
        ("/dev/kfd", {"DevicePolicy": "closed", "DeviceAllow": ["char-kfd rw", ""]}, None),
        ("/dev/dri/renderD128", {"DevicePolicy": "strict", "DeviceAllow": ["/dev/dri/renderD128 rw"]}, None),
        ("/dev/dri/renderD128", {"DevicePolicy": "closed", "DeviceAllow": ["/dev/kfd rw"]}, "DevicePolicy=closed"),
        ("/dev/dxg", {"DevicePolicy": "closed", "DeviceAllow": ["/dev/dxg rw"]}, None),
    ],
)
def test_the_sandbox_of_a_unit(path: str, service: dict[str, Any], hidden: str | None):
    found = hidden_by_sandbox(path, service)
    assert found is None if hidden is None else str(found).startswith(hidden)
