# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.access import hidden_by_sandbox, may_open
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose

from tests.unit.doctor_hosts import changed, codes


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


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"service": {}, "credentials": {}}, []),
        ({"service": {}, "credentials": {"user": "ollama", "uid": 998, "groups": []}}, ["kfd_permission"]),
        ({"service": {"PrivateDevices": "yes"}, "credentials": {}}, ["sandbox_hides_gpu"]),
    ],
)
def test_what_is_known_of_the_service_is_judged(changes: dict[str, Any], told: list[str]):
    assert codes(changed(changes))[: len(told)] == told
    assert bool(codes(changed(changes))) is bool(told)


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "sudo usermod --append --groups render ollama && sudo systemctl restart ollama"),
        # The group of root, or one without rights, is no way in: udev has to give the node another one.
        ({"gpu_facts.device_nodes.0.gid": 0}, "ansible-playbook site.yml --limit box"),
        ({"gpu_facts.device_nodes.0.mode": "0600"}, "ansible-playbook site.yml --limit box"),
        ({"gpu_facts.device_nodes.0.mode": "0640"}, "ansible-playbook site.yml --limit box"),
    ],
)
def test_the_way_in_is_the_group_that_owns_the_node(changes: dict[str, Any], command: str):
    finding = diagnose(changed({"credentials.groups": [998], **changes}), {}, "box")["findings"][0]
    assert (finding["code"], finding["command"]) == ("kfd_permission", command)


def test_one_closed_node_is_not_called_open():
    fine = diagnose(changed({"gpu_facts.device_nodes.1.gid": 44}))["fine"]
    assert not [text for text in fine if "may open" in text]
