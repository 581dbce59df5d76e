# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ansible_collections.lamplighter.fleet.plugins.module_utils.process import started

COPY_BYTES = 1 << 20


class ReleaseError(Exception):
    """The release cannot be installed; the message says why and what to do."""


def name_problem(name: str) -> str | None:
    """Why a member of this name may not be unpacked, or None."""
    if name.startswith("/"):
        return "is an absolute path"
    if ".." in name.split("/"):
        return "leaves the archive's root"
    return None


def link_problem(name: str, target: str) -> str | None:
    """Why a symbolic link may not be made, or None.

    Only leading ".." are allowed, and no more than the link is deep: together with
    the rule that nothing is written through a link, no chain of links can leave the root.
    """
    if target.startswith("/"):
        return f"is a link to the absolute path {target}"
    depth = len(parts(name)) - 1
    climbing = True
    for part in target.split("/"):
        if part == ".." and climbing and depth > 0:
            depth -= 1
        elif part == "..":
            return f"is a link that leaves the archive's root: {target}"
        elif part not in ("", "."):
            climbing = False
    return None


def member_problem(member: tarfile.TarInfo) -> str | None:
    """Why this member may not be unpacked, or None."""
    problem = name_problem(member.name)
    if problem:
        return problem
    if member.issym():
        return link_problem(member.name, member.linkname)
    if member.islnk():
        problem = name_problem(member.linkname)
        return f"is a link to {member.linkname}, which {problem}" if problem else None
    return None if member.isreg() or member.isdir() else "is a device file or a FIFO"


def parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


@contextmanager
def tar_stream(path: str, zstd: str | None) -> Iterator[IO[bytes]]:
    """The uncompressed tar, streamed: the archives are gigabytes."""
    if not path.endswith(".zst"):
        with gzip.open(path, "rb") as plain:
            yield plain  # type: ignore[misc]
        return
    if not zstd:
        raise ReleaseError(f"{os.path.basename(path)} needs the zstd program: install the package zstd")
    with started([zstd, "-dcq", "--", path]) as program:
        yield program.stdout
        code, message = program.finish()
        if code:
            raise ReleaseError(f"{os.path.basename(path)} cannot be unpacked: {message}")


def unpack(path: str, destination: str, zstd: str | None) -> None:
    """Unpacks a .tar.zst or .tgz below destination; every member is judged before it is written."""
    archive = os.path.basename(path)
    destination = os.path.realpath(destination)
    try:
        with tar_stream(path, zstd) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=COPY_BYTES) as tar:
            for member in tar:
                problem = member_problem(member)
                if problem:
                    raise ReleaseError(f"{archive} is refused: its member {member.name!r} {problem}")
                if parts(member.name):
                    _write(tar, member, destination, archive)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise ReleaseError(f"{archive} cannot be unpacked: {error}") from error


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, destination: str, archive: str) -> None:
    target = os.path.join(destination, *parts(member.name))
    parent = os.path.dirname(target)
    if os.path.realpath(parent) != parent or (member.isdir() and os.path.islink(target)):
        raise ReleaseError(f"{archive} is refused: its member {member.name!r} would be written through a link")
    if member.isdir():
        os.makedirs(target, mode=0o755, exist_ok=True)
        return
    os.makedirs(parent, mode=0o755, exist_ok=True)
    if os.path.lexists(target):
        # Never written in place: the file may be a hard link to the one in use.
        os.unlink(target)
    if member.issym():
        os.symlink(member.linkname, target)
    elif member.islnk():
        os.link(os.path.join(destination, *parts(member.linkname)), target, follow_symlinks=False)
    else:
        with open(target, "wb") as output:
            # A regular file, so there is something to extract.
            shutil.copyfileobj(tar.extractfile(member), output, COPY_BYTES)  # type: ignore[arg-type]
            os.fchmod(output.fileno(), 0o755 if member.mode & 0o111 else 0o644)
            output.flush()
            os.fsync(output.fileno())
