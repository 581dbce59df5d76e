# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ladder: what is tried, in which order, and why."""

from __future__ import annotations

from ansible_collections.lamplighter.fleet.plugins.module_utils import catalogue
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.devices import Candidate
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.engine import (
    advice,
    in_build,
    override_target,
    rocm_refusal,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.environment import merge, rung_environment
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.facts import Machine, mapping
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.fastest import changes, choose, fingerprint, told
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError, Policy

REMEMBERED = "proven on this host before"
MEASURED = "the fastest on this host"
REQUIRES = {
    "rocm": ["rocm_payload", "kfd"],
    "vulkan": ["vulkan_icd"],
    "cuda": ["nvidia_driver"],
    "cpu": [],
}
# A build of llama.cpp for ROCm takes its libraries from the host.
LLAMA_REQUIRES = {**REQUIRES, "rocm": ["rocm_libraries", "kfd"]}


class Ladder:
    """Collects rungs and what was turned down on the way."""

    def __init__(self, machine: Machine, engine: dict, policy: Policy) -> None:
        self.machine = machine
        self.engine = engine
        self.policy = policy
        self.refused: list = []

    def refuse(self, option: str, reason: str, devices: list | None = None) -> None:
        entry = {"option": option, "reason": reason, "devices": sorted(devices or [])}
        if entry not in self.refused:
            self.refused.append(entry)

    def rung(self, backend: str, candidates: list, reason: str, override: str = "") -> dict:
        gpus = [one.gpu for one in candidates]
        environment = rung_environment(backend, gpus, self.machine, self.engine, override)
        rung = {
            "id": f"{backend}-override" if override else backend,
            "backend": backend,
            "reason": reason,
            "environment": merge(environment, self.policy),
            "requires": list((REQUIRES if self.engine["name"] == "ollama" else LLAMA_REQUIRES)[backend]),
            "devices": [gpu.index for gpu in gpus],
        }
        if self.engine["name"] == "llama_server":
            rung["arguments"] = ["--device", "none"] if backend == "cpu" else []
        return rung

    # One method for each kind of rung: a rung, or None and a refusal.

    def cuda(self, candidates: list) -> dict | None:
        group = [one for one in candidates if one.cuda]
        if group:
            return self.rung("cuda", group, f"{_names(group)}: NVIDIA's own library")
        if self.machine.platform == "wsl2" and self.machine.nvidia_driver:
            return self.rung("cuda", [], "Windows lends its NVIDIA GPU to WSL2")
        return None

    def rocm(self, candidates: list) -> dict | None:
        group = [one for one in candidates if one.rocm == "native"]
        if not group:
            return None
        for one in candidates:
            if one.rocm not in (None, "native"):
                self.refuse(
                    "rocm-override",
                    f"one override would break {group[0].gpu.name}; ROCm leaves {one.gpu.name} out",
                    [one.gpu.index],
                )
        built = (
            f"{self.engine['title']} carries ROCm {self.engine['rocm']} code for"
            if self.engine["rocm"]
            else "ROCm serves"
            if all(in_build(str(one.gpu.gfx), self.engine, self.policy.catalogue) for one in group)
            else "the inventory insists on a llama.cpp that is built for"
        )
        return self.rung("rocm", group, f"{_names(group)}: {built} {_gfx(group)}")

    def rocm_override(self, candidates: list) -> dict | None:
        group = [one for one in candidates if one.rocm not in (None, "native")]
        if not group or any(one.rocm == "native" for one in candidates):
            return None
        kinds = sorted({str(one.gpu.gfx) for one in group})
        values = sorted({str(one.rocm) for one in group})
        asked = self.policy.environment.get("HSA_OVERRIDE_GFX_VERSION")
        if len(kinds) > 1 and not asked:
            self.refuse(
                "rocm-override",
                f"the host has two architectures ({', '.join(kinds)}): one override for both is not safe",
                [one.gpu.index for one in group],
            )
            return None
        value = values[0]
        why = catalogue.arch(kinds[0], self.policy.catalogue).get("override", {}).get("good", {}).get(value)
        reason = f"{_names(group)}: HSA_OVERRIDE_GFX_VERSION={value} runs {override_target(value)}'s code on it"
        return self.rung("rocm", group, f"{reason} ({why})" if why else reason, value)

    def vulkan(self, candidates: list) -> dict | None:
        group = [one for one in candidates if one.vulkan]
        if not group:
            return self.software_vulkan(candidates)
        vendors = {one.gpu.vendor for one in group}
        why = "NVIDIA's driver brings Vulkan, too" if vendors == {"nvidia"} else "Vulkan drives them together"
        if vendors == {"nvidia"} and "nouveau" in {one.gpu.driver for one in group}:
            why = "Mesa's NVK drives it on nouveau"
        if "nvidia" not in vendors:
            why = "Mesa's Vulkan driver needs no ROCm"
        return self.rung("vulkan", group, f"{_names(group)}: {why}")

    def software_vulkan(self, candidates: list) -> dict | None:
        """Mesa's llvmpipe. ggml leaves devices of this kind out unless they are named."""
        if not self.policy.software_vulkan or self.engine["name"] != "llama_server":
            return None
        if any(one.usable for one in candidates):
            return None
        rung = self.rung("vulkan", [], "Vulkan on software (llvmpipe), which the inventory accepts")
        mask = {} if "GGML_VK_VISIBLE_DEVICES" in rung["environment"] else {"GGML_VK_VISIBLE_DEVICES": "0"}
        return {**rung, "environment": {**rung["environment"], **mask}, "requires": ["vulkan_software"]}


def _names(candidates: list) -> str:
    names = [one.gpu.name for one in candidates]
    return ", ".join(
        f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)
    )


def _gfx(candidates: list) -> str:
    return ", ".join(sorted({str(one.gpu.gfx) for one in candidates}))


def _vulkan_before_rocm(candidates: list, engine: dict, policy: Policy, avoid_rocm: bool) -> tuple:
    """Is Vulkan the better first choice for the AMD GPUs? With the reason, when it is."""
    amd = [one for one in candidates if one.rocm and one.vulkan]
    if not amd:
        return False, ""
    if avoid_rocm:
        return True, "ROCm is known to fail with this kernel"
    one = amd[0]
    said = (policy.catalogue.get("arches") or {}).get(one.gpu.gfx, {}).get("backend")
    if said in ("rocm", "vulkan"):
        return said == "vulkan", "the inventory's catalogue says so"
    if one.rocm == "native":
        if one.gpu.shares_memory and advice(one.gpu, policy.catalogue) == "vulkan":
            known = str(catalogue.arch(one.gpu.gfx, policy.catalogue).get("vulkan") or "no reason given")
            return True, f"the catalogue advises Vulkan for {one.gpu.gfx} ({known.partition(';')[0]})"
        return False, ""
    target = override_target(one.rocm)
    if one.gpu.shares_memory or catalogue.arch(target, policy.catalogue).get("backend") != "rocm":
        return True, f"{rocm_refusal(one.gpu, engine, policy.catalogue)}, and an override is second best here"
    return False, ""


def _memory(candidates: list, vendor: str) -> int | None:
    sizes = [one.gpu.vram_bytes for one in candidates if one.gpu.vendor == vendor]
    return sum(size for size in sizes if size is not None) if any(size is not None for size in sizes) else None


def _cuda_first(ladder: Ladder, candidates: list) -> bool:
    """NVIDIA beside AMD: one model never spans both; the side with more memory goes first."""
    nvidia, amd = _memory(candidates, "nvidia"), _memory(candidates, "amd")
    cuda_first = nvidia is None or amd is None or nvidia >= amd
    reason = (
        "it has at least as much memory"
        if nvidia is not None and amd is not None
        else "its memory is not known to be less"
    )
    first, second = ("NVIDIA", "AMD") if cuda_first else ("AMD", "NVIDIA")
    if not cuda_first:
        reason = "it has more memory"
    ladder.refuse(
        "both vendors at once", f"one model never spans NVIDIA and AMD; {first} goes before {second}: {reason}"
    )
    return cuda_first


def _preferred(ladder: Ladder, candidates: list, avoid_rocm: bool) -> list:
    rocm = [rung for rung in (ladder.rocm(candidates), ladder.rocm_override(candidates)) if rung]
    vulkan, cuda = ladder.vulkan(candidates), ladder.cuda(candidates)
    first, why = _vulkan_before_rocm(candidates, ladder.engine, ladder.policy, avoid_rocm)
    if vulkan and rocm and first:
        vulkan["reason"] += f"; before ROCm: {why}"
    on_vulkan = [vulkan] if vulkan else []
    amd_vulkan = any(one.vulkan and one.gpu.vendor == "amd" for one in candidates)
    amd = [*on_vulkan, *rocm] if first else rocm
    if cuda and (rocm or amd_vulkan):
        rungs = [cuda, *amd] if _cuda_first(ladder, candidates) else [*(amd or on_vulkan), cuda]
    else:
        rungs = [*([cuda] if cuda else []), *amd]
    if vulkan and vulkan not in rungs:
        rungs.append(vulkan)
    return rungs


def _cpu_reason(machine: Machine, candidates: list, rungs: list) -> str:
    if rungs:
        return "the last resort"
    if not machine.gpus_known:
        return "nothing is known of this machine's GPUs"
    if any(one.mine for one in candidates):
        return "no GPU of this machine can be used as it stands"
    return "no GPU for inference in this machine"


def _drive_a_gpu(rungs: list) -> bool:
    return any(rung["devices"] or rung["backend"] == "cuda" for rung in rungs)


def _remembered_first(ladder: Ladder, rungs: list) -> tuple:
    """The rung that was proven here goes first, so that the next run changes nothing; and what was measured."""
    proven, policy = ladder.policy.proven, ladder.policy
    now = fingerprint(ladder.machine, policy.engine, policy.engine_version, policy.model, policy.installed)
    measured = mapping(proven.get("measured"))
    if not proven or (policy.backend == "fastest" and not measured):
        return rungs, {}
    name = str(proven.get("id") or proven.get("backend"))
    if policy.backend == "fastest":
        name = choose(measured.get("rungs") or {}, policy.measure_for, [rung["id"] for rung in rungs]) or name
    known = [rung for rung in rungs if rung["id"] == name]
    then = {**now, **{key: proven[key] for key in ("engine", "engine_version") if proven.get(key)}}
    changed = changes(then, now)
    if policy.backend == "fastest":
        changed += changes(measured.get("fingerprint"), now)
    elif known and known[0] is not rungs[0]:
        # A better rung failed then; what has changed since may have mended it.
        changed += changes({**(proven.get("fingerprint") or {}), "model": None, "model_files": None}, now)
    label = f"remembered {name}"
    if changed:
        ladder.refuse(label, f"{'measured' if policy.backend == 'fastest' else 'proven'} when {changed[0]}")
    elif not known:
        ladder.refuse(label, "it is no rung of this plan any more")
    elif policy.backend == "fastest":
        known[0]["reason"] = f"{MEASURED}; {told(measured.get('rungs') or {}, policy.measure_for, name)}"
        return known + [rung for rung in rungs if rung is not known[0]], measured
    elif known[0]["backend"] == "cpu" and _drive_a_gpu(rungs) and "cpu" not in policy.accept:
        ladder.refuse(label, "the host has a GPU, and the inventory does not accept cpu")
    else:
        known[0]["reason"] = f"{REMEMBERED}; {known[0]['reason']}"
        return known + [rung for rung in rungs if rung is not known[0]], {}
    return rungs, {}


def _refuse_what_guides_say(ladder: Ladder, one: Candidate) -> None:
    """ROCm as it is, and the overrides that are passed around for this silicon and harm it."""
    if one.rocm:
        ladder.refuse("rocm", rocm_refusal(one.gpu, ladder.engine, ladder.policy.catalogue), [one.gpu.index])
    bad = catalogue.arch(one.gpu.gfx, ladder.policy.catalogue).get("override", {}).get("bad", {})
    for value, reason in bad.items():
        ladder.refuse(f"HSA_OVERRIDE_GFX_VERSION={value}", f"on {one.gpu.gfx}: {reason}", [one.gpu.index])


def build_ladder(candidates: list, machine: Machine, engine: dict, policy: Policy, avoid_rocm: bool) -> tuple:
    """(rungs in order, what was refused, the measurements that decided the order)"""
    ladder = Ladder(machine, engine, policy)
    for one in candidates:
        for backend, reason in one.refusals.items():
            ladder.refuse(backend, reason, [one.gpu.index])
        if one.gpu.vendor == "amd" and one.rocm != "native" and one.gpu.gfx and not one.masked:
            _refuse_what_guides_say(ladder, one)
    rungs = _preferred(ladder, [one for one in candidates if not one.masked], avoid_rocm)
    cpu = ladder.rung("cpu", [], _cpu_reason(machine, candidates, rungs))
    if policy.forced:
        rungs = [rung for rung in [*rungs, cpu] if rung["backend"] == policy.forced]
        if not rungs:
            raise PlanError(_cannot(policy.forced, candidates, machine, ladder))
    else:
        rungs.append(cpu)
    rungs, measured = _remembered_first(ladder, rungs)
    return rungs, ladder.refused, measured


def _cannot(backend: str, candidates: list, machine: Machine, ladder: Ladder) -> str:
    vendor = {"rocm": "amd", "cuda": "nvidia"}.get(backend)
    reasons = [
        f"{one.gpu.name}: {one.masked or one.refusals[backend]}"
        for one in candidates
        if vendor in (None, one.gpu.vendor) and (one.masked or backend in one.refusals)
    ]
    if not candidates:
        reasons = ["nothing is known of its GPUs" if not machine.gpus_known else "it has no GPU for inference"]
    elif not reasons:
        reasons = [f"it has no GPU of {'NVIDIA' if backend == 'cuda' else 'AMD'}'s"]
    able = [one for one in candidates if one.outrun or not one.masked]
    can = [*dict.fromkeys(name for one in able for name in one.backends()), "cpu"]
    return (
        f"backend is {backend!r}, which this host cannot have ({'; '.join(reasons)}). "
        f"Possible here: auto, {', '.join(can)}. Correct inference_backend for this host, or remove what is in its way."
    )
