# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judgement: do independent witnesses agree on where the model ran?"""

from __future__ import annotations

from typing import Any

GPU_BACKENDS = ("rocm", "vulkan", "cuda")
# rocBLAS and hipBLASLt faults show only on prompts that are at least this long.
LONG_PROMPT = 512
MIB = 1024 * 1024

Evidence = dict[str, Any]


def growth_needed(size_vram: int | None) -> int:
    """How many bytes of GPU memory must have grown before it counts as the model's: half of what the API claims,
    within bounds, because a desktop's own use wanders by some MiB and a test model may need hardly more than one."""
    return max(MIB, min(64 * MIB, (size_vram or 32 * MIB) // 2))


def kernel_evidence(
    idle: list[Evidence],
    busy: list[list[Evidence]],
    size_vram: int | None,
    resident: bool = False,
    held: int | None = None,
) -> Evidence:
    """Compare the counters of each GPU before the load with the highest ones seen until the generation ended.

    `idle` has one reading for each GPU, `busy` one list of such readings for each sample. A resident model does not
    grow: `held` is what the engine's process has of GPU memory."""
    growth: dict[str, int | None] = {"vram_used": None, "gtt_used": None}
    busy_idle: int | None = None
    busy_peak: int | None = None
    for index, before in enumerate(idle):
        peak = {key: _highest(sample[index].get(key) for sample in busy) for key in before}
        for key in growth:
            now, then = peak.get(key), before.get(key)
            if now is not None and then is not None:
                growth[key] = (growth[key] or 0) + max(0, now - then)
        busy_idle = _highest([busy_idle, before.get("busy_percent")])
        busy_peak = _highest([busy_peak, peak.get("busy_percent")])
    if resident:
        growth = dict.fromkeys(growth)
    known = [grown for grown in [*growth.values(), held] if grown is not None]
    grew = sum(known) >= growth_needed(size_vram) if known else None
    # A GPU that was fully busy already cannot become busier.
    worked = None if busy_peak is None else busy_peak > min(busy_idle or 0, 90)
    return {
        "available": grew is not None,
        # Memory without work is an allocation that nobody computes on.
        "moved": None if grew is None else grew and worked is not False,
        "vram_growth_bytes": growth["vram_used"],
        "gtt_growth_bytes": growth["gtt_used"],
        "held_bytes": held,
        "busy_percent": busy_peak,
        "samples": len(busy),
    }


def _highest(values: Any) -> int | None:
    return max((value for value in values if value is not None), default=None)


def speed_evidence(timings: Evidence) -> Evidence:
    """Tokens per second from counts and nanoseconds, where both are given and not zero."""
    return {
        "prompt": _rate(timings.get("prompt_tokens"), timings.get("prompt_ns")),
        "generation": _rate(timings.get("generated_tokens"), timings.get("generated_ns")),
        "prompt_tokens": timings.get("prompt_tokens"),
        "generated_tokens": timings.get("generated_tokens"),
        "load_seconds": timings.get("load_seconds"),
    }


def _rate(count: int | None, nanoseconds: int | None) -> float | None:
    return round(count * 1e9 / nanoseconds, 1) if count and nanoseconds else None


def contradictions(evidence: Evidence) -> list[str]:
    """Every pair of witnesses that cannot both be right."""
    log, api, kernel = evidence["log"], evidence["api"], evidence["kernel"]
    log_place, api_place, kernel_place = _log_place(log), _api_place(api), _kernel_place(kernel)
    log_says = f"the log says {log.get('backend')}" + (
        f" with {log['offloaded'][0]} of {log['offloaded'][1]} layers on the GPU" if log.get("offloaded") else ""
    )
    api_says = f"the API says that {_mib(api.get('size_vram'))} of the model are in GPU memory"
    grown = _mib((kernel.get("vram_growth_bytes") or 0) + (kernel.get("gtt_growth_bytes") or 0))
    kernel_says = f"the kernel saw the GPU's memory in use grow by {grown}"
    if kernel.get("held_bytes") is not None:
        kernel_says = f"the kernel saw the engine hold {_mib(kernel['held_bytes'])} of GPU memory"
    kernel_says += f" and its load reach {kernel.get('busy_percent')} %"
    says = [(log_place, log_says), (api_place, api_says), (kernel_place, kernel_says)]
    return [
        f"{first}, but {second}"
        for number, (here, first) in enumerate(says)
        for there, second in says[number + 1 :]
        if here and there and here != there
    ]


def _mib(size: int | None) -> str:
    return f"{(size or 0) / MIB:.0f} MiB"


def _log_place(log: Evidence) -> str | None:
    """gpu, cpu or None: what the engine's log says about where the model is."""
    if log.get("offloaded") and log["offloaded"][0] == 0:
        return "cpu"
    if log.get("backend") in GPU_BACKENDS:
        return "gpu"
    return "cpu" if log.get("backend") == "cpu" else None


def _api_place(api: Evidence) -> str | None:
    if not api.get("available"):
        return None
    return "gpu" if api.get("size_vram") else "cpu"


def _kernel_place(kernel: Evidence) -> str | None:
    if kernel.get("moved") is None:
        return None
    return "gpu" if kernel["moved"] else "cpu"


# What to do where the engine's log and the kernel's give no better advice.
REMEDIES = {
    "conflict": "Restart the service and prove again. If it stays so, the engine's binary may not fit its"
    " libraries: install the same release anew, or set inference_backend to another one.",
    "fallback": "GPUs are looked for once at each start, and one that comes up later is not seen: restart the service."
    " If the model is on the CPU again, the engine's debug log (ollama_debug: 1) says why the GPU is left out.",
    "silent": "Run the proof as root, so that the journal can be read.",
    "software": "Install a Vulkan driver for the GPU (Mesa's RADV: mesa-vulkan-drivers), or accept software where there"
    " is none: inference_accept_software_vulkan: true.",
    "context": "Give each slot of the server room for a prompt of 512 tokens and its answer: a larger context, or fewer"
    " parallel slots.",
    "part": "Prove with a smaller model, or free the GPU's memory: other programs and loaded models use it too.",
}


def judge(
    expect: str, accept: list[str], evidence: Evidence, faults: list[Evidence], software_accepted: bool = False
) -> Evidence:
    """verdict, backend, reasons, remedies and contradictions. Evidence that is missing never counts as proof."""
    log, kernel = evidence["log"], evidence["kernel"]
    # A run that broke off says nothing about where the rest of it would have been.
    conflicts = [] if evidence.get("error") else contradictions(evidence)
    # The log alone names the backend; the kernel says only that a GPU worked.
    backend = log.get("backend") or "unknown"
    if _log_place(log) == "cpu":
        backend = "cpu"

    def verdict(name: str, remedy: str, *reasons: str) -> Evidence:
        return {
            "verdict": name,
            "backend": backend,
            "reasons": list(reasons),
            "remedies": [REMEDIES[remedy]] if remedy else [],
            "contradictions": conflicts,
        }

    if evidence.get("error"):
        return verdict("failed", "", evidence["error"])
    if faults:
        return verdict("failed", "", *[f"the kernel reported {fault['code']}: {fault['line']}" for fault in faults])
    if conflicts:
        return verdict("failed", "conflict", *conflicts)
    if log.get("software") and not software_accepted:
        backend = "cpu"
        reason = f"the Vulkan device is {log['software']}: a program that runs on the processor"
        return verdict("degraded" if "cpu" in accept else "failed", "software", reason)
    if _log_place(log) is None:
        if _kernel_place(kernel) == "gpu":
            return verdict("degraded", "silent", "a GPU worked, but the log does not say through which backend")
        return verdict("failed", "silent", "the log does not say where the model ran, and no GPU was seen working")
    if backend != expect:
        kept = backend in GPU_BACKENDS or backend in accept
        remedy = "fallback" if backend == "cpu" else ""
        return verdict("degraded" if kept else "failed", remedy, f"the model ran on {backend}, not on {expect}")
    shortfalls = _shortfalls(evidence)
    if not shortfalls:
        return verdict("proven", "", *_agreement(evidence))
    # A server whose model is resident has the context that it was started with.
    short_context = evidence["api"].get("resident") and shortfalls[0] == _short_prompt(evidence)
    return verdict("degraded", "context" if short_context else "part", *shortfalls)


def _shortfalls(evidence: Evidence) -> list[str]:
    """What is less than it should be although the right backend ran."""
    log, speed, short = evidence["log"], evidence["speed"], []
    if log["backend"] in GPU_BACKENDS:
        api = evidence["api"]
        computed = api.get("resident") and speed.get("prompt") and speed.get("generation")
        if not api.get("available") and not computed and not evidence["kernel"].get("moved"):
            short.append("neither the API nor the kernel confirms what the log says")
        # Every layer may be on the GPU while experts of the model have overflowed into RAM.
        if api.get("available") and api["size_vram"] < 0.95 * api["size"]:
            short.append(f"only {_mib(api['size_vram'])} of the model's {_mib(api['size'])} are in GPU memory")
        if not log.get("offloaded"):
            short.append("the log does not say how many layers are on the GPU")
        elif log["offloaded"][0] < log["offloaded"][1]:
            short.append(f"only {log['offloaded'][0]} of {log['offloaded'][1]} layers are on the GPU")
    if speed.get("prompt_tokens") is not None and speed["prompt_tokens"] < LONG_PROMPT:
        short.append(_short_prompt(evidence))
    return short


def _short_prompt(evidence: Evidence) -> str:
    tokens = evidence["speed"].get("prompt_tokens")
    return f"the engine evaluated only {tokens} prompt tokens, of {LONG_PROMPT} that a proof needs"


def _agreement(evidence: Evidence) -> list[str]:
    log, kernel = evidence["log"], evidence["kernel"]
    if log["backend"] not in GPU_BACKENDS:
        return ["the log says cpu and nothing claims a GPU"]
    layers = f"the log says {log['backend']} with all {log['offloaded'][1]} layers on the GPU"
    if kernel.get("moved"):
        return [f"{layers}, and the kernel's counters confirm it"]
    if log.get("software"):
        return [
            f"{layers}, which is {log['software']}, and the API's timings agree; software has no counters in the kernel"
        ]
    agrees = "the API's timings agree" if evidence["api"].get("resident") else "the API agrees"
    return [f"{layers}, and {agrees}; this GPU's driver has no counters to confirm it"]
