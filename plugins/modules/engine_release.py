#!/usr/bin/python
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_release
short_description: Install one release of an inference engine side by side and switch to it
version_added: "0.1.0"
author:
  - Lamplighter contributors (@lamplighter)
description:
  - Downloads the archives of a release, verifies every checksum, unpacks them into a directory of their own
    and then switches the link C(current) to it in one step.
  - An interrupted download is continued by the next run. Nothing half-installed is ever in use.
  - A release that is installed already is only switched to, so that going back is instant.
  - A file that lies in C(downloads/VERSION) below O(root) already is verified and used instead of being fetched.
  - On a host with SELinux the files get the labels of its policy, as C(restorecon) sets them.
options:
  root:
    description: Directory that holds C(versions/), C(current), C(previous) and, while it works, C(downloads/).
    type: path
    default: /opt/ollama
  version:
    description: Version to install and to switch to, such as V(0.32.15), or V(b10488) of llama.cpp.
    type: str
    required: true
  archives:
    description: Addresses of the release's C(.tar.zst) or C(.tar.gz) archives, unpacked in this order.
    type: list
    elements: str
    required: true
  sha256:
    description: Pinned checksums by file name. A file without one is verified by the list at O(checksums_url).
    type: dict
    default: {}
  fetch:
    description: Whether archives may be downloaded. Otherwise they must lie in C(downloads/VERSION) below O(root).
    type: bool
    default: true
  unpack:
    description:
      - Whether the release is installed. Otherwise its archives are only fetched into C(downloads/VERSION) below
        O(root) and stay there, verified, as the controller does it for hosts that get copies.
      - Hosts whose tasks ask for the same archives at the same moment wait for the first one, and find them there.
    type: bool
    default: true
  checksums_url:
    description: Address of the release's own list of checksums, one line C(HASH  ./FILE) for each file.
    type: str
  binary:
    description: The executable below the directory of a version. A release without it is refused.
    type: str
    default: bin/ollama
  flatten:
    description: Whether folders that hold all the rest of a release are left out, as llama.cpp's archives have one.
    type: bool
    default: false
  link:
    description:
      - Where a link to the executable is wanted, such as V(/usr/local/bin/ollama).
      - A file or a link of somebody else that is already there is left alone.
    type: path
  keep:
    description: How many older versions stay installed. The version before the current one is never removed.
    type: int
    default: 1
  unpack_factor:
    description: How many times its own size an archive takes when unpacked; used to judge the free disk space.
    type: float
    default: 3.0
  timeout:
    description: Seconds without an answer or a byte from the server after which an attempt is given up.
    type: int
    default: 60
  progress_file:
    description: A file in which the module tells how far it is; written while archives are fetched and unpacked.
    type: path
attributes:
  check_mode:
    description: Asks the server for checksums and sizes, and changes nothing.
    support: full
  diff_mode:
    description: Shows the version before and after, the archives to fetch and the versions to remove.
    support: full
"""

EXAMPLES = r"""
- name: Ollama 0.32.15 is installed with its ROCm libraries
  lamplighter.fleet.engine_release:
    version: 0.32.15
    archives:
      - https://github.com/ollama/ollama/releases/download/v0.32.15/ollama-linux-amd64.tar.zst
      - https://github.com/ollama/ollama/releases/download/v0.32.15/ollama-linux-amd64-rocm.tar.zst
    checksums_url: https://github.com/ollama/ollama/releases/download/v0.32.15/sha256sum.txt
    link: /usr/local/bin/ollama
"""

RETURN = r"""
version:
  description: The version that C(current) points to when the module is done, or that was only fetched.
  returned: success
  type: str
  sample: 0.32.15
previous_version:
  description: The version that C(current) pointed to before; null on a host that had none.
  returned: with O(unpack=true)
  type: str
  sample: 0.32.6
downloaded:
  description: Names of the archives that were, or in check mode would be, fetched and unpacked.
  returned: success
  type: list
  elements: str
  sample: [ollama-linux-amd64-rocm.tar.zst]
pruned:
  description: Versions that were, or in check mode would be, removed.
  returned: success
  type: list
  elements: str
  sample: [0.30.4]
archives:
  description: The checksum of every archive by its name, as pinned or as the release's own list has it.
  returned: with O(unpack=false)
  type: dict
  sample: {ollama-linux-amd64.tar.zst: 1c114a6b220c5efca2ef2b1e5f01d1e535e26f6cd6d1678c8489325d2835e525}
link:
  description: Whose the file at O(link) is, V(ours) or V(foreign); null where O(link) is not given.
  returned: success
  type: str
  sample: ours
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama import cache, release
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import ReleaseError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/ollama"},
            "version": {"type": "str", "required": True},
            "archives": {"type": "list", "elements": "str", "required": True},
            "sha256": {"type": "dict", "default": {}},
            "fetch": {"type": "bool", "default": True},
            "unpack": {"type": "bool", "default": True},
            "checksums_url": {"type": "str"},
            "binary": {"type": "str", "default": "bin/ollama"},
            "flatten": {"type": "bool", "default": False},
            "link": {"type": "path"},
            "keep": {"type": "int", "default": 1},
            "unpack_factor": {"type": "float", "default": 3.0},
            "timeout": {"type": "int", "default": 60},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)  # what is installed must be readable for the service user
    options = dict(module.params)
    progress = Progress(options.pop("progress_file"))
    pinned = options.pop("sha256")
    options["archives"] = [release.Archive.from_url(url, pinned) for url in options["archives"]]
    request = release.Request(
        zstd=module.get_bin_path("zstd"),
        restorecon=module.get_bin_path("restorecon") if module.selinux_enabled() else None,
        **options,
    )
    try:
        state = (release if request.unpack else cache).run(request, progress, module.check_mode)
    except ReleaseError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"cannot install {request.version} below {request.root}: {error}")
    module.exit_json(
        changed=not state.satisfied(request.version),
        version=request.version,
        **({"previous_version": state.current} if request.unpack else {"archives": state.sha256}),
        downloaded=[archive.name for archive in state.missing],
        pruned=state.prunable,
        link=("foreign" if state.link_foreign else "ours") if request.link else None,
        diff=release.difference(request, state),
    )


if __name__ == "__main__":
    main()
