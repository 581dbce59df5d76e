# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from WSL2 to Windows: powershell.exe by its full path, and what may be in the way of it."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils import process
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import operations
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import (
    WindowsError,
    answer,
    command_line,
)

POWERSHELL = "Windows/System32/WindowsPowerShell/v1.0/powershell.exe"
INTEROP_OFF = (
    "this kernel does not start Windows programs (interop is off). Set enabled=true in the section [interop] of "
    "/etc/wsl.conf, then run wsl --shutdown on Windows; where systemd-binfmt took the handler away, restart WSL too"
)


def automount_root(wsl_conf: str) -> str:
    """The folder with the drives of Windows, by the text of /etc/wsl.conf."""
    section, root = "", "/mnt/"
    for line in (line.split("#")[0].strip() for line in wsl_conf.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ").lower()
        found = re.fullmatch(r"root\s*=\s*(.+)", line, re.IGNORECASE)
        if section == "automount" and found:
            root = found[1].strip("\"' ")
    return root.rstrip("/") + "/"


def find_powershell(root: str = "/mnt/", exists: Callable[[str], bool] = os.path.exists) -> str:
    """Its full path: appendWindowsPath may be off, and another program of this name may be on PATH."""
    path = f"{root.rstrip('/')}/c/{POWERSHELL}"
    if not exists(path):
        raise WindowsError(
            f"{path} is not there: mount the drives of Windows ([automount] enabled=true in /etc/wsl.conf), "
            "or set the path of powershell.exe."
        )
    return path


def interop_socket(environment: MutableMapping[str, str], folder: str = "/run/WSL") -> None:
    """Name WSL's socket to Windows where nobody does: sshd as a service of systemd has no WSL_INTEROP.

    The sockets of init live as long as WSL2; those of other sessions may be dead.
    """
    if os.path.exists(environment.get("WSL_INTEROP", "")):
        return
    found = [os.path.join(folder, name) for name in os.listdir(folder)] if os.path.isdir(folder) else []
    sockets = [path for path in found if path.endswith("_interop") and os.path.exists(path)]
    of_init = [path for path in sockets if os.path.basename(path) in ("1_interop", "2_interop")]
    if sockets:
        environment["WSL_INTEROP"] = min(of_init) if of_init else max(sockets, key=os.path.getmtime)


def asker(
    powershell: str, run: Callable[..., tuple[int, str]] = process.run, seconds: float = 120
) -> Callable[..., dict[str, Any]]:
    """What sends one script to Windows and returns its answer."""

    interop_socket(os.environ)

    def ask(text: str, longer: float = 0) -> dict[str, Any]:
        code, output = run(command_line(powershell, text), max(seconds, longer))
        if code == 124:
            raise WindowsError(f"Windows {output.rpartition('.exe ')[2]}: is it asleep, or does it show a question?")
        if "Exec format error" in output or "cannot execute binary file" in output:
            raise WindowsError(f"{powershell} cannot be started: {INTEROP_OFF}.")
        if code == 127:
            raise WindowsError(f"{powershell} cannot be started ({output.rpartition(': ')[2]}): is this WSL2?")
        if code != 0:
            shown = " ".join(output.replace("\0", "").split())[:300]
            raise WindowsError(f"PowerShell ended with exit status {code}{': ' + shown if shown else ''}.")
        return answer(output)

    return ask


def run_operation(
    name: str,
    arguments: dict[str, Any],
    powershell: str,
    run: Callable[..., tuple[int, str]] = process.run,
    seconds: float = 120,
    check: bool = False,
) -> dict[str, Any]:
    """One named operation on the Windows host of this WSL2. Raises WindowsError."""
    return operations.run(name, arguments, asker(powershell, run, seconds), check)
