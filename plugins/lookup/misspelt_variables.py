# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: misspelt_variables
author: Lamplighter contributors (@lamplighter)
version_added: 0.1.0
short_description: Find inventory variables that look like this collection's but are not
description:
  - Ansible ignores a variable that no role reads, so C(ollama_num_paralel) would do nothing, in silence.
  - This lookup compares the host's variables that start with the name of a role of this collection
    with the options in the C(meta/argument_specs.yml) of that role.
  - The caller checks the result; an empty list means that all is well.
options:
  _terms:
    description: Names that are no option of a role and are right all the same, such as facts set by a playbook.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Every variable of ours is spelt right
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ lookup('lamplighter.fleet.misspelt_variables', wantlist=True) }}"
"""

RETURN = r"""
_raw:
  description: One sentence for each variable that no role knows, with the nearest name that one does know.
  type: list
  elements: str
"""

import difflib
import functools
from pathlib import Path

import yaml
from ansible.plugins.lookup import LookupBase

ROLES = Path(__file__).resolve().parents[2] / "roles"


@functools.cache
def role_options(roles: Path) -> dict[str, frozenset[str]]:
    """Return the options of every role below `roles`, of all its entry points: {role: names}."""
    return {
        spec.parent.parent.name: frozenset(
            option
            for entry_point in yaml.safe_load(spec.read_text(encoding="utf-8"))["argument_specs"].values()
            for option in entry_point.get("options", {})
        )
        for spec in roles.glob("*/meta/argument_specs.yml")
    }


def misspelt(names: list[str], options: dict[str, frozenset[str]]) -> list[str]:
    """Return a sentence for each of `names` that starts with a role's name and is not an option of any role."""
    known = frozenset().union(*options.values())
    prefixes = tuple(f"{role}_" for role in options)
    problems = []
    for name in sorted(names):
        if name in known or not name.startswith(prefixes):
            continue
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "no role of lamplighter.fleet reads it: remove it."
        problems.append(f"{name} is not a variable of lamplighter.fleet: {hint}")
    return problems


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        given = variables or {}
        # Ansible makes variables of facts, too, unless inject_facts_as_vars forbids it.
        return misspelt(set(given) - set(given.get("ansible_facts") or {}) - set(terms), role_options(ROLES))
