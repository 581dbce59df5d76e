# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a WSL2 host is wired to now, and what Windows says of who may come in: evidence for the doctor. Reads only."""

from __future__ import annotations

import os
import re
from typing import Any, Callable
from urllib.parse import urlsplit

from ansible_collections.lamplighter.fleet.plugins.module_utils import process
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.wsl import WAYS
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import Ollama
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.firewall import wider_than_wsl
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.address import PORT, resolve
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.client import gather
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.proof import Ask, reach, spare_proxy

PROGRAM = "/usr/local/lib/lamplighter/windows-ollama"


def status(
    wsl: dict[str, Any],
    make_ask: Callable[[int], Ask | None] = lambda port: None,
    run: Callable[..., tuple[int, str]] = process.run,
    root: str = "/",
    make_engine: Callable[[str], Any] = Ollama,
) -> dict[str, Any]:
    """`expected` is where Windows is now, `written` what sessions are given by our wiring.

    `wide` and `blocking` are rules of Windows: who else may come in, and what keeps this WSL2 out.
    """
    sysroot = Sysroot(root)
    mode = wsl.get("networking_mode")
    way = WAYS.get(str(mode), ("auto",))[0]
    wired = os.access(sysroot.path(PROGRAM), os.X_OK)
    expected = resolve(way, "", PORT, wsl.get("gateway"))["url"]
    if wired:
        code, text = run([sysroot.path(PROGRAM), "url"], seconds=5)
        expected = text.strip() if code == 0 else expected
    ours = re.search(r"^# BEGIN lamplighter.*?^OLLAMA_HOST=(\S+)", sysroot.read("etc/environment") or "", re.M | re.S)
    if expected:
        spare_proxy(expected)
    ask = make_ask(urlsplit(expected or "").port or PORT)
    found = reach(expected, {"way": way, "mode": mode, "connect_timeout": 5}, sysroot, make_engine(expected or ""), ask)
    state: dict[str, Any] = {}
    if ask:
        try:
            state = found.get("windows") or ask("state")
        except WindowsError as error:
            found["interop_error"] = str(error)
    return {
        "wired": wired,
        "expected": expected,
        "written": ours[1] if ours else None,
        "others": gather(sysroot)["others"],
        "reach": {name: found.get(name) for name in ("code", "message", "remedy", "http", "interop_error")},
        "wide": wider_than_wsl(state.get("firewall") or [], state.get("wsl")),
        # Where the loopback address is shared, no firewall is in between.
        "blocking": state.get("blocking") or [] if way == "gateway" else [],
    }
