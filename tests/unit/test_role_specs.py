# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role promises in defaults, argument_specs and README is one and the same.

Ansible does not compare them: a variable that only one of them knows is never validated or never found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[2] / "roles").iterdir() if path.is_dir())
TYPES: dict[str, Any] = {
    "bool": bool,
    "dict": dict,
    "float": (float, int),
    "int": int,
    "list": list,
    "path": str,
    "raw": object,
    "str": str,
}

every_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    """The options of all entry points together: the defaults are common to them."""
    entry_points = load(role / "meta/argument_specs.yml")["argument_specs"].values()
    return {name: option for point in entry_points for name, option in point.get("options", {}).items()}


def undescribed(options: dict[str, dict[str, Any]], prefix: str = "") -> list[str]:
    found = [prefix + name for name, option in options.items() if not option.get("description")]
    for name, option in options.items():
        found += undescribed(option.get("options", {}), f"{prefix}{name}.")
    return found


def computed(value: Any) -> bool:
    return value is None or (isinstance(value, str) and "{{" in value)


@every_role
def test_defaults_and_argument_specs_have_the_same_variables(role: Path) -> None:
    optional = {name for name, option in options_of(role).items() if not option.get("required")}
    assert set(load(role / "defaults/main.yml")) == optional


@every_role
def test_defaults_and_argument_specs_have_the_same_values(role: Path) -> None:
    # What is null or computed in the defaults may be left out of the specification.
    defaults = {name: value for name, value in load(role / "defaults/main.yml").items() if not computed(value)}
    specified = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    assert defaults == {name: value for name, value in specified.items() if not computed(value)}


@every_role
def test_defaults_have_the_type_that_is_specified(role: Path) -> None:
    for name, option in options_of(role).items():
        default = option.get("default")
        if computed(default):
            continue
        assert isinstance(default, TYPES[option.get("type", "str")]), name
        assert not (isinstance(default, bool) and option["type"] in ("int", "float")), name


@every_role
def test_entry_points_and_options_are_described(role: Path) -> None:
    for entry_point in load(role / "meta/argument_specs.yml")["argument_specs"].values():
        assert entry_point.get("short_description")
        assert entry_point.get("description")
        assert undescribed(entry_point.get("options", {})) == []


@every_role
def test_names_tell_public_from_private(role: Path) -> None:
    assert [name for name in options_of(role) if not name.startswith(f"{role.name}_")] == []
    private = [name for path in role.glob("vars/*.yml") for name in load(path)]
    assert [name for name in private if not name.startswith(f"__{role.name}_")] == []


@every_role
def test_readme_names_every_variable(role: Path) -> None:
    readme = (role / "README.md").read_text()
    assert [name for name in options_of(role) if name not in readme] == []


@every_role
def test_metadata_fits_the_collection(role: Path) -> None:
    galaxy_info = load(role / "meta/main.yml")["galaxy_info"]
    assert galaxy_info["license"] == "GPL-3.0-or-later"
    assert galaxy_info["min_ansible_version"] == "2.19"
    assert galaxy_info["description"]
