# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archives of a release: which are wanted, their checksums, the room they need, and how they come."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import (
    Progress,
    download,
    fetch_text,
    parse_checksums,
    remote_size,
    sha256_of,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import ReleaseError


@dataclass
class Archive:
    name: str
    url: str
    sha256: str | None = None

    @classmethod
    def from_url(cls, url: str, pinned: dict[str, str]) -> Archive:
        name = url.split("?")[0].rsplit("/", 1)[-1]
        sha256 = pinned.get(name)
        return cls(name, url, sha256.lower() if sha256 else None)


@dataclass
class Request:
    root: str
    version: str
    archives: list[Archive]
    checksums_url: str | None = None
    binary: str = "bin/ollama"
    flatten: bool = False
    link: str | None = None
    fetch: bool = True
    unpack: bool = True
    keep: int = 1
    unpack_factor: float = 3.0
    timeout: int = 60
    zstd: str | None = None
    # On a host with SELinux: what is made below /opt has the label of its folder, and systemd starts only programs.
    restorecon: str | None = None

    @property
    def versions(self) -> str:
        return os.path.join(self.root, "versions")

    @property
    def target(self) -> str:
        return os.path.join(self.versions, self.version)

    @property
    def downloads(self) -> str:
        return os.path.join(self.root, "downloads", self.version)


def checksums(request: Request, archives: list[Archive]) -> dict[str, str]:
    """The sha256 of each archive: the pinned one, else the release's own."""
    known = {a.name: a.sha256 for a in archives if a.sha256}
    if len(known) == len(archives):
        return known
    unpinned = [a.name for a in archives if a.name not in known]
    if not request.checksums_url:
        raise ReleaseError(f"no sha256 is known for {', '.join(unpinned)}: give sha256 or checksums_url")
    try:
        published = parse_checksums(fetch_text(request.checksums_url, request.timeout))
    except ReleaseError as error:
        # Some releases have no such list.
        raise ReleaseError(f"{error}, or pin the sha256 of {', '.join(unpinned)}") from error
    absent = [name for name in unpinned if name not in published]
    if absent:
        raise ReleaseError(
            f"{request.checksums_url} has no sha256 for {', '.join(absent)}: "
            "check the version and the platform, or pin the checksum"
        )
    known.update({name: published[name] for name in unpinned})
    return known


def check_space(request: Request, archives: list[Archive]) -> dict[str, int | None]:
    """The size of each archive. Refuses to start what the disk cannot hold: what is to come and what it unpacks to."""
    sizes = {archive.name: remote_bytes(request, archive) for archive in archives}
    needed = 0.0
    for name, size in sizes.items():
        path = os.path.join(request.downloads, name)
        arrived = max(os.path.getsize(file) if os.path.exists(file) else 0 for file in (path, f"{path}.part"))
        needed += (size or 0) * (1 + (request.unpack_factor if request.unpack else 0)) - arrived
    folder = request.root
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise ReleaseError(
            f"{request.root} needs {human_bytes(needed)} free to hold {request.version}, "
            f"but {folder} has {human_bytes(free)}: free some space or choose another root"
        )
    return sizes


def human_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


@contextmanager
def lock(root: str, patience: int = 1800) -> Iterator[None]:
    """One installation at a time: a killed play may leave its module running on the host."""
    os.makedirs(root, mode=0o755, exist_ok=True)
    with open(os.path.join(root, ".lock"), "w", encoding="utf-8") as handle:
        for _second in range(patience):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(1)
        else:
            raise ReleaseError(f"another installation below {root} has not ended within {patience} s")
        yield


def remote_bytes(request: Request, archive: Archive) -> int | None:
    """Bytes of the archive; what was placed in the download folder is not asked for again."""
    placed = os.path.join(request.downloads, archive.name)
    if os.path.exists(placed):
        return os.path.getsize(placed)
    return remote_size(archive.url, request.timeout) if request.fetch else None


def fetch(request: Request, archives: list[Archive], sums: dict[str, str], progress: Progress) -> None:
    """Every archive in the download folder, verified."""
    check_space(request, archives)
    os.makedirs(request.downloads, mode=0o755, exist_ok=True)
    for archive in archives:
        path = os.path.join(request.downloads, archive.name)
        if not request.fetch:
            check_placed(path, sums[archive.name])
        else:
            download(archive.url, path, sums[archive.name], progress, timeout=request.timeout)


def check_placed(path: str, sha256: str) -> None:
    """Refuses a file that somebody else was to place and verify."""
    if not os.path.exists(path):
        raise ReleaseError(f"{path} does not exist, and it may not be fetched")
    actual = sha256_of(path)
    if actual != sha256:
        os.unlink(path)
        raise ReleaseError(f"{path} had the sha256 {actual}, expected {sha256}: it was removed, place it again")
