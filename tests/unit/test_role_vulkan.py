# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the role vulkan has anything to do, and what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

VARS = Path(__file__).parents[2] / "roles/vulkan/vars/main.yml"
MESA = ["intel_icd.json", "lvp_icd.json", "radeon_icd.x86_64.json"]
NVIDIA = "nvidia_icd.json"
DEBIAN = ["libvulkan1", "mesa-vulkan-drivers"]
SUSE = ["libvulkan1", "libvulkan_radeon"]

# vendors, drivers that are registered, distribution, whether all is there, packages that would be installed
CASES: list[tuple[list[str], list[str] | None, str, bool, list[str]]] = [
    (["amd"], None, "debian", False, DEBIAN),
    (["amd"], [], "debian", False, DEBIAN),
    (["amd"], ["lvp_icd.json"], "debian", False, DEBIAN),
    (["amd"], ["amd_icd64.json"], "debian", True, DEBIAN),
    (["amd"], MESA, "debian", True, DEBIAN),
    (["amd", "other"], MESA, "debian", True, DEBIAN),
    (["other"], ["lvp_icd.json"], "debian", False, DEBIAN),
    # NVIDIA's driver is none for the AMD GPU beside it.
    (["amd", "nvidia"], [NVIDIA], "debian", False, DEBIAN),
    (["nvidia", "amd"], [NVIDIA], "opensuse", False, SUSE),
    (["amd", "nvidia"], [NVIDIA, *MESA], "debian", True, DEBIAN),
    # Nothing that could be installed would change it.
    (["amd", "nvidia"], MESA, "debian", True, DEBIAN),
    (["amd", "nvidia"], MESA, "nixos", True, []),
    (["nvidia"], [], "debian", False, ["libvulkan1"]),
    (["amd"], [], "nixos", False, []),
]


@pytest.mark.parametrize(("vendors", "registered", "distribution", "present", "packages"), CASES)
def test_drivers(
    vendors: list[str], registered: list[str] | None, distribution: str, present: bool, packages: list[str]
) -> None:
    facts: dict[str, Any] = {"gpus": [{"vendor": vendor} for vendor in vendors], "vulkan_icds": registered}
    facts["distribution"] = {"id": distribution, "id_like": None}
    names = {**DataLoader().load_from_file(str(VARS), trusted_as_template=True), "vulkan_software": False}
    templar = Templar(DataLoader(), variables={**names, "vulkan_packages": [], "vulkan_gpu_facts": facts})
    told = [
        templar.template(trust_as_template(f"{{{{ {name} }}}}")) for name in ("__vulkan_present", "__vulkan_wanted")
    ]
    assert told == [present, packages]
