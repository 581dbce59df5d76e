# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that answers as Ollama's API does, for unit tests."""

from __future__ import annotations

import http.server
import json

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import Api


class Engine(http.server.ThreadingHTTPServer):
    """Answers as Ollama's API does, from three dictionaries."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: dict[str, str] = {}
        self.made_from: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.registry = {"tiny:latest": "d1"}
        self.calls: list[str] = []
        self.insecure = False
        self.pull_ends_with = '{"status": "success"}'
        self.api = Api(f"http://127.0.0.1:{self.server_port}", timeout=5)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Engine

    def log_message(self, *_arguments: object) -> None:
        pass

    def answer(self, text: str, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_HEAD(self) -> None:
        self.answer("", 200 if self.path.rsplit(":", 1)[-1] in self.server.blobs else 404)

    def do_GET(self) -> None:
        models = [{"name": name, "digest": digest} for name, digest in self.server.models.items()]
        self.answer(json.dumps({"models": models} if self.path == "/api/tags" else {"version": "0.32.15"}))

    def do_DELETE(self) -> None:
        self.server.models.pop(json.loads(self.body())["model"])
        self.answer("")

    def do_POST(self) -> None:
        engine = self.server
        engine.calls.append(self.path)
        if self.path.startswith("/api/blobs/"):
            engine.blobs[self.path.rsplit(":", 1)[-1]] = self.body()
            return self.answer("", 201)
        asked = json.loads(self.body())
        name = asked["model"]
        if self.path == "/api/show":
            return self.answer(
                json.dumps({"modelfile": f"FROM /m/blobs/sha256-{engine.made_from[name]}\nPARAMETER x 1"})
            )
        if self.path == "/api/pull":
            engine.insecure = asked["insecure"]
            if name not in engine.registry:
                return self.answer(
                    '{"status": "pulling manifest"}\n{"error": "pull model manifest: file does not exist"}\n'
                )
            if "success" in engine.pull_ends_with:
                engine.models[name] = engine.registry[name]
            return self.answer('{"status": "pulling manifest"}\n' + engine.pull_ends_with + "\n")
        (digest,) = asked["files"].values()
        engine.made_from[name] = digest[len("sha256:") :]
        engine.models[name] = "m-" + engine.made_from[name]
        return self.answer('{"status": "success"}\n')
