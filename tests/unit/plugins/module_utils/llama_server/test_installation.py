# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils import unit_files
from ansible_collections.lamplighter.fleet.plugins.module_utils.llama_server import installation

HELP = Path(__file__).parent / "data/help-b11669.txt"
NOBODY: dict[str, Any] = {"user": "nobody-here", "uid": None}


def gguf(path: Path, weights: int = 64) -> Path:
    """A GGUF of one tensor with these bytes of weights, of which 64 are announced."""
    text = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama"
    tensor = struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 16, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text + tensor
    path.write_bytes(header + bytes(-len(header) % 32 + weights))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that everybody can enter, up to the root."""
    for part in (tmp_path, *tmp_path.parents):
        if part.stat().st_uid == os.getuid() and str(part) != "/":
            part.chmod(part.stat().st_mode | 0o011)
    return tmp_path


def test_a_whole_model_is_no_problem(folder: Path) -> None:
    assert installation.model_problem(str(gguf(folder / "m.gguf")), NOBODY) is None


def test_problems_of_models(folder: Path) -> None:
    (folder / "text.gguf").write_text("not a model")
    (folder / "folder.gguf").mkdir()
    gguf(folder / "cut.gguf", weights=63)
    problems = {
        name: installation.model_problem(str(folder / f"{name}.gguf"), NOBODY)
        for name in ("text", "folder", "cut", "missing")
    }
    size = (folder / "cut.gguf").stat().st_size
    assert problems == {
        "text": "cannot be loaded: it is not a GGUF file: it begins with b'not '. Fetch it again.",
        "folder": "is not a file: name the GGUF itself.",
        "cut": f"cannot be loaded: it is cut: it has {size} bytes of {size + 1}. Fetch it again.",
        "missing": "does not exist: copy it there, or let the role models fetch it.",
    }


def test_a_model_that_the_service_cannot_read(folder: Path) -> None:
    model = gguf(folder / "m.gguf")
    model.chmod(0o600)
    assert installation.model_problem(str(model), NOBODY) == f"cannot be read by nobody-here: {model} is closed to it."
    model.chmod(0o644)
    folder.chmod(0o700)
    assert installation.model_problem(str(model), NOBODY) == f"cannot be read by nobody-here: {folder} is closed to it."
    assert installation.closed(str(model), {"user": "me", "uid": os.getuid()}) is None


def test_a_program_that_the_service_cannot_execute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "home"
    home.mkdir()
    program = home / "llama-server"
    program.write_text("")
    link = folder / "link"
    link.symlink_to(program)
    monkeypatch.setattr(installation, "gather_account", lambda _name: NOBODY)
    monkeypatch.setattr(installation, "gather_build", lambda *_arguments: {"problem": None})

    def problem(path: Path) -> str | None:
        found = installation.gather(lambda _command: (1, ""), str(path), "/opt/x", NOBODY["user"], {}, [], [])
        told: str | None = found["problem"]
        return told

    # To execute is enough: it need not be readable.
    program.chmod(0o711)
    assert (problem(program), problem(link)) == (None, None)
    program.chmod(0o744)
    assert problem(program) == f"nobody-here cannot execute it, since {program} is closed to it"
    program.chmod(0o755)
    home.chmod(0o700)
    closed = f"nobody-here cannot execute it, since {home} is closed to it"
    assert (problem(program), problem(link)) == (closed, closed)


def test_the_environment_is_on_no_command_line() -> None:
    asked: list[tuple[list[str], object]] = []

    def run(command: list[str], environment: object = None) -> tuple[int, str]:
        asked.append((command, environment))
        return 0, HELP.read_text()

    installation.gather_build(run, "/x/llama-server", {"GGML_VK_VISIBLE_DEVICES": "0"})
    assert asked[-1] == (["/x/llama-server", "--list-devices"], {"GGML_VK_VISIBLE_DEVICES": "0"})
    assert not [word for command, _environment in asked for word in command if "GGML" in word]


@pytest.mark.parametrize(
    ("binary", "source"),
    [
        (None, "none"),
        ("/usr/bin/llama-server", "distribution"),
        ("/opt/llama.cpp/versions/b1-x/llama-server", "ours"),
        ("/home/me/llama.cpp/build/bin/llama-server", "binary"),
    ],
)
def test_origin(binary: str | None, source: str) -> None:
    assert installation.origin(binary, "/opt/llama.cpp") == source


def test_a_program_that_does_not_run() -> None:
    said = "llama-server: error while loading shared libraries: libllama.so: cannot open shared object file\n"
    build = installation.gather_build(lambda _command: (127, said), "/x/llama-server", {})
    assert build["problem"] == said.strip()
    assert build["options"] == []


def test_a_program_that_is_another() -> None:
    build = installation.gather_build(lambda _command: (0, "usage: nginx\n"), "/x/nginx", {})
    assert build["problem"] == "its --help is not that of llama-server"


SHOWN = """Id=llama-server-a.service
ActiveState=active
UnitFileState=enabled
MainPID=1
NeedDaemonReload=no
DropInPaths=
ExecMainStartTimestampMonotonic=1

Id=llama-server-b.service
ActiveState=inactive
UnitFileState=disabled
MainPID=0
NeedDaemonReload=no
DropInPaths=
ExecMainStartTimestampMonotonic=0
"""


def test_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama-server-a.service").write_text("# Managed by Lamplighter: rung cpu\n[Service]\nExecStart=/x\n")
    (tmp_path / "llama-server-b.service").write_text("[Service]\n")
    (tmp_path / "llama-server.service").write_text("[Service]\n")
    monkeypatch.setattr(installation, "unit_files", lambda pattern: unit_files.unit_files(pattern, (str(tmp_path),)))
    units = installation.gather_units(lambda _command: (0, SHOWN))
    told = [(unit["name"], unit["ours"], unit["active"], unit["enabled"], unit["main_pid"]) for unit in units]
    assert told == [
        ("llama-server-a.service", True, "active", True, 1),
        ("llama-server-b.service", False, "inactive", False, None),
    ]
    # Its file is younger than the process, which began with the machine.
    assert [unit["stale"] for unit in units] == [True, False]


def test_what_has_to_be_known_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"a": ("active", "disabled"), "b": ("inactive", "enabled"), "c": ("failed", "disabled")}
    states |= {"d": ("activating", "disabled"), "e": ("active", "enabled")}
    shown = ""
    for name, (active, enabled) in states.items():
        ours = "" if name == "e" else "# Managed by Lamplighter\n"
        (tmp_path / f"llama-server-{name}.service").write_text(f"{ours}[Service]\n")
        shown += f"Id=llama-server-{name}.service\nActiveState={active}\nUnitFileState={enabled}\n\n"
    monkeypatch.setattr(installation, "unit_files", lambda pattern: unit_files.unit_files(pattern, (str(tmp_path),)))

    def run(command: list[str]) -> tuple[int, str]:
        return (0, shown) if command[0] == "systemctl" else (0, f"version: 11669 ({command[-1]})\n")

    model = tmp_path / "m.gguf"
    model.write_bytes(b"12345")
    os.utime(model, (1, 7.9))
    found = installation.gather_briefly(run, "/x", [str(model), "/no"])
    assert found == {
        "installed": {
            "version": "b11669",
            "models": [
                {"path": str(model), "size": 5, "modified": 7},
                {"path": "/no", "size": None, "modified": None},
            ],
        },
        "llama_server_units": [f"llama-server-{name}.service" for name in "abd"],
    }
    # A host that Ollama serves: nothing is asked of another program.
    assert installation.gather_briefly(run, None, [])["installed"] == {"version": None, "models": []}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/usr/lib/x86_64-linux-gnu/libllama.so.0 (deleted)", True),
        ("/usr/bin/llama-server (deleted)", True),
        ("/var/lib/lamplighter/models/chat.gguf (deleted)", True),
        ("/usr/lib/x86_64-linux-gnu/libllama.so.0", False),
        ("/memfd:mesa (deleted)", False),
        ("/dev/zero (deleted)", False),
    ],
)
def test_what_was_exchanged_under_a_running_server(line: str, found: bool) -> None:
    text = f"7f00-7f01 r--p 00000000 00:1f 12 {line}\n7f02-7f03 rw-p 00000000 00:00 0 [heap]\n"
    assert bool(installation.EXCHANGED.search(text)) is found
