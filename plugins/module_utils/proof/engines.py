# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines' HTTP APIs, brought to one form."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any, Callable
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url

# (method, url, payload or None, timeout in seconds) -> the decoded JSON answer
Fetch = Callable[[str, str, Any, float], Any]


class EngineError(Exception):
    """The engine refused, crashed or did not answer; the text is what it said."""


@contextlib.contextmanager
def answered(method: str, url: str, payload: Any, timeout: float, headers: dict[str, str]) -> Iterator[Any]:
    """The open answer; whatever goes wrong with it is an EngineError."""
    try:
        with open_url(
            url,
            data=None if payload is None else json.dumps(payload),
            method=method,
            timeout=timeout,
            headers={"Content-Type": "application/json", **headers},
            # The key is for this server, not for whom it may name.
            unredirected_headers=["Authorization"],
            # A proxy of the environment must not come between a host and its engine, on whatever address.
            use_proxy=False,
        ) as answer:
            yield answer
    except HTTPError as error:
        raise EngineError(_error_text(error)) from error
    except (OSError, HTTPException, ValueError) as error:  # refused, timed out; cut off; not JSON
        raise EngineError(f"{url}: {getattr(error, 'reason', error)}") from error


def fetch_json(method: str, url: str, payload: Any, timeout: float, headers: dict[str, str] | None = None) -> Any:
    with answered(method, url, payload, timeout, headers or {}) as answer:
        return json.load(answer)


def _error_text(error: HTTPError) -> str:
    """Ollama: {"error": "text"}; llama-server: {"error": {"message": "text"}}."""
    body = error.read().decode("utf-8", "replace")
    try:
        said = json.loads(body)["error"]
        return str(said.get("message", said) if isinstance(said, dict) else said)
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}: {body[:300].strip()}"


def _with_key(api_key: str | None) -> Fetch:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return lambda method, url, payload, timeout: fetch_json(method, url, payload, timeout, headers)


class Ollama:
    # Whether a model is loaded for as long as the engine runs.
    resident = False

    def __init__(self, url: str, fetch: Fetch | None = None, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.fetch = fetch or _with_key(api_key)

    def version(self, timeout: float = 5) -> str:
        """Answered only once the discovery of GPUs is over."""
        return str(_mapping(self.fetch("GET", f"{self.url}/api/version", None, timeout)).get("version"))

    def placement(self, model: str) -> dict[str, Any] | None:
        """Where the loaded model is: its bytes, and those of them in GPU memory. None while it is not loaded."""
        wanted = {model, f"{model}:latest"}
        for entry in _mapping(self.fetch("GET", f"{self.url}/api/ps", None, 10)).get("models") or []:
            if wanted & {entry.get("name"), entry.get("model")}:
                return {"size": entry.get("size", 0), "size_vram": entry.get("size_vram", 0)}
        return None

    def unload(self, model: str, timeout: float) -> None:
        self.fetch("POST", f"{self.url}/api/generate", {"model": model, "keep_alive": 0, "stream": False}, timeout)

    def keep(self, model: str, timeout: float) -> None:
        """Leave the model loaded for as long as the server's own setting says."""
        self.fetch("POST", f"{self.url}/api/generate", {"model": model, "stream": False}, timeout)

    def generate(self, model: str, prompt: str, predict: int, context: int, timeout: float) -> dict[str, Any]:
        payload = {
            "model": model,
            "prompt": prompt,
            # No template: the prompt is unique from its first token on, so that nothing of it is in a cache.
            "raw": True,
            "stream": False,
            "keep_alive": "10m",
            "options": {"num_predict": predict, "num_ctx": context, "temperature": 0, "seed": 1},
        }
        answer = _mapping(self.fetch("POST", f"{self.url}/api/generate", payload, timeout))
        if answer.get("error"):
            raise EngineError(str(answer["error"]))
        # Every count and duration is left out of the answer when it is zero.
        return {
            "prompt_tokens": answer.get("prompt_eval_count"),
            "prompt_ns": answer.get("prompt_eval_duration"),
            "generated_tokens": answer.get("eval_count", 0),
            "generated_ns": answer.get("eval_duration"),
            "load_seconds": round(answer.get("load_duration", 0) / 1e9, 2),
        }


def _mapping(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise EngineError(f"an answer of unexpected form: {str(answer)[:200]}")
    return answer


class LlamaServer:
    """One model, loaded when the server starts; nothing in its API tells where it is."""

    resident = True

    def __init__(self, url: str, fetch: Fetch | None = None, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.fetch = fetch or _with_key(api_key)

    def _get(self, path: str, timeout: float = 10) -> Any:
        return self.fetch("GET", f"{self.url}{path}", None, timeout)

    def version(self, timeout: float = 5) -> str:
        """The build. Until the model is loaded /health is an error."""
        _mapping(self._get("/health", timeout))
        # Before 2025 only the log told it.
        return str(_mapping(self._get("/props")).get("build_info") or "unknown").partition("-")[0]

    def model(self) -> str:
        """What the server calls its model."""
        entries = _mapping(self._get("/v1/models")).get("data") or [{}]
        return str(_mapping(entries[0]).get("id") or "")

    def slot_context(self) -> int | None:
        """How many tokens a request may have with its answer. Either of the two may be switched off."""
        with contextlib.suppress(EngineError):
            slots = self._get("/slots")
            if isinstance(slots, list) and slots:
                return _mapping(slots[0]).get("n_ctx")
        with contextlib.suppress(EngineError):
            return (_mapping(self._get("/props")).get("default_generation_settings") or {}).get("n_ctx")
        return None

    def placement(self, _model: str) -> None:
        return None

    def unload(self, _model: str, _timeout: float) -> None:
        """Only the end of the server does that."""

    def keep(self, _model: str, _timeout: float) -> None:
        """It stays loaded."""

    def generate(self, _model: str, prompt: str, predict: int, _context: int, timeout: float) -> dict[str, Any]:
        said = _mapping(self.fetch("POST", f"{self.url}/tokenize", {"content": prompt}, timeout))
        tokens, room = said.get("tokens") or [], self.slot_context()
        payload = {
            "prompt": tokens[: max(room - predict - 1, 1)] if room else tokens,
            "n_predict": predict,
            "stream": False,
            "cache_prompt": False,
            "ignore_eos": True,
            "temperature": 0,
            "seed": 1,
        }
        answer = _mapping(self.fetch("POST", f"{self.url}/completion", payload, timeout))
        if answer.get("error"):
            raise EngineError(str(answer["error"]))
        timings = _mapping(answer.get("timings") or {})
        return {
            "prompt_tokens": timings.get("prompt_n"),
            "prompt_ns": _nanoseconds(timings.get("prompt_ms")),
            "generated_tokens": timings.get("predicted_n", 0),
            "generated_ns": _nanoseconds(timings.get("predicted_ms")),
            "load_seconds": None,
        }


def _nanoseconds(milliseconds: Any) -> int | None:
    return int(milliseconds * 1_000_000) if isinstance(milliseconds, (int, float)) else None


ENGINES: dict[str, Any] = {"ollama": Ollama, "llama_server": LlamaServer}
