# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The support bundle: what a person attaches to a question, without who and where."""

from __future__ import annotations

import glob
import io
import json
import os
import pwd
import re
import tarfile
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.collect import Collector
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.scrub import Scrubber
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

# What gpu_facts reads, for those who want to look for themselves.
_HARDWARE = (
    "proc/cmdline",
    "proc/version",
    "proc/meminfo",
    "proc/modules",
    "etc/os-release",
    "etc/modprobe.d/*.conf",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/dmi/id/product_name",
    "sys/class/dmi/id/bios_version",
    "sys/class/drm/card[0-9]/device/uevent",
    "sys/class/drm/card[0-9]/device/vendor",
    "sys/class/drm/card[0-9]/device/device",
    "sys/class/drm/card[0-9]/device/revision",
    "sys/class/drm/card[0-9]/device/mem_info_*",
    "sys/class/drm/card[0-9]/device/fw_version/*",
    "sys/class/drm/card[0-9]/device/ip_discovery/die/0/GC/0/[mr]*",
    "sys/class/kfd/kfd/topology/nodes/*/name",
    "sys/class/kfd/kfd/topology/nodes/*/properties",
    "sys/class/kfd/kfd/topology/nodes/*/mem_banks/*/properties",
    "sys/module/*ttm/parameters/*",
    "sys/module/amdgpu/version",
    "sys/module/amdgpu/parameters/*",
)
_LONGEST = 65536
# Of the kernel's log only what may be about a GPU leaves the host: disks, networks and USB are nobody's business.
_OF_GPU = re.compile(
    r"(?i)amdgpu|amdkfd|\bkfd\b|\bdrm|\[drm|radeon|nvidia|NVRM|\bttm\b|i915|xe |iommu|atomics|firmware|AER:|pcieport|"
    r"out of memory|oom-kill|suspend|resum|Linux version|Command line|DMI:"
)


def _people() -> list[str]:
    """Users of the host who are people, and the host's own name."""
    people = [entry.pw_name for entry in pwd.getpwall() if 1000 <= entry.pw_uid < 60000]
    names = [entry.pw_gecos.split(",")[0] for entry in pwd.getpwall() if 1000 <= entry.pw_uid < 60000]
    return [*people, *names, os.uname().nodename]


def bundle_files(evidence: dict[str, Any], collector: Collector, names: list[str]) -> dict[str, str]:
    """Name to scrubbed text of every file of the bundle."""
    scrubber = Scrubber([*names, *_people()])
    unit = (evidence.get("ollama_facts") or {}).get("unit") or {}
    paths = [unit.get("path"), *(item["path"] for item in unit.get("drop_ins") or [])]
    host = Sysroot("/")
    files = {
        "engine.log": collector.engine_text.text,
        "kernel.log": "".join(line for line in collector.kernel_text.text.splitlines(True) if _OF_GPU.search(line)),
        **{f"unit{path}": host.read(path) or "" for path in paths if path},
    }
    for pattern in _HARDWARE:
        for path in sorted(glob.glob(os.path.join(glob.escape(collector.root.root), pattern))):
            name = os.path.relpath(path, collector.root.root)
            text = collector.root.read(name)
            if text is not None and len(text) <= _LONGEST:
                files[name] = text + "\n"
    scrubbed = {name: scrubber.text(text) for name, text in files.items() if text.strip()}
    evidence_text = json.dumps(scrubber.tree(evidence), indent=1, sort_keys=True)
    return {"evidence.json": evidence_text + "\n", **scrubbed}


def write_archive(path: str, files: dict[str, str]) -> None:
    """A tar.gz in a folder of its own name, readable by its owner only."""
    folder = os.path.basename(path).split(".")[0] or "bundle"
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(opened, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, text in sorted(files.items()):
            content = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
