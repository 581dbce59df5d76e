# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads files below a root directory: this machine, or a copy of another one's /sys and /proc."""

from __future__ import annotations

import os
import stat

MOST_LINKS = 40  # as the kernel


class Sysroot:
    """Nothing here raises: a missing file is None, an unreadable one is None and a line in `warnings`."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/") or "/"
        self.warnings: list[str] = []

    def path(self, path: str, follow: bool = False) -> str:
        """Where a path of the tree is; `follow` a link at its end, too. An absolute link leads to a place of the same
        tree, as after a chroot; only one to its own path (/copy/dev to /dev) borrows that folder from this machine."""
        parts, at, links = [part for part in path.split("/") if part], self.root, 0
        if at == "/":
            return os.path.join(at, *parts)
        while parts:
            at = os.path.join(at, parts.pop(0))
            target = _link(at) if parts or follow else ""
            if not target.startswith("/") or target.startswith(f"{self.root}/"):
                continue
            links += 1
            if links > MOST_LINKS:
                return os.path.join(self.root, ".too-many-links")
            if os.path.join(self.root, target.lstrip("/")) == at:
                return os.path.join(target, *parts)
            at, parts = self.root, [part for part in target.split("/") if part] + parts
        return at

    def read(self, path: str, last: int = 0) -> str | None:
        """The stripped text of a file, or of its last so many bytes. Bytes that are not UTF-8 are replaced."""
        full = self.path(path, follow=True)
        try:
            # A pipe or a device in the place of a file would block the reader for ever.
            if not stat.S_ISREG(os.stat(full).st_mode):
                return None
            with open(full, "rb") as handle:
                if last:
                    handle.seek(max(0, os.fstat(handle.fileno()).st_size - last))
                return handle.read().decode("utf-8", "replace").strip("\0 \t\r\n")
        except OSError as error:
            self._note(full, error)
        except ValueError as error:  # a NUL in the path
            self.warnings.append(f"{path!r}: {error}")
        return None

    def read_int(self, path: str) -> int | None:
        """The integer of a file: decimal, or hexadecimal with 0x. Anything else is None."""
        return to_int(self.read(path))

    def listdir(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self.path(path, follow=True)))
        except OSError as error:
            self._note(self.path(path), error)
            return []

    def exists(self, path: str) -> bool:
        return os.path.exists(self.path(path, follow=True))

    def realpath_name(self, path: str) -> str | None:
        """The last component of what a link points at, even where the target is not part of the tree."""
        try:
            return os.path.basename(os.readlink(self.path(path)).rstrip("/")) or None
        except OSError:
            return None

    def stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(self.path(path, follow=True))
        except OSError as error:
            self._note(self.path(path), error)
            return None

    def _note(self, full: str, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.warnings.append(f"{full}: {error.strerror or error}")


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return ""


def to_int(text: str | None) -> int | None:
    """12, 0x1F, " 7 ": the integer. Text that is not one: None."""
    try:
        return int((text or "").strip(), 16 if (text or "").strip().lower().startswith("0x") else 10)
    except ValueError:
        return None
