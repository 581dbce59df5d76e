# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed and running: versions that fit each other, libraries, the service."""

from __future__ import annotations

import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama import reached, version_key
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.commands import RESTART, SITE, library_folder

_RELEASE = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}(?:-rc\.?\d{1,6})?", re.ASCII)


def release_number(text: object) -> str | None:
    """The version if it is one of a release; 0.0.0 is what a source build says."""
    return text if isinstance(text, str) and _RELEASE.fullmatch(text) and text != "0.0.0" else None


def _is_installed(case: Case) -> bool:
    return bool(case.part("ollama_facts", "binary") or case.items("ollama_facts", "variants") or case.part("api"))


def service(case: Case) -> None:
    found, state = case.part("ollama_facts"), case.part("ollama_facts", "service")
    # What somebody attached says nothing of what is installed; beside a llama-server Ollama need not be, nor run.
    if "binary" not in found or case.part("engine_log").get("engine") == "llama_server":
        return
    containers = case.items("containers")
    if not _is_installed(case) and not containers:
        case.add(
            "installation",
            "engine_missing",
            "warning",
            "No Ollama is installed here.",
            "Let Lamplighter install it, with what this machine's GPU needs.",
            SITE,
        )
        return
    if state.get("active") == "failed" or state.get("sub") == "auto-restart":
        case.add(
            "log",
            "service_failed",
            "error",
            "The service does not stay up.",
            "Mend what its log says (the faults above), then start it again.",
            "sudo systemctl reset-failed ollama; " + RESTART,
            f"ollama.service: {state.get('active')} ({state.get('sub')})",
        )
    elif state.get("active") == "inactive" and not case.part("api"):
        case.add(
            "installation",
            "service_stopped",
            "error",
            "The service is not running.",
            "Start it, now and at each boot.",
            "sudo systemctl enable --now ollama",
            f"ollama.service: inactive, enabled: {'yes' if state.get('enabled') else 'no'}",
        )
    elif state.get("stale"):
        case.add(
            "installation",
            "restart_needed",
            "warning",
            "Files of the unit or of the release are newer than the running process: it does not use them yet.",
            "Restart the service.",
            "sudo systemctl daemon-reload && " + RESTART,
        )
    elif state.get("active") == "active":
        case.fine.append("the service runs")


def versions(case: Case) -> None:
    binary = release_number(case.part("ollama_facts", "binary").get("version"))
    serving = release_number(case.part("api").get("version")) or release_number(case.part("engine_log").get("version"))
    if binary and serving and binary != serving:
        case.add(
            "installation",
            "version_mismatch",
            "warning",
            f"The program on the disk is {binary}, the server that runs is {serving}.",
            "Restart the service; if that does not help there are two copies: remove the one that is not wanted.",
            RESTART + "; type -a ollama",
        )
    version = serving or binary
    if version and version_key(version) < version_key(case.wanted_version):
        old = not reached(version, "0.30.0")
        case.add(
            "installation",
            "version_lags",
            "warning" if old else "info",
            f"Ollama {version} is older than {case.wanted_version}."
            + (" Before 0.30 Vulkan is not on by default, and many AMD GPUs end on the processor." if old else ""),
            f"Install {case.wanted_version}.",
            SITE,
        )
    elif version:
        case.fine.append(f"Ollama {version} is current")


def libraries(case: Case) -> None:
    """The folders of lib/ollama beside the program, against what its release has."""
    found = case.part("ollama_facts", "binary")
    version = release_number(found.get("version"))
    if not found or not version:
        return
    known, names = case.engine, case.items("ollama_facts", "libraries")
    path = found.get("path") or ""
    before = len(case.findings)
    rocm = known["rocm_library"]
    wants_rocm = case.first_rung["backend"] == "rocm"
    other_rocm = [name for name in names if name.startswith("rocm") and name != rocm]
    if known["library_by_folder"] and not names:
        case.add(
            "installation",
            "gpu_libraries_missing",
            "error",
            f"There is no lib/ollama beside {path}: the engine has no GPU libraries, and not even its own runner.",
            "Install the whole archive: bin and lib/ollama belong together.",
            SITE,
            path,
        )
    elif wants_rocm and rocm and known["library_by_folder"] and rocm not in names:
        case.add(
            "installation",
            "rocm_payload_missing",
            "error",
            f"ROCm is what this GPU wants, and Ollama {version} keeps it in lib/ollama/{rocm}, which is not there.",
            f"Unpack ollama-linux-amd64-rocm of {version} beside the program. AMD's own packages are not needed.",
            SITE,
            f"lib/ollama: {', '.join(names)}",
        )
    if known["library_by_folder"] and other_rocm:
        case.add(
            "installation",
            "rocm_payload_of_another_version",
            "error" if wants_rocm and rocm not in names else "warning",
            f"{', '.join(other_rocm)} in lib/ollama is of another version than Ollama {version}; it is probed all the "
            "same.",
            "Remove it.",
            f"sudo rm -r {library_folder(path)}/{other_rocm[0]}",
            f"lib/ollama: {', '.join(names)}",
        )
    copies = case.items("binaries")
    if len(copies) > 1:
        case.add(
            "installation",
            "several_programs",
            "warning",
            "There are several copies of Ollama here; which one runs depends on who starts it.",
            "Keep one. The installer script uses /usr/local, packages use /usr, Lamplighter /opt/ollama.",
            "type -a ollama; systemctl cat ollama",
            ", ".join(copies),
        )
    if names and len(case.findings) == before:
        case.fine.append("its libraries")


def vulkan_driver(case: Case) -> None:
    """Without a driver of Vulkan's for the GPU the engine ends on the processor and says nothing."""
    drivers = case.part("gpu_facts").get("vulkan_icds")
    if drivers == [] and "vulkan_icd" in case.first_rung["requires"] and "binary" in case.part("ollama_facts"):
        case.add(
            "installation",
            "vulkan_driver_missing",
            "error",
            "Vulkan is what this GPU wants, and no Vulkan driver is installed.",
            "Install the loader and Mesa's drivers (Debian, Ubuntu, Fedora: mesa-vulkan-drivers), restart the service.",
            SITE,
            "/usr/share/vulkan/icd.d and /etc/vulkan/icd.d are empty",
        )


def gpu_in_use(case: Case) -> None:
    """Does the engine use the GPU that the machine has, and do its own words agree with the kernel's counters?"""
    log = case.part("engine_log")
    explained = [one["code"] for one in case.findings if one["severity"] in ("critical", "error")]
    accepted = "cpu" in case.plan["accept"] or case.plan["backend"] == "cpu"
    if log.get("backend") == "cpu" and case.plan["status"] == "gpu" and not accepted and not explained:
        best = case.first_rung["backend"]
        case.add(
            "log",
            "gpu_not_used",
            "error",
            f"The engine works on the processor and says nothing of why; this machine could use {best}.",
            "Lamplighter tries each way that this GPU has, proves it, and keeps the best one.",
            SITE,
            next((one["line"] for one in case.items("engine_log", "failures")), "the engine's log names no GPU"),
        )
    claimed = sum(model.get("size_vram") or 0 for model in case.items("api", "loaded"))
    used = [
        value
        for one in case.items("counters")
        for name in ("vram_used", "gtt_used")
        for value in [one.get(name)]
        if value is not None
    ]
    if claimed and used and sum(used) < claimed // 2:
        case.add(
            "log",
            "api_claims_gpu",
            "error",
            f"The API says that {claimed >> 20} MiB of models are in GPU memory, the kernel counts {sum(used) >> 20} "
            "MiB in use by all programs: the model is on the processor.",
            "Believe the kernel. Restart the service; if it stays, use the next backend.",
            SITE,
            f"/api/ps size_vram {claimed}, mem_info_vram_used + mem_info_gtt_used {sum(used)}",
        )
    elif log.get("backend") == case.first_rung["backend"]:
        case.fine.append("inference is where the plan wants it")
