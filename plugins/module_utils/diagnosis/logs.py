# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults in the two logs, each with the command that helps."""

from __future__ import annotations

from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.commands import (
    JOURNAL,
    KERNEL_LOG,
    RESTART,
    SITE,
    newer_firmware,
)

_GPU_MEMORY = "cat /sys/class/drm/card*/device/mem_info_*_used"

# SITE makes the plan anew and walks its ladder: the way out of whatever one backend cannot do on a machine.
ENGINE_COMMANDS = {
    "amd_driver_too_old": "",
    "argument_invalid": "llama-server --help",
    "cuda_init_failed": "nvidia-smi",
    "gpu_detected_but_model_on_cpu": RESTART,
    "gpu_discovery_timeout": RESTART,
    "gpu_libraries_missing": SITE,
    "gpu_oom": "ollama ps",
    "gpu_runner_missing": SITE,
    "hipblaslt_tensile_missing": "",
    "igpu_dropped": SITE,
    "kfd_not_present": "sudo modprobe amdgpu && ls -l /dev/kfd",
    "kfd_permission": "sudo usermod --append --groups $(stat -c %G /dev/kfd) ollama && " + RESTART,
    "load_timeout": KERNEL_LOG,
    "low_available_vram": _GPU_MEMORY,
    "memory_access_fault": SITE,
    "model_unreadable": "ollama list",
    "model_unsupported": SITE,
    "no_avx": "",
    "no_devices_enumerated": "ls -l /dev/kfd /dev/dri",
    "not_enough_memory": "free --human",
    "not_enough_vram": "ollama ps",
    "nvidia_driver_too_old": "nvidia-smi",
    "override_invalid": SITE,
    "partial_offload": "ollama ps",
    "port_in_use": "sudo ss --listening --tcp --processes 'sport = :11434'",
    "rocblas_tensile_missing": SITE,
    "rocm_device_dropped": SITE,
    "rocm_library_missing": SITE,
    "runner_crashed": SITE,
    "server_exit": JOURNAL,
    "unsupported_gfx": SITE,
    "vram_not_recovered": RESTART,
    "zero_layers_offloaded": "ollama ps",
    "zero_vram_reported": "ls -l /dev/kfd /dev/dri",
}
KERNEL_COMMANDS = {
    "device_lost": "sudo poweroff",
    "gpu_init_failed": KERNEL_LOG,
    "gpu_oom": "ollama ps",
    "gpu_reset": RESTART,
    "hws_hang": SITE + " -e inference_backend=vulkan",
    "intel_gpu_hang": "{firmware}",
    "kfd_unsupported": SITE + " -e inference_backend=vulkan",
    "mes_hang": "{firmware}",
    "missing_firmware": "{firmware}",
    "nvidia_xid": "nvidia-smi",
    "oom_killed": "free --human",
    "over_temperature": "sensors",
    "page_fault": SITE,
    "pcie_atomics": SITE + " -e inference_backend=vulkan",
    "ras_error": "sudo poweroff",
    "recovered": RESTART,
    "reset_failed": "sudo poweroff",
    "resume_failed": "sudo systemctl mask sleep.target suspend.target hibernate.target",
    "ring_timeout": "{firmware}",
    "smu_hang": "sudo poweroff",
    "vram_lost": RESTART,
}
# What follows from another fault of the same log, and says nothing of its cause.
_CONSEQUENCES = (
    "runner_crashed",
    "zero_layers_offloaded",
    "gpu_detected_but_model_on_cpu",
    "no_devices_enumerated",
    "zero_vram_reported",
    "partial_offload",
    "server_exit",
)
# That no GPU was left is no news where an error says why.
_NO_NEWS = "no_devices_enumerated"
# What a machine without a GPU to use says, too.
_OF_NO_GPU = ("no_devices_enumerated", "zero_vram_reported", "zero_layers_offloaded", "igpu_dropped")


def engine_faults(case: Case) -> None:
    log = case.part("engine_log")
    weighed = [_weighed(case, failure) for failure in case.items("engine_log", "failures")]
    failures = [failure for failure in weighed if failure]
    if any(failure["severity"] in ("critical", "error") and failure["code"] != _NO_NEWS for failure in failures):
        failures = [failure for failure in failures if failure["code"] != _NO_NEWS]
    for failure in sorted(failures, key=lambda one: one["code"] in _CONSEQUENCES and one["severity"] != "critical"):
        command = ENGINE_COMMANDS.get(failure["code"], JOURNAL)
        case.add(
            "log",
            failure["code"],
            failure["severity"],
            failure["meaning"],
            failure["remedy"],
            command,
            failure["line"],
        )
    if log.get("engine") and not any(failure["severity"] != "info" for failure in failures):
        case.fine.append("the engine's log has no fault")


def _weighed(case: Case, failure: dict[str, Any]) -> dict[str, Any] | None:
    """What a fault weighs on this machine; None where it is none, or says nothing that another rule would not."""
    if case.plan["status"] != "gpu" and case.machine.gpus_known and failure["code"] in _OF_NO_GPU:
        return None
    if failure["code"] != "zero_vram_reported" or case.plan["status"] != "gpu":
        return failure
    # A GPU that is found with no memory at all is the cause of all that follows; no GPU in the sum is what follows.
    return {**failure, "severity": "critical"} if "inference compute" in failure["line"] else None


def kernel_faults(case: Case) -> None:
    log = case.evidence.get("kernel_log")
    firmware = newer_firmware(case.machine.distribution)
    faults = case.items("kernel_log", "faults")
    for fault in faults:
        command = KERNEL_COMMANDS.get(fault["code"], KERNEL_LOG).replace("{firmware}", firmware)
        # Both logs know gpu_oom; here the first of them tells it.
        case.add("kernel", fault["code"], fault["severity"], fault["meaning"], fault["remedy"], command, fault["line"])
    if log is not None and not any(fault["severity"] != "info" for fault in faults):
        case.fine.append("the kernel's log has no GPU fault")
