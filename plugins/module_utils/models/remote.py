# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server tells of a model before it is fetched: a registry's manifest, the beginning of a file."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import Metadata, read_metadata
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import ApiError
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import HIDDEN, PASSWORD
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.models import REGISTRY, manifest_path

REGISTRY_URL = f"https://{REGISTRY}"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MODEL_TYPE = "application/vnd.ollama.image.model"
MOST_MANIFEST_BYTES = 4 << 20
BLOCK = 1 << 20


def shown(text: str) -> str:
    """Without the password that an address may hold."""
    return PASSWORD.sub(rf"\1{HIDDEN}", text)


class RemoteError(Exception):
    """The server does not have it or does not answer; the message says which and where."""


@dataclass(frozen=True)
class Layer:
    digest: str
    bytes: int
    kind: str

    @property
    def sha256(self) -> str:
        return self.digest[len("sha256:") :]

    @property
    def blob(self) -> str:
        """The name of its file in a models directory."""
        return self.digest.replace(":", "-")


@dataclass(frozen=True)
class Manifest:
    """A model of a registry: its layers, the configuration last, and the text as it was signed for."""

    layers: list[Layer]
    content: bytes

    @property
    def bytes(self) -> int:
        return sum(layer.bytes for layer in self.layers)

    @property
    def weights(self) -> Layer:
        return next(layer for layer in self.layers if layer.kind == MODEL_TYPE)


def parse_manifest(content: bytes) -> Manifest:
    """The manifest of a model with weights; raises ValueError for anything else."""
    try:
        read = json.loads(content)
        parts = [*read["layers"], read["config"]]
        layers = [Layer(str(part["digest"]), int(part["size"]), str(part.get("mediaType"))) for part in parts]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is no manifest of a model: {error!r}") from error
    for layer in layers:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", layer.digest) or layer.bytes < 0:
            raise ValueError(f"names {layer.digest!r}, which is no sha256")
    if MODEL_TYPE not in [layer.kind for layer in layers]:
        raise ValueError("names no weights in GGUF")
    return Manifest(layers, content)


def registry_folder(tag: str, registry_url: str = REGISTRY_URL) -> tuple[str, str]:
    """Where the registry keeps the model, and the model's tag."""
    _manifests, host, *names, version = manifest_path(tag).split("/")
    base = registry_url.rstrip("/") if host == REGISTRY else f"https://{host}"
    return "/".join([base, "v2", *names]), version


def fetch_manifest(tag: str, registry_url: str, timeout: int) -> Manifest:
    try:
        folder, version = registry_folder(tag, registry_url)
    except ApiError as error:
        raise RemoteError(str(error)) from error
    url = f"{folder}/manifests/{version}"
    with opened(url, {"Accept": MANIFEST_TYPE}, timeout) as answer:
        try:
            content = answer.read(MOST_MANIFEST_BYTES)
            return parse_manifest(content)
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(f"{url} broke off: {error}") from error
        except ValueError as error:
            raise RemoteError(f"what {url} answers {error}") from error


def blob_url(tag: str, digest: str, registry_url: str) -> str:
    return f"{registry_folder(tag, registry_url)[0]}/blobs/{digest}"


def opened(url: str, headers: dict[str, str], timeout: int) -> Any:
    try:
        return open_url(url, headers=headers, timeout=timeout, decompress=False)
    except HTTPError as error:
        raise RemoteError(f"{url} cannot be had: {error}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RemoteError(f"{url} does not answer: {error}") from error


class RemoteFile:
    """The bytes of a file behind HTTP in order, fetched in ranges, so that a header does not cost the whole file."""

    def __init__(self, url: str, timeout: int) -> None:
        self.url, self.timeout = url, timeout
        self.position = 0
        self.size: int | None = None
        self._block = b""
        self._whole: Any = None

    def read(self, size: int, /) -> bytes:
        if not self._block and (self.size is None or self.position < self.size):
            self._block = self._more()
        piece, self._block = self._block[:size], self._block[size:]
        return piece

    def _more(self) -> bytes:
        try:
            if self._whole is None:
                return self._range()
            return self._whole.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(f"{self.url} broke off: {error}") from error

    def _range(self) -> bytes:
        last = self.position + BLOCK - 1
        answer = opened(self.url, {"Range": f"bytes={self.position}-{last}"}, self.timeout)
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range") or "")
        if answer.status == 206 and found and int(found[1]) == self.position:
            with answer:
                self.size = int(found[2])
                block = answer.read(BLOCK)
        elif self.position:
            answer.close()
            raise RemoteError(f"{self.url} does not continue where it is asked to")
        else:
            # A server without ranges: what is needed is read from its whole answer, which is then broken off.
            length = answer.headers.get("Content-Length") or ""
            self.size = int(length) if length.isdigit() else None
            self._whole = answer
            block = answer.read(BLOCK)
        self.position += len(block)
        return block

    def close(self) -> None:
        if self._whole is not None:
            self._whole.close()


def read_remote(url: str, timeout: int) -> tuple[Metadata, int | None]:
    """The header of the GGUF file at the URL, and the file's size where the server tells it."""
    stream = RemoteFile(url, timeout)
    try:
        metadata = read_metadata(stream)
        if stream.size is not None and stream.size < metadata.file_bytes:
            # Said by the reader for local files; here the size comes with the first answer.
            raise RemoteError(f"{url} is cut: it has {stream.size} bytes of {metadata.file_bytes}")
        return metadata, stream.size
    finally:
        stream.close()
