#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: model_file
short_description: Have a GGUF file on this host, or not
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Downloads a GGUF file or takes one over that is on the host, verifies it, and puts it in its place whole or not.
  - Reads the header first, so that what is no model is refused before gigabytes have come.
  - An interrupted download is continued by the next run. One run at a time works in a directory, others wait.
  - The checksum of a verified file is noted beside it, so that it is read again only after it has changed.
options:
  path:
    description: Where the file is to be. Its name ends in C(.gguf).
    type: path
    required: true
  state:
    description: V(absent) removes what was begun of a download, too.
    type: str
    choices: [present, absent]
    default: present
  url:
    description: Where the file is fetched from. Needs O(sha256).
    type: str
  src:
    description: A file on the host. It is linked where one file system holds both, else copied.
    type: path
  sha256:
    description: Checksum that the file must have.
    type: str
  verify:
    description: Read the whole file although nothing about it has changed.
    type: bool
    default: false
  timeout:
    description: Seconds without an answer or a byte from the server after which an attempt is given up.
    type: int
    default: 60
  progress_file:
    description: A file in which the module tells how far it is.
    type: path
attributes:
  check_mode:
    description: Tells what would change. No server is asked.
    support: full
  diff_mode:
    description: Shows the checksum before and after.
    support: full
"""

EXAMPLES = r"""
- name: A model for llama-server is there
  lamplighter.fleet.model_file:
    path: /var/lib/lamplighter/models/house-assistant.gguf
    url: https://models.example/house-assistant-Q4_K_M.gguf
    sha256: 1c114a6b220c5efca2ef2b1e5f01d1e535e26f6cd6d1678c8489325d2835e525
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
how:
  description: What was done, V(downloaded), V(linked), V(copied), V(kept), V(removed) or V(absent).
  returned: success
  type: str
  sample: downloaded
sha256:
  description: Checksum of the file; null if it is absent or not known yet.
  returned: success
  type: str
size:
  description: Bytes of the file; null if it is absent or not known yet.
  returned: success
  type: int
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.files import (
    ModelError,
    Request,
    ensure,
    known_sha256,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.remote import shown
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import ReleaseError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "url": {"type": "str"},
            "src": {"type": "path"},
            "sha256": {"type": "str"},
            "verify": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
            "progress_file": {"type": "path"},
        },
        mutually_exclusive=[("url", "src")],
        supports_check_mode=True,
    )
    os.umask(0o022)  # the engines' users must be able to read it
    options = dict(module.params)
    progress = Progress(options.pop("progress_file"))
    options["sha256"] = options["sha256"].lower() if options["sha256"] else None
    request = Request(**options)
    before = known_sha256(request) or ("unknown" if os.path.exists(request.path) else "absent")
    try:
        outcome = ensure(request, progress, module.check_mode)
    except (ModelError, ReleaseError) as error:
        module.fail_json(msg=shown(str(error)))
    except OSError as error:
        module.fail_json(msg=f"cannot put {request.path} in place: {error}")
    after = "absent" if request.state == "absent" else outcome.sha256 or "unknown"
    module.exit_json(
        changed=outcome.changed,
        path=request.path,
        how=outcome.how,
        sha256=outcome.sha256,
        size=outcome.bytes,
        diff={
            "before_header": request.path,
            "after_header": request.path,
            "before": f"sha256: {before}\n",
            "after": f"sha256: {after if outcome.changed else before}\n",
        },
    )


if __name__ == "__main__":
    main()
