# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run, started


def script(path: Path, text: bytes) -> str:
    path.write_bytes(b"#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_run_gives_the_return_code_and_readable_text(tmp_path: Path) -> None:
    program = script(tmp_path / "program", b"printf '\\377 %s' \"$LC_ALL\"\nexit 3\n")
    assert run([program]) == (3, "\ufffd C.UTF-8")


def test_a_program_that_is_not_there_is_one_that_failed(tmp_path: Path) -> None:
    code, said = run([str(tmp_path / "none")])
    assert code == 127
    assert "No such file" in said


def test_an_environment_is_added(tmp_path: Path) -> None:
    program = script(tmp_path / "program", b'printf \'%s %s\' "$ONE" "$LC_ALL"\n')
    assert run([program], environment={"ONE": "1"}) == (0, "1 C.UTF-8")


@pytest.mark.parametrize("environment", [{"A=B": "1"}, {"A": "\0"}])
def test_an_environment_that_cannot_be(environment: dict[str, str]) -> None:
    assert run(["true"], environment=environment)[0] == 127


def test_a_program_that_hangs_is_one_that_failed(tmp_path: Path) -> None:
    began = time.monotonic()
    code, said = run(["sleep", "60"], seconds=0.2)
    assert (code, "did not end within 0.2 s" in said) == (124, True)
    assert time.monotonic() - began < 10


def test_started_streams_and_tells_how_it_ended(tmp_path: Path) -> None:
    program = script(tmp_path / "program", b"echo one; echo two; echo oh no >&2; exit 4\n")
    with started([program]) as running:
        assert list(running.stdout) == [b"one\n", b"two\n"]
        assert running.finish() == (4, "oh no")


def test_a_reader_that_gives_up_kills_the_program() -> None:
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), started(["sleep", "60"]):
        raise ZeroDivisionError
    assert time.monotonic() - began < 10


def test_a_program_that_complains_a_lot_does_not_block(tmp_path: Path) -> None:
    program = script(tmp_path / "program", b"head -c 300000 /dev/zero | tr '\\0' x >&2; echo done\n")
    with started([program]) as running:
        assert list(running.stdout) == [b"done\n"]
        assert len(running.finish()[1]) == 300000
