# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.listener import unit_of

# What /proc/PID/cgroup says, and the unit.
CGROUPS: list[tuple[str, str | None]] = [
    ("0::/system.slice/ollama.service\n", "ollama.service"),
    ("9:name=systemd:/\n8:pids:/\n0::/system.slice/llama-server-chat.service\n", "llama-server-chat.service"),
    (
        "12:rdma:/\n11:devices:/system.slice/x.service\n1:name=systemd:/system.slice/ollama.service\n",
        "ollama.service",
    ),
    ("0::/system.slice/ollama.service/runner\n", "ollama.service"),
    ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service\n", "user@1000.service"),
    ("0::/system.slice/docker-1234.scope\n", "docker-1234.scope"),
    ("0::/\n", None),
    ("0::/init\n", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "unit"), CGROUPS)
def test_unit_of_a_process(text: str, unit: str | None) -> None:
    assert unit_of(text) == unit
