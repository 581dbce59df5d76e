# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules take that ask a running engine; plugins/doc_fragments/engine.py says what it means."""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import ENGINES

ENGINE: dict[str, dict[str, Any]] = {
    "engine": {"type": "str", "choices": list(ENGINES), "default": "ollama"},
    "url": {"type": "str", "default": "http://127.0.0.1:11434"},
    "unit": {"type": "str", "default": "ollama.service"},
    "api_key": {"type": "str", "no_log": True},
    "model": {"type": "str", "default": ""},
    "start_timeout": {"type": "int", "default": 240},
    "request_timeout": {"type": "int", "default": 360},
    "sysroot": {"type": "path", "default": "/"},
    "gpu_addresses": {"type": "list", "elements": "str", "default": []},
    "signatures": {"type": "list", "elements": "dict", "default": []},
}
TIMEOUTS = {"start_timeout": (1, 3600), "request_timeout": (1, 3600)}


def problem(settings: dict[str, Any], ranges: dict[str, tuple[int, int]]) -> str | None:
    """What is wrong with the first bad argument. `ranges` are of the module's own: name -> (lowest, highest)."""
    for name, (lowest, highest) in {**ranges, **TIMEOUTS}.items():
        if not lowest <= settings[name] <= highest:
            return f"{name} is {settings[name]}; it has to be from {lowest} to {highest}."
    if not settings["url"].startswith(("http://", "https://")):
        return f"url is {settings['url']}; it has to begin with http:// or https://."
    if settings["engine"] == "ollama" and not settings["model"]:
        return "model is not given; Ollama has to be told which of its models is meant."
    return None
