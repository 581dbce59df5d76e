# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the two APIs, and what is made of their answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.clients import client_of

OLLAMA_LAST = {
    "done": True,
    "prompt_eval_count": 548,
    "prompt_eval_duration": 250,
    "eval_count": 96,
    "eval_duration": 900,
    "load_duration": 1_250_000_000,
}
LLAMA_LAST = {
    "content": "",
    "stop": True,
    "timings": {"cache_n": 0, "prompt_n": 512, "prompt_ms": 98.889, "predicted_n": 128, "predicted_ms": 189.566},
}


class Handler(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, *_arguments: object) -> None:
        pass

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        payload = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.path, payload, self.headers.get("Authorization")))
        content = self.server.answers[self.path]
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answers = [], {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def client(server: Any, engine: str) -> Any:
    return client_of(engine, f"http://127.0.0.1:{server.server_port}", "k3y")


def test_ollama_is_asked_without_a_template_and_with_all_that_matters_fixed(server: Any) -> None:
    first = json.dumps({"response": "A", "done": False})
    server.answers["/api/generate"] = f"{first}\n{json.dumps(OLLAMA_LAST)}\n".encode()
    looked: list[int] = []
    answer = client(server, "ollama").generate("toy", "one two", 96, 4096, 5, lambda: looked.append(1))
    assert 0 < answer.pop("first_token_seconds") < 5
    assert answer == {
        "prompt_tokens": 548,
        "prompt_ns": 250,
        "generated_tokens": 96,
        "generated_ns": 900,
        "load_seconds": 1.25,
    }
    assert looked == [1]
    ((_path, payload, key),) = server.asked
    assert (payload["raw"], payload["stream"], payload["prompt"], key) == (True, True, "one two", "Bearer k3y")
    assert payload["options"] == {"num_predict": 96, "num_ctx": 4096, "temperature": 0, "seed": 1}


def test_ollama_leaves_zeros_out(server: Any) -> None:
    server.answers["/api/generate"] = b'{"done":true}\n'
    answer = client(server, "ollama").generate("toy", "x", 1, 64, 5, lambda: None)
    assert (answer["generated_tokens"], answer["prompt_ns"], answer["load_seconds"]) == (0, None, 0)


LOADED = [
    {"name": "toy:latest", "model": "toy:latest", "digest": "d", "size": 9, "size_vram": 8, "context_length": 64},
    {"name": "other:1b", "model": "other:1b"},
]


@pytest.mark.parametrize("model", ["toy", "toy:latest"])
def test_ollama_tells_what_is_loaded_beside_the_model(server: Any, model: str) -> None:
    server.answers["/api/ps"] = {"models": LOADED}
    assert client(server, "ollama").describe(model) == {
        "digest": "d",
        "context": 64,
        "parallel": None,
        "size": 9,
        "size_vram": 8,
        "others": ["other:1b"],
    }


def test_llama_server_gets_exactly_as_many_tokens_and_no_cache(server: Any) -> None:
    server.answers["/tokenize"] = {"tokens": list(range(900))}
    first = json.dumps({"content": "A", "stop": False})
    server.answers["/completion"] = f"data: {first}\n\ndata: {json.dumps(LLAMA_LAST)}\n\n".encode()
    asked = client(server, "llama_server")
    prompt = asked.prompt("many words", 512)
    assert prompt == list(range(512))
    answer = asked.generate("", prompt, 128, 0, 5, lambda: None)
    assert answer.pop("first_token_seconds") > 0
    assert answer == {
        "prompt_tokens": 512,
        "prompt_ns": 98_889_000,
        "generated_tokens": 128,
        "generated_ns": 189_566_000,
        "load_seconds": None,
    }
    _path, payload, _key = server.asked[-1]
    assert payload == {
        "prompt": prompt,
        "n_predict": 128,
        "stream": True,
        "cache_prompt": False,
        "ignore_eos": True,
        "temperature": 0,
        "seed": 1,
    }
    assert {key for _path, _payload, key in server.asked} == {"Bearer k3y"}


def test_llama_servers_slots_are_told(server: Any) -> None:
    server.answers["/props"] = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 4}
    described = client(server, "llama_server").describe("")
    assert (described["context"], described["parallel"], described["others"]) == (2048, 4, [])
