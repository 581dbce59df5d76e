# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.archives import (
    Archive,
    Request,
    check_space,
    checksums,
    fetch,
    human_bytes,
    lock,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import ReleaseError, unpack
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run as run_program

# 0.32.15 of Ollama, b10488 of llama.cpp; after a dash what tells builds of one version apart.
VERSION = re.compile(r"(\d+\.\d+\.\d+|b\d+)(-[0-9A-Za-z.-]+)?")
MANIFEST = "release.json"


@dataclass
class State:
    """What is on the host, and what of the request is missing."""

    current: str | None
    missing: list[Archive]
    link_missing: bool
    link_foreign: bool
    prunable: list[str] = field(default_factory=list)
    sizes: dict[str, int | None] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    def satisfied(self, version: str) -> bool:
        return not (self.missing or self.link_missing or self.prunable) and self.current == version


def read_manifest(directory: str) -> dict | None:
    """The manifest of a version directory, None unless every file of it is there in its full size."""
    try:
        with open(os.path.join(directory, MANIFEST), encoding="utf-8") as source:
            manifest = json.load(source)
        for name, size in manifest["files"].items():
            if os.lstat(os.path.join(directory, name)).st_size != size:
                return None
        return manifest if isinstance(manifest["archives"], dict) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_manifest(directory: str, version: str, archives: dict[str, str]) -> None:
    files = {}
    for folder, _folders, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if name != MANIFEST:
                files[os.path.relpath(path, directory)] = os.lstat(path).st_size
    with open(os.path.join(directory, MANIFEST), "w", encoding="utf-8") as output:
        json.dump({"version": version, "archives": archives, "files": files}, output, indent=1, sort_keys=True)
        output.flush()
        os.fsync(output.fileno())


def missing_archives(manifest: dict | None, wanted: list[Archive]) -> list[Archive]:
    """Archives that must be fetched: not recorded, or recorded with another checksum than the pinned one."""
    if manifest is None:
        return list(wanted)
    recorded = manifest["archives"]
    changed = [a for a in wanted if a.name in recorded and a.sha256 and a.sha256 != recorded[a.name]]
    return list(wanted) if changed else [a for a in wanted if a.name not in recorded]


def linked_version(root: str, name: str) -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(root, name)))
    except OSError:
        return None


def installed_versions(versions: str) -> list[str]:
    """Complete versions, newest installation first."""
    found = []
    for name in os.listdir(versions) if os.path.isdir(versions) else []:
        path = os.path.join(versions, name, MANIFEST)
        if not name.startswith(".") and os.path.exists(path):
            found.append((os.stat(path).st_mtime_ns, name))
    return [name for _time, name in sorted(found, reverse=True)]


def prunable_versions(request: Request, current: str | None, previous: str | None) -> list[str]:
    """Installed versions beyond the number to keep; never the wanted, the current or the one before it."""
    old = [v for v in installed_versions(request.versions) if v not in (request.version, current, previous)]
    kept = max(0, request.keep - (1 if previous and previous != request.version else 0))
    return old[kept:]


def inspect(request: Request) -> State:
    current = linked_version(request.root, "current")
    previous = linked_version(request.root, "previous")
    if current != request.version and current:
        previous = current
    wanted = os.path.join(request.root, "current", request.binary)
    foreign = False
    link_missing = False
    if request.link:
        link_missing = not os.path.lexists(request.link)
        foreign = not link_missing and not (os.path.islink(request.link) and os.readlink(request.link) == wanted)
    return State(
        current=current,
        missing=missing_archives(read_manifest(request.target), request.archives),
        link_missing=link_missing,
        link_foreign=foreign,
        prunable=prunable_versions(request, current, previous),
    )


def recover(request: Request) -> None:
    """Undoes what a killed run left: half-built versions go, a version being exchanged comes back."""
    os.makedirs(request.versions, mode=0o755, exist_ok=True)
    for name in os.listdir(request.versions):
        path = os.path.join(request.versions, name)
        if name.startswith(".") and name.endswith(".old"):
            whole = os.path.join(request.versions, name[1 : -len(".old")])
            if os.path.exists(whole):
                shutil.rmtree(path)
            else:
                os.rename(path, whole)
        elif name.startswith(".") and name.endswith(".partial"):
            shutil.rmtree(path)


def install(request: Request, missing: list[Archive], progress: Progress) -> None:
    """Downloads and verifies every archive, then builds the version aside and puts it in place by rename."""
    recover(request)
    missing = missing_archives(read_manifest(request.target), request.archives)
    if not missing:
        return
    sums = checksums(request, missing)
    fetch(request, missing, sums, progress)

    partial = os.path.join(request.versions, f".{request.version}.partial")
    manifest = read_manifest(request.target)
    recorded: dict[str, str] = {}
    try:
        if manifest and len(missing) < len(request.archives):
            # An added archive: the files in use are shared by hard links, never written.
            shutil.copytree(request.target, partial, symlinks=True, copy_function=os.link)
            os.unlink(os.path.join(partial, MANIFEST))
            recorded = manifest["archives"]
        else:
            os.mkdir(partial, 0o755)
        for archive in missing:
            progress.report("unpack", archive.name, 0, None)
            unpack(os.path.join(request.downloads, archive.name), partial, request.zstd)
        if request.flatten:
            flatten(partial)
        if not os.access(os.path.join(partial, request.binary), os.X_OK):
            raise ReleaseError(f"the archives of {request.version} hold no executable {request.binary}")
        write_manifest(partial, request.version, {**recorded, **sums})
        if request.restorecon and run_program([request.restorecon, "-R", partial])[0]:
            raise ReleaseError(f"SELinux' labels could not be set: run {request.restorecon} -Rv {request.root}")
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    put_in_place(request, partial)
    shutil.rmtree(os.path.dirname(request.downloads))


def flatten(directory: str) -> None:
    """Leaves out folders that hold all the rest, such as the one that an archive names after its version."""
    while True:
        entries = os.listdir(directory)
        inner = os.path.join(directory, entries[0]) if len(entries) == 1 else ""
        if not inner or os.path.islink(inner) or not os.path.isdir(inner):
            return
        # Under another name first: the folder may hold one of its own name.
        aside = os.path.join(directory, ".flatten")
        os.rename(inner, aside)
        for name in os.listdir(aside):
            os.rename(os.path.join(aside, name), os.path.join(directory, name))
        os.rmdir(aside)


def put_in_place(request: Request, partial: str) -> None:
    aside = os.path.join(request.versions, f".{request.version}.old")
    if os.path.exists(request.target):
        os.rename(request.target, aside)
    os.rename(partial, request.target)
    sync_directory(request.versions)
    shutil.rmtree(aside, ignore_errors=True)


def sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def place_link(target: str, path: str) -> None:
    """A symbolic link that is at every moment either the old or the new one."""
    temporary = f"{path}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def apply(request: Request, progress: Progress) -> State:
    """Makes the request true; returns the state that was found."""
    with lock(request.root):
        state = inspect(request)
        if state.missing:
            install(request, state.missing, progress)
        if state.current != request.version:
            if state.current:
                place_link(os.path.join("versions", state.current), os.path.join(request.root, "previous"))
            place_link(os.path.join("versions", request.version), os.path.join(request.root, "current"))
        if state.link_missing and request.link:
            os.makedirs(os.path.dirname(request.link), mode=0o755, exist_ok=True)
            place_link(os.path.join(request.root, "current", request.binary), request.link)
        for version in state.prunable:
            shutil.rmtree(os.path.join(request.versions, version))
    return state


def check_version(version: str) -> None:
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is not a version: write it like 0.32.15 or b10488")


def run(request: Request, progress: Progress, check_mode: bool) -> State:
    """Returns the state that was found, after making the request true unless in check mode."""
    check_version(request.version)
    state = inspect(request)
    if state.satisfied(request.version):
        return state
    if not check_mode:
        return apply(request, progress)
    if request.fetch:
        # The server is asked all the same: an unreachable mirror is better known now.
        checksums(request, state.missing)
        state.sizes = check_space(request, state.missing)
    return state


def difference(request: Request, state: State) -> dict[str, str]:
    fetched = ""
    for archive in state.missing:
        size = state.sizes.get(archive.name)
        fetched += f"fetched: {archive.name}{f' ({human_bytes(size)})' if size else ''}\n"
    before = "".join(f"kept: {version}\n" for version in state.prunable)
    where = os.path.join(request.root, "current") if request.unpack else request.downloads
    return {
        "before_header": where,
        "after_header": where,
        "before": f"version: {state.current or 'none'}\n{before}",
        "after": f"version: {request.version}\n{fetched}",
    }
