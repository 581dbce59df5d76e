# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama import installation
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.listener import find_listener, parse_listeners
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run

INSTALLER = """\
[Unit]
Description=Ollama Service
[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Environment="PATH=/root/bin:/usr/bin"
"""
OWNERS: list[tuple[str, str, str]] = [
    ("", "", "none"),
    ("/etc/systemd/system/ollama.service", "# Managed by Lamplighter\n", "ours"),
    ("/etc/systemd/system/ollama.service", INSTALLER, "installer"),
    ("/usr/lib/systemd/system/ollama.service", INSTALLER, "distribution"),
    ("/etc/systemd/system/ollama.service", "[Service]\nExecStart=/opt/x serve\n", "foreign"),
]


@pytest.mark.parametrize(("path", "text", "owner"), OWNERS)
def test_unit_owner(path: str, text: str, owner: str) -> None:
    assert installation.unit_owner(path, text) == owner


def test_unit_environment_in_the_order_of_systemd() -> None:
    environment, duplicates = installation.unit_environment(
        [
            ("u", "[Service]\nEnvironment=A=1 B=1 HSA_OVERRIDE_GFX_VERSION=11.0.0\n"),
            ("d1", "[Service]\nEnvironment=A=2 OLLAMA_NUM_GPU=-1\n"),
            ("d2", "[Service]\nUnsetEnvironment=HSA_OVERRIDE_GFX_VERSION B\n"),
        ]
    )
    assert environment == {"A": "2", "OLLAMA_NUM_GPU": "-1"}
    assert duplicates == {"A": ["u", "d1"]}


def test_an_empty_environment_forgets_what_came_before() -> None:
    texts = [("u", "[Service]\nEnvironment=A=1\n"), ("d", "[Service]\nEnvironment=\nEnvironment=B=2\n")]
    assert installation.unit_environment(texts) == ({"B": "2"}, {})


def test_files_of_variables_count_for_more_than_the_unit_and_its_drop_ins() -> None:
    texts = [("u", "[Service]\nEnvironment=A=1 B=1 C=1\nUnsetEnvironment=C\n"), ("d", "[Service]\nEnvironment=A=2\n")]
    file = ("/etc/sysconfig/ollama", "# a comment\nA=3\n C = '4 5' \nD=\"six\"\nno assignment\nE=%h\n")
    environment, duplicates = installation.unit_environment(texts, [file])
    assert environment == {"A": "3", "B": "1", "D": "six", "E": "%h"}
    assert duplicates["A"] == ["u", "d", "/etc/sysconfig/ollama"]


def test_the_files_of_variables_in_force() -> None:
    texts = [
        ("u", "[Service]\nEnvironmentFile=/etc/a\n"),
        ("d1", "[Service]\nEnvironmentFile=\nEnvironmentFile=-/etc/b\n"),
        ("d2", "[Service]\nEnvironmentFile=%E/c\n"),
    ]
    assert installation.environment_files(texts) == ["/etc/b", "/etc/c"]


SAID: list[tuple[str, str | None]] = [
    ("ollama version is 0.32.15\n", "0.32.15"),
    ("ollama version is 0.30.1\nWarning: client version is 0.32.15\n", "0.32.15"),
    ("Warning: could not connect to a running Ollama instance\nWarning: client version is 0.13.5\n", "0.13.5"),
    ("", None),
]


@pytest.mark.parametrize(("said", "version"), SAID)
def test_engine_version(said: str, version: str | None) -> None:
    assert installation.engine_version("/usr/local/bin/ollama", "/opt/ollama", lambda _command: said) == version


def test_a_server_that_does_not_answer_yet_keeps_nobody_waiting(tmp_path: Path) -> None:
    # As the real one: it asks the server where OLLAMA_HOST says, and speaks only after the answer.
    binary = tmp_path / "ollama"
    binary.write_text(
        "#!/bin/sh\n[ $OLLAMA_HOST = 127.0.0.1:1 ] || exec sleep 60\n"
        "echo 'Warning: could not connect to a running Ollama instance'\necho 'Warning: client version is 0.13.5'\n"
    )
    binary.chmod(0o755)
    assert installation.engine_version(str(binary), "/opt/ollama", lambda command: run(command, 5)[1]) == "0.13.5"


def test_the_version_of_ours_is_known_from_its_place(tmp_path: Path) -> None:
    binary = tmp_path / "versions/0.32.15/bin/ollama"
    binary.parent.mkdir(parents=True)
    binary.touch()
    (tmp_path / "current").symlink_to("versions/0.32.15")
    path = str(tmp_path / "current/bin/ollama")
    assert installation.engine_version(path, str(tmp_path), lambda _command: pytest.fail("was run")) == "0.32.15"
    for name in ("rocm_v7_2", "rocm.bak"):
        (tmp_path / "versions/0.32.15/lib/ollama" / name).mkdir(parents=True)
    assert installation.library_folders(path) == ["rocm.bak", "rocm_v7_2"]


PROVEN: list[tuple[str | None, dict]] = [
    ('{"proven": {"backend": "vulkan"}}', {"backend": "vulkan"}),
    ('{"proven": "vulkan"}', {}),
    ("[]", {}),
    ("{", {}),
    (None, {}),
]


@pytest.mark.parametrize(("text", "expected"), PROVEN)
def test_proven(tmp_path: Path, text: str | None, expected: dict) -> None:
    if text is not None:
        (tmp_path / "fact").write_text(text)
    assert installation.proven(str(tmp_path / "fact")) == expected


@pytest.mark.parametrize(
    ("age", "reload", "stale"), [(-60, "no", False), (60, "no", True), (-60, "yes", True)], ids=["old", "new", "reload"]
)
def test_a_process_older_than_its_files_is_stale(tmp_path: Path, age: int, reload: str, stale: bool) -> None:
    unit = tmp_path / "ollama.service"
    unit.write_text(INSTALLER)
    os.utime(unit, (time.time() + age, time.time() + age))
    said = (
        f"FragmentPath={unit}\nDropInPaths=\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=7\n"
        f"NeedDaemonReload={reload}\nUser=ollama\nGroup=\nExecStart={{ path=/usr/local/bin/ollama ; argv[]=x }}\n"
        f"ExecMainStartTimestampMonotonic={int(time.monotonic() * 1e6)}\n"
    )
    found, service = installation.gather_unit(lambda _command: said, str(tmp_path))
    assert service == {"active": "active", "sub": "running", "enabled": True, "main_pid": 7, "stale": stale}
    assert (found["owner"], found["user"], found["group"]) == ("installer", "ollama", None)
    assert found["exec_start"] == "/usr/local/bin/ollama"
    assert found["environment"] == {"PATH": "/root/bin:/usr/bin"}


def test_a_process_older_than_its_environment_file_is_stale(tmp_path: Path) -> None:
    unit, secrets = tmp_path / "ollama.service", tmp_path / "secrets.env"
    unit.write_text(f"[Service]\nEnvironmentFile=-{secrets}\n")
    secrets.touch()
    os.utime(unit, (1, 1))
    os.utime(secrets, (time.time() + 60, time.time() + 60))
    said = f"FragmentPath={unit}\nMainPID=7\nExecMainStartTimestampMonotonic={int(time.monotonic() * 1e6)}\n"
    assert installation.gather_unit(lambda _command: said, str(tmp_path))[1]["stale"]


def test_gather_on_a_host_without_anything(tmp_path: Path) -> None:
    found = installation.gather(lambda _command: "", str(tmp_path), "nobody-here", None, 1, str(tmp_path / "fact"))
    assert found["unit"]["owner"] == "none"
    assert found["current"] is None
    assert found["versions"] == []
    assert found["account"]["user"] == "nobody-here"
    assert not found["account"]["exists"]
    assert found["models"]["path"] == "/usr/share/nobody-here/.ollama/models"
    assert found["service"]["stale"] is False
    json.dumps(found)


def test_a_unit_without_user_runs_as_root_and_models_stay_where_they_are(tmp_path: Path) -> None:
    unit = tmp_path / "ollama.service"
    unit.write_text(f"[Service]\nEnvironment=OLLAMA_MODELS={tmp_path}/models\n")
    (tmp_path / "models/blobs").mkdir(parents=True)
    (tmp_path / "models/blobs/sha256-1").write_bytes(b"12345")
    found = installation.gather(lambda _c: f"FragmentPath={unit}\n", str(tmp_path), "ollama", None, 1, "/nowhere")
    assert found["account"]["user"] == "root"
    assert found["models"]["path"] == f"{tmp_path}/models"
    assert found["models"]["bytes"] == 5
    assert found["models"]["parent_exists"]


def gathered(tmp_path: Path, unit_text: str, user: str = "root") -> dict[str, Any]:
    unit = tmp_path / "ollama.service"
    unit.write_text(unit_text)
    said = f"FragmentPath={unit}\nUser={user}\n"
    return installation.gather(lambda _command: said, str(tmp_path), "ollama", None, 1, "/nowhere")


def test_the_home_of_a_foreign_unit_is_the_one_it_sets(tmp_path: Path) -> None:
    found = gathered(tmp_path, f"[Service]\nEnvironment=HOME={tmp_path}\n")
    assert (found["account"]["home"], found["account"]["home_exists"]) == (str(tmp_path), True)
    assert found["models"]["path"] == f"{tmp_path}/.ollama/models"
    found = gathered(tmp_path, "[Service]\nEnvironment=HOME=%S/no-such-folder\n")
    assert (found["account"]["home"], found["account"]["home_exists"]) == ("/var/lib/no-such-folder", False)


def test_the_file_of_a_foreign_unit_says_where_the_models_are(tmp_path: Path) -> None:
    (tmp_path / "sysconfig").write_text(f"OLLAMA_MODELS={tmp_path}/store\n")
    found = gathered(
        tmp_path, f"[Service]\nEnvironmentFile=-{tmp_path}/sysconfig\nEnvironment=OLLAMA_MODELS=/elsewhere\n"
    )
    assert found["models"]["path"] == f"{tmp_path}/store"
    assert found["unit"]["environment_files"] == [f"{tmp_path}/sysconfig"]


@pytest.mark.parametrize("theirs", ["", "blobs", "manifests"])
def test_models_that_another_account_owns(tmp_path: Path, theirs: str) -> None:
    if os.getuid():
        pytest.skip("only root gives files away")
    for folder in ("blobs", "manifests"):
        (tmp_path / folder).mkdir()
    assert installation.gather_models(str(tmp_path), "root")["owner"] == "root"
    os.chown(tmp_path / theirs, 65534, 65534)
    assert installation.gather_models(str(tmp_path), "root")["owner"] == "nobody"
    assert installation.gather_models(str(tmp_path / "none"), "root")["owner"] is None


def test_os_release() -> None:
    text = 'ID=ubuntu\nID_LIKE="debian x"\nVERSION_ID="24.04"\nNAME=\'U\'\n'
    assert installation.os_release(text) == {"id": "ubuntu", "id_like": ["debian", "x"], "version_id": "24.04"}


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 4242 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0 0 10 0
   2: 0100007F:2CAA 0100007F:9999 01 00000000:00000000 00:00000000 00000000   999        0 4244 1 0 100 0 0 10 0
"""
TCP6 = TCP.replace("0100007F:2CAA 00000000:0000 0A", "00000000000000000000000000000000:2CAA 0:0 0A")


def test_parse_listeners() -> None:
    assert parse_listeners(TCP, 11434) == {"4242": "127.0.0.1"}
    assert parse_listeners(TCP6, 11434) == {"4242": "::"}
    assert parse_listeners("", 11434) == {}


def test_find_listener(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    process = tmp_path / "77"
    (process / "fd").mkdir(parents=True)
    (process / "fd/3").symlink_to("socket:[4242]")
    (process / "comm").write_text("ollama\n")
    (process / "cgroup").write_text("0::/system.slice/docker-1234.scope\n")
    assert find_listener(11434, str(tmp_path)) == {
        "addresses": ["127.0.0.1"],
        "pid": 77,
        "command": "ollama",
        "unit": "docker-1234.scope",
    }
    assert find_listener(80, str(tmp_path)) is None
