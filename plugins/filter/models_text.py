# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: models_text
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: What wanted models take on a host, as a text to read
description:
  - Tells of each model whether it is there, what it takes of the host's memory, and how much context and how many
    requests at once there is room for.
positional: problems
options:
  _input:
    description: The C(models) of C(lamplighter.fleet.model_fit), which the role models keeps as C(models_result).
    type: list
    elements: dict
    required: true
  problems:
    description: The C(problems) that it returns.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what the models take
  ansible.builtin.debug:
    msg: "{{ models_result | lamplighter.fleet.models_text(models_problems) }}"
"""

RETURN = r"""
_value:
  description: Lines of at most 92 characters, without control codes.
  type: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.models.look import gib, in_words
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.release import human_bytes
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.blocks import block


def _where(model: Mapping[str, Any]) -> str:
    if model["state"] == "absent":
        return "will be removed" if model["removable"] else "is not here, as wanted"
    if not model["missing"]:
        return "is here"
    if not model["seen"]:
        return "may be here, in Ollama's directory, which is closed to this user (use --become)"
    size = f" ({human_bytes(model['bytes'])})" if model["bytes"] else ""
    return f"will be fetched{size}" if not model["refused"] else f"will NOT be fetched{size}"


def _room(model: Mapping[str, Any]) -> str:
    """Advice: what else the memory would allow."""
    need = model["need"]
    if model["available_bytes"] is None:
        return ""
    if not model["fits"]:
        return f"; {gib(model['available_bytes'])} are free for it"
    advice = f"; of {gib(model['available_bytes'])}, room for a context of {model['largest_context']}"
    if model["largest_context"] == model["trained_context"]:
        advice += ", all that it was trained for"
    if model["sensible_parallel"] > need["parallel"]:
        advice += f", or for {model['sensible_parallel']} requests at once with {need['context']} each"
    return advice


def _takes(model: Mapping[str, Any]) -> str:
    need = model["need"]
    if model["state"] == "absent":
        return ""
    if need is None:
        return f"; what it takes is not known: {model['problem']}" if model["problem"] else ""
    unsure = f" (less sure: {', '.join(need['unsure'])})" if need["unsure"] else ""
    return f"; takes {in_words(need)}{unsure}{_room(model)}"


def models_text(models: Sequence[Mapping[str, Any]], problems: Sequence[str] = ()) -> str:
    """A paragraph for each model, and what is wrong."""
    lines = []
    for at, model in enumerate(models):
        lines += block("" if at else "Models", f"{model['name']} {_where(model)}{_takes(model)}.", 2)
    for at, problem in enumerate(problems):
        lines += block("" if at else "Refused", problem, 2)
    return "\n".join(lines)


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"models_text": models_text}
