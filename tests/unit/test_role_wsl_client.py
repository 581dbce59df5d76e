# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of the role do to files of others, by the modules that they name."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.modules import replace
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.client import own_values

ROLE = Path(__file__).parents[2] / "roles/wsl_client"
REPLACE = "ansible.builtin.replace"


def load(path: str) -> Any:
    return DataLoader().load_from_file(str(ROLE / path), trusted_as_template=True)


def variables(**more: Any) -> dict[str, Any]:
    return {**load("vars/main.yml"), **more}


def do(capsys: pytest.CaptureFixture[str], tasks: str, path: str, there: Path) -> list[bool]:
    """What replaces lines in a file of this path, which is really in another place: whether each did anything."""
    task = next(task for task in load(f"tasks/{tasks}.yml") if REPLACE in task)
    found = [{"path": path, "said": "", **one} for one in own_values(there.read_text())]
    facts = {"wsl_client_facts": {"others": found, "replaced": [path]}}
    templar = Templar(DataLoader(), variables=variables(ansible_facts=facts))
    done = []
    for item in templar.template(task["loop"]):
        given = Templar(DataLoader(), variables=variables(item=item)).template(task[REPLACE])
        with patch_module_args({**given, "path": str(there)}), pytest.raises(SystemExit):
            replace.main()
        done.append(json.loads(capsys.readouterr().out)["changed"])
    return done


IF = "if true; then\n  export OLLAMA_HOST=desk # mine\nfi\n"
FILES = [
    ("/home/ada/.bashrc", IF, "if true; then\n: # lamplighter:   export OLLAMA_HOST=desk # mine\nfi\n"),
    ("/etc/fish/conf.d/a.fish", "set -gx OLLAMA_HOST desk\n", ": # lamplighter: set -gx OLLAMA_HOST desk\n"),
    ("/etc/environment.d/a.conf", "OLLAMA_HOST=desk\n", "# lamplighter: OLLAMA_HOST=desk\n"),
    (
        "/etc/systemd/system.conf.d/a.conf",
        "[Manager]\nDefaultEnvironment=OLLAMA_HOST=desk\n",
        "[Manager]\n# lamplighter: DefaultEnvironment=OLLAMA_HOST=desk\n",
    ),
    ("/root/.pam_environment", "OLLAMA_HOST=desk\n", "# lamplighter: OLLAMA_HOST=desk\n"),
]


@pytest.mark.parametrize(("path", "before", "after"), FILES)
def test_what_others_set_does_nothing_and_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, before: str, after: str
) -> None:
    there = tmp_path / "file"
    there.write_text(before)
    for changed in ([True], []):
        assert do(capsys, "replace", path, there) == changed
        assert there.read_text() == after
    if path.endswith(".bashrc"):
        assert subprocess.run(["bash", "-n", there], check=False).returncode == 0
    assert do(capsys, "uninstall", path, there) == [True]
    assert there.read_text() == before


@pytest.mark.parametrize(
    "line",
    [
        "[ -e /x ] && export OLLAMA_HOST=desk",
        "if true; then export OLLAMA_HOST=desk; fi",
        "if true; then\n  export OLLAMA_HOST=desk; fi",
        "export A=1 \\\n  OLLAMA_HOST=desk",
    ],
)
def test_a_line_that_does_other_things_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    there = tmp_path / "file"
    there.write_text(f"{line}\n")
    assert do(capsys, "replace", "/home/ada/.bashrc", there) == []
    assert there.read_text() == f"{line}\n"


def test_blocks_are_taken_only_from_files_that_are_there() -> None:
    loop = next(task["loop"] for task in load("tasks/uninstall.yml") if "ansible.builtin.blockinfile" in task)
    found = [{"item": "/etc/bash.bashrc", "stat": {"exists": True}}, {"item": "/etc/zshenv", "stat": {"exists": False}}]
    facts = {"wsl_client_facts": {"bashrc": "/etc/bash.bashrc", "zshenv": "/etc/zshenv"}}
    given = variables(__wsl_client_shells={"results": found}, ansible_facts=facts)
    assert Templar(DataLoader(), variables=given).template(loop) == ["/etc/bash.bashrc"]


@pytest.mark.parametrize(
    ("podman", "systemd", "linked"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_podman_is_linked_to_what_only_the_unit_writes(podman: bool, systemd: bool, linked: bool) -> None:
    when = next(task["when"] for task in load("tasks/wire.yml") if "podman.yml" in task.values())
    facts = {"wsl_client_facts": {"podman": podman}, "gpu_facts": {"wsl": {"systemd": systemd}}}
    templar = Templar(DataLoader(), variables=variables(ansible_facts=facts))
    assert templar.template(trust_as_template(f"{{{{ {when} }}}}")) is linked


@pytest.mark.parametrize(
    ("asked", "code", "pending", "remedy"),
    [
        (True, "bound_to_loopback", [{"command": "New-NetFirewallRule"}], "as administrator of Windows"),
        (True, "bound_to_loopback", [], "wsl_client_windows"),
        (True, "ok", [{"command": "New-NetFirewallHyperVRule"}], "wsl_client_windows"),
        (False, "bound_to_loopback", None, "wsl_client_windows"),
    ],
)
def test_what_waits_for_an_administrator_is_the_remedy(
    asked: bool, code: str, pending: list[dict[str, str]] | None, remedy: str
) -> None:
    proof = {"remedies": ["wsl_client_windows: true"], "evidence": {"reach": {"code": code}}}
    given = {"__wsl_client_proof": {"proof": proof}, "__wsl_client_model_proof": {"skipped": True}}
    done = {} if pending is None else {"windows_host_result": {"pending": pending}}
    templar = Templar(DataLoader(), variables=variables(wsl_client_windows=asked, **given, **done))
    last = templar.template(variables()["__wsl_client_last"])
    assert remedy in last["remedies"][0]
    assert last["evidence"] == proof["evidence"]
