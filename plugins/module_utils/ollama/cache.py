# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archives of a release, fetched once for all the hosts that get copies of them."""

from __future__ import annotations

import os

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.archives import (
    Request,
    check_space,
    checksums,
    fetch,
    lock,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress, sha256_of
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.release import State, check_version

# Seconds to wait for who fetches, which may take as long as one may run in the background.
PATIENCE = 6 * 3600


def inspect(request: Request, sums: dict[str, str]) -> State:
    """What of the archives is missing, or is there with another content."""

    def there(path: str, sha256: str) -> bool:
        return os.path.exists(path) and sha256_of(path) == sha256

    missing = [a for a in request.archives if not there(os.path.join(request.downloads, a.name), sums[a.name])]
    return State(request.version, missing, link_missing=False, link_foreign=False, sha256=sums)


def run(request: Request, progress: Progress, check_mode: bool) -> State:
    """Returns the state that was found, after fetching what was missing unless in check mode."""
    check_version(request.version)
    sums = checksums(request, request.archives)
    state = inspect(request, sums)
    if state.missing and check_mode:
        state.sizes = check_space(request, state.missing)
    elif state.missing:
        with lock(request.root, PATIENCE):
            # Who waited here for another that fetched has nothing left to fetch.
            state = inspect(request, sums)
            fetch(request, state.missing, sums, progress)
    return state
