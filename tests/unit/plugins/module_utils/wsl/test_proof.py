# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of Windows' GPU, with an engine that says what a test wants."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl import proof as wsl_proof
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.proof import connect, neighbour, prove, spare_proxy

from tests.unit.machines import write

MIB = 1024 * 1024
URL = "http://127.0.0.1:1"
SETTINGS: dict[str, Any] = {
    "way": "gateway",
    "mode": "nat",
    "model": "qwen3:0.6b",
    "expect": "vulkan",
    "accept": [],
    "prompt_tokens": 640,
    "predict_tokens": 64,
    "connect_timeout": 1,
    "request_timeout": 5,
}
TIMINGS = {"prompt_tokens": 640, "prompt_ns": 10**9, "generated_tokens": 60, "generated_ns": 10**9}
ON_GPU = {"size": 700 * MIB, "size_vram": 700 * MIB}
ON_CPU = {"size": 700 * MIB, "size_vram": 0}
STATE = {"installed": True, "running": [], "listeners": []}
LOG = ["layers to GPU"]


class Engine:
    def __init__(
        self, placement: dict[str, int] | None, error: str = "", timings: dict[str, int] | None = None
    ) -> None:
        self.placed, self.error, self.timings = placement, error, timings or TIMINGS

    def version(self, _timeout: float) -> str:
        if self.error == "silent":
            raise EngineError("no answer")
        return "0.32.15"

    def generate(self, *_arguments: Any) -> dict[str, Any]:
        if self.error:
            raise EngineError(self.error)
        return {**self.timings, "load_seconds": 1.0}

    def placement(self, _model: str) -> dict[str, int] | None:
        return self.placed


def proof(engine: Engine, backend: str | None = None, **settings: Any) -> dict[str, Any]:
    log = {"backend": backend or "unknown", "offloaded": [29, 29] if backend not in (None, "cpu") else None}
    given = {**SETTINGS, **settings}

    def ask(operation: str) -> dict[str, Any]:
        return {"lines": LOG} if operation == "log" else STATE

    return prove(URL, given, Sysroot("/nowhere"), lambda _lines: log, ask if backend else None, lambda _url: engine)


VERDICTS: list[tuple[str, Engine, dict[str, Any], str, str]] = [
    ("by the API alone", Engine(ON_GPU), {}, "proven", "gpu"),
    ("with the log", Engine(ON_GPU), {"backend": "vulkan"}, "proven", "vulkan"),
    ("another backend than planned", Engine(ON_GPU), {"backend": "rocm"}, "degraded", "rocm"),
    ("whatever backend it is", Engine(ON_GPU), {"backend": "rocm", "expect": "gpu"}, "proven", "rocm"),
    ("in part", Engine({"size": 700 * MIB, "size_vram": 300 * MIB}), {}, "degraded", "gpu"),
    ("on the processor", Engine(ON_CPU), {}, "failed", "cpu"),
    ("on the processor, by the log", Engine(ON_CPU), {"backend": "cpu"}, "failed", "cpu"),
    ("on the processor, accepted", Engine(ON_CPU), {"accept": ["cpu"]}, "degraded", "cpu"),
    ("on the processor, as planned", Engine(ON_CPU), {"expect": "cpu"}, "proven", "cpu"),
    ("the API claims what the log denies", Engine(ON_GPU), {"backend": "cpu"}, "failed", "cpu"),
    ("the model is not listed", Engine(None), {}, "failed", "unknown"),
    ("a crash", Engine(ON_GPU, "signal: aborted"), {}, "failed", "unknown"),
    ("no token", Engine(ON_GPU, timings={**TIMINGS, "generated_tokens": 0}), {}, "failed", "unknown"),
    ("no model is asked", Engine(ON_GPU), {"model": ""}, "degraded", "unknown"),
    ("silence", Engine(ON_GPU, "silent"), {}, "failed", "unknown"),
]


@pytest.mark.parametrize(
    ("engine", "settings", "verdict", "backend"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS]
)
def test_verdict(engine: Engine, settings: dict[str, Any], verdict: str, backend: str) -> None:
    found = proof(engine, **settings)
    assert (found["verdict"], found["backend"]) == (verdict, backend)
    assert found["reasons"]


def test_the_speed_is_that_of_windows() -> None:
    speed = proof(Engine(ON_GPU))["evidence"]["speed"]
    assert (speed["prompt"], speed["generation"]) == (640.0, 60.0)


def test_windows_on_its_processor_says_what_to_do() -> None:
    for backend in (None, "cpu"):
        assert "server.log" in proof(Engine(ON_CPU), backend)["remedies"][0]


def test_a_silent_windows_is_explained() -> None:
    found = proof(Engine(ON_GPU, "silent"))
    assert found["evidence"]["reach"]["code"] == "not_running_or_loopback"
    assert found["evidence"]["reach"]["tcp"] == "refused"
    assert found["reasons"] == [found["evidence"]["reach"]["message"]]
    assert found["remedies"]


class Starting(Engine):
    """It answers the third time; before that as a server does that looks for GPUs, or as something else says."""

    def __init__(self, said: str) -> None:
        super().__init__(ON_GPU)
        self.said, self.asked = said, 0

    def version(self, timeout: float) -> str:
        self.asked += 1
        if self.asked < 3:
            raise EngineError(self.said)
        return super().version(timeout)


RUNS = {"installed": True, "running": [{"name": "ollama.exe"}]}


@pytest.mark.parametrize(
    ("said", "tcp", "windows", "waits", "asked"),
    [
        ("timed out", "open", None, 60, 3),
        ("timed out", "open", None, 0, 1),
        ("timed out", "open", None, 2, 2),
        ("HTTP 404: not found", "open", None, 60, 1),
        ("timed out", "timeout", None, 60, 1),
        ("Connection refused", "refused", {**RUNS, "listeners": []}, 60, 3),
        ("Connection refused", "refused", {**RUNS, "listeners": [{"address": "127.0.0.1"}]}, 60, 1),
        ("Connection refused", "refused", {**RUNS, "running": [], "listeners": []}, 60, 1),
    ],
)
def test_a_server_that_is_starting_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, said: str, tcp: str, windows: dict[str, Any] | None, waits: int, asked: int
) -> None:
    now = [0.0]
    monkeypatch.setattr(wsl_proof.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(wsl_proof.time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr(wsl_proof, "connect", lambda url, seconds: tcp)
    engine = Starting(said)
    given = {**SETTINGS, "start_timeout": waits}
    found = wsl_proof.reach(URL, given, Sysroot("/nowhere"), engine, windows and (lambda operation: windows))
    assert engine.asked == asked
    assert (found["code"] == "ok") is (asked == 3)


def test_windows_explains_itself_where_it_may_be_asked() -> None:
    found = proof(Engine(ON_GPU, "silent"), "vulkan")["evidence"]["reach"]
    assert (found["code"], found["windows"]) == ("not_running", STATE)


def test_a_windows_that_cannot_be_asked_is_no_error() -> None:
    def ask(_operation: str) -> dict[str, Any]:
        raise WindowsError("interop is off")

    for engine, verdict in ((Engine(ON_GPU, "silent"), "failed"), (Engine(ON_GPU), "proven")):
        found = prove(URL, SETTINGS, Sysroot("/nowhere"), lambda _lines: {}, ask, lambda _url, engine=engine: engine)
        assert found["verdict"] == verdict
        assert found["evidence"]["reach"].get("interop_error", "interop is off") == "interop is off"


def test_without_an_address_nothing_is_asked() -> None:
    found = prove(None, SETTINGS, Sysroot("/nowhere"), lambda _lines: {}, None, lambda _url: Engine(ON_GPU))
    assert found["evidence"]["reach"]["code"] == "no_gateway"


def test_connect() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert connect(f"http://127.0.0.1:{port}", 1) == "refused"
        server.listen()
        assert connect(f"http://127.0.0.1:{port}", 1) == "open"
    assert connect("http://nowhere.invalid:11434", 1) == "unknown_host"


@pytest.mark.parametrize(
    ("error", "told"),
    [(socket.timeout(), "timeout"), (OSError(113, "no route"), "unreachable"), (OSError(101, "net"), "unreachable")],
)
def test_connections_that_end_otherwise(monkeypatch: pytest.MonkeyPatch, error: OSError, told: str) -> None:
    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    assert connect("https://desk") == told


ARP = "IP address       HW type     Flags       HW address            Mask     Device\n"


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("172.22.16.1      0x1         0x2         00:15:5d:00:00:01     *        eth0\n", True),
        ("172.22.16.1      0x1         0x0         00:00:00:00:00:00     *        eth0\n", False),
        ("172.22.16.10     0x1         0x2         00:15:5d:00:00:01     *        eth0\n", None),
        ("", None),
    ],
)
def test_neighbour(tmp_path: Path, line: str, there: bool | None) -> None:
    assert neighbour(Sysroot(write(tmp_path, {"proc/net/arp": ARP + line})), "172.22.16.1") is there


def test_a_proxy_is_told_to_spare_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "intranet")
    monkeypatch.delenv("NO_PROXY", raising=False)
    spare_proxy("http://172.22.16.1:11434")
    assert {"no_proxy": "intranet,172.22.16.1", "NO_PROXY": "172.22.16.1"}.items() <= os.environ.items()


@pytest.mark.parametrize(
    ("operation", "answer", "arguments"),
    [
        ("state", {"changed": False, "state": {"installed": True}}, {"port": 8080}),
        ("log", {"changed": False, "installed": True}, {"lines": 2000}),
    ],
)
def test_windows_is_asked_by_the_operations_of_its_own(
    monkeypatch: pytest.MonkeyPatch, operation: str, answer: dict[str, Any], arguments: dict[str, Any]
) -> None:
    def run_operation(name: str, given: dict[str, Any], powershell: str, seconds: float) -> dict[str, Any]:
        assert (name, given, powershell) == (operation, arguments, "/mnt/c/powershell.exe")
        return answer

    monkeypatch.setattr(wsl_proof, "run_operation", run_operation)
    ask = wsl_proof.asker("/mnt/c/powershell.exe", 8080)
    assert ask is not None
    assert ask(operation)["installed"]
    assert wsl_proof.asker("") is None
