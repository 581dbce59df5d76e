# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One GGUF file on this host: fetched or taken over, verified, and put in its place whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import GgufError, read_file
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.remote import RemoteError, read_remote
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress, download, sha256_of
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.release import human_bytes, lock
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import ReleaseError

# Seconds to wait for another download, which may take as long as one may run in the background.
PATIENCE = 6 * 3600


class ModelError(Exception):
    """The file cannot be had; the message says why, and what to do."""


@dataclass
class Request:
    path: str
    state: str = "present"
    url: str | None = None
    src: str | None = None
    sha256: str | None = None
    verify: bool = False
    timeout: int = 60

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    @property
    def record(self) -> str:
        """Where the checksum of the file is noted, so that gigabytes are not read again in each run."""
        return os.path.join(self.folder, f".{os.path.basename(self.path)}.json")

    @property
    def arriving(self) -> str:
        return os.path.join(self.folder, ".arriving", os.path.basename(self.path))


@dataclass
class Outcome:
    changed: bool
    how: str
    sha256: str | None
    bytes: int | None


def stamp(path: str) -> dict[str, int]:
    status = os.stat(path)
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def read_record(request: Request) -> dict[str, Any]:
    try:
        with open(request.record, encoding="utf-8") as source:
            record = json.load(source)
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def write_record(request: Request, sha256: str) -> None:
    temporary = f"{request.record}.new"
    with open(temporary, "w", encoding="utf-8") as output:
        json.dump({"sha256": sha256, **stamp(request.path)}, output)
    os.replace(temporary, request.record)


def known_sha256(request: Request) -> str | None:
    """The noted checksum, if the file has not changed since; None where it must be read."""
    record = read_record(request)
    if not os.path.isfile(request.path) or request.verify:
        return None
    sha256 = record.get("sha256")
    fresh = {key: record.get(key) for key in ("bytes", "mtime_ns")} == stamp(request.path)
    return sha256 if fresh and isinstance(sha256, str) else None


def is_there(request: Request) -> bool:
    """Whether the file is there as it should be; without a checksum any whole GGUF is."""
    if not os.path.isfile(request.path):
        return False
    sha256 = known_sha256(request) or sha256_of(request.path)
    if request.sha256 and sha256 != request.sha256:
        return False
    if request.src and not request.sha256 and os.path.exists(request.src) and sha256 != sha256_of(request.src):
        return False
    check_gguf(request.path, request.path)
    return True


def check_gguf(path: str, name: str) -> None:
    try:
        read_file(path)
    except GgufError as error:
        raise ModelError(f"{name} cannot be used as a model: {error}") from error


def check_space(folder: str, needed: int, what: str) -> None:
    """Refuses to start what the disk cannot hold."""
    free = free_bytes(folder)
    if free is not None and needed > free:
        raise ModelError(
            f"{what} needs {human_bytes(needed)} more in {folder}, which has {human_bytes(free)} free: "
            "free some space, or choose another models_directory"
        )


def free_bytes(folder: str) -> int | None:
    """Of the file system that the folder is on, or will be on."""
    while not os.path.isdir(folder):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def fetch(request: Request, progress: Progress) -> str:
    """From a URL: the header first, which costs little, then the rest of what is not here yet."""
    url, sha256 = str(request.url), str(request.sha256)
    try:
        metadata, size = read_remote(url, request.timeout)
    except GgufError as error:
        raise ModelError(f"{url} cannot be used as a model: {error}; nothing was downloaded") from error
    except RemoteError as error:
        raise ModelError(str(error)) from error
    partial = f"{request.arriving}.part"
    arrived = os.path.getsize(partial) if os.path.exists(partial) else 0
    check_space(request.folder, (size or metadata.file_bytes) - arrived, url)
    try:
        download(url, request.arriving, sha256, progress, timeout=request.timeout)
    except ReleaseError as error:
        raise ModelError(str(error)) from error
    return "downloaded"


def take(request: Request) -> str:
    """From a file on this host: a link where one file system holds both, else a copy."""
    src = str(request.src)
    if not os.path.isfile(src):
        raise ModelError(f"{src} is no file on this host")
    check_gguf(src, src)
    if request.sha256:
        actual = sha256_of(src)
        if actual != request.sha256:
            raise ModelError(f"{src} has the sha256 {actual}, expected {request.sha256}: it was not taken")
    try:
        os.link(src, request.arriving)
        return "linked"
    except OSError:
        check_space(request.folder, os.path.getsize(src), src)
        shutil.copyfile(src, request.arriving)
        return "copied"


def put_in_place(request: Request) -> str:
    """The arrived file takes its name only when it is whole; returns its checksum."""
    check_gguf(request.arriving, request.url or request.src or request.path)
    sha256 = request.sha256 or sha256_of(request.arriving)
    if os.stat(request.arriving).st_nlink == 1:
        os.chmod(request.arriving, 0o644)
    os.replace(request.arriving, request.path)
    write_record(request, sha256)
    return sha256


def leftovers(request: Request) -> list[str]:
    names = (request.path, request.record, request.arriving, f"{request.arriving}.part")
    return [name for name in names if os.path.lexists(name)]


def check(request: Request) -> None:
    """What is wrong with the request itself."""
    if not os.path.isabs(request.path) or not request.path.endswith(".gguf"):
        raise ModelError(f"{request.path!r} is not the absolute path of a .gguf file")
    if request.state == "absent":
        return
    if request.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", request.sha256):
        raise ModelError("sha256 must be 64 hexadecimal digits")
    if request.url and not request.sha256:
        raise ModelError(f"{request.url} is not fetched without the sha256 of the file; its publisher tells it")


def ensure(request: Request, progress: Progress, check_mode: bool) -> Outcome:
    """Makes the file what it should be."""
    check(request)
    if request.state == "absent":
        found = leftovers(request)
        for name in found if not check_mode else []:
            os.unlink(name)
        return Outcome(bool(found), "removed" if found else "absent", None, None)
    if is_there(request):
        sha256 = known_sha256(request) or sha256_of(request.path)
        if not known_sha256(request) and not check_mode:
            write_record(request, sha256)
        return Outcome(False, "kept", sha256, os.path.getsize(request.path))
    if not request.url and not request.src:
        raise ModelError(f"{request.path} is not there as it should be, and neither url nor src tells where to get it")
    if check_mode:
        return Outcome(True, "downloaded" if request.url else "linked", request.sha256, None)
    os.makedirs(os.path.dirname(request.arriving), mode=0o755, exist_ok=True)
    # Two hosts that fetch through one controller, or a run that was killed and its module not: one works, one waits.
    with lock(request.folder, PATIENCE):
        if is_there(request):
            return Outcome(False, "kept", known_sha256(request), os.path.getsize(request.path))
        try:
            how = fetch(request, progress) if request.url else take(request)
            sha256 = put_in_place(request)
        except BaseException:
            if os.path.lexists(request.arriving):
                os.unlink(request.arriving)
            raise
    return Outcome(True, how, sha256, os.path.getsize(request.path))
