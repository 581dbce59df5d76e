# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole proof against an HTTP server that answers as Ollama does, and a host made of lists."""

from __future__ import annotations

import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError, Ollama, fetch_json
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.prompt import unique_prompt
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.run import prove, wait_for_engine
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load

MIB = 1024 * 1024
SIGNATURES = load()

STARTED = [
    'time=2026-11-20T10:00:00.000Z level=INFO source=routes.go:1 msg="Listening on 127.0.0.1:11434 (version 0.32.15)"',
    'time=2026-11-20T10:00:01.000Z level=INFO source=types.go:60 msg="inference compute" id=0 filter_id=0 library=ROCm '
    'compute=gfx1101 name=ROCm0 description="AMD Radeon RX 7800 XT" libdirs=ollama,rocm_v7_2 driver=70253.21 '
    'pci_id=0000:03:00.0 type=discrete total="16.0 GiB" available="15.8 GiB"',
    'time=2026-11-20T10:00:01.000Z level=INFO source=routes.go:2 msg="vram-based default context" '
    'total_vram="16.0 GiB" default_num_ctx=4096',
]
LOADED = [
    'time=2026-11-20T10:01:00.000Z level=INFO source=llama_server.go:9 msg="starting llama-server" cmd="llama-server"',
    "load_tensors: offloaded 29/29 layers to GPU",
    "load_tensors:        ROCm0 model buffer size =   492.75 MiB",
    "load_tensors:   CPU_Mapped model buffer size =   157.50 MiB",
]
CRASHED = [
    'time=2026-11-20T10:01:00.000Z level=INFO source=llama_server.go:9 msg="starting llama-server" cmd="llama-server"',
    "Memory access fault by GPU node-1 (Agent handle: 0x55) on address 0x7f. Reason: Page not present or supervisor.",
]
CRASH = "llama-server process has terminated: signal: aborted (core dumped)"


class World:
    """One host with one GPU and one engine; what happens to the GPU and to the log follows the requests."""

    def __init__(self) -> None:
        self.loaded = False
        self.gpu_works = True
        self.size_vram = 650 * MIB
        self.crash_on_long_prompt = False
        self.timings = {
            "eval_count": 64,
            "eval_duration": 10**9,
            "prompt_eval_count": 652,
            "prompt_eval_duration": 10**9,
        }
        self.load_lines = LOADED
        self.new_lines: list[str] = []
        self.kernel: list[str] | None = []
        self.requests: list[dict[str, Any]] = []
        self.state = {"ActiveState": "active", "Result": "success", "NRestarts": "0"}
        self.clock = 0.0

    # The engine's side

    def answer(self, path: str, payload: dict[str, Any] | None) -> tuple[int, Any]:
        if path == "/api/version":
            return 200, {"version": "0.32.15"}
        if path == "/api/ps":
            entry = {"name": "toy:latest", "model": "toy:latest", "size": 650 * MIB, "size_vram": self.size_vram}
            return 200, {"models": [entry] if self.loaded else []}
        assert payload
        self.requests.append(payload)
        if payload.get("keep_alive") == 0:
            self.loaded = False
            return 200, {"done": True, "done_reason": "unload"}
        if not self.loaded:
            self.loaded = True
            self.new_lines += self.load_lines
        if "prompt" not in payload:
            return 200, {"done": True}
        time.sleep(0.12)  # long enough for a sample
        if self.crash_on_long_prompt and len(payload["prompt"]) > 100:
            self.loaded = False
            self.new_lines += CRASHED
            return 500, {"error": CRASH}
        return 200, {"response": "lit", "done": True, "load_duration": 1_500_000_000, **self.timings}

    # The host's side

    unit = "ollama.service"

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def unit_state(self) -> dict[str, str]:
        return self.state

    def counters(self) -> list[dict[str, int | None]]:
        working = self.loaded and self.gpu_works
        used = 700 * MIB if working else 0
        return [{"vram_used": 90 * MIB + used, "gtt_used": 20 * MIB, "busy_percent": 95 if working else 0}]

    def engine_lines(self, new_only: bool) -> list[str] | None:
        return self.new_lines if new_only else STARTED + self.new_lines

    def kernel_lines(self) -> list[str] | None:
        return self.kernel


@pytest.fixture
def world():
    return World()


@pytest.fixture
def url(world):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(None)

        def do_POST(self):
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, payload):
            code, answer = world.answer(self.path, payload)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def prove_it(world: World, url: str, **settings: Any) -> dict[str, Any]:
    defaults = {"model": "toy", "expect": "rocm", "accept": [], "prompt_tokens": 640, "predict_tokens": 64}
    defaults["accept_software_vulkan"] = False
    timeouts = {"start_timeout": 5, "request_timeout": 5}
    return prove(
        world,
        Ollama(url),
        {**defaults, **timeouts, **settings},
        lambda lines: read_engine_log(lines, SIGNATURES),
        lambda lines: read_kernel_log(lines, SIGNATURES),
    )


def test_a_healthy_host_is_proven(world, url, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    # 0.0.0.0 leads here, and is no loopback address: as the host's own one in the network.
    proof = prove_it(world, url.replace("127.0.0.1", "0.0.0.0"))
    assert (proof["verdict"], proof["backend"], proof["remedies"]) == ("proven", "rocm", [])
    assert proof["engine_version"] == "0.32.15"
    evidence = proof["evidence"]
    assert evidence["log"]["offloaded"] == [29, 29]
    assert evidence["log"]["line"] == LOADED[1]
    assert evidence["api"] == {"available": True, "size": 650 * MIB, "size_vram": 650 * MIB, "resident": False}
    assert (evidence["kernel"]["vram_growth_bytes"], evidence["kernel"]["busy_percent"]) == (700 * MIB, 95)
    assert evidence["speed"] == {
        "prompt": 652.0,
        "generation": 64.0,
        "prompt_tokens": 652,
        "generated_tokens": 64,
        "load_seconds": 1.5,
    }
    assert not world.loaded


def test_the_prompt_is_long_unique_and_all_options_are_explicit(world, url):
    prove_it(world, url)
    prove_it(world, url)
    prompts = [request["prompt"] for request in world.requests if len(request.get("prompt", "")) > 100]
    first, second = (prompt.split() for prompt in prompts)
    assert first[0] != second[0]
    assert first[1:50] != second[1:50]
    assert len(first) >= 640
    measured = next(request for request in world.requests if len(request.get("prompt", "")) > 100)
    assert measured["options"] == {"num_predict": 64, "num_ctx": 4096, "temperature": 0, "seed": 1}
    assert (measured["keep_alive"], measured["stream"]) == ("10m", False)


def test_a_loaded_model_is_loaded_anew_and_left_loaded(world, url):
    world.loaded = True
    assert prove_it(world, url)["verdict"] == "proven"
    assert world.requests[0] == {"model": "toy", "keep_alive": 0, "stream": False}
    assert world.requests[-1] == {"model": "toy", "stream": False}
    assert world.loaded


def test_a_crash_on_the_long_prompt_is_told_with_its_line(world, url):
    world.crash_on_long_prompt = True
    proof = prove_it(world, url)
    assert (proof["verdict"], proof["reasons"][0]) == ("failed", CRASH)
    assert proof["evidence"]["error"] == CRASH
    assert any(reason.startswith("memory_access_fault: Memory access fault by GPU") for reason in proof["reasons"])
    assert proof["remedies"]


def test_the_api_claims_the_gpu_but_no_counter_moves(world, url):
    world.gpu_works = False
    world.load_lines = LOADED[:1]
    proof = prove_it(world, url)
    assert proof["verdict"] == "failed"
    assert any("API" in text and "kernel" in text for text in proof["contradictions"])


def test_silent_fallback_to_the_cpu(world, url):
    world.gpu_works = False
    world.size_vram = 0
    world.load_lines = [LOADED[0], "load_tensors: offloaded 0/29 layers to GPU"]
    proof = prove_it(world, url)
    assert (proof["verdict"], proof["backend"]) == ("failed", "cpu")
    assert prove_it(world, url, accept=["cpu"])["verdict"] == "degraded"


def test_a_kernel_fault_meanwhile(world, url):
    world.kernel = ["[ 99.1] amdgpu 0000:03:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=3"]
    proof = prove_it(world, url)
    assert proof["verdict"] == "failed"
    assert proof["faults"][0]["code"] == "ring_timeout"
    assert proof["remedies"][0] == proof["faults"][0]["remedy"]


@pytest.mark.parametrize(("lines", "available"), [(None, False), ([], True)])
def test_whether_the_kernel_log_was_read_is_said(world, url, lines, available):
    world.kernel = lines
    assert prove_it(world, url)["evidence"]["kernel_log"] == {"available": available}


def test_an_earlier_load_of_another_model_proves_nothing(world, url, monkeypatch):
    monkeypatch.setattr(world, "engine_lines", lambda new_only: [] if new_only else STARTED + LOADED)
    assert prove_it(world, url)["verdict"] == "degraded"


def test_no_token_is_a_failure(world, url):
    world.timings = {}
    proof = prove_it(world, url)
    assert (proof["verdict"], proof["reasons"][0]) == (
        "failed",
        "the engine answered without generating a single token",
    )


def test_an_engine_that_is_not_there(world):
    world.state = {"ActiveState": "failed", "Result": "exit-code"}
    world.new_lines = ["panic: no model directory", "ollama.service: Failed with result 'exit-code'."]
    proof = prove_it(world, "http://127.0.0.1:9")
    assert proof["verdict"] == "failed"
    assert proof["reasons"][0] == "ollama.service is failed (exit-code): the engine does not run"
    assert proof["engine_version"] is None
    assert proof["reasons"][-1] == "the log ends with: panic: no model directory"


def test_why_systemd_could_not_start_it_is_told(world):
    world.state = {"ActiveState": "failed", "Result": "exit-code"}
    spawning = "ollama.service: Failed at step EXEC spawning /opt/ollama/current/bin/ollama: No such file or directory"
    lines = [
        spawning,
        "ollama.service: Main process exited, code=exited, status=203/EXEC",
        "ollama.service: Failed with result 'exit-code'.",
        "Failed to start ollama.service - Ollama.",
    ]
    world.engine_lines = lambda new_only: lines
    assert prove_it(world, "http://127.0.0.1:9")["reasons"][-1] == f"the log ends with: {spawning}"


# (states of the unit, one after the other; words of the error; seconds until it is given up)
WAITS: list[tuple[list[dict[str, str]], str, float]] = [
    ([{"ActiveState": "active"}], "no answer within 60 seconds", 60),
    ([{}], "no answer within 60 seconds", 60),
    ([{"ActiveState": "inactive"}], "is inactive", 5),
    ([{"ActiveState": "activating", "NRestarts": "7"}, {"ActiveState": "failed", "NRestarts": "7"}], "is failed", 0),
    ([{"ActiveState": "activating", "NRestarts": str(7 + number // 4)} for number in range(99)], "3 times", 5.5),
]


@pytest.mark.parametrize(("states", "words", "seconds"), WAITS)
def test_waiting_ends(world, monkeypatch, states, words, seconds):
    left = list(states)
    monkeypatch.setattr(world, "unit_state", lambda: left.pop(0) if len(left) > 1 else left[0])

    def refuse(*_request: Any) -> Any:
        raise EngineError("refused")

    with pytest.raises(EngineError, match=words):
        wait_for_engine(world, Ollama("http://x", refuse), 60)
    assert world.clock == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize(
    ("code", "answer", "text"),
    [
        (500, {"error": "model requires more system memory"}, "model requires more system memory"),
        (503, {"error": {"message": "Loading model", "code": 503}}, "Loading model"),
        (502, b"<html>Bad Gateway</html>", "HTTP 502: <html>Bad Gateway</html>"),
        (404, ["odd"], 'HTTP 404: \\["odd"\\]'),
        (200, b"no json", "Expecting value"),
    ],
)
def test_errors_in_the_engines_own_words(world, url, monkeypatch, code, answer, text):
    monkeypatch.setattr(world, "answer", lambda *_request: (code, answer))
    with pytest.raises(EngineError, match=text):
        fetch_json("GET", f"{url}/api/version", None, 5)


@pytest.mark.parametrize("answer", [[], "text", None, {"error": "said inside HTTP 200"}])
def test_answers_of_another_form_are_errors(answer):
    with pytest.raises(EngineError):
        Ollama("http://x", lambda *_request: answer).generate("toy", "Hello", 1, 4096, 5)


def test_a_seeded_prompt_is_repeatable():
    assert unique_prompt(512, random.Random(1)) == unique_prompt(512, random.Random(1))


def test_information_is_no_reason(world, url):
    """An iGPU that the plan masks is dropped with a line that looks like a fault."""
    world.new_lines = [
        'time=2026-11-20T10:00:01.000Z level=INFO source=runner.go:421 msg="dropping integrated GPU; to enable, set '
        'OLLAMA_IGPU_ENABLE=1" library=Vulkan compute=0.0 name=Vulkan1 description="AMD Radeon Graphics"'
    ]
    world.gpu_works = False
    proof = prove_it(world, url)
    assert [failure["severity"] for failure in proof["evidence"]["log"]["failures"]] == ["info"]
    assert proof["verdict"] == "failed"
    assert len(proof["reasons"]) == len(proof["contradictions"])
