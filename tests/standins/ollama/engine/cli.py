# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ollama serve`, and the few commands that administrators type."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from . import llama_server, scenario
from .api import Engine, Server
from .discovery import discover
from .environ import Environment
from .log import log, raw
from .store import Store


def library_path(program: Path) -> Path:
    """Beside the real executable, symbolic links resolved: <bin>/../lib/ollama."""
    return program.resolve().parent.parent / "lib/ollama"


def make_key(environment: Environment) -> None:
    """The identity that the server writes to its home at the first start; it cannot run without."""
    key = environment.home() / ".ollama/id_ed25519"
    if not key.exists():
        raw(f"Couldn't find '{key}'. Generating new private key.")
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text("a key of the stand-in\n")
        raw("Your new public key is: \n\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFN0YW5kLWluIG9mIHRoZSB0ZXN0IGZsZWV0\n")


def serve(program: Path, version: str) -> None:
    environment = Environment(os.environ)
    try:
        make_key(environment)
        log("INFO", "routes.go:1940", "server config", env=environment.dump())
        store = Store(environment.models())
    except OSError as problem:
        sys.exit(f"Error: {problem.strerror.lower() if problem.strerror else problem}: {problem.filename}")
    store.prune_at_start(environment)
    host, port = environment.address()
    try:
        server = Server(host, port)  # listens from here on, answers only when discovery is done
    except OSError as problem:
        sys.exit(f"Error: listen tcp {host}:{port}: bind: {problem.strerror.lower() if problem.strerror else problem}")
    log("INFO", "routes.go:2036", f"Listening on {server.address()} (version {version})")
    told = scenario.load()
    engine = Engine(environment, library_path(program), store, version, told)
    server.engine = engine
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        engine.devices = discover(environment, engine.library_path, told)
        engine.set_default_context()
        server.serve_forever()
    finally:
        engine.unload()


def ask(path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    host, port = Environment(os.environ).address()
    host = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    url = f"http://{host}:{port}{path}"
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method), timeout=300) as answer:
        lines = answer.read().decode().splitlines()
    return json.loads(lines[-1]) if lines else {}


def show_version(version: str) -> None:
    try:
        running = ask("/api/version")["version"]
    except OSError:
        print("Warning: could not connect to a running Ollama instance")
        print(f"Warning: client version is {version}")
        return
    print(f"ollama version is {running}")
    if running != version:
        print(f"Warning: client version is {version}")


def processor(model: dict[str, Any]) -> str:
    size, in_vram = model["size"], model["size_vram"]
    if in_vram == 0:
        return "100% CPU"
    if in_vram == size:
        return "100% GPU"
    if in_vram > size or size == 0:
        return "Unknown"
    on_cpu = round((size - in_vram) / size * 100)
    return f"{on_cpu}%/{100 - on_cpu}% CPU/GPU"


def command(arguments: list[str], version: str) -> None:
    verb = arguments[0] if arguments else "help"
    if verb in ("--version", "-v"):
        show_version(version)
    elif verb in ("list", "ls"):
        print(f"{'NAME':24} {'ID':14} {'SIZE':10} MODIFIED")
        for model in ask("/api/tags")["models"]:
            print(f"{model['name']:24} {model['digest'][:12]:14} {model['size'] // 1024:7} KB {model['modified_at']}")
    elif verb == "ps":
        print(f"{'NAME':24} {'ID':14} {'SIZE':10} {'PROCESSOR':13} CONTEXT")
        for model in ask("/api/ps")["models"]:
            size = f"{model['size'] / 1e6:.0f} MB"
            where = f"{processor(model):13} {model['context_length']}"
            print(f"{model['name']:24} {model['digest'][:12]:14} {size:10} {where}")
    elif verb == "pull" and len(arguments) > 1:
        last = ask("/api/pull", {"model": arguments[1]})
        if "error" in last:
            sys.exit(f"Error: {last['error']}")
        print(last["status"])
    elif verb == "rm" and len(arguments) > 1:
        ask("/api/delete", {"model": arguments[1]}, "DELETE")
        print(f"deleted '{arguments[1]}'")
    else:
        sys.exit(f'Error: unknown command {verb!r} for "ollama" (a stand-in: serve, list, ps, pull, rm, --version)')


def main(program: Path, version: str) -> None:
    if program.name == "llama-server":
        llama_server.main(sys.argv[1:])
    elif sys.argv[1:2] in (["serve"], ["start"]):
        serve(program, version)
    else:
        try:
            command(sys.argv[1:], version)
        except urllib.error.HTTPError as problem:
            sys.exit(f"Error: {json.loads(problem.read()).get('error')}")
        except OSError:
            sys.exit("Error: could not connect to ollama server, run 'ollama serve' to start it")
