# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two engines as a benchmark sees them: a generation that is streamed and timed, and what else they hold."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.stream import Opened, Record, records, timed
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import ENGINES

MILLION = 1_000_000


class Ollama:
    """`engine` is the proof's, which knows the API's plain requests."""

    def __init__(self, engine: Any, headers: dict[str, str]) -> None:
        self.engine, self.headers = engine, headers

    def prompt(self, text: str, _tokens: int) -> str:
        """Its API has no tokenizer: a word more or less."""
        return text

    def generate(
        self, model: str, prompt: str, predict: int, context: int, timeout: float, on_token: Callable[[], None]
    ) -> Record:
        payload = {
            "model": model,
            "prompt": prompt,
            # No template, which would be the same for every prompt and thus in the cache.
            "raw": True,
            "stream": True,
            "keep_alive": "10m",
            "options": {"num_predict": predict, "num_ctx": context, "temperature": 0, "seed": 1},
        }
        answer = Opened(f"{self.engine.url}/api/generate", payload, self.headers, timeout)
        last, first = timed(records(answer.lines()), lambda record: bool(record.get("done")), on_token)
        # Every count and duration is left out of the answer when it is zero.
        return {
            "first_token_seconds": first,
            "prompt_tokens": last.get("prompt_eval_count"),
            "prompt_ns": last.get("prompt_eval_duration"),
            "generated_tokens": last.get("eval_count", 0),
            "generated_ns": last.get("eval_duration"),
            "load_seconds": round(last.get("load_duration", 0) / 1e9, 2),
        }

    def describe(self, model: str) -> Record:
        """What /api/ps says of the loaded model, and which others are loaded beside it."""
        loaded = self.engine.fetch("GET", f"{self.engine.url}/api/ps", None, 10).get("models") or []
        wanted = {model, f"{model}:latest"}
        ours: Record = next((entry for entry in loaded if wanted & {entry.get("name"), entry.get("model")}), {})
        return {
            "digest": ours.get("digest"),
            "context": ours.get("context_length"),
            "parallel": None,
            "size": ours.get("size"),
            "size_vram": ours.get("size_vram"),
            "others": [str(entry.get("name")) for entry in loaded if entry is not ours],
        }


class LlamaServer:
    """One model for each server, loaded for as long as it runs."""

    def __init__(self, engine: Any, headers: dict[str, str]) -> None:
        self.engine, self.headers = engine, headers

    def prompt(self, text: str, tokens: int) -> Any:
        """Exactly so many tokens; the text has at least as many."""
        said = self.engine.fetch("POST", f"{self.engine.url}/tokenize", {"content": text}, 60)
        return said["tokens"][:tokens] if said.get("tokens") else text

    def generate(
        self, _model: str, prompt: Any, predict: int, _context: int, timeout: float, on_token: Callable[[], None]
    ) -> Record:
        payload = {
            "prompt": prompt,
            "n_predict": predict,
            "stream": True,
            "cache_prompt": False,
            # A model that ends early would be measured on less than the others.
            "ignore_eos": True,
            "temperature": 0,
            "seed": 1,
        }
        answer = Opened(f"{self.engine.url}/completion", payload, self.headers, timeout)
        last, first = timed(records(answer.lines()), lambda record: bool(record.get("stop")), on_token)
        timings = last.get("timings") or {}
        return {
            "first_token_seconds": first,
            "prompt_tokens": timings.get("prompt_n"),
            "prompt_ns": _nanoseconds(timings.get("prompt_ms")),
            "generated_tokens": timings.get("predicted_n", 0),
            "generated_ns": _nanoseconds(timings.get("predicted_ms")),
            "load_seconds": None,
        }

    def describe(self, _model: str) -> Record:
        """What /props says: the context of each slot, and how many slots there are."""
        props = self.engine.fetch("GET", f"{self.engine.url}/props", None, 10)
        settings = props.get("default_generation_settings") or {}
        return {
            "digest": None,
            "context": settings.get("n_ctx"),
            "parallel": props.get("total_slots"),
            "size": None,
            "size_vram": None,
            "others": [],
        }


def _nanoseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else int(milliseconds * MILLION)


CLIENTS: dict[str, Any] = {"ollama": Ollama, "llama_server": LlamaServer}


def client_of(engine: str, url: str, api_key: str | None) -> Any:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return CLIENTS[engine](ENGINES[engine](url, api_key=api_key), headers)
