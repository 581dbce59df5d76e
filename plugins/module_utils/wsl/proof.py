# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of an engine on the other side: it answers, a model answers, and the model is in Windows' GPU memory."""

from __future__ import annotations

import errno
import os
import random
import re
import socket
import time
from typing import Any, Callable
from urllib.parse import urlsplit

from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError, Ollama
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.prompt import context_length, unique_prompt
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.verdict import judge, speed_evidence
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.interop import run_operation
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.reach import judge_reach

# (operation) -> its result; raises WindowsError
Ask = Callable[[str], "dict[str, Any]"]
# A load and a generation write fewer lines than this.
LOG_LINES = 2000
# All rules of the firewall take long on a slow machine.
WINDOWS_SECONDS = 90
MIB = 1024 * 1024
WHOLE = 0.95
ON_CPU = (
    "Ollama on Windows chose the processor. Its log says why: %LOCALAPPDATA%\\Ollama\\server.log; update the driver of"
    " the GPU on Windows, and restart Ollama."
)


def asker(powershell: str, port: int = 11434) -> Ask | None:
    """Asks Windows for its `state` or `log`; None where it may not be asked."""

    def ask(operation: str) -> dict[str, Any]:
        arguments = {"lines": LOG_LINES} if operation == "log" else {"port": port}
        answer = run_operation(operation, arguments, powershell, seconds=WINDOWS_SECONDS)
        told: dict[str, Any] = answer[operation] if isinstance(answer.get(operation), dict) else answer
        return told

    return ask if powershell else None


def connect(url: str, seconds: float = 5) -> str:
    """open, refused, timeout, unreachable or unknown_host."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=seconds).close()
    except socket.gaierror:
        return "unknown_host"
    except socket.timeout:
        return "timeout"
    except OSError as error:
        known = {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "timeout"}
        return known.get(error.errno or 0, "unreachable")
    return "open"


def neighbour(sysroot: Sysroot, host: str | None) -> bool | None:
    """Whether the address is there on the link, by /proc/net/arp; None where it is no neighbour of ours."""
    for line in (sysroot.read("proc/net/arp") or "").splitlines():
        fields = line.split()
        if len(fields) >= 4 and fields[0] == host and re.fullmatch(r"0x[0-9a-f]+", fields[2]):
            return bool(int(fields[2], 16) & 2)
    return None


def spare_proxy(url: str) -> None:
    """This process talks to Windows itself; a proxy cannot reach an address that only this machine has."""
    host = urlsplit(url).hostname or ""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = f"{os.environ[name]},{host}" if os.environ.get(name) else host


def _windows(ask: Ask | None, operation: str) -> tuple[dict[str, Any] | None, str | None]:
    """What Windows says of itself, or why it does not; neither where it may not be asked."""
    try:
        return (ask(operation), None) if ask else (None, None)
    except WindowsError as error:
        return None, str(error)


def reach(
    url: str | None, settings: dict[str, Any], sysroot: Sysroot, engine: Any, ask: Ask | None = None
) -> dict[str, Any]:
    """Evidence of the way to Windows, and what it comes to. A server that is starting has `start_timeout`: it listens
    before it has looked for GPUs, and answers after it."""
    evidence: dict[str, Any] = {"way": settings["way"], "mode": settings["mode"], "url": url}
    end = time.monotonic() + settings.get("start_timeout", 0)
    while url:
        try:
            evidence["http"] = engine.version(settings["connect_timeout"])
            break
        except EngineError as error:
            evidence["http_error"] = str(error)
        evidence["tcp"] = connect(url, settings["connect_timeout"])
        evidence["neighbour"] = neighbour(sysroot, urlsplit(url).hostname)
        evidence["windows"], evidence["interop_error"] = _windows(ask, "state")
        if time.monotonic() >= end or not _starts(evidence):
            break
        time.sleep(2)
    return {**evidence, **judge_reach(evidence)}


def _starts(evidence: dict[str, Any]) -> bool:
    windows = evidence["windows"] or {}
    not_yet = windows.get("running") and not windows.get("listeners")
    return bool(not_yet or (evidence["tcp"] == "open" and "timed out" in evidence["http_error"]))


def prove(
    url: str | None,
    settings: dict[str, Any],
    sysroot: Sysroot,
    read_log: Callable[[list[str]], dict[str, Any]],
    ask: Ask | None = None,
    make_engine: Callable[[str], Any] = Ollama,
) -> dict[str, Any]:
    """In the form of inference_proof, with `reach` as a further witness. Never raises for what Windows does."""
    engine = make_engine(url or "")
    way = reach(url, settings, sysroot, engine, ask)
    proof: dict[str, Any] = {
        "verdict": "failed",
        "backend": "unknown",
        "engine_version": way.get("http"),
        "reasons": [way["message"]],
        "remedies": [way["remedy"]],
        "contradictions": [],
        "faults": [],
        "evidence": {"reach": way, "log": {}, "api": {}, "kernel": {}, "speed": {}},
    }
    if way["code"] != "ok":
        return proof
    if not settings.get("model"):
        return {**proof, "verdict": "degraded", "reasons": [f"{way['message']} No model was asked."], "remedies": []}
    evidence = {**proof["evidence"], **_ask(engine, settings, read_log, ask)}
    judged = _judge(evidence, settings)
    return {**proof, **judged, "evidence": evidence}


def _ask(
    engine: Any, settings: dict[str, Any], read_log: Callable[[list[str]], dict[str, Any]], ask: Ask | None
) -> dict[str, Any]:
    prompt = unique_prompt(settings["prompt_tokens"], random.SystemRandom())
    context = context_length(settings["prompt_tokens"], settings["predict_tokens"])
    limit = settings["request_timeout"]
    found: dict[str, Any] = {"error": None}
    try:
        timings = engine.generate(settings["model"], prompt, settings["predict_tokens"], context, limit)
        found["speed"] = speed_evidence(timings)
        if not timings.get("generated_tokens"):
            found["error"] = "the model answered without a token"
        placement = engine.placement(settings["model"])
        found["api"] = {"available": placement is not None, **(placement or {})}
    except EngineError as error:
        found["error"] = str(error)
    lines = ((_windows(ask, "log")[0] or {}).get("lines")) or []
    if lines:
        log = read_log(lines)
        backend = None if log["backend"] == "unknown" else log["backend"]
        told = next((line.strip() for line in reversed(lines) if "layers to GPU" in line), None)
        found["log"] = {"available": True, "backend": backend, "offloaded": log["offloaded"], "line": told}
    return found


def _judge(evidence: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """With Windows' log as inference_proof does it. Without it the API alone tells: a GPU, of whatever backend."""
    expect = settings.get("expect") or "gpu"
    if evidence["log"].get("backend"):
        judged = judge(evidence["log"]["backend"] if expect == "gpu" else expect, settings["accept"], evidence, [])
        on_cpu = judged["backend"] == "cpu" and not evidence["error"]
        return {**judged, "remedies": [ON_CPU] if on_cpu and judged["verdict"] != "proven" else judged["remedies"]}
    if evidence["error"]:
        return {"reasons": [evidence["error"]], "remedies": []}
    api = evidence["api"]
    size, in_gpu = api.get("size") or 0, api.get("size_vram") or 0
    told = f"Windows' API says that {in_gpu / MIB:.0f} MiB of the model's {size / MIB:.0f} MiB are in GPU memory"
    if not api.get("available"):
        return {"reasons": ["Windows' API does not say where the model is"], "remedies": []}
    if not in_gpu:
        kept = expect == "cpu" or "cpu" in settings["accept"]
        verdict = "proven" if expect == "cpu" else "degraded" if kept else "failed"
        return {"verdict": verdict, "backend": "cpu", "reasons": [told], "remedies": [] if kept else [ON_CPU]}
    verdict = "proven" if in_gpu >= WHOLE * size else "degraded"
    return {"verdict": verdict, "backend": "gpu", "reasons": [told], "remedies": []}
