# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instances that an inventory asks for: checked against themselves, against the host, and against the build."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server.command import (
    Build,
    CommandError,
    compose,
)

UNIT = "llama-server-{}.service"
# How the devices of a backend are named in --list-devices.
PREFIXES = {"vulkan": "Vulkan", "rocm": "ROCm", "cuda": "CUDA"}
DEFAULTS: dict[str, Any] = {"port": 8080, "host": "127.0.0.1", "metrics": True, "arguments": []}
# Not seen by a service that has a /tmp of its own.
PRIVATE = ("/tmp/", "/var/tmp/")


def _text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value))


def _number(low: float, high: float, kind: type = int) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            try:
                return low <= kind(str(value)) <= high
            except ValueError:
                pass
        return False

    return check


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, (str, int, float)) and not isinstance(item, bool) and printable(str(item)) for item in value
    )


def printable(text: str) -> bool:
    return bool(text) and text.isprintable()


def _key(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[!#-&(-+\--\[\]-~]+", value))


# What a key may be, and how to say so.
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_text(r"[a-z0-9][a-z0-9-]{0,39}"), "up to 40 lower-case letters, digits and dashes"),
    "model": (lambda value: isinstance(value, str) and printable(value), "the path of a GGUF or a name in models_list"),
    "port": (_number(1, 65535), "a number from 1 to 65535"),
    "host": (_text(r"[A-Za-z0-9.:-]+"), "an address or the name of one"),
    "context": (_number(0, 2**31), "tokens, or 0 for as many as the model was trained with"),
    "parallel": (_number(1, 1024), "a number from 1 to 1024"),
    "devices": (_texts, "a list of names from llama-server --list-devices"),
    "gpu_layers": (lambda value: value in ("auto", "all") or _number(0, 9999)(value), "a number, auto or all"),
    "cache_type_k": (_text(r"[a-z0-9_]+"), "a type such as f16 or q8_0"),
    "cache_type_v": (_text(r"[a-z0-9_]+"), "a type such as f16 or q8_0"),
    "flash_attention": (lambda value: value in ("on", "off", "auto", True, False), "on, off or auto"),
    "load_mode": (_text(r"[a-z+]+"), "a mode such as mmap or none"),
    "speculative": (lambda value: isinstance(value, dict), "a dictionary"),
    "api_key": (_key, "printable ASCII without spaces, commas, quotes and backslashes"),
    "metrics": (lambda value: isinstance(value, bool), "true or false"),
    "arguments": (_texts, "a list of options and their values, each an entry of its own"),
}
SPECULATIVE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_text(r"[a-z0-9,-]+"), "a type such as draft-simple or ngram-mod"),
    "model": KEYS["model"],
    "n_max": (_number(0, 1024), "a number from 0 to 1024"),
    "n_min": (_number(0, 1024), "a number from 0 to 1024"),
    "p_min": (_number(0, 1, float), "a number from 0 to 1"),
}


def _check(values: dict[str, Any], keys: dict[str, Any], prefix: str = "") -> list[str]:
    problems = []
    for key, value in values.items():
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(keys)}."
            problems.append(f"{prefix}{key} is no key of an instance: {hint}")
        elif value is not None and not keys[key][0](value):
            secret = key == "api_key" or (key == "arguments" and re.search("(?i)key|token", str(value)))
            shown = "not shown here" if secret else repr(value)
            problems.append(f"{prefix}{key} is {shown}: write {keys[key][1]}.")
    return problems


def model_path(name: str, directory: str) -> str:
    return name if name.startswith("/") else f"{directory}/{name}.gguf"


def read_instances(wanted: Any, directory: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Complete instances with the paths of their models, and what is wrong with them."""
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
        return [], [
            "llama_server_instances is not a list of dictionaries: write one for each server, with name and model."
        ]
    instances, problems = [], []
    if not wanted:
        problems.append("llama_server_instances is empty: name at least one server, with its model.")
    for at, one in enumerate(wanted):
        found = [f"{key} is missing." for key in ("name", "model") if not one.get(key)] + _check(one, KEYS)
        speculative = one.get("speculative") or {}
        if isinstance(speculative, dict):
            found += _check(speculative, SPECULATIVE, "speculative.")
        label = one["name"] if KEYS["name"][0](one.get("name")) else f"entry {at + 1}"
        problems += [f"llama_server_instances, {label}: {problem}" for problem in found]
        if not found:
            instances.append(_complete(one, speculative, directory))
    for key, what in (("name", "have the name"), ("port", "listen on port")):
        values = [str(one[key]) for one in instances]
        for value in sorted({value for value in values if values.count(value) > 1}):
            names = ", ".join(one["name"] for one in instances if str(one[key]) == value)
            problems.append(f"llama_server_instances: {names} {what} {value}: give each its own.")
    return instances, problems


def _complete(one: dict[str, Any], speculative: dict[str, Any], directory: str) -> dict[str, Any]:
    given = {key: value for key, value in one.items() if value is not None}
    draft = {key: value for key, value in speculative.items() if value is not None}
    if "model" in draft:
        draft["model"] = model_path(draft["model"], directory)
    if isinstance(given.get("flash_attention"), bool):
        # YAML reads on and off as truth values.
        given["flash_attention"] = "on" if given["flash_attention"] else "off"
    return {
        **DEFAULTS,
        **given,
        "port": int(given.get("port", DEFAULTS["port"])),
        "model": model_path(given["model"], directory),
        "speculative": draft,
        "arguments": [str(word) for word in given.get("arguments", [])],
        "unit": UNIT.format(given["name"]),
    }


def model_files(instances: list[dict[str, Any]]) -> list[str]:
    """Every file that the instances load."""
    files = [path for one in instances for path in (one["model"], one["speculative"].get("model")) if path]
    return list(dict.fromkeys(files))


def wanted_files(wanted: Any, directory: str) -> list[str]:
    """The same of what an inventory asks for, however wrong the rest of it is."""
    parts = [one for one in wanted if isinstance(one, dict)] if isinstance(wanted, list) else []
    parts = [part for one in parts for part in (one, one.get("speculative")) if isinstance(part, dict)]
    names = [part.get("model") for part in parts]
    return list(dict.fromkeys(model_path(name, directory) for name in names if isinstance(name, str) and name))


def host_problems(instances: list[dict[str, Any]], facts: dict[str, Any], leaving: Sequence[str] = ()) -> list[str]:
    """What of this host stands against the instances: files, ports and units of others that are not leaving."""
    problems = []
    ours = {unit["main_pid"] for unit in facts.get("units") or [] if unit["ours"]}
    models = {model["path"]: model for model in facts.get("models") or []}
    listeners = facts.get("listeners") or {}
    for one in instances:
        start = f"llama_server_instances, {one['name']}: "
        for path in model_files([one]):
            problem = models.get(path, {}).get("problem")
            if path.startswith(PRIVATE):
                problem = "lies where the service does not look: it has a /tmp of its own. Move the file."
            if problem:
                problems.append(f"{start}the model {path} {problem}")
        listener = listeners.get(str(one["port"]))
        if listener and listener["pid"] and listener["pid"] not in ours and listener["unit"] not in leaving:
            holder = ", ".join(filter(None, (f"process {listener['pid']}", listener["unit"])))
            problems.append(
                f"{start}port {one['port']} is taken by {listener['command']} ({holder}): "
                "stop it, or choose another port."
            )
        foreign = [unit for unit in facts.get("units") or [] if unit["name"] == one["unit"] and not unit["ours"]]
        if foreign:
            problems.append(
                f"{start}{foreign[0]['path']} is somebody else's: choose another name, or remove that unit."
            )
    return problems


def devices_for(one: dict[str, Any], rung: dict[str, Any], gpus: list[dict[str, Any]], listed: list[dict]) -> list[str]:
    """The names of the devices that an instance runs on in this rung; none for the CPU."""
    prefix = PREFIXES.get(rung["backend"])
    if not prefix:
        return []
    here = [device for device in listed if device["name"].startswith(prefix)]
    asked = [str(name) for name in one.get("devices") or [] if str(name).startswith(prefix)]
    absent = [name for name in asked if name not in [device["name"] for device in here]]
    if absent:
        there = ", ".join(f"{device['name']} ({device['description']})" for device in here) or "no device"
        raise CommandError(
            f"llama_server_instances, {one['name']}: devices has {', '.join(absent)}, "
            f"but this build lists {there} for {rung['backend']}."
        )
    if asked:
        return asked
    # Where none is listed, the server fails at its start and its log says why: the rung's fault, not the inventory's.
    return planned_devices(rung, gpus, here) or [f"{prefix}0"]


def planned_devices(rung: dict[str, Any], gpus: list[dict[str, Any]], listed: list[dict]) -> list[str]:
    """Those of the listed devices that the plan uses; never one that it leaves out."""
    used = rung.get("devices") or []
    if not used:
        return [device["name"] for device in listed]
    known = [gpu for gpu in gpus if gpu.get("vendor") != "other"]
    return [
        device["name"]
        for device in listed
        if min(known, key=lambda gpu: _distance(device, gpu), default={"index": used[0]})["index"] in used
    ]


def _distance(device: dict[str, Any], gpu: dict[str, Any]) -> tuple[bool, float]:
    """How unlike a device is to a GPU of the plan: by its name, then by its memory."""
    product = re.sub(r"[^a-z0-9]", "", str(gpu.get("product") or "?").lower())
    named = product in re.sub(r"[^a-z0-9]", "", device["description"].lower())
    memory = (gpu.get("usable_bytes") if gpu.get("integrated") else gpu.get("vram_bytes")) or 0
    return not named, abs(device["total_bytes"] - memory)


def unit_word(text: str) -> str:
    """One word of ExecStart=, from which systemd reads exactly this text: no specifier, no variable, no second word."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[A-Za-z0-9_.,:/@+%$=-]+", escaped) else f'"{escaped}"'


def plan_units(
    wanted: Any,
    facts: dict[str, Any],
    rung: dict[str, Any],
    gpus: list[dict[str, Any]],
    directory: str,
    expected: Sequence[str] = (),
    leaving: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """A unit for each instance; CommandError with all that is wrong, as far as it can be told without a build."""
    instances, problems = read_instances(wanted, directory)
    coming = [model_path(name, directory) for name in expected]
    models = [model for model in facts.get("models") or [] if model["path"] not in coming]
    problems += host_problems(instances, {**facts, "models": models}, leaving)
    build = Build(facts.get("version") or "of an unknown build", facts.get("options") or [])
    units = []
    for one in instances:
        argv: list[str] = []
        try:
            if build.options:
                argv = compose(one, build, devices_for(one, rung, gpus, facts.get("devices") or []))
        except CommandError as error:
            problems.append(str(error))
        units.append(
            {
                **{key: value for key, value in one.items() if key != "api_key"},
                "keyed": "api_key" in one,
                "url": url_of(one["host"], one["port"]),
                "exec_start": " ".join(map(unit_word, [facts.get("binary") or "", *argv])),
            }
        )
    if problems:
        raise CommandError("\n".join(problems))
    return units


def url_of(host: str, port: int) -> str:
    """The address by which the host itself reaches a server that listens on this one."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"
