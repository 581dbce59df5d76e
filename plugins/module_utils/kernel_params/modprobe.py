# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules in modprobe.d: our own file, and what other files set for the same parameters.

Source: modprobe.d(5) of kmod 34: files by name, the first directory hides the same name in the others, all
options of a module are joined, and the kernel takes the last value. The command line comes after the files.
"""

from __future__ import annotations

import shlex

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import Param, canonical
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
# Sorts behind what others write, so that its values are the last.
OURS = "/etc/modprobe.d/zz-lamplighter.conf"
HEADER = (
    "# Written by Lamplighter (kernel_params), anew with every change. To undo: delete it, rebuild the initramfs.\n"
)


def parse(text: str) -> list[tuple[int, Param]]:
    """Each parameter of each options line with the number of its line."""
    found = []
    number, begun = 1, ""
    for count, line in enumerate(text.splitlines(), 1):
        begun += line
        if line.endswith("\\"):  # goes on in the next line
            begun = begun[:-1] + " "
            continue
        line, begun, start, number = begun, "", number, count + 1
        try:
            fields = shlex.split(line)
        except ValueError:
            continue  # a quote that never ends
        if len(fields) > 2 and fields[0] == "options":
            for word in fields[2:]:
                name, equals, value = word.partition("=")
                found.append((start, Param(f"{canonical(fields[1])}.{name}", value if equals else None)))
    return found


def render(params: list[Param]) -> str:
    """Our file: one line for each module; empty text where there is nothing to say."""
    by_module: dict = {}
    for param in sorted(params, key=lambda param: param.key):
        by_module.setdefault(param.module, []).append(Param(param.name.partition(".")[2], param.value).word)
    lines = [f"options {module} {' '.join(words)}\n" for module, words in by_module.items()]
    return HEADER + "".join(lines) if lines else ""


def foreign(host: Host) -> list[tuple[str, int, Param]]:
    """What other files set, in the order in which kmod reads them: (path, line, parameter)."""
    files: dict = {}
    for directory in DIRECTORIES:
        for name in host.sysroot.listdir(directory):
            if name.endswith(".conf"):
                files.setdefault(name, f"{directory}/{name}")
    found = []
    for _name, path in sorted(files.items()):
        if path != OURS:
            found += [(path, line, param) for line, param in parse(host.text(path) or "")]
    return found


def is_loadable(sysroot: Sysroot, release: str, module: str) -> bool | None:
    """False where it is built in, so that modprobe.d does nothing; None where the kernel has no such module."""
    for index, answer in (("modules.builtin", False), ("modules.dep", True)):
        for line in (sysroot.read(f"/lib/modules/{release}/{index}") or "").splitlines():
            name = line.partition(":")[0].rsplit("/", 1)[-1].partition(".ko")[0]
            if canonical(name) == module:
                return answer
    return None
