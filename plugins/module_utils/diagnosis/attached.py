# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what somebody attached: a support bundle of ours, or logs, command outputs and a /sys in a folder or a tar."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.probes import (
    modprobe_options,
    parse_properties,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.sources import LogError, file_lines
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.installation import unit_environment
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import mapping
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

_MOST_FILES, _MOST_BYTES = 5000, 1 << 30
_HARDWARE_FOLDERS = ("sys", "proc", "etc", "dev", "usr", "opt")
_GPU_LINE = re.compile(
    r"^(\S+) (?:VGA compatible controller|Display controller|3D controller)[^\n]*\[([0-9a-f]{4}):([0-9a-f]{4})\]"
    r"(?: \(rev ([0-9a-f]{2})\))?",
    re.MULTILINE,
)
_VENDORS = {"1002": "amd", "10de": "nvidia", "8086": "intel"}
_KERNEL_LINE = re.compile(r"Linux version \d|\bamdgpu\b.{0,40}:|\bkfd\b|\[drm\]|\bNVRM:")
# What a log tells of the environment: the values of these are printed as they were given.
_CONFIG = re.compile(r'^.*msg="server config" env="map\[(.*)\]"', re.MULTILINE)
_GIVEN = re.compile(
    r"\b(HSA_OVERRIDE_GFX_VERSION|ROCR_VISIBLE_DEVICES|HIP_VISIBLE_DEVICES|CUDA_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|"
    r"GGML_VK_VISIBLE_DEVICES|OLLAMA_LLM_LIBRARY|OLLAMA_HOST):([^\s\]]+)"
)
# uname -a, or the first line of the kernel's log.
_UNAME = re.compile(r"(?:^Linux (?!version )\S+|\bLinux version) (\d+\.\d+\S*) ", re.MULTILINE)


class AttachedError(Exception):
    """What was attached cannot be read; the text says why."""


def read_attached(path: str, signatures: list[dict[str, Any]], catalogue: dict[str, Any]) -> dict[str, Any]:
    """The evidence that a folder, a tar archive or a single file holds."""
    if not os.path.exists(path):
        raise AttachedError(f"There is no {path} on this machine.")
    if os.path.isdir(path):
        return _read_folder(path, signatures, catalogue)
    if not tarfile.is_tarfile(path):
        return _read_folder(path, signatures, catalogue, [path])
    with tempfile.TemporaryDirectory(prefix="lamplighter-") as folder:
        unread = _unpack(path, folder)
        evidence = _read_folder(folder, signatures, catalogue)
        return {**evidence, "unread": [*evidence["unread"], *unread]}


def _unpack(path: str, folder: str) -> list[str]:
    """Plain files, and links that stay inside; what else an archive holds is told.

    By hand: tarfile's own filters came with patch releases of Python, and Debian 12's 3.11.2 has none.
    """
    unread: list[str] = []
    size, links, inside = 0, [], os.path.realpath(folder) + os.sep
    try:
        with tarfile.open(path) as archive:
            for count, member in enumerate(archive):
                size += member.size
                if count > _MOST_FILES or size > _MOST_BYTES:
                    unread.append(f"{path}: what comes after {member.name}: the archive is too large")
                    break
                target = os.path.normpath(inside + member.name)
                if not f"{target}{os.sep}".startswith(inside):
                    unread.append(f"{member.name}: it leads out of the archive")
                elif member.issym():
                    links.append((target, member.linkname))
                elif member.isdir():
                    os.makedirs(target, exist_ok=True)
                elif member.isfile():
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    with open(target, "wb") as output:
                        shutil.copyfileobj(archive.extractfile(member), output)  # type: ignore[arg-type]
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        unread.append(f"{path}, from the place on where it is damaged: {error}")
    return unread + _link(links, inside)


def _link(links: list[tuple[str, str]], inside: str) -> list[str]:
    """After all files, so that none is written through a link. Where one leads is known when all of them are there."""
    unread, made = [], []
    for target, text in links:
        name, parent = os.path.relpath(target, inside), os.path.dirname(target)
        try:
            if os.path.realpath(parent) == parent:
                os.makedirs(parent, exist_ok=True)
                os.symlink(text, target)
                made.append((name, target))
            else:
                unread.append(f"{name}: it lies behind a link")
        except OSError as error:
            unread.append(f"{name}: {error.strerror}")
    for name, target in made:
        if not os.path.realpath(target).startswith(inside):
            os.unlink(target)
            unread.append(f"{name}: it leads out of the archive")
    return unread


def _files(folder: str) -> Iterator[str]:
    """The files of a folder, without those of a copy of /sys, /proc and the like."""
    count = 0
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _HARDWARE_FOLDERS and not name.startswith("."))
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                return
            yield os.path.join(at, name)


def _root_of_tree(folder: str) -> str | None:
    """The folder that holds a copy of /sys or /proc."""
    for at, folders, _names in os.walk(folder):
        if {"sys", "proc"} & set(folders):
            return at
        if at[len(folder) :].count(os.sep) >= 4:
            folders.clear()
    return None


def _read_folder(
    folder: str, signatures: list[dict[str, Any]], catalogue: dict[str, Any], only: list[str] | None = None
) -> dict[str, Any]:
    evidence: dict[str, Any] = {"unread": []}
    files = only or list(_files(folder))
    ours = next((path for path in files if os.path.basename(path) == "evidence.json"), None)
    if ours:
        try:
            saved = json.loads(_text(ours, 64 << 20))
            evidence = saved if isinstance(saved, dict) else evidence
        except ValueError as error:
            evidence["unread"].append(f"evidence.json: {error}")
    root = None if only else _root_of_tree(folder)
    if root and not evidence.get("gpu_facts"):
        evidence["gpu_facts"] = gpu_facts(root, catalogue)
        evidence["modprobe"] = modprobe_options(Sysroot(root))
    units: list[tuple[str, str]] = []
    for path in files:
        if path != ours:
            _read_file(path, evidence, signatures, units)
    if units:
        _unit_files(units, evidence)
    elif "ollama_facts" not in evidence and evidence.get("logged_environment"):
        evidence["ollama_facts"] = {"unit": {"environment": evidence["logged_environment"]}}
    evidence["unread"] = list(evidence.get("unread") or [])
    if not any(evidence.get(name) for name in ("gpu_facts", "engine_log", "kernel_log", "ollama_facts")):
        raise AttachedError(
            f"Nothing in {folder} is known to the doctor: no log of Ollama or llama-server, no kernel log, no /sys, "
            "no output of lspci -nn."
        )
    return evidence


def _text(path: str, most: int = 1 << 20) -> str:
    with open(path, "rb") as handle:
        return handle.read(most).decode("utf-8", "replace")


def _read_file(
    path: str, evidence: dict[str, Any], signatures: list[dict[str, Any]], units: list[tuple[str, str]]
) -> None:
    """A file is known by what is in it: people give any name."""
    try:
        text = _text(path)
    except OSError as error:
        evidence["unread"].append(f"{os.path.basename(path)}: {error.strerror}")
        return
    name = os.path.basename(path).lower()
    if "\n[Service]" in f"\n{text}":
        units.append((path, text))
    elif "DevicePolicy=" in text and "PrivateDevices=" in text:
        evidence.setdefault("service", parse_properties(text))
    else:
        _hardware_output(text, evidence)
        _logs(path, name, text, evidence, signatures)


def _unit_files(texts: list[tuple[str, str]], evidence: dict[str, Any]) -> None:
    """The unit's own file comes before its drop-ins."""
    texts.sort(key=lambda item: (not item[0].endswith(".service"), item[0]))
    environment, duplicates = unit_environment(texts)
    evidence.setdefault("ollama_facts", {"unit": {"environment": environment, "duplicates": duplicates}})


def _hardware_output(text: str, evidence: dict[str, Any]) -> None:
    """Output of lspci -nn and uname -a, where no copy of /sys tells more."""
    facts = mapping(evidence.get("gpu_facts"))
    if not facts.get("gpus") and _GPU_LINE.search(text):
        facts["gpus"] = [
            {
                "index": at,
                "vendor": _VENDORS.get(vendor, "other"),
                "pci_id": f"{vendor}:{device}",
                "pci_revision": revision or None,
                "pci_address": address if address.count(":") == 2 else f"0000:{address}",
            }
            for at, (address, vendor, device, revision) in enumerate(_GPU_LINE.findall(text))
        ]
        evidence["gpu_facts"] = facts
    uname = _UNAME.search(text)
    if uname and not (facts.get("kernel") or {}).get("release"):
        facts["kernel"] = {**(facts.get("kernel") or {}), "release": uname[1]}
        evidence["gpu_facts"] = facts


def _logs(path: str, name: str, text: str, evidence: dict[str, Any], signatures: list[dict[str, Any]]) -> None:
    try:
        log = read_engine_log(file_lines(path), signatures)
        known = evidence.get("engine_log") or {}
        # Of several logs the one that tells more counts: a start and its backend.
        if log["engine"] and _weight(log) >= _weight(known):
            evidence["engine_log"] = log
            configs = _CONFIG.findall(text)
            evidence["logged_environment"] = dict(_GIVEN.findall(configs[-1])) if configs else {}
        if (not log["engine"] and _KERNEL_LINE.search(text)) or name.startswith(("dmesg", "kernel", "kern.log")):
            faults = read_kernel_log(file_lines(path), signatures)["faults"]
            before = (evidence.get("kernel_log") or {}).get("faults") or []
            codes = {fault["code"] for fault in faults}
            evidence["kernel_log"] = {"faults": [*faults, *(one for one in before if one["code"] not in codes)]}
    except LogError as error:
        evidence["unread"].append(str(error))


def _weight(log: dict[str, Any]) -> tuple[int, ...]:
    return bool(log.get("starts")), log.get("backend") not in (None, "unknown"), len(log.get("failures") or [])
