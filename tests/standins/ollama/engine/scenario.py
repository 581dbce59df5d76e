# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on this host, read at each start: /etc/standin-ollama/scenario.json (tests/standins/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path("/etc/standin-ollama/scenario.json")
FAULTS = (
    "denied",
    "discovery_timeout",
    "discovery_crash",
    "zero_vram",
    "out_of_memory",
    "hang_on_load",
    "crash_on_load",
    "crash_on_long_prompt",
    "cpu_while_api_claims_gpu",
    "cpu_while_log_and_api_claim_gpu",
    "kernel_fault",
    "slow",
)


def load(path: Path = PATH) -> dict[str, Any]:
    if not path.exists():
        return {}
    scenario = json.loads(path.read_text())
    known = {"rocm", "vulkan", "cuda", "discovery_seconds", "pull", "registry"}
    wrong = sorted(set(scenario) - known) + [
        fault for name in ("rocm", "vulkan", "cuda") for fault in [scenario.get(name)] if fault not in (None, *FAULTS)
    ]
    if wrong:
        raise SystemExit(f"{path}: unknown scenario {', '.join(wrong)}")
    return scenario
