# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader follows or copies: links, commands, inventories. All of it is there, and the roles take it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.lamplighter.fleet.plugins.filter.inference_plan import inference_plan
from ansible_collections.lamplighter.fleet.plugins.lookup.misspelt_variables import misspelt, role_options
from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue

from tests.unit.plan_hosts import amd, machine
from tests.unit.test_role_specs import ROLES, computed, every_role, load, options_of

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("tests/*/README.md")]
)
SPECIFIED = {name: option for role in ROLES for name, option in options_of(role).items()}
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)):
        name, _hash, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_commands_name_what_there_is(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"\b(?:playbooks|inventories|molecule)/[\w./-]*\w", text):
        assert (ROOT / name).exists() or name == "inventories/mine", name
    given = re.findall(r"""-e '?\{?"?([a-z_]+)"?[=:]""", text)
    assert misspelt(given, role_options(ROOT / "roles")) == []
    assert [target for target in re.findall(r"`make ([a-z-]+)", text) if f"\n{target}:" not in makefile()] == []


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def samples() -> Iterator[Any]:
    """Variables that pages and the example's files show."""
    for page in PAGES:
        for _indent, language, text in FENCED.findall(page.read_text()):
            if language in ("yaml", "yml"):
                where = f"{page.relative_to(ROOT)}: {text.split(maxsplit=3)[:3]}"
                yield pytest.param(variables(yaml.safe_load(textwrap.dedent(text))), id=where)
    for path in sorted(ROOT.glob("inventories/example/*_vars/*.yml")):
        yield pytest.param(load(path), id=str(path.relative_to(ROOT)))


def variables(document: Any) -> dict[str, Any]:
    """Of a file of variables, or of all the plays, roles and tasks of a playbook."""
    if isinstance(document, list):
        return {name: value for one in document for name, value in variables(one).items()}
    if not isinstance(document, dict):
        return {}
    inner = [variables(value) for value in document.values() if isinstance(value, (dict, list))]
    return {**document, **{name: value for one in inner for name, value in one.items()}}


@pytest.mark.parametrize("given", list(samples()))
def test_samples_are_taken_by_the_roles(given: dict[str, Any]) -> None:
    assert misspelt(list(given), role_options(ROOT / "roles")) == []
    ours = {name: value for name, value in given.items() if name in SPECIFIED and not computed(value)}
    specification = {name: SPECIFIED[name] for name in ours}
    assert ArgumentSpecValidator(specification).validate(ours).error_messages == []


@every_role
def test_the_readme_tells_the_defaults(role: Path) -> None:
    defaults, told = load(role / "defaults/main.yml"), 0
    for table in re.findall(r"(?:^\|.*\n)+", (role / "README.md").read_text(), re.MULTILINE):
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
        column = rows[0].index("default") if "default" in rows[0] else 0
        for row in rows[2:] if column else []:
            name, cell = row[0].strip("`"), re.fullmatch("`([^`]*)`", row[column])
            if name in defaults and cell and not computed(defaults[name]):
                assert defaults[name] in (cell[1], yaml.safe_load(cell[1])), name
                told += 1
            elif name in defaults and not row[column]:
                assert not defaults[name] or computed(defaults[name]), name
    assert told


def rows_of_architectures() -> list[Any]:
    """Of the table in docs/hosts.md: an architecture, whether it is integrated, and the backends in their order."""
    rows = []
    for line in (ROOT / "docs/hosts.md").read_text().splitlines():
        named = re.match(r"\| ([^|(]*)\((?=gfx)", line)
        if named and "beside" not in named[1]:
            machine_, first, then = (cell.strip() for cell in line.strip("|").split("|")[:3])
            order = [words.split()[0].rstrip(",;").lower() for words in [first, *then.split(", ")] if words]
            order[0] = order[0].partition(":")[0]
            numbers = re.findall(r"\b(?:gfx)?(\d{3,4}|90a)(?=[,)])", machine_)
            rows += [pytest.param(f"gfx{n}", named[1], order, id=f"gfx{n}") for n in numbers]
    return rows


@pytest.mark.parametrize(("gfx", "name", "backends"), rows_of_architectures())
def test_the_overview_of_hosts_is_what_the_plan_says(gfx: str, name: str, backends: list[str]) -> None:
    integrated = catalogue.arch(gfx)["integrated"]
    plan = inference_plan(
        machine(amd(gfx, 0.5 if integrated else 16, integrated=integrated)), {"engine_version": "0.32.15"}
    )
    assert [rung["backend"] for rung in plan["rungs"]] == backends, name
