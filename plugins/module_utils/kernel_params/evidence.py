# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running kernel says: the command line, the module's parameter, the size of the GTT."""

from __future__ import annotations

import os

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import words
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import Param
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot


def observe(sysroot: Sysroot, param: Param, route: str) -> dict:
    """Whether a parameter is in force, by every witness there is; ok is None when none can be asked."""
    line = words.split(sysroot.read("/proc/cmdline") or "")
    on_line = words.of_key(line, param.key)
    shown = (
        sysroot.read(f"/sys/module/{param.module}/parameters/{param.key.partition('.')[2]}") if param.module else None
    )
    seen: dict = {
        "name": param.name,
        "route": route,
        "wanted": param.value,
        "cmdline": words.value_of(on_line[-1]) if on_line else None,
        "parameter": shown,
        "gtt_bytes": None,
        "ok": None,
        "reason": "",
    }
    checks = []
    if route == "cmdline":
        got = [words.value_of(word) for word in on_line]
        want = [param.value] if param.state == "present" else []
        checks.append((got == want, f"/proc/cmdline has {' '.join(on_line) or 'no ' + param.name}"))
    if param.state == "present" and shown is not None and param.value is not None:
        checks.append((same(shown, param.value), f"/sys/module/{param.module} shows {shown}"))
    if (
        param.state == "present"
        and param.key.endswith(".pages_limit")
        and sysroot.exists(f"/sys/module/{param.module}")
    ):
        seen["gtt_bytes"], fine = gtt(sysroot, int(param.value or 0) if (param.value or "").isdigit() else 0)
        if seen["gtt_bytes"] is not None:
            checks.append((fine, f"mem_info_gtt_total is {seen['gtt_bytes']}"))
    if checks:
        seen["ok"] = all(fine for fine, _text in checks)
        seen["reason"] = "; ".join(text for fine, text in checks if not fine)
    return seen


def gtt(sysroot: Sysroot, pages: int) -> tuple[int | None, bool]:
    """The GTT of the GPUs (the largest one) and whether it is the size meant; amdgpu rounds and caps a little."""
    sizes = []
    for card in sysroot.listdir("/sys/class/drm"):
        size = sysroot.read_int(f"/sys/class/drm/{card}/device/mem_info_gtt_total") if "-" not in card else None
        sizes += [size] if size is not None else []
    if not sizes:
        return None, True
    wanted = pages * os.sysconf("SC_PAGE_SIZE")
    return max(sizes), abs(max(sizes) - wanted) <= wanted // 50


def same(shown: str, wanted: str) -> bool:
    """sysfs writes Y for 1 and numbers in decimals."""
    if shown in ("Y", "N"):
        return wanted.lower() in (("y", "1", "on", "true", "yes") if shown == "Y" else ("n", "0", "off", "false", "no"))
    try:
        return int(shown, 0) == int(wanted, 0)
    except ValueError:
        return shown == wanted
