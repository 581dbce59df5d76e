# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk, models that do not fit, and who can reach the API."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.environment import (
    edit_command,
    seen_in,
    shown,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.address import is_loopback
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.kernel import GIB, gib

PORT = 11434


def disk(case: Case) -> None:
    found = case.part("disk")
    free, total = found.get("free_bytes"), found.get("total_bytes")
    if free is None or not total:
        return
    if free < GIB or (free < 10 * GIB and free < total // 5):
        case.add(
            "memory",
            "disk_nearly_full",
            "error" if free < GIB else "warning",
            f"{gib(free)} of {gib(total)} are free where the models are: a pull ends in the middle.",
            "Remove models that nobody uses, or move them: ollama_models.",
            "ollama list; ollama rm NAME",
            found.get("path") or "",
        )
    else:
        case.fine.append(f"{free // GIB} GiB of disk free")


def models(case: Case) -> None:
    limit = case.plan["memory"]["largest_model_bytes"]
    sizes = {
        str(model.get("name")): model["size"] for model in case.items("api", "models") if _is_size(model.get("size"))
    }
    if limit is not None and sizes:
        large = sorted(name for name, size in sizes.items() if size > limit)
        if large:
            where = "GPU memory" if case.first_rung["backend"] != "cpu" else "memory"
            case.add(
                "memory",
                "model_too_large",
                "warning",
                f"{_some(large)} cannot fit: {gib(max(sizes[name] for name in large))}, and {where} here takes models "
                f"of up to {gib(limit)}. The rest runs on the processor, slowly, or not at all.",
                "Use a smaller model or quantisation.",
                f"ollama rm {large[0]}",
            )
        else:
            case.fine.append("every model fits")
    for model in case.items("api", "loaded"):
        size, on_gpu = model.get("size") or 0, model.get("size_vram") or 0
        if 0 < on_gpu < size:
            case.add(
                "memory",
                "partial_offload",
                "warning",
                f"{model.get('name')} is only in part on the GPU: {gib(on_gpu)} of {gib(size)}.",
                "A smaller model, quantisation or context (OLLAMA_CONTEXT_LENGTH), or fewer parallel slots.",
                "ollama ps",
                f"/api/ps: size {size}, size_vram {on_gpu}",
            )
    unfinished = case.items("unfinished_downloads")
    if unfinished:
        case.add(
            "memory",
            "download_unfinished",
            "warning",
            f"{len(unfinished)} model download{'s' * (len(unfinished) > 1)} ended in the middle.",
            "Pull the model again: it goes on where it stopped.",
            "ollama pull NAME",
            str(unfinished[0]),
        )


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def host_and_port(value: str) -> tuple[str, int]:
    """Where an OLLAMA_HOST points, read as Ollama reads it (envconfig/config.go)."""
    text = value.strip().strip("\"'")
    has_scheme = "://" in text
    try:
        parts = urlsplit(text if has_scheme else f"http://{text}")
        port = parts.port
    except ValueError:
        return text, PORT
    default = {"http": 80, "https": 443}.get(parts.scheme, PORT) if has_scheme else PORT
    return (parts.hostname or "127.0.0.1"), (port or default)


def exposure(case: Case) -> None:
    listener = case.part("ollama_facts", "listener")
    open_to = [address for address in listener.get("addresses") or [] if not is_loopback(address)]
    if open_to:
        host = case.environment.get("OLLAMA_HOST")
        told = f"; {seen_in(case, 'OLLAMA_HOST', host)}" if host else ""
        case.add(
            "network",
            "api_exposed",
            "warning",
            "The API has no password, and it listens beyond this machine: whoever reaches it can use, pull and remove "
            "models.",
            "Let it listen on 127.0.0.1 (the default), or let the firewall admit only those who need it.",
            edit_command(case, "OLLAMA_HOST"),
            f"listens on {', '.join(open_to)} port {listener.get('port') or PORT}{told}",
        )
    elif listener.get("addresses"):
        case.fine.append("the API listens on this machine only")


def clients(case: Case) -> None:
    """An OLLAMA_HOST for people who log in that leads elsewhere than to this host's server."""
    listener = case.part("ollama_facts", "listener")
    if case.part("windows_client").get("expected"):
        return  # windows.py knows where it should lead
    for entry in case.items("login_environment"):
        if entry["name"] != "OLLAMA_HOST" or not entry["value"]:
            continue
        address, port = host_and_port(entry["value"])
        here = is_loopback(address) or address in ("0.0.0.0", "::", *(listener.get("addresses") or []))
        serving = listener.get("port") or PORT
        if not here or (listener and port != serving):
            case.add(
                "network",
                "client_elsewhere",
                "warning",
                f"The command ollama talks to {address} port {port}, not to the server of this machine.",
                "If that is not meant, remove OLLAMA_HOST there, and log in again.",
                f"sudo sed -i '/OLLAMA_HOST/d' {entry['path']}",
                f"{entry['path']}: {shown('OLLAMA_HOST', entry['value'])}",
            )
