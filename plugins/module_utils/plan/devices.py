# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backends each GPU can have, which GPUs are used, and which are masked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.hidden import GPU_DRIVERS_OF_GUESTS
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.engine import (
    advice,
    good_overrides,
    in_build,
    override_target,
    rocm_refusal,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Gpu, Machine, rocr_order, text
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError, Policy

_DENIED = re.compile(r"permission|denie[ds]|EPERM|EACCES|not permitted|cgroup|pass (it )?/dev", re.IGNORECASE)
# NVIDIA's Maxwell and Pascal (compute capability 5.0 to 6.2), as the driver names their boards.
_PASCAL = re.compile(
    r"GTX (7[45]\d|8[56]0M|9\d\d|10\d\d|TITAN X)|GT 10\d\d|TITAN X|GeForce (8[34]|9[1-4])0(M|A)|"
    r"MX\s?(1[1-5]|[23][1-5])0|Tesla [MP]\d|Quadro (GP|[MPK])\w*\d{3,4}",
    re.IGNORECASE,
)
VENDORS = ("amd", "nvidia", "intel")


@dataclass
class Candidate:
    """One GPU with what each backend makes of it."""

    gpu: Gpu
    rocm: str | None = None  # "native", or the override's value
    vulkan: bool = False
    cuda: bool = False
    masked: str | None = None  # why it is left out although it could work
    outrun: bool = False  # masked by advice alone: a named backend is possible
    mine: bool = True  # False: it belongs to a guest or to another container
    refusals: dict = field(default_factory=dict)  # backend: why not

    @property
    def usable(self) -> bool:
        return bool(self.rocm or self.vulkan or self.cuda)

    def backends(self) -> list:
        return [name for name, can in (("rocm", self.rocm), ("cuda", self.cuda), ("vulkan", self.vulkan)) if can]


def sentence(text: str | None) -> str:
    """A sentence as part of another: without its full stop."""
    return (text or "").rstrip(". ")


def closed(gpu: Gpu) -> bool:
    """Something of it is present in the machine, but not given to us."""
    return bool(gpu.hidden_reason and _DENIED.search(gpu.hidden_reason))


def denied(gpu: Gpu) -> bool:
    """None of it is given to us. A container that lacks only /dev/kfd can still use Vulkan."""
    return closed(gpu) and gpu.hidden_from != ("rocm",)


def _no_kfd(gpu: Gpu, machine: Machine) -> str | None:
    """Why ROCm cannot reach the GPU; None if it can, or if nothing is known against it."""
    if machine.platform == "wsl2":
        return "WSL2 has no /dev/kfd"
    if gpu.driver == "radeon":
        return "the old radeon driver drives it, which has no KFD"
    if machine.kfd_present is False:
        return sentence(gpu.hidden_reason) or "the kernel offers no /dev/kfd"
    if "rocm" in gpu.hidden_from:
        return sentence(gpu.hidden_reason) or "it is hidden from ROCm"
    others_have_one = any(other.kfd_node is not None for other in machine.gpus)
    if gpu.kfd_node is None and (gpu.hidden_reason or others_have_one):
        return sentence(gpu.hidden_reason) or "the kernel gives it no KFD node"
    return None


def lacks_build(backend: str, machine: Machine, engine: dict, policy: Policy) -> str | None:
    """Ollama's Dockerfile gives ROCm and Vulkan to amd64 alone; the build for arm64 has CUDA, others have none."""
    architecture = text(policy.installation.get("machine")) or text(machine.cpu.get("architecture")) or "x86_64"
    if engine["name"] != "ollama" or architecture in ("x86_64", "amd64"):
        return None
    return f"Ollama has no {backend} build for {architecture}: llama_server can have one"


def _small(gpu: Gpu) -> bool:
    """Below IGPUMemLimit of Ollama's discover/amd_linux.go, up to 0.12.3."""
    return gpu.vram_bytes is not None and gpu.vram_bytes < 1024**3


def _judge_rocm(candidate: Candidate, machine: Machine, engine: dict, policy: Policy) -> None:
    gpu, extra = candidate.gpu, policy.catalogue
    reason = _no_kfd(gpu, machine)
    if reason is None:
        reason = lacks_build("ROCm", machine, engine, policy)
    if reason is None and engine["igpu"] == "refused_by_rocm" and gpu.shares_memory and _small(gpu):
        reason = f"{engine['title']} skips an integrated GPU with less than 1 GiB of its own: raise the BIOS carve-out"
    if reason is None and gpu.gfx is None:
        reason = "its architecture is unknown"
    if reason is None and gpu.gfx is not None:
        if in_build(gpu.gfx, engine, extra):
            candidate.rocm = "native"
            return
        wanted = policy.environment.get("HSA_OVERRIDE_GFX_VERSION")
        values = good_overrides(gpu.gfx, engine, extra)
        if wanted and in_build(override_target(wanted), engine, extra):
            values = [wanted]
        candidate.rocm = values[0] if values else None
        if candidate.rocm is None and engine["gfx"] is None and policy.forced == "rocm":
            candidate.rocm = "native"  # what a build of llama.cpp holds is its builder's choice
        reason = rocm_refusal(gpu, engine, extra)
        if candidate.rocm is None:
            reason += "; it has no good override"
    if candidate.rocm is None:
        candidate.refusals["rocm"] = reason


def _no_vulkan(gpu: Gpu, machine: Machine, engine: dict, policy: Policy) -> str | None:
    if engine["vulkan"] == "absent":
        return f"{engine['title']} has no Vulkan: it came with 0.12.11"
    if engine["vulkan"] == "source_only":
        return f"{engine['title']} has Vulkan only in builds from source: use 0.12.11 or newer"
    for name, value in (("OLLAMA_VULKAN", "0"), ("GGML_VK_VISIBLE_DEVICES", "-1")):
        if policy.environment.get(name) == value:
            return f"the inventory sets {name}={value}"
    lacking = lacks_build("Vulkan", machine, engine, policy)
    if lacking:
        return lacking
    if machine.platform == "wsl2":
        return "WSL2 has no Vulkan driver for it"
    if gpu.driver == "radeon":
        return "Vulkan needs the amdgpu driver, and radeon drives it"
    if "vulkan" in gpu.hidden_from:
        return sentence(gpu.hidden_reason) or "it is hidden from Vulkan"
    if not catalogue.arch(gpu.gfx, policy.catalogue).get("graphics", True):
        return f"no Vulkan driver serves {gpu.gfx}"
    others_have_one = any(other.render_node for other in machine.gpus)
    if gpu.render_node is None and (others_have_one or machine.has_render_nodes is False):
        return "it has no render node"
    return None


def _driver_number(version: str) -> float:
    found = re.match(r"\d{1,5}", version)
    return float(found.group()) if found else 0.0


def _judge_cuda(candidate: Candidate, machine: Machine, engine: dict, policy: Policy) -> None:
    gpu, driver = candidate.gpu, machine.nvidia_driver
    minimum, pascal = engine["nvidia_driver_minimum"], engine["nvidia_driver_minimum_pascal"]
    reason = None
    if driver is None and (gpu.driver not in (None, "nvidia") or (gpu.driver is None and machine.nvidia_known)):
        reason = "NVIDIA's driver is not loaded" + (f" ({gpu.driver} is)" if gpu.driver else "")
    elif driver and minimum and _driver_number(driver) < minimum:
        reason = f"NVIDIA's driver {driver} is too old: {engine['title']} needs {minimum} or newer"
    elif driver and pascal and _driver_number(driver) < pascal and _PASCAL.search(gpu.product):
        reason = f"NVIDIA's driver {driver} is too old for this card: {engine['title']} needs {pascal} or newer"
    if policy.environment.get("CUDA_VISIBLE_DEVICES") == "-1":
        reason = "the inventory sets CUDA_VISIBLE_DEVICES=-1"
    candidate.cuda = reason is None
    if reason:
        candidate.refusals["cuda"] = reason


def _judge(gpu: Gpu, machine: Machine, engine: dict, policy: Policy) -> Candidate:
    candidate = Candidate(gpu)
    if gpu.vendor == "amd" and gpu.before_gcn:
        candidate.mine = False
        candidate.masked = "the chip is older than GCN (2012): no engine has code for it"
        return candidate
    if gpu.driver in GPU_DRIVERS_OF_GUESTS:
        candidate.mine = False
        candidate.masked = f"{gpu.driver} holds it for a virtual machine"
        return candidate
    if denied(gpu):
        candidate.masked = f"this host may not use it: {sentence(gpu.hidden_reason)}"
        return candidate
    if gpu.vendor == "amd":
        _judge_rocm(candidate, machine, engine, policy)
    elif gpu.vendor == "nvidia":
        _judge_cuda(candidate, machine, engine, policy)
    reason = _no_vulkan(gpu, machine, engine, policy)
    if gpu.vendor == "nvidia" and gpu.driver is None and "cuda" in candidate.refusals and machine.nvidia_driver is None:
        reason = reason or "no driver is loaded"
    candidate.vulkan = reason is None
    if reason:
        candidate.refusals["vulkan"] = reason
    return candidate


def _mask(candidates: list, policy: Policy) -> None:
    """Leave out what would slow down or crash the rest."""
    on_nouveau = [one for one in candidates if one.gpu.driver == "nouveau"]
    usable = [one for one in candidates if one.usable and not one.masked and one not in on_nouveau]
    for one in on_nouveau if usable else []:
        one.masked = f"on nouveau it is no match for {usable[0].gpu.name}: install NVIDIA's driver"
    discrete = [one for one in candidates if one.usable and not one.masked and not one.gpu.shares_memory]
    for one in candidates:
        if one.masked or not one.usable or not one.gpu.shares_memory:
            continue
        if policy.environment.get("OLLAMA_IGPU_ENABLE") == "0":
            one.masked = "the inventory sets OLLAMA_IGPU_ENABLE=0"
            one.mine = False
        elif discrete:
            one.masked = f"an integrated GPU beside {discrete[0].gpu.name} slows it down or crashes it"
        elif advice(one.gpu, policy.catalogue) == "cpu" and policy.backend in ("auto", "cpu", "cuda"):
            one.masked = "the processor is faster than this GPU; backend: vulkan insists on it"
            one.outrun = True
            one.mine = False


def _check_override(candidates: list, policy: Policy, engine: dict) -> None:
    """The inventory's own HSA_OVERRIDE_GFX_VERSION must be one that can work."""
    value = policy.environment.get("HSA_OVERRIDE_GFX_VERSION")
    if value is None:
        return
    said = f"environment HSA_OVERRIDE_GFX_VERSION={value}"
    used = [one for one in candidates if one.gpu.vendor == "amd" and not one.masked and one.gpu.gfx]
    for one in used:
        bad = catalogue.arch(one.gpu.gfx, policy.catalogue).get("override", {}).get("bad", {})
        if in_build(one.gpu.gfx, engine, policy.catalogue):
            raise PlanError(
                f"{said}: {one.gpu.name} is native in {engine['title']}, an override would only break it. Remove it."
            )
        if value in bad:
            good = good_overrides(one.gpu.gfx, engine, policy.catalogue)
            instead = (
                f"Use {good[0]}, which the plan sets by itself." if good else "Remove it: Vulkan serves this card."
            )
            raise PlanError(f"{said} is known to be bad for {one.gpu.name}: {bad[value]}. {instead}")
    if used and engine["gfx"] is not None and override_target(value) not in engine["gfx"]:
        raise PlanError(
            f"{said} makes {override_target(value)}, which {engine['title']} does not carry. "
            f"Allowed targets: {', '.join(engine['gfx'])}. Remove it: the plan sets the right one where one is needed."
        )
    kinds = {one.gpu.gfx for one in used}
    good_for_all = all(value in good_overrides(gfx, engine, policy.catalogue) for gfx in kinds)
    if len(kinds) > 1 and not good_for_all:
        raise PlanError(
            f"{said}: the host has two architectures ({', '.join(sorted(kinds))}), and one override would break the "
            "other. Remove it."
        )


def _choose(candidates: list, machine: Machine, policy: Policy) -> None:
    """The inventory's own ROCR_VISIBLE_DEVICES narrows ROCm down: indexes, and UUIDs in whatever case."""
    mask = policy.environment.get("ROCR_VISIBLE_DEVICES")
    if mask is None:
        return
    order = rocr_order(machine)
    known = {**{str(at): gpu for at, gpu in enumerate(order)}, **{gpu.uuid.upper(): gpu for gpu in order if gpu.uuid}}
    names = mask.upper().split(",")
    missing = [name for name in names if name not in known and name != "-1"]
    if not all(name.isdecimal() for name in missing) and any(gpu.uuid is None for gpu in order):
        return  # it may be the UUID of a GPU whose UUID is not known
    if missing and order:
        uuids = "".join(f", {gpu.uuid}" for gpu in order if gpu.uuid)
        raise PlanError(
            f"environment ROCR_VISIBLE_DEVICES={mask} names a GPU that is not there. Allowed: 0 to {len(order) - 1}, "
            f"in the order of the KFD's nodes{uuids}. Correct it, or leave it to the plan."
        )
    chosen = [known[name] for name in names if name in known]
    for one in candidates:
        if one.rocm and one.gpu not in chosen:
            one.rocm = None
            one.refusals["rocm"] = f"the inventory sets ROCR_VISIBLE_DEVICES={mask}"


def judge_devices(machine: Machine, engine: dict, policy: Policy) -> list:
    """A Candidate for each GPU of a vendor that engines know."""
    candidates = [_judge(gpu, machine, engine, policy) for gpu in machine.gpus if gpu.vendor in VENDORS]
    _choose(candidates, machine, policy)
    _mask(candidates, policy)
    _check_override(candidates, policy, engine)
    return candidates
