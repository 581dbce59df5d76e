# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are only asked. AnsibleModule.run_command has no time limit and keeps all output in memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Callable


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def run(
    command: list[str], seconds: float = 120, environment: Mapping[str, str] | None = None, complaints: bool = False
) -> tuple[int, str]:
    """Return code and output. A program that is not there (127) or does not end in time (124) is one that failed.

    The environment is added to ours. On a command line everybody could read it. With `complaints` the output holds
    what went to standard error, too, in the order in which it was written.
    """
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if complaints else subprocess.DEVNULL,
            timeout=seconds,
            env={**_environment(), **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not end within {seconds:g} s"
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    except ValueError as error:
        # A name or value that no environment can hold.
        return 127, f"{command[0]}: {error}"
    return done.returncode, done.stdout.decode("utf-8", "replace")


@dataclass
class Running:
    """`stdout` is read while the program runs; `finish` waits for it: its return code and what it complained of."""

    stdout: IO[bytes]
    finish: Callable[[], tuple[int, str]]


@contextmanager
def started(command: list[str]) -> Iterator[Running]:
    """A program whose output may be gigabytes. It is killed when the reader gives up."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            command, stdout=subprocess.PIPE, stderr=complaints, env=_environment()
        )

        def finish() -> tuple[int, str]:
            process.communicate()
            complaints.seek(0)
            return process.returncode, complaints.read().decode("utf-8", "replace").strip()

        with process:
            try:
                # PIPE was asked for, so there is one.
                yield Running(process.stdout, finish)  # type: ignore[arg-type]
            except BaseException:
                process.kill()
                raise
