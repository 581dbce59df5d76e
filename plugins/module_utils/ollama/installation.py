# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import (
    expanded,
    parse_environment,
    parse_environment_file,
    service_settings,
    without_secrets,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.listener import find_listener
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.release import (
    MANIFEST,
    installed_versions,
    linked_version,
    read_manifest,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.unit_files import MARKER, read

UNIT = "ollama.service"
PROPERTIES = (
    "LoadState",
    "FragmentPath",
    "DropInPaths",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NeedDaemonReload",
    "User",
    "Group",
    "ExecStart",
    "ExecMainStartTimestampMonotonic",
)
VARIANTS = {
    "snap": "/snap/ollama",
    "flatpak": "/var/lib/flatpak/app/com.ollama.Ollama",
    "docker": "/var/lib/docker/volumes/ollama",
    "podman": "/etc/containers/systemd/ollama.container",
}

Run = Callable[[list[str]], str]


def unit_properties(output: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def unit_owner(path: str, text: str) -> str:
    """Whose unit file this is: ours, the installer script's, a distribution's, somebody else's, or none."""
    if not path:
        return "none"
    if MARKER in text:
        return "ours"
    if path.startswith(("/usr/lib/", "/lib/")):
        return "distribution"
    # The text that the installer script writes, with the path of whoever ran it baked in.
    if "Description=Ollama Service" in text and 'Environment="PATH=' in text:
        return "installer"
    return "foreign"


def environment_files(texts: list[tuple[str, str]]) -> list[str]:
    """The files for EnvironmentFile= of a unit and its drop-ins; an empty one forgets those before it."""
    files: list[str] = []
    for _path, text in texts:
        for _key, value in service_settings(text, "EnvironmentFile"):
            files = [*files, expanded(value.lstrip("-"))] if value else []
    return files


def unit_environment(
    texts: list[tuple[str, str]], files: list[tuple[str, str]] | None = None
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The environment that a unit, its drop-ins and its files give, and where each variable is set that several set."""
    environment: dict[str, str] = {}
    sources: dict[str, list[str]] = {}

    def add(path: str, pairs: list[tuple[str, str]]) -> None:
        for name, content in pairs:
            environment[name] = content
            sources.setdefault(name, []).append(path)

    for path, text in texts:
        for _key, value in service_settings(text, "Environment"):
            if not value:
                environment.clear()
                sources.clear()
            add(path, parse_environment(value))
    # Files count for more than what the unit itself says.
    for path, text in files or []:
        add(path, parse_environment_file(text))
    for _path, text in texts:
        for _key, value in service_settings(text, "UnsetEnvironment"):
            for name in value.split():
                environment.pop(name, None)
    return environment, {name: paths for name, paths in sources.items() if len(paths) > 1}


def exec_path(exec_start: str) -> str | None:
    found = re.search(r"path=(\S+)", exec_start)
    return found.group(1) if found else None


def started_at(monotonic_microseconds: str) -> float | None:
    """The wall clock time at which the main process started, from systemd's monotonic time stamp."""
    if not monotonic_microseconds.isdigit() or monotonic_microseconds == "0":
        return None
    return time.time() - time.monotonic() + int(monotonic_microseconds) / 1e6


def modified(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def gather_unit(run: Run, root: str) -> tuple[dict[str, Any], dict[str, Any]]:
    properties = unit_properties(run(["systemctl", "show", UNIT, "--property=" + ",".join(PROPERTIES)]))
    path = properties.get("FragmentPath", "")
    drop_ins = properties.get("DropInPaths", "").split()
    texts = [(name, read(name) or "") for name in [path, *drop_ins] if name]
    files = environment_files(texts)
    foreign = [name for name in files if not name.startswith(f"/etc/systemd/system/{UNIT}.d/secrets.env")]
    environment, duplicates = unit_environment(texts, [(name, read(name) or "") for name in foreign])
    binary = exec_path(properties.get("ExecStart", ""))
    unit = {
        "path": path or None,
        "owner": unit_owner(path, read(path) or "" if path else ""),
        "user": properties.get("User") or None,
        "group": properties.get("Group") or None,
        "exec_start": binary,
        "drop_ins": [{"path": name, "ours": MARKER in text} for name, text in texts if name != path],
        "environment": without_secrets(environment),
        "environment_files": foreign,
        "duplicates": duplicates,
    }
    start = started_at(properties.get("ExecMainStartTimestampMonotonic", ""))
    running = properties.get("MainPID", "0") not in ("", "0")
    current = os.path.join(root, "current")
    newest = max(modified(name) for name in [path, *drop_ins, *files, current, os.path.join(current, MANIFEST)])
    service = {
        "active": properties.get("ActiveState") or None,
        "sub": properties.get("SubState") or None,
        "enabled": properties.get("UnitFileState") == "enabled" if path else None,
        "main_pid": int(properties["MainPID"]) if running else None,
        "stale": bool(running and start and newest > start) or properties.get("NeedDaemonReload") == "yes",
    }
    return unit, service


def gather_models(path: str, user: str) -> dict[str, Any]:
    """The directory, and whose it is with what Ollama makes in it; of several owners, the one that is not the user."""
    facts: dict[str, Any] = {
        "path": path,
        "exists": os.path.isdir(path),
        "parent_exists": os.path.isdir(os.path.dirname(path.rstrip("/"))),
        "owner": None,
        "bytes": None,
    }
    try:
        inside = [folder for folder in ("blobs", "manifests") if os.path.isdir(os.path.join(path, folder))]
        owners = [owner_name(os.stat(os.path.join(path, folder)).st_uid) for folder in ["", *inside]]
        facts["owner"] = next((owner for owner in owners if owner != user), user)
        with os.scandir(os.path.join(path, "blobs")) as blobs:
            facts["bytes"] = sum(blob.stat().st_size for blob in blobs)
    except OSError:
        pass
    return facts


def link_target(path: str | None) -> str | None:
    return os.readlink(path) if path and os.path.islink(path) else None


def owner_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def gather_account(name: str) -> dict[str, Any]:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return {"user": name, "exists": False, "uid": None, "home": None, "comment": None}
    return {"user": name, "exists": True, "uid": entry.pw_uid, "home": entry.pw_dir, "comment": entry.pw_gecos}


def engine_version(path: str, root: str, run: Run) -> str | None:
    """The version of the binary: from where it lies if it is ours, else what it says itself."""
    found = re.match(re.escape(os.path.realpath(root)) + r"/versions/([^/]+)/", os.path.realpath(path))
    if found:
        return found.group(1)
    # It asks the server, which may be in the midst of its discovery: here is nobody to ask, so that it tells its own.
    # "client version is" is printed where a server of another version answers.
    said = run(["env", "OLLAMA_HOST=127.0.0.1:1", path, "--version"])
    match = re.search(r"client version is (\S+)", said) or re.search(r"version is (\S+)", said)
    return match.group(1) if match else None


def library_folders(binary: str) -> list[str]:
    """Folders beside the binary that the engine probes for GPU libraries, leftovers included."""
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(binary)))
    folder = os.path.join(prefix, "lib", "ollama")
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if os.path.isdir(folder) else []


def os_release(text: str) -> dict[str, Any]:
    values = dict(re.findall(r"""^([A-Z_]+)=["']?(.*?)["']?$""", text, re.MULTILINE))
    return {
        "id": values.get("ID"),
        "id_like": values.get("ID_LIKE", "").split(),
        "version_id": values.get("VERSION_ID"),
    }


def proven(path: str) -> dict[str, Any]:
    """What an earlier run has proven on this host, from the local fact."""
    try:
        remembered = json.loads(read(path) or "{}")
    except ValueError:
        return {}
    found = remembered.get("proven") if isinstance(remembered, dict) else None
    return found if isinstance(found, dict) else {}


def gather(run: Run, root: str, user: str, models: str | None, port: int, fact: str) -> dict[str, Any]:
    unit, service = gather_unit(run, root)
    current = linked_version(root, "current")
    versions = os.path.join(root, "versions")
    binary = unit["exec_start"] if unit["exec_start"] and os.path.exists(unit["exec_start"]) else shutil.which("ollama")
    foreign = unit["owner"] not in ("none", "ours")
    # A unit without User= runs as root.
    service_user = (unit["user"] or "root") if foreign else user
    account = gather_account(service_user)
    if foreign:
        account["home"] = unit["environment"].get("HOME") or account["home"]
    home = account["home"] or f"/usr/share/{service_user}"
    account["home_exists"] = os.path.isdir(home)
    in_force = unit["environment"].get("OLLAMA_MODELS") or os.path.join(home, ".ollama/models")
    return {
        "machine": os.uname().machine,
        "os": os_release(read("/etc/os-release") or ""),
        "systemd": os.path.isdir("/run/systemd/system"),
        "zstd": bool(shutil.which("zstd")),
        "binary": binary and {"path": binary, "version": engine_version(binary, root, run)},
        "cli": shutil.which("ollama"),
        "cli_target": link_target(shutil.which("ollama")),
        "current": current,
        "previous": linked_version(root, "previous"),
        "versions": [
            {"version": name, "archives": sorted(manifest["archives"])}
            for name in installed_versions(versions)
            for manifest in [read_manifest(os.path.join(versions, name))]
            if manifest
        ],
        "libraries": library_folders(binary) if binary else [],
        "unit": unit,
        "service": service,
        "account": account,
        "models": gather_models(models or in_force, service_user),
        "listener": find_listener(port),
        "variants": sorted(name for name, path in VARIANTS.items() if os.path.exists(path)),
        "proven": proven(fact),
    }
