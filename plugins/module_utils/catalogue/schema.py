# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schema of the catalogue and of what an inventory adds to it, and a check for targets without jsonschema."""

from __future__ import annotations

import re
from typing import Any

GFX = "^gfx[0-9]{1,2}[0-9a-f]{2}$"
_TEXT = {"type": "string", "minLength": 1}
_OVERRIDES = {
    "type": "object",
    "description": "HSA_OVERRIDE_GFX_VERSION values, with the reason",
    "propertyNames": {"pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
    "additionalProperties": _TEXT,
}

ARCH = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "family": _TEXT,
        "integrated": {"type": ["boolean", "null"], "description": "null: the PCI id decides"},
        "graphics": {"type": "boolean", "description": "false: compute only, Vulkan is of no use"},
        "gc": {
            "type": "array",
            "description": "GC IP versions of the kernel's IP discovery",
            "items": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
        },
        "kfd_version": {"type": "integer", "description": "gfx_target_version of the KFD topology"},
        "products": {"type": "array", "items": _TEXT},
        "official": {
            "type": "object",
            "description": "AMD's support on Linux by ROCm release line; not named: not listed",
            "propertyNames": {"pattern": r"^[0-9]+(\.[0-9]+)?$"},
            "additionalProperties": _TEXT,
        },
        "override": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"good": _OVERRIDES, "bad": _OVERRIDES},
        },
        "backend": {"type": "string", "enum": ["rocm", "vulkan", "cpu"], "description": "what to prefer"},
        "vulkan": _TEXT,
        "rocblas": _TEXT,
        "hipblaslt": _TEXT,
        "debian_hip": _TEXT,
        "ollama": {**_TEXT, "description": "history of Ollama's ROCm builds"},
        "issues": {"type": "array", "items": _TEXT},
        "sources": {"type": "array", "items": _TEXT},
    },
}
PCI_ID = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "gfx": {"type": ["string", "null"], "pattern": GFX, "description": "null: ROCm's kernel interface lacks it"},
        "integrated": {"type": "boolean"},
        "chip": _TEXT,
        "products": {
            "type": "object",
            "description": "product by PCI revision, two lower-case hexadecimal digits",
            "propertyNames": {"pattern": "^[0-9a-f]{2}$"},
            "additionalProperties": _TEXT,
        },
        "source": _TEXT,
    },
}
ADDITIONS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "arches": {"type": "object", "propertyNames": {"pattern": GFX}, "additionalProperties": ARCH},
        "pci_ids": {
            "type": "object",
            "description": "by PCI device id, four lower-case hexadecimal digits",
            "propertyNames": {"pattern": "^[0-9a-f]{4}$"},
            "additionalProperties": PCI_ID,
        },
    },
}

_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}


def check_additions(additions: Any, name: str = "inference_catalogue") -> list[str]:
    """What is wrong with an inventory's additions, one sentence each; nothing wrong is an empty list."""
    return _check(additions, ADDITIONS, name)


def _check(value: Any, schema: dict[str, Any], where: str) -> list[str]:
    """The part of JSON schema that the schemas above use."""
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    # To Python a bool is an int; to JSON it is not.
    if not any(isinstance(value, _TYPES[t]) and (t == "boolean" or not isinstance(value, bool)) for t in types):
        return [f"{where} is {value!r}: it must be of type {' or '.join(types)}."]
    if isinstance(value, str):
        return _check_text(value, schema, where)
    if isinstance(value, list):
        return [e for i, item in enumerate(value) for e in _check(item, schema["items"], f"{where}[{i}]")]
    return _check_keys(value, schema, where) if isinstance(value, dict) else []


def _check_text(value: str, schema: dict[str, Any], where: str) -> list[str]:
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where} is {value!r}: allowed are {', '.join(schema['enum'])}."]
    if len(value) < schema.get("minLength", 0):
        return [f"{where} is empty: give a text or leave it out."]
    return _check_pattern(value, schema.get("pattern"), where)


def _check_keys(value: dict[Any, Any], schema: dict[str, Any], where: str) -> list[str]:
    errors = []
    known = schema.get("properties", {})
    for key, item in value.items():
        pattern = schema.get("propertyNames", {}).get("pattern")
        if not isinstance(key, str):
            errors.append(f"{where} has the key {key!r}, which YAML reads as a {type(key).__name__}: put it in quotes.")
        elif key in known:
            errors += _check(item, known[key], f"{where}.{key}")
        elif not schema.get("additionalProperties"):
            errors.append(f"{where} has the unknown key {key!r}: allowed are {', '.join(known)}.")
        else:
            errors += _check_pattern(key, pattern, f"A key of {where}")
            errors += _check(item, schema["additionalProperties"], f"{where}.{key}")
    return errors


def _check_pattern(value: str, pattern: str | None, where: str) -> list[str]:
    # $ would let a trailing newline pass
    if pattern and not re.match(pattern.replace("$", r"\Z"), value):
        return [f"{where} is {value!r}: it must match {pattern}."]
    return []
