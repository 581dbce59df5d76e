# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the catalogue's rules on kernels, drivers and firmware to one host."""

from __future__ import annotations

import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import hosts
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama import reached
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Gpu, Machine

# amdgpu reports the version in the low twelve bits (AMDGPU_MES_VERSION_MASK).
_MES_MASK = 0xFFF


def numbers(version: str) -> tuple:
    """The leading numbers of a version: 6.17.0-19-generic is (6, 17, 0, 19)."""
    found = re.match(r"\d{1,9}(?:[.-]\d{1,9})*", version)
    return tuple(int(part) for part in re.split(r"[.-]", found.group())) if found else ()


def _below(version: str, limit: str) -> bool | None:
    have, want = numbers(version), numbers(limit)
    return have < want if have else None


def kernel_below(machine: Machine, line: str) -> bool | None:
    """Is the kernel older than this line (a version, or a name of KERNEL_LINES)? None if it cannot be said."""
    release = machine.kernel_release
    if release is None:
        return None
    if line not in hosts.KERNEL_LINES:
        return _below(release.split("-")[0], line)
    lines: dict = hosts.KERNEL_LINES[line]
    distribution = machine.distribution.get("id")
    fixed = lines["fixed_distributions"].get(distribution)
    if fixed and _below(str(machine.distribution.get("version_id") or "0"), fixed) is False:
        return False
    if not _below(release.split("-")[0], lines["mainline"]):
        return False
    if release.endswith("-oem"):
        return _below(release, lines["ubuntu_oem"])
    if distribution == "ubuntu" or release.endswith("-generic"):
        return _below(release, lines["ubuntu_hwe"])
    return True


def mes_version(gpu: Gpu) -> int | None:
    value = gpu.firmware.get("mes")
    try:
        return int(value, 0) & _MES_MASK if isinstance(value, str) else None
    except ValueError:
        return None


def _firmware_date(machine: Machine) -> str | None:
    found = re.search(r"20\d{6}", machine.linux_firmware or "")
    return found.group() if found else None


def _holds(rule: dict, gpu: Gpu, machine: Machine, engine: dict, backend: str) -> bool:
    """Every condition must hold; one that cannot be decided does not."""
    dkms, date, rocm = machine.amdgpu_version, _firmware_date(machine), engine["rocm"]
    usable = gpu.memory(backend)
    conditions = {
        "gfx": lambda want: gpu.gfx in want,
        "integrated": lambda want: gpu.shares_memory == want,
        "backends": lambda want: backend in want,
        "kernel_below": lambda want: kernel_below(machine, want) is True,
        "kernel_from": lambda want: kernel_below(machine, want) is False,
        "dkms": lambda want: (dkms is not None) == want,
        "no_dkms": lambda want: (dkms is None) == want,
        "dkms_below": lambda want: dkms is not None and _below(dkms, want) is True,
        "firmware": lambda want: date is not None and any(date.startswith(bad) for bad in want),
        "firmware_below": lambda want: date is not None and date < want,
        "mes": lambda want: mes_version(gpu) in want,
        "rocm_below": lambda want: rocm is not None and _below(rocm, want) is True,
        "rocm_from": lambda want: rocm is not None and _below(rocm, want) is False,
        "rocm_is": lambda want: rocm in want,
        "engine_from": lambda want: engine["name"] == "ollama" and reached(engine["version"], want),
        "usable_from": lambda want: usable is not None and usable >= want,
    }
    return all(conditions[name](want) for name, want in rule.items() if name in conditions)


def host_rules(gpus: list, machine: Machine, engine: dict, backend: str) -> list:
    """The rules that speak on this host for GPUs that are driven by this backend, texts filled in."""
    spoken = {}
    for rule in hosts.RULES:
        for gpu in gpus:
            if gpu.vendor == "amd" and rule["code"] not in spoken and _holds(rule, gpu, machine, engine, backend):
                values = {
                    "kernel": machine.kernel_release,
                    "rocm": engine["rocm"],
                    "firmware": machine.linux_firmware,
                    "dkms": machine.amdgpu_version,
                    "gfx": gpu.gfx,
                }
                spoken[rule["code"]] = {
                    **rule,
                    "message": rule["message"].format(**values),
                    "source": hosts.SOURCES[rule["source"]],
                }
    return list(spoken.values())
