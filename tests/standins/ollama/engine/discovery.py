# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices this server will use, found once at its start (discover/runner.go)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from .environ import Environment
from .hardware import Device
from .log import human, log

TIMEOUT = 30
ADMITTED_INTEGRATED = ("gfx1151",)  # with ROCm, without being asked for


def library_directories(library_path: Path) -> list[Path]:
    """Each folder of lib/ollama that holds a ggml backend, copies and left-overs included."""
    return sorted({file.parent for file in library_path.glob("*/*ggml-*")})


def wanted_directories(environment: Environment, directories: list[Path]) -> list[Path]:
    """OLLAMA_LLM_LIBRARY picks one folder by its name; a name that is not there leaves none, without a word."""
    chosen = environment.text("OLLAMA_LLM_LIBRARY")
    wanted = [directory for directory in directories if chosen in ("", directory.name)]
    if not environment.boolean("OLLAMA_VULKAN", True):
        wanted = [directory for directory in wanted if directory.name != "vulkan"]
    return wanted


def backend_file(directory: Path) -> Path:
    return next(iter(sorted(directory.glob("libggml-*.so"))), directory / "libggml-none.so")


def child_environment(environment: Environment, directory: Path) -> dict[str, str]:
    variables = {**environment.variables, "GGML_BACKEND_PATH": str(backend_file(directory))}
    variables["LD_LIBRARY_PATH"] = f"{directory.parent}:{directory}"
    if backend_file(directory).name == "libggml-hip.so" and not environment.text("ROCR_VISIBLE_DEVICES"):
        # A numeric list meant for another runtime is handed to ROCr, and its own variable is renumbered.
        for name in ("HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "CUDA_VISIBLE_DEVICES"):
            value = environment.text(name)
            if value:
                if re.fullmatch(r"[\d,\s]+", value):
                    variables["ROCR_VISIBLE_DEVICES"] = value
                    variables[name] = ",".join(str(i) for i in range(len(value.split(","))))
                break
    return variables


def probe(program: Path, environment: Environment, directory: Path) -> list[dict[str, Any]]:
    command = [str(program), "--list-devices", "--offline", "--verbose", "--json"]
    timeout = min(TIMEOUT, float(environment.variables.get("STANDIN_DISCOVERY_TIMEOUT", TIMEOUT)))
    try:
        done = subprocess.run(
            command,
            env=child_environment(environment, directory),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
        )
    except subprocess.TimeoutExpired:
        log(
            "WARN",
            "llama_server.go:131",
            "llama-server GPU discovery watchdog timed out",
            timeout=f"{timeout:.0f}s",
            libdir=directory,
        )
        log(
            "INFO",
            "runner.go:171",
            "failure during llama-server GPU discovery",
            OLLAMA_LIBRARY_PATH=f"[{directory.parent} {directory}]",
            error="llama-server discovery: timed out waiting for server startup",
        )
        return []
    except subprocess.CalledProcessError as problem:
        log(
            "INFO",
            "runner.go:171",
            "failure during llama-server GPU discovery",
            OLLAMA_LIBRARY_PATH=f"[{directory.parent} {directory}]",
            error=f"llama-server process exited: {problem}",
        )
        return []
    return json.loads(done.stdout)


def rocblas_targets(directory: Path) -> set[str]:
    files = directory.glob("rocblas/library/**/TensileLibrary_lazy_gfx*.dat")
    return {file.stem.removeprefix("TensileLibrary_lazy_") for file in files}


def without_unsupported(devices: list[Device], targets: set[str]) -> list[Device]:
    """Drop what rocBLAS has no files for; no files at all (a distribution's package) filter nothing."""
    kept = []
    for device in devices:
        if device.library != "ROCm" or not targets or device.compute in targets:
            kept.append(device)
            continue
        log(
            "WARN",
            "amd.go:469",
            "dropping ROCm device — no rocblas support for gfx target",
            device=device.name,
            gfx_target=device.compute,
            supported="map[" + " ".join(f"{target}:true" for target in sorted(targets)) + "]",
            hint="set HSA_OVERRIDE_GFX_VERSION to map to a supported target",
        )
    return kept


def without_integrated(environment: Environment, devices: list[Device]) -> list[Device]:
    enabled = environment.tristate("OLLAMA_IGPU_ENABLE")
    kept = []
    for device in devices:
        admitted = device.library == "CUDA" or (device.library == "ROCm" and device.silicon in ADMITTED_INTEGRATED)
        if not device.integrated or enabled or (enabled is None and admitted):
            kept.append(device)
            continue
        log(
            "INFO",
            "runner.go:421",
            "dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1",
            library=device.library,
            compute=device.compute,
            name=device.name,
            description=device.description,
        )
    return kept


def without_duplicates(devices: list[tuple[Device, Path]]) -> list[tuple[Device, Path]]:
    """One view of each card: CUDA and ROCm win over Vulkan, the newer CUDA folder over the older."""
    rank = {"CUDA": 0, "ROCm": 0, "Vulkan": 1}
    ordered = sorted(devices, key=lambda pair: pair[1].name, reverse=True)
    best: dict[str, tuple[Device, Path]] = {}
    for pair in sorted(ordered, key=lambda pair: rank[pair[0].library]):
        best.setdefault(pair[0].address, pair)
    return list(best.values())


def driver_too_old(device: Device) -> bool:
    if device.library != "CUDA" or int(device.driver.split(".")[0]) >= 550:
        return False
    log(
        "WARN",
        "cuda_compat.go:66",
        "NVIDIA driver too old",
        device=device.name,
        compute=device.compute,
        driver=device.driver,
        required_driver=550,
    )
    return True


def discover(environment: Environment, library_path: Path, scenario: dict[str, Any]) -> list[tuple[Device, Path]]:
    overrides = environment.overrides()
    for name, value in overrides.items():
        log("WARN", "runner.go:721", "user overrode visible devices", **{name: value})
    if overrides:
        log("WARN", "runner.go:725", "if GPUs are not correctly discovered, unset and try again")
    log("INFO", "runner.go:67", "discovering available GPUs...")
    time.sleep(scenario.get("discovery_seconds", 0.2))
    found: list[tuple[Device, Path]] = []
    for directory in wanted_directories(environment, library_directories(library_path)):
        devices = [Device(**device) for device in probe(library_path / "llama-server", environment, directory)]
        devices = without_unsupported(devices, rocblas_targets(directory))
        devices = [device for device in devices if not driver_too_old(device)]
        found += [(device, directory) for device in devices]
    admitted = without_integrated(environment, [device for device, _ in found])
    chosen = without_duplicates([pair for pair in found if pair[0] in admitted])
    chosen.sort(key=lambda pair: -pair[0].free)
    for device, directory in chosen:
        log(
            "INFO",
            "types.go:42",
            "inference compute",
            id=device.name.removeprefix(device.library),
            filter_id="",
            library=device.library,
            compute=device.compute,
            name=device.name,
            description=device.description,
            libdirs=f"ollama,{directory.name}",
            driver=device.driver,
            pci_id=device.address,
            type="iGPU" if device.integrated else "discrete",
            total=human(device.total),
            available=human(device.free),
        )
    if not chosen:
        total, free = system_memory()
        nothing = dict.fromkeys(("compute", "driver", "pci_id", "type"), "")
        names = {"id": "cpu", "library": "cpu", "name": "cpu", "description": "cpu", "libdirs": "ollama"}
        log("INFO", "types.go:60", "inference compute", **names, **nothing, total=human(total), available=human(free))
    return chosen


def system_memory(path: Path = Path("/srv/machine/proc/meminfo")) -> tuple[int, int]:
    if not os.access("/proc/meminfo", os.R_OK):  # ProcSubset=pid hides it from the real one, too
        return 0, 0
    values = dict(line.split(":") for line in path.read_text().splitlines())
    return tuple(int(values[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))  # type: ignore[return-value]
