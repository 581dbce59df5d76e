# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of models_list: what the inventory may say of a model, checked before anything is done."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.lamplighter.fleet.plugins.module_utils.models.fit import CACHE_TYPES

ENGINES = ("ollama", "llama_server")
SOURCES = ("registry", "url", "file")
# HOST[:PORT]/NAMESPACE/MODEL:TAG; what is left out is Ollama's default. No part may lead out of a directory.
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?")
MOST_CONTEXT, MOST_PARALLEL = 1 << 24, 256


@dataclass
class Entry:
    name: str
    state: str = "present"
    source: str = "registry"
    url: str | None = None
    src: str | None = None
    sha256: str | None = None
    engines: list[str] = field(default_factory=list)
    context: int | None = None
    parallel: int | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    allow_oversize: bool = False

    @property
    def tag(self) -> str:
        """The name as Ollama lists it."""
        return with_tag(self.name)

    @property
    def file(self) -> str | None:
        """The file's name in the models directory; None where only a registry's model for Ollama is wanted."""
        return None if self.source == "registry" and "llama_server" not in self.engines else f"{self.name}.gguf"


def with_tag(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def name_problem(name: Any) -> str | None:
    """Why this is no name of a model, or None."""
    if not isinstance(name, str) or not name or len(name) > 200:
        return "a name of at most 200 characters is needed"
    path, _colon, version = with_tag(name).rpartition(":")
    parts = path.split("/")
    host = parts.pop(0) if len(parts) > 2 else None
    if len(parts) > 2 or not all(PART.fullmatch(part) for part in [*parts, version]):
        return "write MODEL, MODEL:TAG, NAMESPACE/MODEL:TAG or HOST/NAMESPACE/MODEL:TAG"
    if host is not None and not HOST.fullmatch(host):
        return f"{host!r} is no host"
    return None


def _url_problem(url: Any) -> str | None:
    if not isinstance(url, str) or not re.fullmatch(r"https?://[!-~]+", url) or not urlsplit(url).hostname:
        return "url must be an address that begins with http:// or https://, without spaces"
    return None


def _number_problem(given: dict[str, Any], key: str, most: int) -> str | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)) or not 1 <= int(value) <= most:
        return f"{key} must be a whole number from 1 to {most}, not {value!r}"
    return None


def _choice_problem(given: dict[str, Any], key: str, choices: tuple[str, ...]) -> str | None:
    value = given.get(key)
    return None if value is None or value in choices else f"{key} must be one of {', '.join(choices)}, not {value!r}"


def _source_of(given: dict[str, Any]) -> Any:
    return given.get("source") or ("url" if given.get("url") else "file" if given.get("src") else "registry")


def _source_problems(given: dict[str, Any], engines: list[str]) -> list[str | None]:
    source, name = _source_of(given), str(given.get("name") or "")
    problems: list[str | None] = []
    if given.get("url") and source != "url":
        problems.append(f"url is given, but its source is {source}")
    if given.get("src") and source != "file":
        problems.append(f"src is given, but its source is {source}")
    if source == "url":
        problems.append(_url_problem(given.get("url")))
    if source == "file" and not (isinstance(given.get("src"), str) and os.path.isabs(given["src"])):
        problems.append("src must be the absolute path of a GGUF file on the controller")
    if source == "url" and given.get("sha256") is None and given.get("state") != "absent":
        problems.append("a url needs the sha256 of the file; its publisher tells it")
    if given.get("sha256") is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", str(given["sha256"])):
        problems.append("sha256 must be 64 hexadecimal digits")
    if "/" in name and (source != "registry" or "llama_server" in engines):
        problems.append("a model that is a file needs a name without a slash")
    return problems


def entry_problems(given: Any, default_engine: str) -> list[str]:
    """Everything that is wrong with one entry."""
    if not isinstance(given, dict):
        return [f"it must be a dictionary with a name, not {given!r}"]
    unknown = sorted(set(map(str, given)) - set(Entry.__dataclass_fields__))
    found: list[str | None] = [
        f"{key} is no key of a model: known are {', '.join(Entry.__dataclass_fields__)}" for key in unknown
    ]
    found.append(name_problem(given.get("name")))
    engines = given.get("engines") or [default_engine]
    if not isinstance(engines, list) or not set(map(str, engines)) <= set(ENGINES):
        return [problem for problem in found if problem] + [f"engines must be a list out of {', '.join(ENGINES)}"]
    found.append(_choice_problem(given, "state", ("present", "absent")))
    found.append(_choice_problem(given, "source", SOURCES))
    found.append(_choice_problem(given, "cache_type_k", CACHE_TYPES))
    found.append(_choice_problem(given, "cache_type_v", CACHE_TYPES))
    found.append(_number_problem(given, "context", MOST_CONTEXT))
    found.append(_number_problem(given, "parallel", MOST_PARALLEL))
    return [problem for problem in found + _source_problems(given, engines) if problem]


def _entry(given: dict[str, Any], default_engine: str) -> Entry:
    values = {key: value for key, value in given.items() if value is not None}
    values["source"] = _source_of(given)
    values["engines"] = given.get("engines") or [default_engine]
    for key in ("context", "parallel"):
        if key in values:
            values[key] = int(values[key])
    if "sha256" in values:
        values["sha256"] = str(values["sha256"]).lower()
    values["allow_oversize"] = str(given.get("allow_oversize", False)).lower() in ("true", "yes", "1", "on")
    return Entry(**values)


def read_entries(wanted: Any, default_engine: str) -> tuple[list[Entry], list[str]]:
    """The entries, and what is wrong with them; of a list with something wrong nothing must be used."""
    if not isinstance(wanted, list):
        return [], [f"models_list must be a list, not {wanted!r}"]
    problems = []
    entries = []
    for at, given in enumerate(wanted):
        name = given.get("name") if isinstance(given, dict) else None
        found = entry_problems(given, default_engine)
        problems += [f"models_list[{at}]{f' ({name})' if name else ''}: {problem}." for problem in found]
        if not found:
            entries.append(_entry(given, default_engine))
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.tag.lower() in seen:
            problems.append(f"models_list has one model twice, as {seen[entry.tag.lower()]!r} and {entry.name!r}.")
        seen[entry.tag.lower()] = entry.name
    return entries, problems
