# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person should know, and what only a person can do."""

from __future__ import annotations

import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue import ollama
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama_environment import check_environment
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.hidden import GPU_DRIVERS_OF_GUESTS
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.devices import (
    VENDORS,
    closed,
    denied,
    lacks_build,
    sentence,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.engine import replaced_units
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.environment import vulkan_counts_igpu
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Machine, mapping, text
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.host_rules import host_rules
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.kernel import GIB, gib, kernel_warnings
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import Policy

_ATOMICS = re.compile(r"PCI rejects atomics (\d+)<(\d+)")
_LOOPBACK = re.compile(r"(https?://)?(127\.[\d.]+|localhost|\[::1\])(:\d+)?/?")
# A carve-out above this takes memory that Linux could lend as needed.
CARVE_OUT = 4 * GIB


class Notes:
    """Warnings {code, message, remedy} and steps {code, what, why, how}; each code once for each message."""

    def __init__(self) -> None:
        self.warnings: list = []
        self.steps: list = []

    def warn(self, code: str, message: str, remedy: str, **more: str) -> None:
        entry = {"code": code, "message": message, "remedy": remedy, **more}
        if entry not in self.warnings:
            self.warnings.append(entry)

    def step(self, code: str, what: str, why: str, how: str) -> None:
        entry = {"code": code, "what": what, "why": why, "how": how}
        if entry not in self.steps:
            self.steps.append(entry)


def _about_engine(notes: Notes, engine: dict, rungs: list, machine: Machine) -> None:
    if engine["newer_than_known"]:
        notes.warn(
            "engine_newer_than_known",
            f"{engine['title']} is newer than {ollama.NEWEST_KNOWN}, the newest that the plan knows; "
            "it is taken to behave as that one.",
            f'If a rung fails that should work, pin engine_version to "{ollama.DEFAULT_VERSION}".',
        )
    if engine["older_than_known"]:
        notes.warn(
            "engine_older_than_known",
            f"{engine['title']} is older than {ollama.FIRST_KNOWN}, the oldest that the plan knows.",
            f'Install a newer release: "{ollama.DEFAULT_VERSION}".',
        )
    if rungs[0]["backend"] == "vulkan" and vulkan_counts_igpu(machine, engine, engine.get("version", "")):
        notes.warn(
            "vulkan_igpu_not_masked",
            f"{engine['title']} may put layers on the integrated GPU too: Vulkan's numbering is its own.",
            "Use Ollama 0.30.0 or newer, or set GGML_VK_VISIBLE_DEVICES to the card's Vulkan index.",
        )


def _about_gpu(notes: Notes, candidate, machine: Machine) -> None:
    gpu = candidate.gpu
    if gpu.before_gcn or gpu.driver in GPU_DRIVERS_OF_GUESTS:
        return  # as it is meant to be
    hidden = sentence(gpu.hidden_reason)
    atomics = _ATOMICS.search(hidden)
    if atomics and 0 < int(atomics.group(1)) < int(atomics.group(2)):
        have, need = atomics.groups()
        notes.warn(
            "pcie_atomics_firmware",
            f"{gpu.name} has no KFD node: its MEC firmware {have} needs PCIe atomics, {need} does not.",
            "Install a newer linux-firmware, rebuild the initramfs and reboot.",
        )
    elif denied(gpu):
        notes.warn(
            "gpu_not_permitted",
            f"{gpu.name} is in the machine, but not open to this host: {hidden}.",
            "Open /dev/kfd and /dev/dri to it, with the numeric group of the render nodes.",
        )
    elif hidden and gpu.vendor == "amd" and gpu.driver != "radeon" and "vulkan" in gpu.hidden_from:
        remedy = (
            "Load its driver (modprobe amdgpu, and read dmesg); a new card needs a newer kernel and linux-firmware."
        )
        if "keeps amdgpu" in hidden:
            remedy = "Remove that if the card is for this host, rebuild the initramfs and reboot."
        elif "Install the rest" in hidden or "gave up" in hidden:
            remedy = "Do that, and run the play again."
        notes.warn("gpu_unusable", f"{gpu.name} cannot be used as it stands. {hidden}.", remedy)
    elif hidden and "rocm" in gpu.hidden_from and gpu.driver != "radeon":
        notes.warn("gpu_hidden_from_rocm", f"ROCm cannot see {gpu.name}. {hidden}.", "Vulkan does without ROCm's node.")
    if machine.platform == "container" and closed(gpu):
        notes.step(
            "container_devices",
            "Give the container its GPU.",
            f"{gpu.name}: {hidden}",
            "On the host outside: --device /dev/kfd --device /dev/dri --group-add "
            "$(stat -c %g /dev/dri/renderD128); with SELinux: setsebool container_use_devices=1; Proxmox: pct set ID "
            "-dev0 /dev/kfd,gid=GID -dev1 /dev/dri/renderD128,gid=GID with the GID of render in the container",
        )
    if gpu.driver == "radeon":
        switch = gpu.amdgpu_switch
        notes.warn(
            "radeon_driver",
            f"{gpu.name} is driven by the old radeon driver: no engine can use it.",
            "Give it to amdgpu." if switch else "Only GCN1 and GCN2 cards can be given to amdgpu.",
        )
        if switch:
            notes.step(
                "amdgpu_for_gcn",
                "Give the card to the amdgpu driver.",
                "Vulkan needs amdgpu; kernels before 6.19 leave these cards to radeon.",
                f"Add {switch} to the kernel's command line and reboot.",
            )
    if gpu.vendor == "amd" and gpu.gfx is None and not gpu.known_chip and not hidden:
        notes.warn(
            "gfx_unknown",
            f"The architecture of {gpu.name} is not known; ROCm is left out.",
            "Load amdgpu on a newer kernel, or add the PCI id to inference_catalogue.",
        )
    if gpu.vendor == "nvidia" and "cuda" in candidate.refusals:
        reason = candidate.refusals["cuda"]
        notes.warn("nvidia_driver", f"{gpu.product}: {reason}.", "Install NVIDIA's current driver and reboot.")
        notes.step(
            "nvidia_driver",
            "Install NVIDIA's driver.",
            f"{gpu.product}: {reason}.",
            "Debian: apt install nvidia-driver; Ubuntu: ubuntu-drivers install; Fedora: akmod-nvidia of "
            "RPM Fusion; then reboot.",
        )


def _about_builds(notes: Notes, candidates: list, machine: Machine, engine: dict, policy: Policy) -> None:
    """GPUs that wait for another engine."""
    idle = [one.gpu.name for one in candidates if one.mine and not one.usable and "vulkan" not in one.gpu.hidden_from]
    if idle and lacks_build("GPU", machine, engine, policy):
        architecture = policy.installation.get("machine") or machine.cpu.get("architecture")
        notes.warn(
            "no_build_for_gpu",
            f"Ollama publishes nothing for {architecture} that drives {', '.join(idle)}.",
            "inference_engine: llama_server, with a llama.cpp of the distribution's or your own build for Vulkan.",
        )


def _about_platform(notes: Notes, machine: Machine, rungs: list) -> None:
    if not machine.gpus_known:
        notes.warn(
            "facts_missing",
            "Nothing is known of this machine's GPUs; the plan is for the processor.",
            "Run the module lamplighter.fleet.gpu_facts on the host first.",
        )
    if machine.platform == "wsl2" and rungs[0]["backend"] == "cpu":
        notes.warn(
            "wsl2_no_gpu",
            "WSL2 does not lend this GPU to Linux programs as /dev/kfd or as a render node.",
            "Run Ollama on Windows, and use it from here.",
        )
    if "kfd" in rungs[0]["requires"] and re.fullmatch(r"0?[0-7][0-5][0-7]", machine.kfd_mode or ""):
        notes.warn(
            "kfd_closed",
            f"/dev/kfd has mode {machine.kfd_mode}: its group cannot use it.",
            "Pass it with another mode and group, such as gid=GID,mode=0660 of Proxmox."
            if machine.platform == "container"
            else 'Add a udev rule: SUBSYSTEM=="kfd", GROUP="render", MODE="0660".',
        )
    if machine.platform == "vm" and machine.gpus_known and not any(gpu.vendor in VENDORS for gpu in machine.gpus):
        notes.warn(
            "vm_without_gpu",
            "This virtual machine sees no GPU.",
            "If its host has one, pass it through (vfio-pci) and run again.",
        )


# Masks of the inventory whose numbering is not the plan's, by the backend that reads them.
_MASKS = {
    "cuda": ("CUDA_VISIBLE_DEVICES",),
    "vulkan": ("GGML_VK_VISIBLE_DEVICES",),
    "rocm": ("HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
}


def _about_masks(notes: Notes, rungs: list, machine: Machine, policy: Policy) -> None:
    for name in _MASKS.get(rungs[0]["backend"], ()):
        mask, count = policy.environment.get(name), len(rungs[0]["devices"])
        if mask is not None and len(mask.split(",")) < count:
            notes.warn(
                "mask_not_counted",
                f"{name}={mask} hides some of the {count} GPUs, which the plan's devices and memory count.",
                "Use ROCR_VISIBLE_DEVICES instead: the plan counts by it."
                if rungs[0]["backend"] == "rocm"
                else "Nothing to do, but choose models for the memory of those that are left.",
            )
    amd = [gpu for gpu in machine.gpus if gpu.vendor == "amd"]
    mask = rungs[0]["environment"].get("ROCR_VISIBLE_DEVICES", "-1")
    if mask != "-1" and "ROCR_VISIBLE_DEVICES" not in policy.environment and all(gpu.kfd_node is None for gpu in amd):
        notes.warn(
            "rocr_order_guessed",
            f"ROCR_VISIBLE_DEVICES={mask} counts the AMD GPUs by PCI address, because their KFD nodes are not known.",
            "If the proof finds another GPU in use, set ROCR_VISIBLE_DEVICES in the inventory.",
        )


def _about_memory(notes: Notes, gpus: list, memory: dict, policy: Policy) -> None:
    context = memory["default_context_length"]
    if context and context > 32768 and "OLLAMA_CONTEXT_LENGTH" not in policy.environment:
        notes.warn(
            "context_by_vram",
            f"Ollama will choose a context of {context} tokens here, by the sum of VRAM.",
            "Set OLLAMA_CONTEXT_LENGTH, so that memory and speed do not depend on the host.",
        )
    for gpu in gpus:
        if gpu.vendor == "amd" and gpu.shares_memory and (gpu.vram_bytes or 0) > CARVE_OUT:
            notes.step(
                "carve_out",
                f"Optional: lower the BIOS carve-out of {gpu.product} to 512 MB.",
                f"{gib(gpu.vram_bytes or 0)} of RAM are lost to the system; Linux lends memory as it is needed.",
                "BIOS setup: AMD CBS > NBIO > GFX Configuration > UMA Frame Buffer Size (Integrated Graphics on "
                "some boards) = 512M; then run the play again with kernel_params_from_plan: true.",
            )


def _about_environment(notes: Notes, rungs: list, policy: Policy, machine: Machine) -> None:
    for problem in policy.problems:
        notes.warn(problem["code"], problem["message"], problem["remedy"])
    environment = policy.environment
    installed = mapping(mapping(policy.installation.get("unit")).get("environment"))
    host = environment.get("OLLAMA_HOST") or text(installed.get("OLLAMA_HOST"))
    if host and not _LOOPBACK.fullmatch(host):
        notes.warn(
            "api_exposed",
            f"OLLAMA_HOST={host} opens an API without a password beyond this host.",
            "Limit the port to the networks that need it in the firewall.",
        )
    for name, value in environment.items():
        kept = rungs[0]["environment"].get(name, value)
        if kept != value:
            notes.warn(
                "lever_kept",
                f"The inventory sets {name}={value}; the rung {rungs[0]['id']} needs {kept} on this host.",
                f"Remove {name}, or choose the rung with inference_backend.",
            )
    vendors = {gpu.vendor for gpu in machine.gpus}
    if "CUDA_VISIBLE_DEVICES" in environment and "amd" in vendors and "ROCR_VISIBLE_DEVICES" not in environment:
        notes.warn(
            "cuda_mask_on_amd",
            "CUDA_VISIBLE_DEVICES also filters AMD cards when nothing else names them.",
            "Use ROCR_VISIBLE_DEVICES for AMD cards.",
        )
    if "HSA_OVERRIDE_GFX_VERSION" in environment and "amd" not in vendors:
        notes.warn("override_unused", "HSA_OVERRIDE_GFX_VERSION is set for a host without an AMD GPU.", "Remove it.")


def _about_the_other_engine(notes: Notes, policy: Policy) -> None:
    """One host, one engine: two would hold the GPU's memory from each other."""
    others = replaced_units(policy)
    if others:
        notes.warn(
            "other_engine_stands_down",
            f"{', '.join(others)}: stopped and disabled before {policy.engine} starts.",
            "Nothing to do; nothing of it is removed. inference_engine names the engine that a host is to have.",
        )


def _about_installation(notes: Notes, policy: Policy, engine: dict, rungs: list) -> None:
    if policy.engine != "ollama":
        return
    found, unit = policy.installation, mapping(policy.installation.get("unit"))
    _normalised, problems = check_environment(mapping(unit.get("environment")), engine.get("version", "0.32.15"))
    for item in problems:
        notes.warn(
            f"installed_{item['code']}",
            f"The service that is there sets {item['name']}={item['value']}. {item['message']}",
            item["remedy"],
        )
    override = mapping(unit.get("environment")).get("HSA_OVERRIDE_GFX_VERSION")
    if override and override != rungs[0]["environment"].get("HSA_OVERRIDE_GFX_VERSION"):
        notes.warn(
            "installed_override",
            f"The service that is there sets HSA_OVERRIDE_GFX_VERSION={override}, which this host's GPU does not want.",
            "Nothing to do: the plan's drop-in takes it out of force. Remove it from your own files.",
        )
    owner = unit.get("owner")
    if owner in ("installer", "distribution", "foreign") and not found.get("current"):
        version = mapping(found.get("binary")).get("version")
        notes.warn(
            "adopted",
            f"An Ollama {version or 'of unknown version'} is installed already ({owner}); it is taken "
            "over, its unit file and its models stay.",
            "Nothing to do.",
        )
    libraries = found.get("libraries")
    known = {engine["rocm_library"], "vulkan", "jetpack"}
    for library in libraries if isinstance(libraries, list) else []:
        name = str(library).rstrip("/").rsplit("/", 1)[-1]
        if name not in known and not re.match(r"(cuda_|mlx|jetpack)", name) and engine["library_by_folder"]:
            notes.warn(
                "stale_library",
                f"{library} lies beside the engine that is there, and it would be probed too.",
                "Remove it; the plan's own version has a folder of its own.",
            )
    variants = found.get("variants")
    if isinstance(variants, list) and variants:
        notes.warn(
            "other_ollama",
            f"Ollama may also be here as {', '.join(str(name) for name in variants)}.",
            "Stop it if it holds port 11434.",
        )


def make_notes(candidates: list, rungs: list, memory: dict, machine: Machine, engine: dict, policy: Policy) -> Notes:
    notes = Notes()
    used = [one.gpu for one in candidates if one.gpu.index in rungs[0]["devices"]]
    unusable = [one.gpu for one in candidates if not one.usable and not one.masked]
    _about_platform(notes, machine, rungs)
    for rule in host_rules(used + unusable, machine, engine, rungs[0]["backend"]):
        notes.warn(rule["code"], rule["message"], rule["remedy"], source=rule["source"])
        if rule.get("step"):
            notes.step(rule["code"], "Replace the GPU's firmware.", rule["message"], rule["remedy"])
    for candidate in candidates:
        # GPUs that belong to other containers are no news to one that has its own.
        if not (used and denied(candidate.gpu)):
            _about_gpu(notes, candidate, machine)
    _about_builds(notes, candidates, machine, engine, policy)
    for warning in kernel_warnings(used, machine):
        notes.warn(**warning)
    _about_engine(notes, engine, rungs, machine)
    _about_memory(notes, used, memory, policy)
    _about_environment(notes, rungs, policy, machine)
    _about_masks(notes, rungs, machine, policy)
    _about_the_other_engine(notes, policy)
    _about_installation(notes, policy, engine, rungs)
    return notes
