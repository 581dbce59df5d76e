# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where logs come from: a file, the journal of a unit, the kernel's journal. All are read as they stream in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.records import read_text_lines
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run, started


class LogError(Exception):
    """A log that cannot be read; the text says why and what to do."""


def file_lines(path: str) -> Iterator[str]:
    """The lines of a log file."""
    if os.path.isdir(path):
        raise LogError(f"{path} is a directory, not a log file.")
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise LogError(f"There is no file {path} on this host.") from None
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error.strerror}. Read it with become: true.") from None
    return read_text_lines(path)


def unit_lines(unit: str, since: str | None = None) -> Iterator[str]:
    """The journal of a systemd unit: of its last start, or since a time that journalctl understands."""
    if since:
        return _journal(["--unit", unit, "--since", since], unit)
    state = _unit_state(unit)
    if state.get("InvocationID"):
        return _journal([f"_SYSTEMD_INVOCATION_ID={state['InvocationID']}"], unit)
    if state.get("LoadState") == "not-found":
        raise LogError(f"There is no unit {unit} on this host. Give the unit of the engine, or a file as path.")
    return _journal(["--unit", unit], unit)


def kernel_lines(since: str | None = None) -> Iterator[str]:
    """The kernel's messages of this boot, or since a time; from dmesg where there is no journal."""
    if shutil.which("journalctl"):
        try:
            yield from _journal(["--dmesg", "--boot", *(["--since", since] if since else [])], "the kernel")
            return
        except LogError:
            if since or not shutil.which("dmesg"):
                raise
    yield from _output(["dmesg", "--ctime"], "the kernel's messages")


def _unit_state(unit: str) -> dict[str, str]:
    if not shutil.which("systemctl"):
        return {}
    command = ["systemctl", "show", "--property=InvocationID,LoadState", "--", unit]
    _code, shown = run(command)
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _journal(arguments: list[str], what: str) -> Iterator[str]:
    if not shutil.which("journalctl"):
        raise LogError("This host has no journalctl. Give the engine's log file as path.")
    return _output(["journalctl", "--quiet", "--no-pager", "--output=short-iso", *arguments], f"the journal of {what}")


def _output(command: list[str], what: str) -> Iterator[str]:
    empty = True
    with started(command) as program:
        for line in program.stdout:
            empty = False
            yield line.decode("utf-8", "replace")
        _code, complaint = program.finish()
    if empty and os.geteuid() != 0:
        raise LogError(
            f"This user cannot see {what}. {complaint} "
            "Read it with become: true, or put the user into the group systemd-journal."
        )
    if empty:
        raise LogError(f"There is nothing in {what}. {complaint}".strip())


def signatures_beside() -> list[dict[str, Any]]:
    """The signatures of the source tree, for a module that runs from there without its action plugin."""
    path = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../plugin_utils/signatures.yml")
    try:
        import yaml
    except ImportError:
        raise LogError("Without PyYAML the signatures cannot be read: run this module through Ansible.") from None
    try:
        with open(path, encoding="utf-8") as handle:
            return list(yaml.safe_load(handle)["signatures"])
    except OSError:
        raise LogError("The argument signatures is empty: run this module through its action plugin.") from None
