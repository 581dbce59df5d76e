# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every environment variable that Ollama reads, and the check of an environment against it.

Ollama reads a boolean with Go's strconv.ParseBool and takes any other text for true, so that
OLLAMA_VULKAN=off switches Vulkan on. It is silent about names that it does not know.
Source: envconfig/config.go and discover/runner.go of https://github.com/ollama/ollama, v0.1.6 to v0.33.0-rc2.
"""

from __future__ import annotations

import difflib
import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.ollama import reached, release

SOURCE = "https://github.com/ollama/ollama/blob/main/envconfig/config.go"

_KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def _variable(kind: str, since: str = "0.1.29", default: str = "", note: str = "", **more) -> dict:
    return {"type": kind, "since": since, "default": default, "note": note, "source": SOURCE, **more}


VARIABLES = {
    "OLLAMA_HOST": _variable("url", "0.0.1", "http://127.0.0.1:11434", "0.0.0.0 exposes an API without a password"),
    "OLLAMA_MODELS": _variable("path", "0.1.6", "~/.ollama/models", "must belong to the service's user"),
    "OLLAMA_KEEP_ALIVE": _variable("duration", "0.1.29", "5m", "negative: for ever, 0: unload at once"),
    "OLLAMA_LOAD_TIMEOUT": _variable("duration", "0.3.10", "5m", "a stall, not the total; 0 or less: for ever"),
    "OLLAMA_NUM_PARALLEL": _variable("uint", "0.1.33", "1", "each slot takes its own context", maximum=1024),
    "OLLAMA_MAX_LOADED_MODELS": _variable("uint", "0.1.33", "0", "0: three per GPU", maximum=1024),
    "OLLAMA_MAX_QUEUE": _variable("uint", "0.1.34", "512", "beyond it the API answers 503", maximum=1048576),
    "OLLAMA_CONTEXT_LENGTH": _variable(
        "uint", "0.5.13", "0", "0: from 0.15.5 by the sum of all VRAM: 4096, 32768, 262144", maximum=16777216
    ),
    "OLLAMA_FLASH_ATTENTION": _variable("tristate", "0.1.39", "", "unset means automatic from 0.30.0"),
    "OLLAMA_KV_CACHE_TYPE": _variable(
        "choice", "0.5.0", "f16", "quantised types need flash attention before 0.30.0", choices=_KV_TYPES
    ),
    "OLLAMA_GPU_OVERHEAD": _variable("bytes", "0.3.10", "0", "bytes per GPU; places nothing from 0.30.0"),
    "OLLAMA_SCHED_SPREAD": _variable("bool", "0.1.45", "0", "use every GPU even if one would do"),
    "OLLAMA_LLM_LIBRARY": _variable("string", "0.1.21", "", "name of one folder below lib/ollama; no match means CPU"),
    "OLLAMA_VULKAN": _variable("bool", "0.12.11", "1", "off by default before 0.30.0"),
    "OLLAMA_IGPU_ENABLE": _variable("tristate", "0.30.0", "", "unset drops integrated GPUs other than gfx1151"),
    "OLLAMA_DEBUG": _variable("choice", "0.1.21", "0", "1: debug, 2: trace", choices=("0", "1", "2")),
    "OLLAMA_NOPRUNE": _variable("bool", "0.1.12", "0", "keep unreferenced blobs at start"),
    "OLLAMA_ORIGINS": _variable("string", note="comma-separated origins that browsers may call from"),
    "OLLAMA_REMOTES": _variable("string", "0.12.0", "ollama.com", "hosts that remote models may come from"),
    "OLLAMA_AUTH": _variable("bool", "0.8.0", "0"),
    "OLLAMA_NO_CLOUD": _variable("bool", "0.16.2", "0", "no calls to ollama.com at start"),
    "OLLAMA_EDITOR": _variable("string", note="editor of the interactive client"),
    "OLLAMA_NOHISTORY": _variable("bool", default="0", note="the client keeps no readline history"),
    "OLLAMA_DEBUG_LOG_REQUESTS": _variable("bool", "0.18.3", "0", "writes prompts to the disk"),
    "OLLAMA_MAX_TRANSFER_STREAMS": _variable("uint", "0.23.3", "4", "safetensors transfers only", maximum=1024),
    "OLLAMA_GO_TEMPLATE": _variable("bool", "0.30.0", "0"),
    "OLLAMA_CLOUD_BASE_URL": _variable("url"),
    "OLLAMA_EXPERIMENT": _variable("string"),
}

# Set, these do nothing from the release named on.
REMOVED = {
    "OLLAMA_INTEL_GPU": ("0.12.11", "nothing: Intel GPUs are reached through Vulkan"),
    "OLLAMA_NEW_ENGINE": ("0.30.0", "nothing: every model is served by llama-server"),
    "OLLAMA_MULTIUSER_CACHE": ("0.30.0", "nothing: the prompt cache is always on"),
    "OLLAMA_NEW_ESTIMATES": ("0.12.0", "nothing: the estimates became the default"),
    "OLLAMA_MAX_VRAM": ("0.7.0", "LLAMA_ARG_FIT_TARGET (MiB to leave free on each GPU, from 0.30.0)"),
    "OLLAMA_TMPDIR": ("0.6.6", "TMPDIR"),
    "OLLAMA_RUNNERS_DIR": ("0.3.11", "nothing: the runners lie beside the executable"),
}

_OPTION = "the option {} in the request or in a Modelfile's PARAMETER line"
# No release has ever read these, although guides name them.
NEVER_READ = {
    "OLLAMA_NUM_GPU": _OPTION.format("num_gpu"),
    "OLLAMA_GPU_LAYERS": _OPTION.format("num_gpu"),
    "OLLAMA_NUM_THREAD": _OPTION.format("num_thread"),
    "OLLAMA_NUM_THREADS": _OPTION.format("num_thread"),
    "OLLAMA_NUM_CTX": "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_ROCM": "inference_backend: rocm",
    "OLLAMA_SPLIT_MODE": "OLLAMA_SCHED_SPREAD=1 to use every GPU",
    "OLLAMA_LIBRARY_PATH": "nothing: Ollama sets it for its own runners",
    "OLLAMA_GPU_OVERRIDE": "HSA_OVERRIDE_GFX_VERSION, which the plan sets where the silicon needs it",
    "GGML_VULKAN_DEVICE": "GGML_VK_VISIBLE_DEVICES",
    "GGML_HIP_UMA": "GGML_CUDA_ENABLE_UNIFIED_MEMORY=1",
}

# How a backend is told which GPUs to use. Each counts in its own order.
GPU_SELECTION = {
    "ROCR_VISIBLE_DEVICES": "ROCm: indexes in the order of the KFD's GPU nodes, or GPU-<uuid>",
    "HIP_VISIBLE_DEVICES": "ROCm: indexes among those that ROCR_VISIBLE_DEVICES leaves",
    "GPU_DEVICE_ORDINAL": "ROCm: as HIP_VISIBLE_DEVICES",
    "CUDA_VISIBLE_DEVICES": "CUDA: indexes or uuids; read for ROCm too when nothing else names its devices",
    "GGML_VK_VISIBLE_DEVICES": "Vulkan: indexes in Vulkan's own order",
}

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DURATION = re.compile(r"-?\d+|[-+]?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+", re.ASCII)
_INDEXES = re.compile(r"-1|\d{1,3}(,\d{1,3})*", re.ASCII)
_DEVICES = re.compile(r"-1|(\d{1,3}|(GPU|MIG)-[0-9A-Za-z-]+)(,(\d{1,3}|(GPU|MIG)-[0-9A-Za-z-]+))*", re.ASCII)
_OVERRIDE = re.compile(r"\d{1,2}\.\d{1,2}\.\d{1,2}", re.ASCII)
_OVERRIDE_NAME = re.compile(r"HSA_OVERRIDE_GFX_VERSION(_\d+)?", re.ASCII)


def _problem(name: str, value: object, code: str, message: str, remedy: str, severity: str = "error") -> dict:
    return {
        "name": name,
        "value": "" if value is None else str(value),
        "code": code,
        "message": message,
        "remedy": remedy,
        "severity": severity,
    }


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return str(value)
    return str(value) if isinstance(value, str) else None


def check_name(name: str, version: str) -> dict | None:
    """Is the name one that this release reads?"""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return _problem(
            str(name),
            None,
            "bad_name",
            f"{name!r} is not the name of an environment variable.",
            "Use letters, digits and underscores.",
        )
    if name in NEVER_READ:
        return _problem(
            name,
            None,
            "never_read",
            f"Ollama does not read {name}: setting it does nothing.",
            f"Remove it. Use instead: {NEVER_READ[name]}.",
        )
    if name in REMOVED and reached(version, REMOVED[name][0]):
        return _problem(
            name,
            None,
            "removed",
            f"{name} does nothing since Ollama {REMOVED[name][0]}.",
            f"Remove it. Use instead: {REMOVED[name][1]}.",
        )
    if name in VARIABLES and not reached(version, VARIABLES[name]["since"]):
        return _problem(
            name,
            None,
            "not_yet_read",
            f"Ollama {version} does not read {name}: it came with {VARIABLES[name]['since']}.",
            "Remove it, or install a newer release.",
        )
    if name in VARIABLES or name in REMOVED:
        return None
    near = difflib.get_close_matches(name, VARIABLES, 1, 0.6 if name.startswith("OLLAMA_") else 0.85)
    if name.startswith("OLLAMA_") or near:
        hint = f"Did you mean {near[0]}?" if near else "Remove it; the catalogue lists every name that Ollama reads."
        return _problem(name, None, "unknown_name", f"Ollama reads no variable named {name}.", hint)
    return None


def _check_typed(name: str, text: str, version: str) -> tuple:
    """(normalised text, what is wrong or None, what to do)"""
    spec = VARIABLES.get(name, {"type": "string"})
    kind = spec["type"]
    if kind in ("bool", "tristate"):
        if text in _TRUE or text in _FALSE:
            return ("1" if text in _TRUE else "0"), None, ""
        unset = " Leave it unset for the automatic choice." if kind == "tristate" else ""
        return text, f"Ollama would read {name}={text} as true", f"Write 1 or 0.{unset}"
    if kind in ("uint", "bytes"):
        maximum = spec.get("maximum", 2**64 - 1)
        if re.fullmatch(r"\d{1,20}", text, re.ASCII) and int(text) <= maximum:
            return str(int(text)), None, ""
        unit = " of bytes, without a unit" if kind == "bytes" else ""
        return (
            text,
            f"{name}={text} is not a number that Ollama accepts",
            f"Write a whole number{unit}, 0 to {maximum}.",
        )
    if kind == "duration" and not _DURATION.fullmatch(text):
        return text, f"{name}={text} is not a duration", "Write seconds or a Go duration: 300, 5m, 1h30m; -1 for ever."
    if kind == "choice":
        choices = spec["choices"]
        if name == "OLLAMA_DEBUG" and text in _TRUE + _FALSE:
            text = "1" if text in _TRUE else "0"
        if name == "OLLAMA_KV_CACHE_TYPE" and not reached(version, "0.30.0"):
            choices = ("f16", "q8_0", "q4_0")
        if text not in choices:
            return text, f"{name}={text} is not known", "Allowed: " + ", ".join(choices) + "."
    if kind == "path" and not text.startswith("/"):
        return text, f"{name}={text} is not an absolute path", "Write the whole path, from /."
    if kind == "url" and (not text or re.search(r"\s", text)):
        return text, f"{name}={text} is not an address", "Write host, host:port or http://host:port."
    return text, None, ""


def _check_gpu_variable(name: str, text: str) -> tuple:
    """(what is wrong or None, what to do)"""
    if _OVERRIDE_NAME.fullmatch(name) and not _OVERRIDE.fullmatch(text):
        return f"{name}={text} breaks the device: ROCm reads x.y.z only", "Write it as 10.3.0 or 11.0.2."
    if name == "GGML_VK_VISIBLE_DEVICES" and not _INDEXES.fullmatch(text):
        return f"{name}={text} is not a list of indexes", "Write 0, or 0,1; -1 hides every Vulkan device."
    if name in GPU_SELECTION and not _DEVICES.fullmatch(text):
        return f"{name}={text} is not a list of devices", "Write indexes (0,1) or identities (GPU-...); -1 hides all."
    return None, ""


def check_environment(environment: dict, version: str) -> tuple:
    """Normalise an engine environment for this release.

    Returns ({name: text}, problems). A problem is {name, value, code, message, remedy, severity};
    those of severity "error" are not in the normalised environment.
    """
    normalised: dict = {}
    problems: list = []
    for name, value in environment.items():
        if value is None:
            continue
        problem = check_name(name, version)
        text = _text(value)
        if problem is None and text is None:
            problem = _problem(
                name,
                value,
                "bad_type",
                f"{name} is a {type(value).__name__}, not one value.",
                "Write a text, a number or a boolean.",
            )
        if problem is None and text and re.search(r"[\x00-\x1f\x7f\"']", text):
            problem = _problem(
                name,
                repr(value),
                "bad_text",
                f"{name} holds a line break, a control character or a "
                "quote; Ollama strips quotes and systemd splits lines.",
                "Write the bare value.",
            )
        if problem is None and text is not None:
            normal, wrong, remedy = _check_typed(name, text.strip(), version)
            if wrong is None:
                wrong, remedy = _check_gpu_variable(name, normal)
            if wrong is not None:
                problem = _problem(name, text, "bad_value", wrong + ".", remedy)
            else:
                normalised[name] = normal
        if problem is not None:
            problem["value"] = problem["value"] or str(value)
            problems.append(problem)
    return normalised, problems + _check_together(normalised, version)


def _check_together(environment: dict, version: str) -> list:
    """Values that are sound alone and wrong together, or that do not do what one expects."""
    problems = []
    if "ROCR_VISIBLE_DEVICES" in environment and "HIP_VISIBLE_DEVICES" in environment:
        problems.append(
            _problem(
                "HIP_VISIBLE_DEVICES",
                environment["HIP_VISIBLE_DEVICES"],
                "two_masks",
                "HIP_VISIBLE_DEVICES counts among what ROCR_VISIBLE_DEVICES leaves: together they hide GPUs.",
                "Keep ROCR_VISIBLE_DEVICES only.",
            )
        )
    library, known = environment.get("OLLAMA_LLM_LIBRARY"), release(version)
    folders = [known["rocm_library"], known["vulkan_library"], "cuda_v12", "cuda_v13", "cpu"]
    if library and known["library_by_folder"] and library not in folders and not library.startswith(("mlx_", "cuda_j")):
        problems.append(
            _problem(
                "OLLAMA_LLM_LIBRARY",
                library,
                "stale_library_name",
                f"Ollama {version} has no library folder named {library}: it would skip every GPU, in silence.",
                f"Remove it. Folders: {', '.join(name for name in folders[:-1] if name)}; cpu forces the processor.",
                "warning",
            )
        )
    if "OLLAMA_GPU_OVERHEAD" in environment and reached(version, "0.30.0"):
        problems.append(
            _problem(
                "OLLAMA_GPU_OVERHEAD",
                environment["OLLAMA_GPU_OVERHEAD"],
                "no_effect",
                "OLLAMA_GPU_OVERHEAD places nothing since 0.30.0, and a large one upsets the context size.",
                "Use LLAMA_ARG_FIT_TARGET (MiB left free on each GPU, default 1024).",
                "warning",
            )
        )
    for name in environment:
        if re.fullmatch(r"HSA_OVERRIDE_GFX_VERSION_\d+", name):
            problems.append(
                _problem(
                    name,
                    environment[name],
                    "suffixed_override",
                    f"{name} is read by ROCm only: Ollama neither labels nor filters by it.",
                    "Prefer masking the GPU that needs the override.",
                    "warning",
                )
            )
    if "HTTP_PROXY" in environment:
        problems.append(
            _problem(
                "HTTP_PROXY",
                environment["HTTP_PROXY"],
                "http_proxy",
                "HTTP_PROXY breaks the client's way to its own server; pulls use HTTPS.",
                "Set HTTPS_PROXY.",
                "warning",
            )
        )
    return problems
