# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps one repository both a project and a collection, and what no other tool checks."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LINKS = ROOT / "collections/ansible_collections/lamplighter/fleet"
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted((ROOT / "plugins/modules").glob("*.py"))
PYTHON = [
    path
    for folder in ("plugins", "tests", "tools", "molecule")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.read_text().strip()
]
# Modules and what they import reach targets that have nothing but Python and Ansible's own module_utils.
TARGET = MODULES + sorted(path for path in (ROOT / "plugins/module_utils").rglob("*.py") if path.read_text().strip())


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """The modules without which this file fails: an import that is tried and may fail is none."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    tried = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.Try) and any(getattr(h.type, "id", "") == "ImportError" for h in node.handlers)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    nodes = [node for node in nodes if id(node) not in tried]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", ["galaxy.yml", "meta", "playbooks", "plugins", "roles"])
def test_the_project_is_the_collection_by_links(name: str) -> None:
    # A Git that makes no links (core.symlinks=false) leaves text files, and Ansible finds no role.
    assert (LINKS / name).is_symlink()
    assert (LINKS / name).resolve() == ROOT / name


def test_versions_agree() -> None:
    assert PYPROJECT["project"]["version"] == GALAXY["version"]
    newest = list(yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())["releases"])[-1]
    assert newest == GALAXY["version"]


def test_every_controller_python_has_constraints_for_every_tool() -> None:
    wanted = {re.split("[<>=]", name)[0].lower() for name in PYPROJECT["dependency-groups"]["dev"]}
    for version in ("3.11", "3.12", "3.13", "3.14"):
        pinned = {
            line.partition("==")[0].lower() for line in (ROOT / f"constraints/py{version}.txt").read_text().split()
        }
        assert wanted <= pinned, version


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_python_names_its_licence(path: Path) -> None:
    assert path.read_text().partition("from __future__")[0].count("SPDX-License-Identifier: GPL-3.0-or-later") == 1


@pytest.mark.parametrize("path", TARGET, ids=relative)
def test_target_code_needs_nothing_beyond_the_standard_library(path: Path) -> None:
    allowed = sys.stdlib_module_names
    foreign = {name for name in imported(path) if name.split(".")[0] not in allowed}
    own = "ansible_collections.lamplighter.fleet.plugins.module_utils"
    assert {name for name in foreign if not name.startswith(("ansible.module_utils.", own))} == set()


def test_the_parts_of_module_utils_build_on_one_another_without_circles() -> None:
    folder = ROOT / "plugins/module_utils"
    uses: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        part = path.relative_to(folder).parts[0].removesuffix(".py")
        names = {name.partition(".plugins.module_utils.")[2].split(".")[0] for name in imported(path)}
        uses.setdefault(part, set()).update(names - {"", part})
    assert "plan" in set(TopologicalSorter(uses).static_order())


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_has_unit_tests(path: Path) -> None:
    tests = [test.read_text(encoding="utf-8") for test in (ROOT / "tests/unit/plugins/modules").glob("test_*.py")]
    assert any(re.search(rf"plugins\.modules import .*\b{path.stem}\b", text) for text in tests)
