# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is asked to a machine that boots with it: decide, check, write, rebuild; a kill in between is made good.

The state file is the rollback: what each command line key had before, and which rebuilds are still owed.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import (
    evidence,
    grub,
    initramfs,
    loaders,
    memory,
    modprobe,
    remembered,
    words,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param

ROUTES = ("auto", "modprobe", "cmdline")


@dataclass
class Plan:
    """What would be done; nothing of it is done yet."""

    options: dict  # key: Param in our modprobe.d file
    cmdline: dict  # key: {name, value, state, originals} on the command line
    touched: list  # keys that are asked for
    text: str = ""
    managed: dict = field(default_factory=dict)
    restored: dict = field(default_factory=dict)
    owed: list = field(default_factory=list)
    conflicts: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    line: list = field(default_factory=list)
    loader: Any = None


def make_plan(host: Host, params: list, route: str, state: dict, preview: bool) -> Plan:
    asked = {param.key: words.check(param) for param in params}
    options = {param.key: param for _line, param in modprobe.parse(host.text(modprobe.OURS) or "")}
    plan = Plan(dict(options), {key: dict(entry) for key, entry in state["cmdline"].items()}, list(asked))
    written = loaders.foreign_lines(host, asked)
    ostree = host.sysroot.exists("/run/ostree-booted")
    trouble = None
    try:
        plan.loader = loaders.detect(host)
        lines = plan.loader.lines()
    except (KernelParamsError, PermissionError) as error:
        # No matter while nothing is wanted of the loader, or where somebody may only look.
        trouble = error
        lines = [words.split(host.sysroot.read("/proc/cmdline") or "")]
        if preview:
            plan.warnings.append(
                f"Only root can read what this host boots with ({error}): the running kernel's command line is taken."
            )
    plan.line = lines[0] if lines else []
    on_line = {words.key_of(word) for line in lines for word in line}

    for key, param in asked.items():
        known = is_known(host, param)
        if known is None and param.state == "present":
            plan.warnings.append(
                f"{param.name}: {host.release} has no module {param.module}, the value will do nothing."
            )
        way = choose(param, route, key in plan.cmdline or key in on_line, known is False or ostree)
        plan.options.pop(key, None)
        entry = plan.cmdline.pop(key, None)
        if param.state == "absent":
            continue
        if way == "modprobe":
            plan.options[key] = param
        elif entry or param.state == "present" or key in on_line:
            originals = entry["originals"] if entry else words.of_key(plan.line, key)
            plan.cmdline[key] = {**asdict(param), "originals": originals}

    plan.text = modprobe.render(list(plan.options.values()))
    plan.managed = {
        key: [_param(entry).word] if entry["state"] == "present" else [] for key, entry in plan.cmdline.items()
    }
    plan.restored = {key: entry["originals"] for key, entry in state["cmdline"].items() if key not in plan.cmdline}
    if plan.text != (host.text(modprobe.OURS) or "") or "initramfs" in state["pending"]:
        plan.owed.append("initramfs")
    wanted = plan.managed or plan.restored or "loader" in state["pending"]
    if trouble and not preview:
        if wanted:
            raise trouble
        plan.loader = None
    if wanted and (
        "loader" in state["pending"] or plan.cmdline != state["cmdline"] or not satisfied(plan, host, lines)
    ):
        plan.owed.append("loader")
    plan.conflicts = conflicts(host, plan, asked, written)
    return plan


def _param(entry: dict) -> Param:
    return Param(entry["name"], entry["value"], entry["state"])


def is_known(host: Host, param: Param) -> bool | None:
    """False for the kernel's own parameters, and those of what is built in: modprobe.d does nothing for these."""
    return modprobe.is_loadable(host.sysroot, host.release, param.module) if param.module else False


def choose(param: Param, route: str, on_line: bool, must: bool) -> str:
    """modprobe.d cannot break a boot; but the command line beats it, so a value there is replaced there."""
    if route == "modprobe" and (param.module is None or param.state == "masked"):
        raise KernelParamsError(f"{param.name} cannot be {param.state} by route: modprobe. Use route: auto or cmdline.")
    if route == "auto":
        return "cmdline" if on_line or must or param.state == "masked" else "modprobe"
    return route


def satisfied(plan: Plan, host: Host, lines: list) -> bool:
    own = plan.loader.own_file if plan.loader else None
    if own and host.text(own) != grub.drop_in(plan.managed):
        return False
    return all(words.of_key(line, key) == fresh for line in lines for key, fresh in plan.managed.items())


def conflicts(host: Host, plan: Plan, asked: dict, written: list) -> list:
    """Each place where somebody else sets one of the keys, and who wins."""
    found = []
    for path, line, param in [*modprobe.foreign(host), *written]:
        if param.key not in asked or asked[param.key].state == "absent":
            continue
        in_modprobe = "modprobe.d" in path
        if in_modprobe:
            later = os.path.basename(path) > os.path.basename(modprobe.OURS)
            wins = later if param.key in plan.options else asked[param.key].state == "masked"
        else:
            wins = param.key in plan.options
        shared = plan.loader and path == plan.loader.shared_file
        if not in_modprobe and shared:
            continue  # it is edited, and the difference shows it
        remedy = "Remove it there: it has the last word." if wins else "Nothing: it is overridden."
        found.append(
            {"name": param.name, "value": param.value, "path": path, "line": line, "wins": wins, "remedy": remedy}
        )
    return found


def carry_out(host: Host, plan: Plan, state: dict) -> None:
    """Everything that can fail beforehand is tried beforehand; what is owed is written down before the first change."""
    host.check_space(os.path.dirname(remembered.STATE), 1 << 20)
    if "initramfs" in plan.owed:
        host.check_space("/etc/modprobe.d", 1 << 20)
        initramfs.command(host)
        initramfs.check_space(host)
    if "loader" in plan.owed:
        for directory, needed in plan.loader.space():
            host.check_space(directory, needed)

    state["pending"] = list(plan.owed)
    remembered.save(host, state)
    before = host.text(modprobe.OURS)
    if "initramfs" in plan.owed:
        host.write(modprobe.OURS, plan.text or None)
        try:
            initramfs.rebuild(host)
        except KernelParamsError:
            host.write(modprobe.OURS, before)
            raise
        if isinstance(plan.loader, loaders.KernelInstall) and plan.loader.unified():
            plan.loader.rebuild()
        host.settle()
        state["pending"].remove("initramfs")
        remembered.save(host, state)
    if "loader" in plan.owed:
        shared = plan.loader.shared_file
        text = host.text(shared) if shared else None
        exact = state["exact"]
        untouched = bool(exact) and exact["path"] == shared and exact["after"] == text
        try:
            give_back = {"text": exact["before"]} if untouched and not plan.managed else {}
            plan.loader.apply(plan.managed, plan.restored, give_back)
        except KernelParamsError:
            state["pending"].remove("loader")  # the loader's own check has put everything back
            remembered.save(host, state)
            raise
        if shared:
            original = exact["before"] if untouched else text
            state["exact"] = {"path": shared, "before": original, "after": host.text(shared)} if plan.managed else {}
        host.settle()
        state["cmdline"] = plan.cmdline
        state["pending"].remove("loader")


def run(host: Host, params: list, route: str, purge: bool, check_mode: bool) -> dict:
    """The result of the module."""
    state = remembered.load(host)
    warnings = [text for param in params for text in memory.guard(param, host.sysroot)]
    old_options = {param.key: param for _line, param in modprobe.parse(host.text(modprobe.OURS) or "")}
    old = {
        **{key: param.value for key, param in old_options.items()},
        **{key: entry["value"] for key, entry in state["cmdline"].items()},
    }
    if purge:
        named = {param.key for param in params}
        params = params + [Param(key, None, "absent") for key in old if key not in named]
    plan = make_plan(host, params, route, state, check_mode and not host.is_root)
    now = {
        **{key: param.value for key, param in plan.options.items()},
        **{key: entry["value"] for key, entry in plan.cmdline.items()},
    }
    diff = difference(host, plan, old_options)
    if plan.owed and not check_mode:
        carry_out(host, plan, state)

    seen = [evidence.observe(host.sysroot, param, "modprobe") for param in plan.options.values()]
    seen += [evidence.observe(host.sysroot, _param(entry), "cmdline") for entry in plan.cmdline.values()]
    not_ok = {words.canonical(item["name"]) for item in seen if item["ok"] is False}
    changed_keys = {key for key in {*old, *now} if (key in old, old.get(key)) != (key in now, now.get(key))}
    # What was rewritten is read at the next boot, also where it only completes or mends what was there.
    place = {"modprobe": "initramfs", "cmdline": "loader"}
    rewritten = {words.canonical(item["name"]) for item in seen if place[item["route"]] in plan.owed}
    for key in changed_keys | (not_ok & rewritten):
        if key in now and key not in not_ok:
            state["boot"].pop(key, None)
        else:
            state["boot"][key] = host.boot_id
    state["boot"] = {key: boot for key, boot in state["boot"].items() if boot == host.boot_id}
    waiting = sorted(key for key in state["boot"] if key not in now or key in not_ok)
    failed = [item for item in seen if item["ok"] is False and words.canonical(item["name"]) not in waiting]
    if not check_mode and state != remembered.load(host):
        remembered.save(host, state)
    return {
        "changed": bool(plan.owed),
        "loader": plan.loader.name if plan.loader else None,
        "written": [
            path
            for path in (modprobe.OURS, plan.loader and (plan.loader.own_file or plan.loader.shared_file))
            if path and host.text(path) is not None
        ],
        "in_force": seen,
        "not_taken": failed,
        "conflicts": plan.conflicts,
        "reboot_required": bool(waiting),
        "reboot_reasons": waiting,
        "warnings": warnings
        + plan.warnings
        + [
            f"{item['path']}:{item['line']} sets {item['name']} to {item['value']}. {item['remedy']}"
            for item in plan.conflicts
            if item["wins"]
        ],
        "diff": diff,
    }


def difference(host: Host, plan: Plan, old_options: dict) -> dict:
    """What is handed to the kernel, before and after."""
    after = plan.line
    for key, fresh in {**plan.restored, **plan.managed}.items():
        after = words.replace(after, key, fresh)
    return {
        "before_header": "kernel parameters",
        "after_header": "kernel parameters",
        "before": f"{host.text(modprobe.OURS) or ''}{' '.join(plan.line)}\n",
        "after": f"{plan.text}{' '.join(after)}\n",
    }
