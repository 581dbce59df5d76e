# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of a llama-server, whose model is loaded when it starts and whose API does not tell where."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import (
    EngineError,
    LlamaServer,
    fetch_json,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.run import prove
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load

MIB = 1024 * 1024
SIGNATURES = load()
UNIT = "llama-server-chat.service"
NAMES = {"vulkan": "AMD Radeon RX 7800 XT (RADV NAVI32)", "software": "llvmpipe (LLVM 21.1.8, 256 bits)"}


def started(kind: str, offloaded: str = "5/5") -> list[str]:
    """What a server logs until it listens."""
    lines = [
        "0.00.043.914 I srv  llama_server: initializing ...",
        "0.00.044.070 I cmn  common_param: common_params_print_info: build 11669 (Debian) with GNU for Linux x86_64",
        "0.00.044.150 I cmn  common_param: device_info:",
    ]
    if kind != "cpu":
        lines += [
            f"0.00.044.313 I cmn  common_param:   - Vulkan0 : {NAMES[kind]} (24105 MiB, 23296 MiB free)",
            f"0.00.094.331 I llama_prepare_model_devices: using device Vulkan0 ({NAMES[kind]}) - 23296 MiB free",
            f"0.00.095.021 I load_tensors: offloaded {offloaded} layers to GPU",
            "0.00.095.022 I load_tensors:      Vulkan0 model buffer size =     0.64 MiB",
        ]
    return [
        *lines,
        "0.00.044.368 I cmn  common_param:   - CPU     : AMD EPYC (24105 MiB, 24105 MiB free)",
        "0.00.095.022 I load_tensors:   CPU_Mapped model buffer size =     0.08 MiB",
        "0.04.816.558 I srv  llama_server: model loaded",
    ]


class Server:
    """Answers as llama-server does."""

    def __init__(self, context: int = 4096, slots: bool = True) -> None:
        self.context, self.slots = context, slots
        self.loading = False
        self.payloads: list[dict[str, Any]] = []

    def fetch(self, _method: str, url: str, payload: Any, _timeout: float) -> Any:
        path = url.removeprefix("http://x")
        if self.loading:
            raise EngineError("Loading model")
        if path == "/slots" and not self.slots:
            raise EngineError("This server does not support slots endpoint.")
        if path == "/tokenize":
            return {"tokens": list(range(6 * len(payload["content"].split())))}
        if path == "/completion":
            self.payloads.append(payload)
            count, wanted = len(payload["prompt"]), payload["n_predict"]
            if count + wanted > self.context:
                raise EngineError("the request exceeds the available context size, try increasing it")
            timings = {"prompt_n": count, "prompt_ms": 500.0, "predicted_n": wanted, "predicted_ms": 2000.0}
            return {"content": "lit", "timings": timings}
        return {
            "/health": {"status": "ok"},
            "/props": {"build_info": "b11669-Debian", "default_generation_settings": {"n_ctx": self.context}},
            "/v1/models": {"data": [{"id": "/var/lib/models/toy.gguf"}]},
            "/slots": [{"id": 0, "n_ctx": self.context}],
        }[path]


class Machine:
    """The host's side: `busy` while the engine answers."""

    unit = UNIT

    def __init__(self, lines: list[str], held: int | None = None, busy: int | None = None) -> None:
        self.lines, self.held, self.busy = lines, held, busy

    def now(self) -> float:
        return 0.0

    def sleep(self, _seconds: float) -> None: ...

    def unit_state(self) -> dict[str, str]:
        return {"ActiveState": "active", "NRestarts": "0"}

    def counters(self) -> list[dict[str, int | None]]:
        return [] if self.busy is None else [{"vram_used": 9 * MIB, "gtt_used": 0, "busy_percent": self.busy}]

    def held_bytes(self) -> int | None:
        return self.held

    def engine_lines(self, new_only: bool) -> list[str]:
        return [] if new_only else self.lines

    def kernel_lines(self) -> list[str]:
        return []


def prove_it(machine: Machine, server: Server, **settings: Any) -> dict[str, Any]:
    defaults = {"model": "", "expect": "vulkan", "accept": [], "prompt_tokens": 640, "predict_tokens": 64}
    rest = {"start_timeout": 5, "request_timeout": 5, "accept_software_vulkan": False}
    return prove(
        machine,
        LlamaServer("http://x/", server.fetch),
        {**defaults, **rest, **settings},
        lambda lines: read_engine_log(lines, SIGNATURES),
        lambda _lines: {"faults": []},
    )


GPU = started("vulkan")
SOFT = started("software")
# (what it is about, machine, settings, verdict, backend, words of the first reason)
VERDICTS: list[tuple[str, Machine, dict[str, Any], str, str, str]] = [
    ("no counters", Machine(GPU), {}, "proven", "vulkan", "the API's timings agree"),
    ("the kernel confirms", Machine(GPU, 700 * MIB, 95), {}, "proven", "vulkan", "the kernel's counters confirm"),
    ("counters, but no books of the engine", Machine(GPU, None, 95), {}, "proven", "vulkan", "has no counters to"),
    ("the engine holds nothing", Machine(GPU, 0, 95), {}, "failed", "vulkan", "the kernel saw the engine hold 0 MiB"),
    ("the GPU idles", Machine(GPU, 700 * MIB, 0), {}, "failed", "vulkan", "its load reach 0 %"),
    ("a part", Machine(started("vulkan", "2/5")), {}, "degraded", "vulkan", "2 of 5 layers"),
    ("software", Machine(SOFT), {}, "failed", "cpu", "a program that runs on the processor"),
    ("software, cpu accepted", Machine(SOFT), {"accept": ["cpu"]}, "degraded", "cpu", "a program that runs"),
    ("software accepted", Machine(SOFT), {"accept_software_vulkan": True}, "proven", "vulkan", "which is llvmpipe"),
    ("cpu", Machine(started("cpu")), {"expect": "cpu"}, "proven", "cpu", "the log says cpu"),
    ("cpu for vulkan", Machine(started("cpu")), {}, "failed", "cpu", "ran on cpu, not on vulkan"),
    ("nothing in the log", Machine([]), {}, "failed", "unknown", "does not say where"),
]


@pytest.mark.parametrize(("name", "machine", "settings", "verdict", "backend", "words"), VERDICTS)
def test_verdicts(name, machine, settings, verdict, backend, words):
    proof = prove_it(machine, Server(), **settings)
    assert (proof["verdict"], proof["backend"]) == (verdict, backend)
    assert words in proof["reasons"][0]


def test_a_proof_names_build_and_model():
    proof = prove_it(Machine(GPU), Server())
    assert (proof["engine_version"], proof["model"]) == ("b11669", "/var/lib/models/toy.gguf")
    assert proof["evidence"]["log"]["offloaded"] == [5, 5]
    assert proof["evidence"]["log"]["line"].endswith("offloaded 5/5 layers to GPU")
    assert (proof["evidence"]["speed"]["generation"], proof["evidence"]["speed"]["load_seconds"]) == (32.0, None)


@pytest.mark.parametrize("slots", [True, False])
def test_a_prompt_fits_the_slot(slots):
    server = Server(context=1024, slots=slots)
    assert prove_it(Machine(GPU), server)["verdict"] == "proven"
    assert len(server.payloads[-1]["prompt"]) == 1024 - 64 - 1
    assert server.payloads[-1]["cache_prompt"] is False


def test_a_slot_too_small_for_a_proof_is_told():
    proof = prove_it(Machine(GPU), Server(context=512))
    assert proof["verdict"] == "degraded"
    assert "only 447 prompt tokens" in proof["reasons"][0]
    assert "fewer parallel slots" in proof["remedies"][0]


def test_a_server_that_still_loads_is_waited_for():
    server, machine = Server(), Machine(GPU)
    server.loading = True
    clock = iter(range(100))
    machine.now = lambda: float(next(clock))  # type: ignore[method-assign]
    assert "Loading model" in prove_it(machine, server)["reasons"][0]


def test_the_key_goes_with_every_request(monkeypatch):
    seen = []

    def opened(_url, **arguments):
        seen.append(arguments["headers"])
        raise OSError("refused")

    monkeypatch.setattr("ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines.open_url", opened)
    with pytest.raises(EngineError):
        LlamaServer("http://x", api_key="s3cret").version()
    with pytest.raises(EngineError):
        fetch_json("GET", "http://x", None, 1)
    assert seen[0]["Authorization"] == "Bearer s3cret"
    assert "Authorization" not in seen[1]


FDINFO = "pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t{}\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:\t{} KiB\n"


def test_what_the_engine_holds_is_in_the_books_of_the_kernel(tmp_path):
    folder = tmp_path / "proc/42/fdinfo"
    folder.mkdir(parents=True)
    (folder / "1").write_text("pos:\t0\nflags:\t02\n")
    for number, (client, size) in enumerate([(7, 1024), (7, 1024), (8, 512)], 5):
        (folder / str(number)).write_text(FDINFO.format(client, size) + "drm-memory-gtt: \t128 KiB\n")

    def run(command):
        return (0, "42\n") if command[0] == "systemctl" else (1, "")

    host = Host(UNIT, Sysroot(str(tmp_path)), [], run)
    assert host.held_bytes() == (1024 + 512 + 2 * 128) * 1024
    kfd = tmp_path / "sys/class/kfd/kfd/proc/42"
    kfd.mkdir(parents=True)
    (kfd / "vram_51545").write_text(f"{64 * MIB}\n")
    (kfd / "pasid").write_text("32770\n")
    assert host.held_bytes() == 64 * MIB


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"systemctl": (0, "0\n")}, None),
        ({"systemctl": (0, "42\n")}, None),
        ({"systemctl": (1, "")}, None),
        ({"systemctl": (0, "42\n"), "nvidia-smi": (0, "41, 9\n42, 700\n")}, 700 * MIB),
    ],
)
def test_without_books_nothing_is_claimed(tmp_path, answers, expected):
    host = Host(UNIT, Sysroot(str(tmp_path)), [], lambda command: answers.get(command[0], (127, "")))
    assert host.held_bytes() == expected
