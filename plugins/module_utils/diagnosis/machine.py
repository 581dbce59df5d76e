# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine and its kernel: what the plan's rules say of them, and parameters that are set and not in force."""

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.case import Case
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.commands import (
    KERNEL_LOG,
    SITE,
    library_folder,
    newer_firmware,
    reboot_with_modules,
    remove_parameter,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.environment import edit_command, seen_in
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.kernel import GIB, gib, parameters_on

# What costs the GPU, and what is only good to know; all else that the plan warns of costs speed or surety.
_ERRORS = (
    "gpu_not_permitted",
    "gpu_unusable",
    "kfd_closed",
    "mes_firmware_0x83",
    "linux_firmware_20251125",
    "nomodeset",
    "nvidia_driver",
    "radeon_driver",
    "rdna4_kernel",
    "strix_halo_rocm_fails",
    "wsl2_no_gpu",
)
_INFO = (
    "context_by_vram",
    "engine_newer_than_known",
    "facts_missing",
    "gpu_hidden_from_rocm",
    "other_ollama",
    "override_unused",
    "rocr_order_guessed",
    "vulkan_large_models_on_igpu",
)
# Of what will be done about an installation, not of what is wrong with it; the environment has rules of its own here.
_NOT_WRONG = ("adopted", "lever_kept", "installed_override")
_STAGES = {
    "api_exposed": "network",
    "cuda_mask_on_amd": "environment",
    "context_by_vram": "memory",
    "override_unused": "environment",
    "other_ollama": "installation",
    "stale_library": "installation",
}
_KERNEL = (
    "gttsize",
    "amdttm",
    "ttm_",
    "pages_limit",
    "nomodeset",
    "amd_iommu",
    "gtt_size",
    "kernel",
    "mes_",
    "firmware",
)
_OF_PARAMETERS = {
    "gttsize_deprecated": "amdgpu.gttsize",
    "gtt_size_ignored": "amdgpu.gtt_size",
    "ttm_with_dkms": "ttm.pages_limit",
    "amdttm_without_dkms": "amdttm.pages_limit",
    "nomodeset": "nomodeset",
    "amd_iommu_on": "amd_iommu",
}
_OF_VARIABLES = {
    "api_exposed": "OLLAMA_HOST",
    "cuda_mask_on_amd": "CUDA_VISIBLE_DEVICES",
    "override_unused": "HSA_OVERRIDE_GFX_VERSION",
}
_COMMANDS = {
    "dkms_on_apu": "sudo amdgpu-uninstall && sudo reboot",
    "gpu_not_permitted": "ls -l /dev/kfd /dev/dri",
    "gpu_unusable": "sudo modprobe amdgpu; " + KERNEL_LOG,
    "kfd_closed": """echo 'SUBSYSTEM=="kfd", GROUP="render", MODE="0660"' | sudo tee /etc/udev/rules.d/70-kfd.rules"""
    " && sudo udevadm control --reload && sudo udevadm trigger",
    "nvidia_driver": "nvidia-smi",
    "pages_limit_exceeds_ram": SITE,
    "rocr_order_guessed": SITE,
}
_FIRMWARE = ("firmware", "mes_")


def plan_warnings(case: Case) -> None:
    """What the plan knows of this machine's GPUs, kernel and firmware is told in its words."""
    steps = {step["code"]: step["how"] for step in case.plan["steps"]}
    for warning in case.plan["warnings"]:
        code = warning["code"]
        if code in _NOT_WRONG or code.startswith("installed_"):
            continue
        # The socket and the folders of ROCm have rules that know more.
        if (code == "api_exposed" and case.has(code)) or (code == "stale_library" and "rocm" in warning["message"]):
            continue
        severity = "error" if code in _ERRORS else "info" if code in _INFO else "warning"
        stage = _STAGES.get(code) or ("kernel" if any(part in code for part in _KERNEL) else "machine")
        remedy = steps.get(code) or warning["remedy"]
        seen, command = _where(case, code, warning["message"])
        case.add(stage, code, severity, warning["message"], remedy, command, seen)
    for step in case.plan["steps"]:
        if step["code"] == "carve_out":
            case.add("memory", "carve_out_large", "info", f"{step['what']} {step['why']}", step["how"])
    known = [gpu for gpu in case.machine.gpus if gpu.hidden_reason is None and gpu.vendor != "other"]
    if known and not any(finding["severity"] != "info" for finding in case.findings):
        case.fine.append("GPU, driver, kernel and firmware")


def _where(case: Case, code: str, message: str) -> tuple[str, str]:
    """The line that a warning is about, and the command that mends it; each empty where there is none."""
    distribution = case.machine.distribution
    if code in _OF_VARIABLES and _OF_VARIABLES[code] in case.environment:
        name = _OF_VARIABLES[code]
        return seen_in(case, name, case.environment[name]), edit_command(case, name)
    if code in _OF_PARAMETERS:
        name = _OF_PARAMETERS[code]
        places = [(item["path"], f"{item['name']}={item['value']}") for item in case.items("modprobe")]
        on_cmdline = parameters_on(" ".join(case.cmdline)).items()
        places += [("/proc/cmdline", f"{key}={value}" if value else key) for key, value in on_cmdline]
        for path, word in places:
            if word == name or word.startswith(f"{name}="):
                return f"{path}: {word}", remove_parameter(distribution, path, name)
    if code == "stale_library":
        folder = library_folder(str(case.part("ollama_facts", "binary").get("path")))
        return folder, f"sudo rm -r {folder}/{message.split()[0]}"
    if any(part in code for part in _FIRMWARE):
        return "", newer_firmware(distribution)
    return "", _COMMANDS.get(code, "")


def parameters_in_force(case: Case) -> None:
    """Parameters of modules on the command line and in modprobe.d, against what the modules say of themselves."""
    in_force = case.part("module_parameters")
    wanted = [("/proc/cmdline", name, value) for name, value in parameters_on(" ".join(case.cmdline)).items()]
    wanted += [(item["path"], item["name"], item["value"]) for item in case.items("modprobe")]
    fine = []
    for path, name, value in wanted:
        actual = in_force.get(name)
        if actual is None:
            continue
        if _same(actual, value):
            fine.append(name)
            continue
        case.add(
            "kernel",
            "parameter_not_in_force",
            "warning",
            f"{name} is set to {value}, but the kernel uses {actual}.",
            "What modprobe.d sets comes into force when the module is loaded, often from the initramfs: rebuild it "
            "and reboot. Where two places set it, remove one.",
            reboot_with_modules(case.machine.distribution),
            f"{path}: {name}={value}; /sys/module: {actual}",
        )
    if fine and not case.has("parameter_not_in_force"):
        case.fine.append(f"{', '.join(dict.fromkeys(fine))} in force")


def _same(actual: str, wanted: str) -> bool:
    try:
        return int(actual, 0) == int(wanted, 0)
    except ValueError:
        return {"Y": "1", "N": "0"}.get(actual, actual) == {"y": "1", "n": "0"}.get(wanted.lower(), wanted)


def lendable_memory(case: Case) -> None:
    """An integrated GPU that may borrow less than it could, or whose carve-out is too small for its engine."""
    kernel = case.plan["kernel"]
    for parameter in kernel["parameters"]:
        if parameter["state"] == "present" and kernel["reboot"]:
            case.add(
                "memory",
                "gpu_may_borrow_little",
                "info",
                f"{parameter['name']}={parameter['value']} {parameter['reason']}.",
                "Set it on the kernel's command line and reboot.",
                f"kernel parameter: {parameter['name']}={parameter['value']}",
            )
    refused = case.engine.get("igpu") == "refused_by_rocm" and all(gpu.shares_memory for gpu in case.machine.gpus)
    for gpu in case.machine.gpus:
        if refused and gpu.vendor == "amd" and gpu.vram_bytes is not None and gpu.vram_bytes < GIB:
            case.add(
                "memory",
                "carve_out_small",
                "error",
                f"{case.engine['title']} skips an integrated GPU with less than 1 GiB of its own; {gpu.product} has "
                f"{gib(gpu.vram_bytes)}.",
                "Use Ollama 0.12.4 or newer, which counts what Linux lends; or in the BIOS set UMA Frame Buffer Size "
                "to 1 GB or more.",
            )
