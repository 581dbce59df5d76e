#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: rocm_repository
short_description: Have AMD's package repositories, with keys pinned by fingerprint
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Has the named repositories and no others of those that this module has written before.
  - A key is downloaded and its fingerprint compared before anything is written; of a file with several keys only the
    pinned one is installed. Needs no C(gpg).
  - On hosts with apt the repository is tried first, in a folder that is thrown away. One that has expired, is not
    signed with the key, or lacks a package is refused, and the host stays as it was.
  - A file that was at the same place before is kept, and comes back when the repository goes.
options:
  repositories:
    description: The repositories; an empty list takes all away.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name, for people.
        type: str
      url:
        description: Its URL, for people.
        type: str
      key_url:
        description: Where its key is.
        type: str
        required: true
      fingerprint:
        description: The key's fingerprint, in upper case without spaces.
        type: str
        required: true
      keyring:
        description: Where the key is installed. With C(.gpg) it is binary as apt wants it, else armored.
        type: path
        required: true
      files:
        description: The files of the package manager, each with C(path) and C(content).
        type: list
        elements: dict
        required: true
      packages:
        description: Packages that the repository must offer. Only asked where apt is.
        type: list
        elements: str
        default: []
  state_dir:
    description: Where it is written down which files are ours, and what was there before.
    type: path
    default: /var/lib/lamplighter/rocm
attributes:
  check_mode:
    description: Downloads and tries as in a normal run, and writes nothing.
    support: full
  diff_mode:
    description: Shows the files before and after, but no keys.
    support: full
"""

EXAMPLES = r"""
- name: The repositories of the plan are there
  lamplighter.fleet.rocm_repository:
    repositories: "{{ inference_plan.rocm.repositories }}"
  become: true
"""

RETURN = r"""
paths:
  description: Files that were written or taken away, or would be, keys not among them.
  returned: success
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.repository import (
    RepositoryError,
    Wanted,
    converge,
    try_apt,
)

LARGEST_KEY = 1 << 20


def fetch(url: str) -> bytes:
    with open_url(url, timeout=30) as answer:
        return bytes(answer.read(LARGEST_KEY))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repositories": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str"},
                    "url": {"type": "str"},
                    "key_url": {"type": "str", "required": True, "no_log": False},
                    "fingerprint": {"type": "str", "required": True},
                    "keyring": {"type": "path", "required": True, "no_log": False},
                    "files": {"type": "list", "elements": "dict", "required": True},
                    "packages": {"type": "list", "elements": "str", "default": []},
                },
            },
            "state_dir": {"type": "path", "default": "/var/lib/lamplighter/rocm"},
        },
        supports_check_mode=True,
    )
    names = ("key_url", "fingerprint", "keyring", "files", "packages")
    wanted = [Wanted(**{name: item[name] for name in names}) for item in module.params["repositories"]]

    def trial(one: Wanted, key: bytes) -> None:
        if os.path.exists("/usr/bin/apt-get"):
            try_apt(one, key)

    try:
        result = converge(wanted, module.params["state_dir"], fetch, module.check_mode, trial)
    except (RepositoryError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = [
        {"before_header": path, "after_header": path, "before": result.before[path], "after": result.after[path]}
        for path in result.after
    ]
    module.exit_json(changed=result.changed, paths=list(result.after), diff=diff)


if __name__ == "__main__":
    main()
