# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ROCm is installed, by what is really there: files, their packages, alternatives, Tensile files per gfx."""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.decide import is_legacy
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

Run = Callable[[list[str]], tuple[int, str]]

ALTERNATIVES = ("var/lib/dpkg/alternatives", "var/lib/alternatives", "var/lib/rpm/alternatives")
# Where engines and distributions keep rocBLAS, beside AMD's own prefixes.
ROCBLAS = (
    "opt/ollama/current/lib/ollama/rocm*",
    "usr/lib/ollama/rocm*",
    "usr/local/lib/ollama/rocm*",
    "usr/lib/*-linux-gnu",
    "usr/lib64",
    "usr/lib64/rocm/lib64",
)
RECORD = "var/lib/lamplighter/rocm/installed.json"


def tensile_gfx(root: Sysroot, folder: str) -> list[str]:
    """Architectures that a rocBLAS library folder has kernels for, by the names of its files."""
    names = [name for name in root.listdir(folder) if name.startswith(("Tensile", "Kernels"))]
    return sorted({m[1] for m in (re.search(r"(gfx[0-9a-f]{3,5})(?:[^0-9a-f]|$)", name) for name in names) if m})


def rocblas_in(root: Sysroot, folder: str) -> dict[str, Any] | None:
    """The rocBLAS of a lib folder: its version by the real file's name, and what its kernels are for."""
    versions = [m[1] for m in (re.fullmatch(r"librocblas\.so\.(\d+(?:\.\d+)+)", n) for n in root.listdir(folder)) if m]
    if not versions:
        return None
    kernels = next((p for p in (f"{folder}/rocblas/library", *_versioned(root, folder)) if root.exists(p)), None)
    version = max(versions, key=lambda text: [int(part) for part in text.split(".")])
    return {"path": f"/{folder}", "version": version, "gfx": tensile_gfx(root, kernels) if kernels else []}


def _versioned(root: Sysroot, folder: str) -> list[str]:
    """Debian's layout: rocblas/<version>/library."""
    return [f"{folder}/rocblas/{name}/library" for name in root.listdir(f"{folder}/rocblas")]


def _below(root: Sysroot, pattern: str) -> list[str]:
    found = glob.glob(os.path.join(root.root, pattern))
    return sorted({os.path.relpath(os.path.realpath(path), os.path.realpath(root.root)) for path in found})


def lines(root: Sysroot, run: Run) -> list[dict[str, Any]]:
    """AMD's prefixes below /opt, the older ones first."""
    names = [f"opt/{name}" for name in root.listdir("opt") if re.fullmatch(r"rocm-\d+\.\d+(\.\d+)?", name)]
    names += [f"opt/rocm/{name}" for name in root.listdir("opt/rocm") if re.fullmatch(r"core-\d+\.\d+", name)]
    found = []
    for path in names:
        if os.path.islink(root.path(path)):
            continue
        version = (root.read(f"{path}/.info/version") or path.rpartition("-")[2]).split("-")[0]
        own = rocblas_in(root, f"{path}/lib")
        found.append(
            {
                "version": version,
                "path": f"/{path}",
                "legacy": is_legacy(version, f"/{path}"),
                "packages": owners(f"/{path}", run),
                "gfx": own["gfx"] if own else [],
            }
        )
    return sorted(found, key=lambda line: [int(part) for part in re.findall(r"\d{1,9}", line["version"])])


def owners(path: str, run: Run) -> list[str]:
    code, said = run(["dpkg-query", "-S", f"{path}/*"])
    if code == 127:
        code, said = run(
            ["rpm", "-qf", "--qf", "%{NAME}: \n", path, *glob.glob(f"{path}/*"), *glob.glob(f"{path}/*/*")]
        )
    owned = (line.rpartition(": ")[0] for line in said.splitlines() if not line.startswith("diversion"))
    names = {name.partition(":")[0] for group in owned for name in group.split(", ")}
    return sorted(name for name in names if re.fullmatch(r"[a-z0-9][A-Za-z0-9+._-]*", name))


def packages(wanted: list[str], run: Run) -> dict[str, str | None]:
    """Versions of the wanted packages; None for one that is not installed."""
    code, said = run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\\n"])
    if code == 127:
        code, said = run(["rpm", "-qa", "--qf", "installed %{NAME} %{VERSION}-%{RELEASE}\n"])
    rows = (line.split() for line in said.splitlines())
    there = {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}
    return {name: there.get(name) for name in wanted}


def alternatives(root: Sysroot) -> list[dict[str, Any]]:
    """Alternatives with a choice below /opt/rocm, as dpkg's and chkconfig's update-alternatives keep them."""
    found = []
    for folder in ALTERNATIVES:
        for name in root.listdir(folder):
            text = root.read(f"{folder}/{name}") or ""
            choices = re.findall(r"^(/opt/rocm/core-\d+\.\d+(?:/\S*)?)$", text, re.MULTILINE)
            if choices:
                link = root.path(f"etc/alternatives/{name}")
                current = os.readlink(link) if os.path.islink(link) else None
                found.append({"name": name, "current": current, "choices": choices})
    return found


def to_switch(found: list[dict[str, Any]], version: str) -> list[dict[str, str]]:
    """What update-alternatives has to set so that this version is the active one."""
    prefix = f"/opt/rocm/core-{version}"
    wanted = []
    for one in found:
        choice = next((path for path in one["choices"] if path == prefix or path.startswith(prefix + "/")), None)
        if choice and one["current"] != choice:
            wanted.append({"name": one["name"], "path": choice})
    return wanted


def active(root: Sysroot) -> str | None:
    for link in ("opt/rocm/core", "opt/rocm"):
        full = root.path(link)
        found = (
            re.search(r"(?:core|rocm)-(\d+\.\d+(?:\.\d+)?)$", os.path.realpath(full)) if os.path.islink(full) else None
        )
        if found:
            return found[1]
    return None


def agents(root: Sysroot, prefix: str, run: Run) -> dict[str, Any] | None:
    """What rocminfo says of the GPUs, if it is there."""
    tools = [f"{prefix}/bin/rocminfo"] if prefix else []
    tool = next((path for path in (*tools, "/usr/bin/rocminfo", "/opt/rocm/bin/rocminfo") if root.exists(path)), None)
    if tool is None:
        return None
    code, said = run([root.path(tool)])
    gfx = sorted(set(re.findall(r"^ *Name: +(gfx[0-9a-f]+)\s*$", said, re.MULTILINE)))
    return {"tool": tool, "code": code, "gfx": gfx, "said": said.strip()[-300:] if code else ""}


def tensile(root: Sysroot, folder: str, gfx: list[str], libraries: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether a source-built rocBLAS's kernels fit the library that will load them."""
    own = rocblas_in(root, os.path.normpath(f"{folder}/../..").lstrip("/"))
    have = tensile_gfx(root, folder)
    problem = ""
    missing = [name for name in gfx if name not in have]
    if not root.exists(folder):
        problem = f"{folder} does not exist on this host"
    elif missing:
        problem = f"{folder} has Tensile files for {', '.join(have) or 'no architecture'}, not for {', '.join(missing)}"
    elif own is None:
        problem = f"no librocblas.so lies two folders above {folder}, so its version cannot be compared"
    elif not any(_fits(own["version"], library["version"]) for library in libraries):
        there = ", ".join(f"{library['version']} ({library['path']})" for library in libraries) or "none is there"
        problem = f"{folder} was built for rocBLAS {own['version']}, and the library that would read it is {there}"
    return {"path": folder, "gfx": have, "rocblas": own["version"] if own else None, "problem": problem}


def bundled_rocblas(version: str) -> list[dict[str, Any]]:
    """The rocBLAS of a ROCm that an engine will bring: 6.y has 4.y, 7.y has 5.y."""
    found = re.match(r"([67])\.(\d+)", version)
    return [{"path": f"of ROCm {version}", "version": f"{int(found[1]) - 2}.{found[2]}", "gfx": []}] if found else []


def _fits(built: str, used: str) -> bool:
    """rocBLAS reads the Tensile files of its own minor version."""
    return built.split(".")[:2] == used.split(".")[:2]


def access(root: Sysroot, users: list[str]) -> dict[str, Any]:
    """Which of these users are not in a group that owns the GPU's device nodes."""
    groups = {}
    for line in (root.read("etc/group") or "").splitlines():
        name, _password, gid, members = [*line.split(":"), "", "", "", ""][:4]
        groups[gid] = (name, members.split(","))
    accounts = {
        line.split(":")[0]: line.split(":")[3]
        for line in (root.read("etc/passwd") or "").splitlines()
        if line.count(":") > 3
    }
    nodes = ["dev/kfd", *(f"dev/dri/{name}" for name in root.listdir("dev/dri") if name.startswith("renderD"))]
    gids = sorted({str(status.st_gid) for status in map(root.stat, nodes) if status and status.st_gid})
    missing = [
        {"user": user, "group": groups[gid][0]}
        for user in users
        for gid in gids
        if gid in groups and user in accounts and user not in groups[gid][1] and accounts[user] != gid
    ]
    return {
        "missing": missing,
        "nameless": [int(gid) for gid in gids if gid not in groups] if users else [],
        "unknown_users": [user for user in users if user not in accounts],
    }


def remembered(root: Sysroot) -> dict[str, Any]:
    """What the role rocm has made, as far as it still stands."""
    try:
        record = json.loads(root.read(RECORD) or "{}")
    except ValueError:
        record = {}
    rows = [line.split(":") for line in (root.read("etc/group") or "").splitlines()]
    members = {row[0]: row[-1].split(",") for row in rows}
    record = record if isinstance(record, dict) else {}
    access = [one for one in record.get("access", []) if one["user"] in members.get(one["group"], [])]
    return {"packages": record.get("packages", []), "access": access}


def gather(
    run: Run,
    sysroot: str = "/",
    packages_wanted: list[str] | None = None,
    prefix: str = "",
    active_version: str = "",
    gfx: list[str] | None = None,
    tensile_libpath: str = "",
    bundled: str = "",
    users: list[str] | None = None,
) -> dict[str, Any]:
    root = Sysroot(sysroot)
    found, choices = lines(root, run), alternatives(root)
    folders = [folder for pattern in ROCBLAS for folder in _below(root, pattern)]
    folders += [f"{line['path'].lstrip('/')}/lib" for line in found]
    libraries = [library for library in (rocblas_in(root, folder) for folder in dict.fromkeys(folders)) if library]
    # An engine that is not installed yet is known by its version.
    readers = libraries or bundled_rocblas(bundled)
    record = remembered(root)
    versions = packages([*(packages_wanted or []), *record["packages"]], run)
    # What is gone already may be somebody else's when it is back.
    record["packages"] = [name for name in record["packages"] if versions[name] is not None]
    versions = {name: versions[name] for name in packages_wanted or []}
    return {
        "lines": found,
        "packages": versions,
        "missing": [name for name, version in versions.items() if version is None],
        "active": active(root),
        "switch": to_switch(choices, active_version) if active_version else [],
        "rocblas": libraries,
        "agents": agents(root, prefix, run),
        "tensile": tensile(root, tensile_libpath, gfx or [], readers) if tensile_libpath else None,
        "access": access(root, users or []),
        "record": record,
    }
