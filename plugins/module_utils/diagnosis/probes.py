# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One small question to a host each. All only read."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.environment import of_engine
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import Api, ApiError
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import without_secrets
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.installation import unit_environment
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

_LISTS = ("DeviceAllow", "DropInPaths")
PROPERTIES = (
    "User",
    "Group",
    "SupplementaryGroups",
    "PrivateDevices",
    "DevicePolicy",
    "DeviceAllow",
    "ProtectHome",
    "NRestarts",
    "Result",
)
PROGRAMS = ("/usr/local/bin/ollama", "/usr/bin/ollama", "/snap/bin/ollama", "/opt/ollama/bin/ollama")
_LOGIN_FILES = (
    "/etc/environment",
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/profile.d/*.sh",
    *(f"{home}/{name}" for home in ("/root", "/home/*") for name in (".bashrc", ".profile", ".bash_profile", ".zshrc")),
)
_MODULES = ("ttm", "amdttm", "amd_ttm", "amdgpu")
_ASSIGNMENT = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Z][A-Z0-9_]*)=[\"']?([^\"'\n#]*)", re.MULTILINE)
_KEPT = 1 << 20  # characters of a log's head, and of its tail, for a bundle


class Kept:
    """Passes lines on and keeps the first and the last of them."""

    def __init__(self) -> None:
        self.head: list[str] = []
        self.tail: list[str] = []
        self.sizes = [0, 0]

    def __call__(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            place = self.head if self.sizes[0] < _KEPT else self.tail
            self.sizes[place is self.tail] += len(line)
            place.append(line)
            if self.sizes[1] > 2 * _KEPT:
                del self.tail[: len(self.tail) // 2]
                self.sizes[1] = sum(map(len, self.tail))
            yield line

    @property
    def text(self) -> str:
        return "".join(line if line.endswith("\n") else line + "\n" for line in [*self.head, *self.tail])


def parse_properties(text: str) -> dict[str, Any]:
    """The output of systemctl show; what may come several times is a list."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and name in _LISTS:
            found.setdefault(name, [])
            found[name] += [value] if value else []
        elif separator:
            found[name] = value
    return found


def login_environment(patterns: Iterable[str] = _LOGIN_FILES) -> list[dict[str, str]]:
    """Variables of the engine in files that shells read, which services do not; without secrets."""
    found = []
    for path in [path for pattern in patterns for path in sorted(glob.glob(pattern))]:
        text = Sysroot("/").read(path) or ""
        found += [
            {"path": path, "name": name, "value": without_secrets({name: value.strip()})[name]}
            for name, value in _ASSIGNMENT.findall(text)
            if of_engine(name)
        ]
    return found


def modprobe_options(sysroot: Sysroot) -> list[dict[str, str]]:
    """`options module name=value` of modprobe.d, for the modules that hold a GPU's memory."""
    found = []
    for folder in ("etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d"):
        for name in sysroot.listdir(folder):
            path = f"{folder}/{name}"
            text = (sysroot.read(path) or "") if name.endswith(".conf") else ""
            for module, options in re.findall(r"^[ \t]*options[ \t]+(\S+)[ \t]+(.+)$", text, re.MULTILINE):
                found += [
                    {"path": f"/{path}", "name": f"{module.replace('-', '_')}.{key}", "value": value}
                    for key, equals, value in (word.partition("=") for word in options.split())
                    if equals and module.replace("-", "_") in _MODULES
                ]
    return found


def module_parameters(sysroot: Sysroot, names: Iterable[str]) -> dict[str, str]:
    """What modules say of parameters named module.parameter."""
    found = {}
    for name in names:
        module, dot, parameter = name.partition(".")
        if dot and module in _MODULES and "/" not in parameter:
            value = sysroot.read(f"sys/module/{module}/parameters/{parameter}")
            if value is not None:
                found[name] = value
    return found


def process_credentials(pid: int) -> dict[str, Any]:
    """User and groups of a running process."""
    text = Sysroot("/").read(f"proc/{pid}/status") or ""
    ids = {
        name: [int(number) for number in re.findall(r"\d+", rest)]
        for name, rest in re.findall(r"^(Uid|Gid|Groups):\t(.*)$", text, re.MULTILINE)
    }
    if not ids.get("Uid"):
        return {}
    uid = ids["Uid"][1]
    return {"uid": uid, "user": _user_name(uid), "groups": sorted({*ids.get("Gid", [])[1:2], *ids.get("Groups", [])})}


def unit_credentials(service: dict[str, Any]) -> dict[str, Any]:
    """User and groups that systemd would give the service."""
    try:
        account = pwd.getpwnam(service.get("User") or "root")
    except KeyError:
        return {}
    groups = set(os.getgrouplist(account.pw_name, account.pw_gid))
    for name in [service.get("Group") or "", *(service.get("SupplementaryGroups") or "").split()]:
        try:
            groups.add(int(name) if name.isdigit() else grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    return {"uid": account.pw_uid, "user": account.pw_name, "groups": sorted(groups)}


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def process_environment(pid: int) -> dict[str, str] | None:
    """The engine's own variables of a process, without secrets; other users' processes tell only root."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as handle:
            pairs = [item.partition("=") for item in handle.read().decode("utf-8", "replace").split("\0")]
    except OSError:
        return None
    return without_secrets({name: value for name, equals, value in pairs if equals and of_engine(name)})


def variable_files(unit: dict[str, Any]) -> dict[str, str]:
    """The file of the unit that gives each variable the value in force."""
    paths = [unit.get("path"), *(item["path"] for item in unit.get("drop_ins") or [])]
    texts = [(path, Sysroot("/").read(path) or "") for path in paths if path]
    return {name: path for path, text in texts for name in unit_environment([(path, text)])[0]}


def disk_space(path: str) -> dict[str, Any]:
    """Of the file system of a path, or of the nearest parent that is there."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path.rstrip("/"))
    try:
        status = os.statvfs(path or "/")
    except OSError:
        return {}
    return {
        "path": path,
        "free_bytes": status.f_bavail * status.f_frsize,
        "total_bytes": status.f_blocks * status.f_frsize,
    }


def ask_api(url: str) -> dict[str, Any]:
    """Version, models and loaded models; empty where nothing answers."""
    api = Api(url, timeout=5)
    try:
        return {
            "version": api.json("GET", "/api/version").get("version"),
            "models": [_sizes(model) for model in api.json("GET", "/api/tags").get("models") or []],
            "loaded": [_sizes(model) for model in api.json("GET", "/api/ps").get("models") or []],
        }
    except (ApiError, AttributeError):
        return {}


def _sizes(model: dict[str, Any]) -> dict[str, Any]:
    return {name: model.get(name) for name in ("name", "size", "size_vram") if name in model}


def containers() -> list[dict[str, str]]:
    """Containers that run an image named ollama."""
    found = []
    for tool in ("docker", "podman"):
        if shutil.which(tool):
            _code, text = run([tool, "ps", "--format", "{{.ID}} {{.Image}}"], seconds=15)
            lines = [line.split() for line in text.splitlines() if "ollama" in line]
            found += [{"tool": tool, "id": fields[0], "image": fields[1]} for fields in lines if len(fields) == 2]
    return found


def of_last_boot(lines: Iterable[str]) -> list[str]:
    """A log file holds many boots; only the last one counts."""
    kept: list[str] = []
    for line in lines:
        if "] Linux version " in line or ": Linux version " in line:
            kept.clear()
        kept.append(line)
    return kept
