# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pull from a registry over HTTP, for a scenario that names one; without it the store makes its models itself."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError

if TYPE_CHECKING:
    from .store import Name, Store

BLOCK = 256 * 1024


class PullError(Exception):
    pass


def pull(store: Store, name: Name, registry: str) -> Iterator[dict[str, Any]]:
    """The lines of a pull. What lies among the blobs is taken without a look, and what is partial is continued."""
    folder = f"{registry.rstrip('/')}/v2/{name.namespace}/{name.model}"
    try:
        with urllib.request.urlopen(f"{folder}/manifests/{name.tag}", timeout=30) as answer:
            content = answer.read()
    except (HTTPError, URLError) as problem:
        yield {"error": f"pull model manifest: {'file does not exist' if '404' in str(problem) else problem}"}
        return
    manifest = json.loads(content)
    layers = [*manifest["layers"], manifest["config"]]
    new = []
    try:
        for layer in layers:
            digest, total = layer["digest"], layer["size"]
            line = {"status": f"pulling {digest.removeprefix('sha256:')[:12]}", "digest": digest, "total": total}
            if store.blob(digest).exists():
                yield {**line, "completed": total}
                continue
            for completed in fetch(f"{folder}/blobs/{digest}", partial(store, digest), total):
                yield {**line, "completed": completed}
            new.append(digest)
        yield {"status": "verifying sha256 digest"}
        for digest in new:
            verify(store, digest)
        yield {"status": "writing manifest"}
        file = store.manifest(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as problem:
        yield {"error": f"write {problem.filename or store.root}: {(problem.strerror or str(problem)).lower()}"}
        return
    except PullError as problem:
        yield {"error": str(problem)}
        return
    yield {"status": "success"}


def partial(store: Store, digest: str) -> Path:
    return store.blob(digest).with_name(store.blob(digest).name + "-partial")


def fetch(url: str, file: Path, total: int) -> Iterator[int]:
    completed = file.stat().st_size if file.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={completed}-"} if completed else {})
    yield completed
    if completed < total:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer, file.open("ab") as output:
                while block := answer.read(BLOCK):
                    output.write(block)
                    output.flush()
                    completed += len(block)
                    yield completed
        except (URLError, http.client.HTTPException) as problem:
            raise PullError(f"max retries exceeded: {problem}") from problem
    if completed < total:
        raise PullError("max retries exceeded: unexpected EOF")
    file.rename(file.with_name(file.name.removesuffix("-partial")))


def verify(store: Store, digest: str) -> None:
    blob = store.blob(digest)
    with blob.open("rb") as source:
        actual = "sha256:" + hashlib.file_digest(source, "sha256").hexdigest()
    if actual != digest:
        blob.unlink()
        raise PullError(f"digest mismatch, file must be downloaded again: want {digest}, got {actual}")
