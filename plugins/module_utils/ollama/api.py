# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url

# Seconds for what is answered at once, even by a busy engine.
PROMPT = 300


class ApiError(Exception):
    """The engine refused or did not answer; the message is its own."""


def parse_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The records of a streamed answer. An error comes as a record inside HTTP 200."""
    for line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ApiError(f"the engine's answer cannot be read: {line[:200]!r}") from error
        if not isinstance(record, dict):
            raise ApiError(f"the engine's answer cannot be read: {line[:200]!r}")
        if record.get("error"):
            raise ApiError(str(record["error"]))
        yield record


class Api:
    """Ollama's HTTP API."""

    def __init__(self, url: str, timeout: int = 300) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout

    def _open(
        self, method: str, path: str, data: Any = None, timeout: int | None = None, headers: dict | None = None
    ) -> Any:
        body = json.dumps(data) if isinstance(data, dict) else data
        try:
            return open_url(
                self.url + path,
                method=method,
                data=body,
                headers={"Content-Type": "application/json"} if isinstance(data, dict) else headers,
                timeout=timeout or self.timeout,
                # A proxy of the environment must not come between a host and its engine, on whatever address.
                use_proxy=False,
            )
        except HTTPError as error:
            raise ApiError(f"{method} {path}: HTTP {error.code}: {_error_text(error)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(f"{self.url} does not answer: {error}") from error

    def json(self, method: str, path: str, data: Any = None, timeout: int | None = None) -> dict[str, Any]:
        with self._open(method, path, data, timeout or min(self.timeout, PROMPT)) as response:
            text = response.read()
        return next(parse_lines([text.replace(b"\n", b" ")]), {})

    def stream(
        self, path: str, data: dict[str, Any], watch: Callable[[dict[str, Any]], None] = lambda _record: None
    ) -> None:
        """Follows a streamed answer to its end, which must be success."""
        last: dict[str, Any] = {}
        try:
            with self._open("POST", path, {**data, "stream": True}) as response:
                for record in parse_lines(response):
                    last = record
                    watch(record)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{path} broke off: {error}") from error
        if last.get("status") != "success":
            raise ApiError(f"{path} ended without success, its last word was {last.get('status')!r}")

    def wait(self, seconds: int, pause: float = 2) -> None:
        """Waits for an answer, which comes only after the discovery of the GPUs; the port opens long before."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.json("GET", "/api/version", timeout=10)
                return
            except ApiError:
                if time.monotonic() >= end:
                    raise
                time.sleep(pause)

    def models(self) -> dict[str, str]:
        """Name to digest of every model that the engine has."""
        found = self.json("GET", "/api/tags").get("models") or []
        return {model["name"]: model.get("digest", "") for model in found}

    def has_blob(self, digest: str) -> bool:
        try:
            self._open("HEAD", f"/api/blobs/sha256:{digest}").close()
        except ApiError as error:
            if "HTTP 404" in str(error):
                return False
            raise
        return True

    def put_blob(self, path: str, digest: str) -> None:
        with open(path, "rb") as source:
            length = {"Content-Length": str(os.path.getsize(path)), "Content-Type": "application/octet-stream"}
            self._open("POST", f"/api/blobs/sha256:{digest}", source, headers=length).close()


def _error_text(error: HTTPError) -> str:
    text = error.read(2000).decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or str(error.reason)
