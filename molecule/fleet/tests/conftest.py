# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fleet's tests need: plays with variables per host, their results, a mirror that misbehaves on demand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parents[3]
CACHE = PROJECT / ".cache/fleet" / os.environ.get("LAMPLIGHTER_FLEET", "lamplighter")
GATEWAY = os.environ.get("LAMPLIGHTER_SUBNET", "10.77.61") + ".1"
INVENTORY = os.environ.get("LAMPLIGHTER_INVENTORY", "inventories/demo")
RECORDS = Path(os.environ.get("LAMPLIGHTER_RECORDS", CACHE / "records"))
# The last task of the play.
END = "The host is proven"
SCENARIO = "/etc/standin-ollama/scenario.json"
# Everything that says what is installed and how, but not what only a running system writes.
TREE = r"find /etc /opt /usr/local -xdev -printf '%p %y %m %u %g %l\n' -type f -exec sha256sum {} + | sort"


@dataclass
class Run:
    """One ansible-playbook: how it ended, what it said, and the results of every task."""

    output: str = ""
    code: int | None = None
    results: list[dict[str, Any]] = field(default_factory=list)

    def of(self, host: str, **wanted: Any) -> list[dict[str, Any]]:
        return [
            result
            for result in self.results
            if result["host"] == host and all(result.get(key) == value for key, value in wanted.items())
        ]

    def changed(self, host: str) -> list[str]:
        return [result["task"] for result in self.of(host, changed=True)]

    def failed(self, host: str) -> list[str]:
        """The messages with which the host stopped; one that a later one repeats counts once."""
        said = [str(result["msg"]) for result in self.of(host, status="failed") if result["task"] != END]
        return [message for at, message in enumerate(said) if not any(message in later for later in said[at + 1 :])]

    def end(self, host: str) -> str:
        """What the play says of the host when all is over; nothing if all is well."""
        return "".join(str(result["msg"]) for result in self.of(host, status="failed", task=END))


def read_records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


class Play:
    """A running ansible-playbook."""

    def __init__(self, folder: Path, hosts: dict[str, dict[str, Any]], playbook: str, arguments: tuple[str, ...]):
        self.folder = folder
        inventory = folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        inventories = [f"--inventory={INVENTORY}", f"--inventory={inventory}"]
        self.output = folder / "output"
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "records",
            "LAMPLIGHTER_RECORDS": str(folder),
        }
        self.process = subprocess.Popen(
            ["ansible-playbook", *inventories, f"--limit={','.join(hosts)}", *arguments, playbook],
            cwd=PROJECT,
            env=environment,
            stdout=self.output.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def results(self) -> list[dict[str, Any]]:
        return [result for path in self.folder.glob("*.jsonl") for result in read_records(path)]

    def wait(self) -> Run:
        code = self.process.wait(timeout=1200)
        return Run(self.output.read_text(), code, self.results())

    def kill(self) -> None:
        """No chance to tidy up, for none of its processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Fleet:
    def __init__(self, folder: Callable[[], Path]):
        self.folder = folder

    @staticmethod
    @cache
    def machine(name: str) -> Host:
        return testinfra.get_host(f"ssh://{name}", ssh_config=str(CACHE / "ssh_config"), controlpersist=60, sudo=True)

    def do(self, name: str, command: str) -> str:
        return self.machine(name).check_output("sh -c %s", command)

    def on(self, names: Any, action: Callable[[str], Any]) -> dict[str, Any]:
        with ThreadPoolExecutor() as pool:
            return dict(zip(names, pool.map(action, names), strict=True))

    def trees(self, names: Any) -> dict[str, str]:
        return self.on(names, lambda name: self.do(name, TREE))

    def scenarios(self, wanted: dict[str, dict[str, Any] | None]) -> None:
        """What goes wrong on each host from the next start on; None for nothing."""

        def set_one(name: str) -> None:
            folder = os.path.dirname(SCENARIO)
            self.do(name, f"mkdir -p {folder}; echo '{json.dumps(wanted[name] or {})}' > {SCENARIO}")

        self.on(wanted, set_one)

    def start(self, hosts: dict[str, dict[str, Any]] | Any, *arguments: str, playbook: str = "site.yml") -> Play:
        variables = hosts if isinstance(hosts, dict) else {name: {} for name in hosts}
        return Play(self.folder(), variables, playbook, arguments)

    def play(self, hosts: dict[str, dict[str, Any]] | Any, *arguments: str, playbook: str = "site.yml") -> Run:
        return self.start(hosts, *arguments, playbook=playbook).wait()

    def wait_for(self, name: str, command: str, seconds: float = 300) -> None:
        """Until a command succeeds on the host."""
        end = time.monotonic() + seconds
        while self.machine(name).run("sh -c %s", command).rc != 0:
            assert time.monotonic() < end, f"{name}: {command}"
            time.sleep(0.2)


class Mirror:
    """The stand-in mirror as a process of the tests' own, in a folder that they may spoil."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.address = GATEWAY
        with socket.socket() as probe:
            probe.bind((GATEWAY, 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://{GATEWAY}:{self.port}"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        for release in (PROJECT / ".cache/releases").glob("v*"):
            (folder / release.name).symlink_to(release)

    def start(self, **behaviour: int) -> None:
        self.stop()
        (self.folder / ".mirror.json").write_text(json.dumps(behaviour))
        command = [sys.executable, "tests/standins/mirror.py", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=self.log.open("a"))
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((GATEWAY, self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < end, self.log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(lambda: tmp_path_factory.mktemp("play"))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    mirror = Mirror(tmp_path_factory.mktemp("mirror"))
    mirror.start()
    yield mirror
    mirror.stop()


@pytest.fixture(scope="session")
def scenario_runs() -> dict[str, Run]:
    """The three runs that the scenario makes before its tests: check on virgin hosts, converge, converge again."""
    paths = sorted(RECORDS.glob("*-converge-*.jsonl"))[-3:]
    return dict(zip(("check", "converge", "again"), (Run(results=read_records(path)) for path in paths), strict=True))
