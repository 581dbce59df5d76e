# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment as Ollama reads it (envconfig/config.go), with its odd rules for booleans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .log import log

TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
OVERRIDES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "HSA_OVERRIDE_GFX_VERSION",
)


class Environment:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables

    def text(self, name: str) -> str:
        """Spaces and quotes around a value are no part of it."""
        return self.variables.get(name, "").strip().strip("\"'")

    def boolean(self, name: str, default: bool = False) -> bool:
        """strconv.ParseBool; any other text that is not empty counts as true, `off` and `no` included."""
        value = self.text(name)
        if not value:
            return default
        return value not in FALSE

    def tristate(self, name: str) -> bool | None:
        return self.boolean(name) if self.text(name) else None

    def unsigned(self, name: str, default: int) -> int:
        value = self.text(name)
        if value and not value.isdecimal():
            log("WARN", "config.go:261", "invalid environment variable, using default", key=name, value=value)
            return default
        return int(value or default)

    def address(self) -> tuple[str, int]:
        """OLLAMA_HOST: [scheme://]host[:port][/path]; an IPv6 address is in brackets where a port follows."""
        scheme, found, rest = self.text("OLLAMA_HOST").partition("://")
        default_port = {"http": 80, "https": 443}.get(scheme, 11434) if found else 11434
        host_port = (rest if found else scheme).partition("/")[0]
        with_port = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*):([^:]*)", host_port)
        host, port = (with_port[1], with_port[2]) if with_port else (host_port or "127.0.0.1", "")
        known = port.isdecimal() and int(port) < 65536
        return host.strip("[]"), int(port) if known else default_port

    def models(self) -> Path:
        return Path(self.text("OLLAMA_MODELS") or self.home() / ".ollama/models")

    def home(self) -> Path:
        if not self.variables.get("HOME"):
            raise SystemExit("panic: $HOME is not defined")
        return Path(self.variables["HOME"])

    def keep_alive(self) -> float:
        return duration(self.text("OLLAMA_KEEP_ALIVE") or "5m")

    def overrides(self) -> dict[str, str]:
        return {name: self.text(name) for name in OVERRIDES if self.text(name)}

    def dump(self) -> str:
        """The map that the "server config" line shows: sorted, defaults included."""
        host, port = self.address()
        values: dict[str, object] = {name: self.text(name) for name in OVERRIDES}
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "LLAMA_ARG_FIT", "LLAMA_ARG_FIT_TARGET"):
            values[name] = self.text(name)
        for name in ("OLLAMA_IGPU_ENABLE", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_LLM_LIBRARY", "OLLAMA_EDITOR"):
            values[name] = self.text(name)
        for name in (
            "OLLAMA_FLASH_ATTENTION",
            "OLLAMA_NOPRUNE",
            "OLLAMA_NOHISTORY",
            "OLLAMA_NO_CLOUD",
            "OLLAMA_SCHED_SPREAD",
        ):
            values[name] = str(self.boolean(name)).lower()
        values["OLLAMA_VULKAN"] = str(self.boolean("OLLAMA_VULKAN", True)).lower()
        for name, default in (
            ("OLLAMA_CONTEXT_LENGTH", 0),
            ("OLLAMA_GPU_OVERHEAD", 0),
            ("OLLAMA_MAX_LOADED_MODELS", 0),
            ("OLLAMA_MAX_QUEUE", 512),
            ("OLLAMA_NUM_PARALLEL", 1),
        ):
            values[name] = self.unsigned(name, default)
        values["OLLAMA_DEBUG"] = {"": "INFO", "0": "INFO", "2": "TRACE"}.get(self.text("OLLAMA_DEBUG"), "DEBUG")
        values["OLLAMA_HOST"] = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        values["OLLAMA_KEEP_ALIVE"] = go_duration(self.keep_alive())
        values["OLLAMA_LOAD_TIMEOUT"] = go_duration(duration(self.text("OLLAMA_LOAD_TIMEOUT") or "5m"))
        values["OLLAMA_MODELS"] = self.models()
        values["OLLAMA_ORIGINS"] = (
            "[http://localhost https://localhost http://127.0.0.1 https://127.0.0.1 app://* file://*]"
        )
        return "map[" + " ".join(f"{name}:{value}" for name, value in sorted(values.items())) + "]"


def duration(text: str | float) -> float:
    """A Go duration or a number of seconds, in seconds; negative means for ever."""
    if isinstance(text, (int, float)):
        return float(text)
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    total, number = 0.0, ""
    rest = text.lstrip("-")
    while rest:
        if rest[0].isdecimal() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
            continue
        unit = next((unit for unit in units if rest.startswith(unit)), None)
        if unit is None or not number:
            return 300.0
        total, number, rest = total + float(number) * units[unit], "", rest[len(unit) :]
    total += float(number or 0)
    return -total if text.startswith("-") else total


def go_duration(seconds: float) -> str:
    if seconds < 0:
        return "2562047h47m16.854775807s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
