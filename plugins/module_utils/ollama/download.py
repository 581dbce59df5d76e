# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import time
from typing import Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import open_url
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import COPY_BYTES, ReleaseError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
GIVEN_BACK = 1 << 16
ADVICE = "check the address of the mirror, the proxy and the version"


class Progress:
    """Tells how far the work is, in a small file that a watcher may read at any time."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._next = 0.0

    def report(self, stage: str, name: str, done: int, total: int | None) -> None:
        if not self.path or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 1
        state = {"stage": stage, "name": name, "done": done, "total": total}
        temporary = f"{self.path}.new"
        try:
            with open(temporary, "w", encoding="utf-8") as output:
                json.dump(state, output)
            os.replace(temporary, self.path)
        except OSError:
            self.path = None  # the work matters, not who watches it


def parse_checksums(text: str) -> dict[str, str]:
    """File name to sha256, from the lines `<hash>  ./file` of sha256sum."""
    found = re.findall(r"^([0-9a-fA-F]{64}) [ *](?:\./)?(\S+)[ \t]*$", text.replace("\r\n", "\n"), re.MULTILINE)
    return {name: digest.lower() for digest, name in found}


def fetch_text(url: str, timeout: int) -> str:
    try:
        with open_url(url, timeout=timeout) as response:
            return response.read(COPY_BYTES).decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ReleaseError(f"cannot fetch {url}: {error}; {ADVICE}") from error


def remote_size(url: str, timeout: int) -> int | None:
    """Bytes of the file at the URL; None where the server does not say."""
    try:
        with open_url(url, method="HEAD", timeout=timeout, decompress=False) as response:
            return content_length(response.headers)
    except HTTPError as error:
        if error.code in (404, 410):
            raise ReleaseError(f"{url} does not exist ({error}); {ADVICE}") from error
        return None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ReleaseError(f"cannot reach {url}: {error}; {ADVICE}") from error


def content_length(headers: Any) -> int | None:
    value = headers.get("Content-Length") or ""
    return int(value) if value.isdigit() else None


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as source:
        while True:
            block = source.read(COPY_BYTES)
            if not block:
                return digest.hexdigest()
            digest.update(block)


def download(
    url: str, target: str, sha256: str, progress: Progress, timeout: int = 60, attempts: int = 4, pause: float = 2
) -> None:
    """Fetches url to target, which exists afterwards only with the right checksum.

    What an interrupted run left is continued; where that gives the wrong content, the
    whole file is fetched once more before it is called wrong.
    """
    name = os.path.basename(target)
    if os.path.exists(target):
        if sha256_of(target) == sha256:
            return
        os.unlink(target)
    partial = f"{target}.part"
    problem: Exception = ReleaseError("not tried")
    for attempt in range(attempts):
        resumed = os.path.exists(partial)
        try:
            _fetch(url, partial, progress, timeout)
        except HTTPError as error:
            if error.code == 416 and resumed:
                os.unlink(partial)
            elif error.code < 500 and error.code not in (408, 429):
                raise ReleaseError(f"cannot fetch {url}: {error}; {ADVICE}") from error
            problem = error
        except (URLError, OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK_FULL:
                # Without any room left nobody could even write down that this failed.
                left = max(0, os.path.getsize(partial) - GIVEN_BACK) if os.path.exists(partial) else 0
                if os.path.exists(partial):
                    os.truncate(partial, left)
                raise ReleaseError(
                    f"{os.path.dirname(target)} has no room left for {name}: {error}; "
                    f"the {left} bytes that are there wait for the next run: free some space"
                ) from error
            problem = error
        else:
            actual = sha256_of(partial)
            if actual == sha256:
                os.replace(partial, target)
                return
            os.unlink(partial)
            if not resumed:
                raise ReleaseError(
                    f"{name} from {url} has the sha256 {actual}, expected {sha256}: "
                    "it was removed and nothing was installed; check the mirror or the pinned checksum"
                )
        if attempt + 1 < attempts:
            time.sleep(pause * 2**attempt)
    raise ReleaseError(f"cannot fetch {url} after {attempts} attempts: {problem}; {ADVICE}")


def _fetch(url: str, partial: str, progress: Progress, timeout: int) -> None:
    offset = os.path.getsize(partial) if os.path.exists(partial) else 0
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    with open_url(url, headers=headers, timeout=timeout, decompress=False) as response:
        continues = response.status == 206 and (response.headers.get("Content-Range") or "").startswith(
            f"bytes {offset}-"
        )
        done = offset if continues else 0
        length = content_length(response.headers)
        total = None if length is None else done + length
        with open(partial, "ab" if continues else "wb") as output:
            while True:
                block = response.read(COPY_BYTES)
                if not block:
                    break
                output.write(block)
                done += len(block)
                progress.report("download", os.path.basename(partial)[: -len(".part")], done, total)
            output.flush()
            os.fsync(output.fileno())
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
