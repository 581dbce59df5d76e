# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API and the one model it keeps in memory."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import gguf
from .environ import Environment, duration
from .hardware import Device
from .log import gin, human, log
from .runner import Runner, RunnerError
from .store import Name, Store

GIB = 1024**3
COMPACT = (",", ":")
TEMPLATE_TOKENS = 26  # what a chat template adds to a prompt
NATURAL_END = 96  # tokens after which the stand-in's models stop by themselves


class HTTPError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    def __init__(
        self, environment: Environment, library_path: Path, store: Store, version: str, scenario: dict[str, Any]
    ) -> None:
        self.environment, self.library_path, self.store = environment, library_path, store
        self.version, self.scenario = version, scenario
        self.devices: list[tuple[Device, Path]] = []
        self.default_context = 4096
        self.lock = threading.Lock()
        self.runner: Runner | None = None
        self.loaded: dict[str, Any] = {}
        self.key: tuple[Any, ...] = ()
        self.expiry: threading.Timer | None = None

    def set_default_context(self) -> None:
        total = sum(device.total for device, _ in self.devices)
        self.default_context = self.environment.unsigned("OLLAMA_CONTEXT_LENGTH", 0) or context_for(total)
        log(
            "INFO",
            "routes.go:2058",
            "vram-based default context",
            total_vram=human(total),
            default_num_ctx=context_for(total),
        )

    def load(self, name: Name, options: dict[str, Any]) -> Runner:
        context = int(options.get("num_ctx") or self.default_context)
        trained = gguf.trained_context(self.store.weights(name))
        if context > trained:
            log(
                "WARN",
                "server.go:171",
                "requested context size too large for model",
                num_ctx=context,
                n_ctx_train=trained,
            )
            context = trained
        layers = int(options.get("num_gpu", -1))
        key = (name, context, layers)
        if self.runner and self.key == key and self.runner.process.poll() is None:
            return self.runner
        self.unload()
        chosen = self.devices[0] if self.devices and layers != 0 and self.devices[0][0].total else None
        runner = Runner(self.environment, self.library_path, self.store.weights(name), context, layers, chosen)
        self.runner, self.key = runner, key
        size = runner.size
        everything = size["offloaded"] == size["layers"]
        in_vram = size["gpu_bytes"]
        self.loaded = {
            **{k: v for k, v in self.store.describe(name).items() if k != "modified_at"},
            "size": in_vram if everything else size["bytes"],
            "size_vram": in_vram,
            "context_length": context,
        }
        return runner

    def unload(self) -> None:
        if self.expiry:
            self.expiry.cancel()
        if self.runner:
            self.runner.stop()
        self.runner, self.loaded, self.key = None, {}, ()

    def keep(self, value: Any) -> None:
        seconds = self.environment.keep_alive() if value is None else duration(value)
        if self.expiry:
            self.expiry.cancel()
        if seconds == 0:
            self.unload()
            return
        never = datetime(2318, 1, 1, tzinfo=timezone.utc)
        at = datetime.fromtimestamp(time.time() + seconds, timezone.utc) if seconds > 0 else never
        if self.loaded:
            self.loaded["expires_at"] = at.isoformat()
        if seconds > 0:
            self.expiry = threading.Timer(seconds, self.unload)
            self.expiry.daemon = True
            self.expiry.start()

    def generate(self, request: dict[str, Any], prompt: str, answer_key: str) -> Iterator[dict[str, Any]]:
        """The records of an answer; the last has the timings."""
        begun = time.monotonic_ns()
        name = self.known(request.get("model", ""))
        with self.lock:
            options = {**self.store.parameters(name), **request.get("options", {})}
            try:
                runner = self.load(name, options)
                load_ns = time.monotonic_ns() - begun
                if not prompt:
                    self.keep(request.get("keep_alive"))
                    unloading = self.runner is None
                    yield self.record(name, "", True, done_reason="unload" if unloading else "load")
                    return
                words = prompt.split() + ["<template>"] * TEMPLATE_TOKENS
                words = words[: self.key[1] - 1]
                predict = int(options.get("num_predict", -1))
                count = predict if 0 <= predict < NATURAL_END else NATURAL_END
                for answer in runner.generate(words, count):
                    if "token" in answer:
                        yield self.record(name, answer["token"], False, key=answer_key)
                        continue
                    self.keep(request.get("keep_alive"))
                    yield self.record(
                        name,
                        "",
                        True,
                        key=answer_key,
                        done_reason="length" if count == predict else "stop",
                        total_duration=time.monotonic_ns() - begun,
                        load_duration=load_ns,
                        prompt_eval_count=len(words),
                        prompt_eval_duration=answer["prompt_ns"],
                        eval_count=count,
                        eval_duration=answer["eval_ns"],
                    )
            except RunnerError as problem:
                self.unload()
                raise HTTPError(500, str(problem)) from problem

    def record(self, name: Name, text: str, done: bool, key: str = "response", **values: Any) -> dict[str, Any]:
        content = {"message": {"role": "assistant", "content": text}} if key == "message" else {"response": text}
        stamp = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        return {"model": name.short(), "created_at": stamp, **content, "done": done, **values}

    def known(self, text: str) -> Name:
        try:
            name = self.store.existing(Name.parse(text))
        except ValueError as problem:
            raise HTTPError(400, str(problem)) from problem
        if not self.store.manifest(name).is_file():
            raise HTTPError(404, f"model '{text}' not found")
        return name

    def create(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        name = Name.parse(request.get("model", ""))
        if request.get("from"):
            source = self.known(request["from"])
            blob, parameters = self.store.weights(source), self.store.parameters(source)
        else:
            digest = next(iter(request.get("files", {}).values()), "")
            blob, parameters = self.store.blob(digest), {}
            if not digest or not blob.is_file():
                yield {"error": "neither 'from' or 'files' was specified" if not digest else f"invalid digest {digest}"}
                return
        yield {"status": "parsing GGUF"}
        weights = (blob.name.replace("sha256-", "sha256:"), blob.stat().st_size)
        self.store.write_manifest(name, weights, {**parameters, **request.get("parameters", {})})
        yield {"status": "writing manifest"}
        yield {"status": "success"}


def context_for(total: int) -> int:
    """The default context by the memory of all GPUs together."""
    return 262144 if total >= 47 * GIB else 32768 if total >= 23 * GIB else 4096


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """GIN's own line replaces it."""

    @property
    def engine(self) -> Engine:
        return self.server.engine  # type: ignore[attr-defined]

    def respond(self) -> None:
        begun = time.monotonic()
        self.status = 200
        try:
            self.route(self.command if self.command != "HEAD" else "GET", self.path.partition("?")[0])
        except HTTPError as problem:
            self.send(problem.status, {"error": str(problem)})
        except (BrokenPipeError, ConnectionResetError):
            self.status = 499
        client = self.client_address[0].removeprefix("::ffff:")
        gin(self.status, time.monotonic() - begun, client, self.command, self.path)

    def do_GET(self) -> None:
        self.respond()

    def do_HEAD(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def do_DELETE(self) -> None:
        self.respond()

    def route(self, method: str, path: str) -> None:
        engine = self.engine
        if path == "/":
            self.send(200, "Ollama is running")
        elif path == "/api/version":
            self.send(200, {"version": engine.version})
        elif path == "/api/tags":
            self.send(200, {"models": [engine.store.describe(name) for name in engine.store.names()]})
        elif path == "/api/ps":
            self.send(200, {"models": [engine.loaded] if engine.loaded else []})
        elif path.startswith("/api/blobs/") and self.command in ("HEAD", "POST"):
            self.blob(path.rpartition("/")[2])
        elif method in ("POST", "DELETE") and path in (
            "/api/generate",
            "/api/chat",
            "/api/pull",
            "/api/create",
            "/api/show",
            "/api/delete",
        ):
            self.act(path.rpartition("/")[2], self.body())
        else:
            self.send(404, "404 page not found")

    def act(self, action: str, request: dict[str, Any]) -> None:
        engine = self.engine
        text = request.get("model") or request.get("name") or ""
        request["model"] = text
        if action == "generate":
            self.stream(engine.generate(request, request.get("prompt", ""), "response"), request)
        elif action == "chat":
            prompt = "\n".join(message["content"] for message in request.get("messages", []))
            self.stream(engine.generate(request, prompt, "message"), request)
        elif action == "pull":
            self.stream(engine.store.pull(text, engine.scenario.get("pull"), engine.scenario.get("registry")), request)
        elif action == "create":
            self.stream(engine.create(request), request)
        elif action == "show":
            name = engine.known(text)
            described = engine.store.describe(name)
            parameters = "\n".join(f"{key:30} {value}" for key, value in engine.store.parameters(name).items())
            self.send(
                200,
                {
                    "modelfile": f"# FROM {name.short()}\n\nFROM {engine.store.weights(name)}\n",
                    "parameters": parameters,
                    "details": described["details"],
                    "model_info": {},
                    "capabilities": ["completion"],
                },
            )
        elif action == "delete":
            engine.store.delete(engine.known(text))
            self.send(200, "")

    def blob(self, digest: str) -> None:
        store = self.engine.store
        if not re.fullmatch(r"sha256[:-][0-9a-fA-F]{64}", digest):
            raise HTTPError(400, "invalid digest format")
        if self.command == "HEAD":
            self.send(200 if store.blob(digest).is_file() else 404, "")
            return
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if store.blob(digest).is_file():
            self.send(200, "")
            return
        actual = "sha256:" + hashlib.sha256(content).hexdigest()
        if actual != digest:
            raise HTTPError(400, f'digest mismatch, expected "{digest}", got "{actual}"')
        store.add_blob(content)
        self.send(201, "")

    def body(self) -> dict[str, Any]:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            return json.loads(content)
        except ValueError as problem:
            raise HTTPError(400, "missing request body" if not content else str(problem)) from problem

    def send(self, status: int, content: Any) -> None:
        self.status = status
        text = content if isinstance(content, str) else json.dumps(content, separators=COMPACT)
        kind = "text/plain" if isinstance(content, str) else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def stream(self, records: Iterator[dict[str, Any]], request: dict[str, Any]) -> None:
        """NDJSON, chunked; what fails after the first record becomes an error line inside the 200."""
        if request.get("stream") is False:
            everything = list(records)
            last = everything[-1]
            if "error" in last:
                raise HTTPError(500, last["error"])
            for key in ("response", "message"):
                if key in last:
                    pieces = [record[key] if key == "response" else record[key]["content"] for record in everything]
                    text = "".join(pieces)
                    last[key] = text if key == "response" else {"role": "assistant", "content": text}
            self.send(200, last)
            return
        first = next(records)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(first)
        try:
            for record in records:
                self.chunk(record)
        except HTTPError as problem:
            self.chunk({"error": str(problem)})
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=COMPACT).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    engine: Engine

    def __init__(self, host: str, port: int) -> None:
        # As Go does it: what listens everywhere listens on both families, through one socket.
        everywhere = host in ("", "0.0.0.0", "::") and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if everywhere or ":" in host else socket.AF_INET
        super().__init__(("::" if everywhere else host, port), Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"{host!s}:{port}"
