# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules engine_log and kernel_log, with journalctl and systemctl as small scripts where they are needed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import engine_log, kernel_log
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load

LISTENING = 'time=2026-06-28T20:51:02.166+02:00 level=INFO source=x.go:1 msg="Listening on [::]:11434 (version {})"'
HANG = "2026-06-28T20:51:02+0200 host kernel: amdgpu 0000:c5:00.0: amdgpu: MES failed to respond to msg=REMOVE_QUEUE"


def run(module: ModuleType, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args({"signatures": load(), **arguments}), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def script(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text("#!/bin/sh\n" + text, encoding="utf-8")
    path.chmod(0o755)


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "ollama.log"
    log.write_text(LISTENING.format("0.32.15") + "\n", encoding="utf-8")
    result = run(engine_log, capsys, path=str(log))
    assert (result["changed"], result["engine_log"]["version"]) == (False, "0.32.15")


@pytest.mark.parametrize("module", [engine_log, kernel_log])
def test_a_file_that_is_not_there(module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(module, capsys, path=str(tmp_path / "none.log"))
    assert result["failed"]
    assert "There is no file" in result["msg"]


def test_a_directory_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is a directory" in run(engine_log, capsys, path=str(tmp_path))["msg"]


def test_without_path_and_unit(capsys: pytest.CaptureFixture[str]) -> None:
    assert "one of the following is required" in run(engine_log, capsys)["msg"]


def test_without_signatures_those_of_the_source_tree_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "dmesg"
    log.write_text(HANG + "\n", encoding="utf-8")
    (fault,) = run(kernel_log, capsys, path=str(log), signatures=[])["kernel_log"]["faults"]
    assert fault["code"] == "mes_hang"


def test_the_last_start_of_a_unit(bin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(bin_dir, "systemctl", "echo InvocationID=abc123\necho LoadState=loaded\n")
    line = LISTENING.format("0.33.2")
    script(bin_dir, "journalctl", f"case \"$*\" in *_SYSTEMD_INVOCATION_ID=abc123*) echo '{line}';; esac\n")
    assert run(engine_log, capsys, unit="ollama.service")["engine_log"]["version"] == "0.33.2"


def test_a_unit_that_is_not_there(bin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(bin_dir, "systemctl", "echo InvocationID=\necho LoadState=not-found\n")
    assert "There is no unit ollama.service" in run(engine_log, capsys, unit="ollama.service")["msg"]


def test_a_journal_that_may_not_be_read(
    bin_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script(bin_dir, "journalctl", "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1\n")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    message = run(engine_log, capsys, unit="ollama.service")["msg"]
    assert "insufficient permissions" in message
    assert "become: true" in message


def test_no_journal_at_all(bin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no journalctl" in run(engine_log, capsys, unit="ollama.service")["msg"]


def test_the_kernel_of_this_boot(bin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(bin_dir, "journalctl", f"case \"$*\" in *--dmesg*--boot*) echo '{HANG}';; esac\n")
    (fault,) = run(kernel_log, capsys)["kernel_log"]["faults"]
    assert (fault["code"], fault["severity"], fault["count"]) == ("mes_hang", "critical", 1)


def test_the_kernel_without_a_journal(bin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(bin_dir, "journalctl", "exit 0\n")
    script(bin_dir, "dmesg", f"echo '{HANG}'\n")
    assert len(run(kernel_log, capsys)["kernel_log"]["faults"]) == 1


def test_messages_that_cannot_be_seen_are_no_clean_bill(bin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(bin_dir, "journalctl", "exit 0\n")
    assert run(kernel_log, capsys)["failed"]
