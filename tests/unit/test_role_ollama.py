# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role makes of its variables, and of what was found on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[2] / "roles/ollama"
FOUND: dict[str, Any] = {
    "unit": {"environment_files": [], "owner": "none"},
    "account": {"user": "ollama", "home": "/usr/share/ollama", "home_exists": True},
    "models": {"path": "/usr/share/ollama/.ollama/models", "owner": "ollama"},
}


def value(expression: str, **given: Any) -> Any:
    variables: dict[str, Any] = {}
    for name in ("defaults", "vars"):
        variables |= DataLoader().load_from_file(str(ROLE / name / "main.yml"), trusted_as_template=True)
    names = {**variables, "ollama_installation": FOUND, "__ollama_facts": {}, **given}
    return Templar(DataLoader(), variables=names).template(trust_as_template(f"{{{{ {expression} }}}}"))


def found(**parts: dict[str, Any]) -> dict[str, Any]:
    return {name: {**content, **parts.get(name, {})} for name, content in FOUND.items()}


MODELS = [f"/usr/share/ollama/.ollama/models{folder}" for folder in ("", "/blobs", "/manifests")]
UNREADY: list[tuple[dict[str, Any], list[str]]] = [
    (found(), []),
    (found(models={"owner": "root"}), MODELS),
    (found(account={"home_exists": False}), ["/usr/share/ollama"]),
    (found(models={"owner": None}, account={"home_exists": False}), ["/usr/share/ollama", *MODELS]),
]


@pytest.mark.parametrize(("installation", "unready"), UNREADY)
def test_directories_that_are_not_the_services_yet(installation: dict[str, Any], unready: list[str]) -> None:
    assert value("__ollama_unready", ollama_installation=installation) == unready


@pytest.mark.parametrize(
    ("files", "secrets"),
    [
        ([], ["HF_TOKEN"]),
        # Only a later file counts for more than one of somebody else.
        (["/etc/sysconfig/ollama"], ["HF_TOKEN", "OLLAMA_HOST"]),
    ],
)
def test_what_is_in_the_file_that_only_root_reads(files: list[str], secrets: list[str]) -> None:
    environment = {"OLLAMA_HOST": "127.0.0.1", "HF_TOKEN": "x"}
    got = value(
        "__ollama_secrets",
        ollama_installation=found(unit={"environment_files": files}),
        __ollama_environment=environment,
        __ollama_shown_environment={**environment, "HF_TOKEN": "(hidden)"},
    )
    assert sorted(got) == secrets


def test_checksums_of_another_version_are_not_used() -> None:
    cached = {"version": "0.32.14", "archives": {"a": "0"}}
    assert value("__ollama_sha256", __ollama_cached=cached) == {}
    assert value("__ollama_sha256", __ollama_cached=cached, ollama_version="0.32.14") == {"a": "0"}


WRITTEN: list[tuple[str, str]] = [
    ("/srv/models", '"/srv/models"'),
    ("/srv/my models", '"/srv/my models"'),
    ("/srv/50%of", '"/srv/50%%of"'),
]


@pytest.mark.parametrize(("path", "line"), WRITTEN)
def test_a_directory_is_one_word_of_the_unit(path: str, line: str) -> None:
    access = {"groups": [], "nodes": [], "awaited": []}
    part = {"written": ["/home/o", path], "backend": "cpu", "access": access, "protect_home": "no"}
    text = Templar(DataLoader(), variables={"part": part}).template(
        trust_as_template((ROLE / "templates/sandbox.conf.j2").read_text())
    )
    assert [row for row in str(text).splitlines() if row.startswith("ReadWrite")] == [
        f'ReadWritePaths="/home/o" {line}'
    ]


def test_the_controller_is_worked_on_as_the_user_even_where_the_inventory_says_ansible_become() -> None:
    tasks = [task for path in (ROLE / "tasks").glob("*.yml") for task in DataLoader().load_from_file(str(path))]
    delegated = [task for task in tasks if "delegate_to" in task]
    assert delegated
    assert [task["name"] for task in delegated if task.get("vars", {}).get("ansible_become") is not False] == []


def preflight(role: str, name: str, value_of_it: str) -> str:
    """What the preflight of a role says of one variable."""
    tasks = DataLoader().load_from_file(str(ROLE.parent / role / "tasks/preflight.yml"), trusted_as_template=True)
    problems = [text for task in tasks for key, texts in task.get("vars", {}).items() for text in texts if key]
    checks = [text for text in problems if f"{name} is match" in text]
    assert len(checks) == 1
    variables = {name: value_of_it, "llama_server_source": "binary"}
    return str(Templar(DataLoader(), variables=variables).template(checks[0]))


INTO_UNITS = [
    ("ollama", "ollama_root", "/opt/ollama-1.0"),
    ("ollama", "ollama_user", "ollama"),
    ("ollama", "ollama_models", "/srv/my models"),
    ("llama_server", "llama_server_root", "/opt/llama.cpp"),
    ("llama_server", "llama_server_user", "llama-server"),
    ("llama_server", "llama_server_binary", "/home/me/llama.cpp/build/bin/llama-server"),
]


@pytest.mark.parametrize("bad", ["{}\nExecStartPre=/bin/evil", "{}\n", '{}" "/etc', "relative path"])
@pytest.mark.parametrize(("role", "name", "good"), INTO_UNITS)
def test_what_would_end_a_line_or_a_word_of_a_unit_is_refused(role: str, name: str, good: str, bad: str) -> None:
    assert preflight(role, name, good) == ""
    assert name in preflight(role, name, bad.format(good))
