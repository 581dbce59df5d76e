# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of earlier runs: what was there before, what is half done, what waits for the next boot."""

from __future__ import annotations

import json

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import evidence, modprobe, words
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

STATE = "/var/lib/lamplighter/kernel_params.json"
# {key: the boot in which it was changed}; gone after the reboot, as what it says is.
WAITING = "/run/lamplighter/kernel_params.json"
NOTHING: dict = {"cmdline": {}, "pending": [], "exact": {}}


def load(host: Host) -> dict:
    try:
        kept = json.loads(host.text(STATE) or "{}")
        return {**NOTHING, **kept, "boot": json.loads(host.text(WAITING) or "{}")}
    except (ValueError, TypeError) as error:
        raise KernelParamsError(
            f"{STATE} or {WAITING} is damaged ({error}). The first holds what was there before; repair or delete it."
        ) from error


def save(host: Host, state: dict) -> None:
    """Both files; one that has nothing to say goes."""
    kept = {name: state[name] for name in NOTHING}
    for path, content in ((STATE, kept if kept != NOTHING else {}), (WAITING, state["boot"])):
        text = json.dumps(content, indent=2, sort_keys=True) + "\n" if content else None
        if text != host.text(path):
            host.write(path, text)
            if text is None:
                host.remove_empty(path)


def standing(sysroot: Sysroot) -> list[dict]:
    """What kernel_params has set on a host, and whether it is in force or waits for the next boot. Never raises."""
    kept, boots = _json(sysroot, STATE), _json(sysroot, WAITING)
    lines = kept.get("cmdline")
    entries = [entry for entry in lines.values() if isinstance(entry, dict)] if isinstance(lines, dict) else []
    params = [(param, "modprobe") for _line, param in modprobe.parse(sysroot.read(modprobe.OURS) or "")]
    params += [(Param(str(e.get("name")), _text(e.get("value")), str(e.get("state"))), "cmdline") for e in entries]
    boot = sysroot.read("/proc/sys/kernel/random/boot_id") or ""
    found = []
    for param, route in params:
        seen = evidence.observe(sysroot, param, route)
        waits = seen["ok"] is not True and boots.get(param.key) == boot
        found.append(
            {
                "name": param.name,
                "value": param.value,
                "state": param.state,
                "route": route,
                "in_force": seen["ok"],
                "waits": waits,
                "reason": seen["reason"],
            }
        )
    set_now = {words.canonical(item["name"]) for item in found}
    for key in sorted(key for key, number in boots.items() if number == boot and key not in set_now):
        gone = {"name": key, "value": None, "state": "absent", "route": None, "in_force": False, "waits": True}
        found.append({**gone, "reason": "taken away, and as it was from the next boot on"})
    return found


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _json(sysroot: Sysroot, path: str) -> dict:
    try:
        found = json.loads(sysroot.read(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
