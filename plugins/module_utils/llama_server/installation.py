# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of llama.cpp: the binary, what it can, the services that run it, and what they load."""

from __future__ import annotations

import grp
import os
import re
import shutil
import stat
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.build import (
    find,
    parse_devices,
    parse_help,
    parse_version,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import GgufError, read_file
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import service_settings
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.installation import (
    gather_account,
    modified,
    os_release,
    started_at,
    unit_properties,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.listener import find_listener
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.release import installed_versions, linked_version
from ansible_collections.lamplighter.fleet.plugins.module_utils.unit_files import (
    LLAMA_SERVER,
    MARKER,
    read,
    unit_files,
)

PROPERTIES = (
    "Id",
    "ActiveState",
    "UnitFileState",
    "MainPID",
    "NeedDaemonReload",
    "DropInPaths",
    "ExecMainStartTimestampMonotonic",
)
RUNNING = ("active", "activating", "reloading")
# A file of the engine or a model that was exchanged under a running server.
EXCHANGED = re.compile(r"/\S*(?:\.so[.\d]*|\.gguf|/llama-server) \(deleted\)$", re.MULTILINE)

# process.run, which also takes an environment.
Run = Callable[..., tuple[int, str]]


def exchanged(pid: str) -> bool:
    return bool(EXCHANGED.search(read(f"/proc/{pid}/maps") or ""))


def gather_units(run: Run) -> list[dict[str, Any]]:
    files = unit_files(LLAMA_SERVER)
    if not files:
        return []
    shown = run(["systemctl", "show", *files, "--property=" + ",".join(PROPERTIES)])[1]
    properties = {block.get("Id", ""): block for block in map(unit_properties, shown.split("\n\n"))}
    return [_unit(name, path, properties.get(name, {})) for name, path in files.items()]


def _unit(name: str, path: str, properties: dict[str, str]) -> dict[str, Any]:
    text = read(path) or ""
    settings = [path, *properties.get("DropInPaths", "").split()]
    settings += [value.lstrip("-") for _key, value in service_settings(text, "EnvironmentFile")]
    start = started_at(properties.get("ExecMainStartTimestampMonotonic", ""))
    pid = properties.get("MainPID", "0")
    running = pid not in ("", "0")
    newer = running and start is not None and max(map(modified, settings)) > start
    return {
        "name": name,
        "path": path,
        "ours": MARKER in text,
        "active": properties.get("ActiveState") or None,
        "enabled": properties.get("UnitFileState") == "enabled",
        "main_pid": int(pid) if running else None,
        "stale": newer or properties.get("NeedDaemonReload") == "yes" or (running and exchanged(pid)),
    }


def asked_for_version(run: Run, binary: str) -> tuple[int, str]:
    """It tells its version on standard error."""
    return run(["sh", "-c", 'exec "$0" --version 2>&1', binary])


def gather_briefly(run: Run, binary: str | None, models: list[str]) -> dict[str, Any]:
    """What has to be known before the role looks at all there is: which services run, which build, which files."""
    version = parse_version(asked_for_version(run, binary)[1]) if binary else None
    units = [unit for unit in gather_units(run) if unit["ours"]]
    return {
        "installed": {"version": version, "models": [model_file(path) for path in models]},
        "llama_server_units": [unit["name"] for unit in units if unit["enabled"] or unit["active"] in RUNNING],
    }


def gather_build(run: Run, binary: str, environment: dict[str, str]) -> dict[str, Any]:
    """What the binary says of itself."""
    facts: dict[str, Any] = {"version": None, "options": [], "devices": [], "problem": None}
    code, said = asked_for_version(run, binary)
    if code:
        facts["problem"] = (said.strip().splitlines() or [f"it ended with {code}"])[-1]
        return facts
    facts["version"] = parse_version(said)
    facts["options"] = parse_help(run([binary, "--help"])[1])
    if not find(facts["options"], "--model") or not find(facts["options"], "--port"):
        facts["problem"] = "its --help is not that of llama-server"
    elif find(facts["options"], "--list-devices"):
        settings = {name: str(value) for name, value in environment.items()}
        facts["devices"] = parse_devices(run([binary, "--list-devices"], environment=settings)[1])
    return facts


def origin(binary: str | None, root: str) -> str:
    if not binary:
        return "none"
    real = os.path.realpath(binary)
    if real.startswith(os.path.realpath(root) + "/"):
        return "ours"
    return "distribution" if real.startswith(("/usr/bin/", "/usr/lib/", "/usr/libexec/")) else "binary"


def closed(path: str, user: dict[str, Any], wanted_of_file: int = 0o4) -> str | None:
    """The first part of the path that the service's user may not pass, or not read (or execute, 0o1)."""
    groups = {group.gr_gid for group in grp.getgrall() if user["user"] in [group.gr_name, *group.gr_mem]}
    parts = path.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        part = "/" + "/".join(parts[:count])
        status = os.stat(part)
        shift = 6 if status.st_uid == user["uid"] else 3 if status.st_gid in groups else 0
        wanted = 0o1 if stat.S_ISDIR(status.st_mode) else wanted_of_file
        if not (status.st_mode >> shift) & wanted:
            return part
    return None


def model_file(path: str) -> dict[str, Any]:
    """By what a file of this name is known to be the same."""
    try:
        status = os.stat(path)
    except OSError:
        return {"path": path, "size": None, "modified": None}
    return {"path": path, "size": status.st_size, "modified": int(status.st_mtime)}


def model_problem(path: str, user: dict[str, Any]) -> str | None:
    """Why no server can load this file, or None."""
    if not os.path.exists(path):
        return "does not exist: copy it there, or let the role models fetch it."
    if not os.path.isfile(path):
        return "is not a file: name the GGUF itself."
    try:
        read_file(path)
    except GgufError as error:
        # Of the rest the engine may know more than we do, such as a new type of tensor.
        if str(error).startswith(("it is cut", "it is not a GGUF")):
            return f"cannot be loaded: {error}. Fetch it again."
    barred = closed(path, user)
    return f"cannot be read by {user['user']}: {barred} is closed to it." if barred else None


def program_problem(path: str, user: dict[str, Any]) -> str | None:
    """Why the service cannot execute what we can, or None. Where the path is a link, both its ends count."""
    barred = closed(path, user, 0o1) or closed(os.path.realpath(path), user, 0o1)
    return f"{user['user']} cannot execute it, since {barred} is closed to it" if barred else None


def gather(
    run: Run,
    binary: str | None,
    root: str,
    user: str,
    environment: dict[str, str],
    ports: list[int],
    models: list[str],
) -> dict[str, Any]:
    found = binary or shutil.which("llama-server")
    found = found if found and os.access(found, os.X_OK) else None
    account = gather_account(user)
    build: dict[str, Any] = {"version": None, "options": [], "devices": [], "problem": None}
    if found:
        build = gather_build(run, found, environment)
        build["problem"] = build["problem"] or program_problem(found, account)
    return {
        "machine": os.uname().machine,
        "os": os_release(read("/etc/os-release") or ""),
        "systemd": os.path.isdir("/run/systemd/system"),
        "binary": found,
        "source": origin(found, root),
        **build,
        "current": linked_version(root, "current"),
        "versions": installed_versions(os.path.join(root, "versions")),
        "units": gather_units(run),
        "account": account,
        "listeners": {str(port): find_listener(port) for port in ports},
        "models": [{**model_file(path), "problem": model_problem(path, account)} for path in models],
    }
