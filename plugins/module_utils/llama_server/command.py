# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of one instance, valid for the build that is installed.

llama.cpp renames and removes options between builds, so none is written that this build's --help does not know.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.build import find

# Enough for any model, for builds that cannot be told "all".
ALL_LAYERS = "999"
# The lines that tell where the layers went are logged from this verbosity on.
VERBOSITY = "4"
# A key of an instance and the options that have said it, the newest first.
TYPED: dict[str, tuple[str, ...]] = {
    "model": ("--model",),
    "host": ("--host",),
    "port": ("--port",),
    "devices": ("--device",),
    "context": ("--ctx-size",),
    "parallel": ("--parallel",),
    "gpu_layers": ("--gpu-layers", "--n-gpu-layers"),
    "cache_type_k": ("--cache-type-k",),
    "cache_type_v": ("--cache-type-v",),
    "flash_attention": ("--flash-attn",),
    "load_mode": ("--load-mode",),
    "speculative.type": ("--spec-type",),
    "speculative.model": ("--spec-draft-model", "--model-draft"),
    "speculative.n_max": ("--spec-draft-n-max", "--draft-max"),
    "speculative.n_min": ("--spec-draft-n-min", "--draft-min"),
    "speculative.p_min": ("--spec-draft-p-min", "--draft-p-min"),
    "metrics": ("--metrics",),
    "api_key": ("--api-key", "--api-key-file"),
}
# What --load-mode replaced; None for what no older option says.
OLDER_LOAD_MODES: dict[str, tuple[str, ...] | None] = {
    "auto": (),
    "mmap": (),
    "none": ("--no-mmap",),
    "mlock": ("--no-mmap", "--mlock"),
    "mmap+mlock": ("--mlock",),
    "dio": ("--direct-io",),
}
# Options that end the program at once, silence its evidence, or show a secret to everybody, and what to do instead.
REFUSED = {
    "--help": "it prints and ends",
    "--version": "it prints and ends",
    "--list-devices": "it prints and ends",
    "--cache-list": "it prints and ends",
    "--completion-bash": "it prints and ends",
    "--log-disable": "without a log nothing is proven",
    "--log-file": "the log belongs in the journal, where the proof reads it",
    "--log-jsonl": "the proof reads the plain log",
    "--log-verbosity": f"the role sets it to {VERBOSITY}, so that the log tells where the layers went",
    "--hf-token": "it would be shown to every user of the host; fetch the model with models_list",
}


class CommandError(Exception):
    """What is wrong with an instance; the message has one line for each problem."""


@dataclass
class Build:
    """What the installed build says of itself."""

    version: str
    options: list[dict[str, Any]]

    def knows(self, names: tuple[str, ...]) -> dict[str, Any] | None:
        """The first of these options that the build takes."""
        for name in names:
            option = find(self.options, name)
            if option and not option["removed"]:
                return {**option, "name": name}
        return None


class _Command:
    def __init__(self, instance: dict[str, Any], build: Build):
        self.instance, self.build = instance, build
        self.argv: list[str] = []
        self.problems: list[str] = []

    def refuse(self, message: str) -> None:
        self.problems.append(f"llama_server_instances, {self.instance['name']}: {message}")

    def unknown(self, key: str) -> None:
        wanted = TYPED[key]
        removed = [option["removed"] for option in (find(self.build.options, name) for name in wanted) if option]
        instead = f" (it says: {removed[0]})" if removed else ""
        self.refuse(
            f"{key} needs {' or '.join(wanted)}, which llama-server {self.build.version} does not know{instead}. "
            "Leave it out, or install another build."
        )

    def add(self, key: str, value: Any) -> None:
        option = self.build.knows(TYPED[key])
        if not option:
            self.unknown(key)
            return
        text = str(value)
        words = text.split(",") if key == "speculative.type" else [text]
        for word in words:
            if option["choices"] and word not in option["choices"]:
                self.refuse(
                    f"{key} is {word!r}; llama-server {self.build.version} takes {', '.join(option['choices'])}."
                )
                return
        self.argv += [option["name"], text]

    def flash_attention(self, value: str) -> None:
        option = self.build.knows(TYPED["flash_attention"])
        if not option or option["values"]:
            self.add("flash_attention", value)
        elif value == "auto":
            self.refuse(f"flash_attention is auto, but llama-server {self.build.version} only has on and off.")
        elif value == "on":
            self.argv.append(option["name"])

    def load_mode(self, value: str) -> None:
        older = OLDER_LOAD_MODES.get(value)
        if self.build.knows(TYPED["load_mode"]) or older is None:
            self.add("load_mode", value)
        elif all(self.build.knows((name,)) for name in older):
            self.argv += older
        else:
            self.unknown("load_mode")

    def gpu_layers(self, value: Any) -> None:
        option = self.build.knows(TYPED["gpu_layers"])
        automatic = bool(option and option["automatic"])
        if value in (None, "auto"):
            # The default of older builds is to offload nothing.
            if not automatic:
                self.add("gpu_layers", ALL_LAYERS)
        else:
            self.add("gpu_layers", ALL_LAYERS if value == "all" and not automatic else value)

    def speculative(self, wanted: dict[str, Any]) -> None:
        kind = wanted.get("type") or ("draft-simple" if wanted.get("model") else None)
        # A build without types drafts with the model that it is given, and in no other way.
        if kind and (self.build.knows(TYPED["speculative.type"]) or kind != "draft-simple"):
            self.add("speculative.type", kind)
        for key in ("model", "n_max", "n_min", "p_min"):
            if wanted.get(key) is not None:
                self.add(f"speculative.{key}", wanted[key])

    def arguments(self, words: list[str]) -> None:
        at = 0
        while at < len(words):
            name = words[at]
            option = find(self.build.options, name)
            count = option["values"] if option else 0
            values = words[at + 1 : at + 1 + count]
            if self._argument(name, option, values):
                self.argv += [name, *values]
            at += 1 + (count or self._strays(words, at))

    def _strays(self, words: list[str], at: int) -> int:
        """Values that follow a name that is wrong or takes none are told with it, once."""
        following = 0
        while at + 1 + following < len(words) and not words[at + 1 + following].startswith("-"):
            following += 1
        known = find(self.build.options, words[at])
        if known and following:
            self.refuse(f"arguments has {words[at + 1]!r} behind {words[at]}, which takes no value.")
        return following

    def _argument(self, name: str, option: dict[str, Any] | None, values: list[str]) -> bool:
        build = f"llama-server {self.build.version}"
        if not name.startswith("-"):
            self.refuse(f"arguments begins with {name!r}: write the option first, such as --top-k, then its value.")
        elif re.search(r"[=\s]", name) and not option:
            # The value may be a secret.
            only = re.split(r"[=\s]", name)[0]
            self.refuse(f"arguments has {only} and its value in one: write the option and its value as two entries.")
        elif not option:
            known = [one for entry in self.build.options for one in entry["names"] if not entry["removed"]]
            close = difflib.get_close_matches(name, known, 1)
            self.refuse(f"arguments has {name}, which {build} does not know{f'; is it {close[0]}' if close else ''}.")
        elif option["removed"]:
            self.refuse(f"arguments has {name}, which {build} has removed: {option['removed']}.")
        elif self._reserved(option):
            self.refuse(f"arguments has {name}: {self._reserved(option)}.")
        elif len(values) < option["values"]:
            self.refuse(f"arguments has {name} without its value.")
        elif option["choices"] and values[0] not in option["choices"] and "," not in values[0]:
            self.refuse(f"arguments has {name} {values[0]!r}; {build} takes {', '.join(option['choices'])}.")
        else:
            return True
        return False

    @staticmethod
    def _reserved(option: dict[str, Any]) -> str | None:
        key = next((key for key, names in TYPED.items() if set(names) & set(option["names"])), None)
        if key:
            return f"use the key {key}"
        return next((why for name, why in REFUSED.items() if name in option["names"]), None)


def compose(instance: dict[str, Any], build: Build, devices: list[str]) -> list[str]:
    """The arguments of a complete instance on these devices, none for the CPU; CommandError where the build refuses."""
    command = _Command(instance, build)
    for key in ("model", "host", "port"):
        command.add(key, instance[key])
    if build.knows(TYPED["devices"]):
        command.add("devices", ",".join(devices) or "none")
    elif not devices:
        command.add("gpu_layers", 0)
    if devices:
        command.gpu_layers(instance.get("gpu_layers"))
    for key in ("context", "parallel", "cache_type_k", "cache_type_v"):
        if instance.get(key) is not None:
            command.add(key, instance[key])
    if instance.get("flash_attention") is not None:
        command.flash_attention(instance["flash_attention"])
    if instance.get("load_mode") is not None:
        command.load_mode(instance["load_mode"])
    command.speculative(instance.get("speculative") or {})
    if instance["metrics"]:
        if build.knows(TYPED["metrics"]):
            command.argv.append("--metrics")
        else:
            command.unknown("metrics")
    if build.knows(("--log-verbosity",)):
        command.argv += ["--log-verbosity", VERBOSITY]
    command.arguments(instance["arguments"])
    if command.problems:
        raise CommandError("\n".join(command.problems))
    return command.argv
