# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the WSL world need: plays, a person at the simulated Windows, a restart of both."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[3]
SCENARIO = PROJECT / "molecule/wsl"
os.environ.setdefault("LAMPLIGHTER_FLEET", "lamplighter-wsl")
os.environ.setdefault("LAMPLIGHTER_SUBNET", "10.77.65")
os.environ["LAMPLIGHTER_INVENTORY"] = str(SCENARIO / "inventory")


def _fleet_conftest() -> Any:
    spec = importlib.util.spec_from_file_location("fleet_conftest", PROJECT / "molecule/fleet/tests/conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FLEET = _fleet_conftest()
CONTROL = (
    "cd /usr/local/lib/lamplighter && PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1 python3 -m tests.standins.windows.control"
)


class World:
    """The WSL2, its Windows, and plays against the WSL2."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = fleet

    def do(self, command: str) -> str:
        text: str = self.fleet.do("wsl", command)
        return text

    def as_user(self, command: str) -> str:
        """As a session of the user, over SSH, without the environment of the tests."""
        config = str(FLEET.CACHE / "ssh_config")
        done = subprocess.run(["ssh", "-F", config, "wsl", command], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def windows(self, command: str) -> str:
        text: str = self.fleet.do("windows", f"{CONTROL} {command}")
        return text

    def set(self, key: str, value: Any) -> None:
        self.fleet.do("windows", f"{CONTROL} set {key} '{json.dumps(value)}'")

    def restart(self, **windows: str) -> None:
        """Windows starts anew, and its WSL2 with it."""
        self.windows(" ".join(["reboot", *(f"--{name} {value}" for name, value in windows.items())]))
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        name = f"{os.environ['LAMPLIGHTER_FLEET']}-wsl"
        subprocess.run([*sudo, "podman", "restart", "--time=2", name], check=True, capture_output=True)
        end = time.monotonic() + 60
        while self.as_user("systemctl is-system-running --wait") not in ("running", "degraded"):
            assert time.monotonic() < end, self.as_user("systemctl list-jobs")
            time.sleep(0.3)

    def play(self, *arguments: str, playbook: str = "converge", **variables: Any) -> Any:
        path = playbook if playbook.endswith(".yml") else f"molecule/wsl/{playbook}.yml"
        return self.fleet.play({"wsl": variables}, *arguments, playbook=path)

    def tree(self) -> str:
        """Files of the system, but for what changes by itself."""
        lines: str = self.fleet.do("wsl", FLEET.TREE)
        return "\n".join(line for line in lines.splitlines() if "/etc/resolv.conf" not in line)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(FLEET.Fleet(lambda: tmp_path_factory.mktemp("play")))
