# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundled llama-server: lists the devices of one backend, or holds one model and generates for its parent.

Its parent speaks to it over standard input and output, a line of JSON each way, instead of HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from . import gguf, scenario
from .environ import Environment
from .hardware import MIB, Device, Hardware, Memory
from .log import raw

LIBRARIES = {"hip": "ROCm", "vulkan": "Vulkan", "cuda": "CUDA"}
# Tokens per second: prompt, generation.
SPEEDS = {"CUDA": (3000, 100), "ROCm": (2400, 80), "Vulkan": (1600, 60), "cpu": (800, 30)}
SLOW = 8
# Architectures whose code runs on other silicon; any other mix of label and silicon ends in a fault.
RUNS_AS = {
    "gfx1103": "gfx1102",
    **dict.fromkeys(("gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"), "gfx1030"),
    **dict.fromkeys(("gfx1011", "gfx1012", "gfx1013"), "gfx1010"),
}
LONG_PROMPT = 512
FLAVOURS = {"ROCm": "ROCm", "CUDA": "CUDA", "Vulkan": "vk::Device"}


def backend_of(path: str) -> str | None:
    """GGML_BACKEND_PATH names one backend library; an absent file means that none can be loaded."""
    found = re.search(r"libggml-(hip|vulkan|cuda)\.so$", path)
    return LIBRARIES[found[1]] if found and Path(path).is_file() else None


def devices_of(library: str | None, hardware: Hardware, fault: str | None) -> list[Device]:
    if library is None or fault == "denied":
        return []
    devices = {"ROCm": hardware.rocm, "Vulkan": hardware.vulkan, "CUDA": hardware.cuda}[library]()
    if fault == "zero_vram":
        for device in devices:
            device.total = device.free = 0
    return devices


def kernels_in(library: Path) -> set[str]:
    """The architectures that libggml-hip.so has kernels for, as `strings` would show them."""
    return {found.decode() for found in re.findall(rb"gfx[0-9a-f]+", library.read_bytes())}


def list_devices(library: str | None, fault: str | None, as_json: bool) -> None:
    if fault == "discovery_timeout":
        time.sleep(3600)
    if fault == "discovery_crash":
        raw("ggml_cuda_init: failed to initialize ROCm: out of memory")
        os.abort()
    devices = devices_of(library, Hardware(Environment(os.environ)), fault)
    for number, device in enumerate(devices):
        if library == "ROCm":
            target = f"{device.compute} (0x{device.compute[3:]})"
            raw(f"  Device {number}: {device.description}, {target}, VMM: no, Wave Size: 32")
    if as_json:
        print(json.dumps([device.as_dict() for device in devices]))
        return
    print("Available devices:")
    print("\n".join(device.line() for device in devices) or "  (none)")


def abort(device: Device, message: str, function: str) -> NoReturn:
    raw(f"{FLAVOURS[device.library]} error: {message}")
    raw(f"  current device: 0, in function {function} at /build/ggml/src/ggml-cuda/ggml-cuda.cu:98")
    raw(f"/build/ggml/src/ggml-cuda/ggml-cuda.cu:98: {FLAVOURS[device.library]} error")
    os.abort()


class Model:
    def __init__(self, path: Path, context: int, layers: int, device: Device | None, fault: str | None) -> None:
        self.path, self.context, self.device, self.fault = path, context, device, fault
        _architecture, blocks, self.weights = gguf.shape(path)
        self.layers = blocks + 1  # the output layer counts
        self.key_values = blocks * context * 4096 // 4
        self.compute = 96 * MIB
        self.memory: Memory | None = None
        self.offloaded = self.fitting(layers) if device else 0
        self.pretends = fault in ("cpu_while_api_claims_gpu", "cpu_while_log_and_api_claim_gpu")

    def fitting(self, wanted: int) -> int:
        """Layers that fit beside the compute buffer, a gigabyte left free, as llama.cpp's --fit does."""
        if self.device is None:
            return 0
        room = self.device.free - self.compute - 1024 * MIB
        per_layer = (self.weights + self.key_values) / self.layers
        fits = max(0, min(self.layers, int(room / per_layer)))
        return fits if wanted < 0 else min(fits, wanted)

    def gpu_bytes(self) -> int:
        if not self.offloaded:
            return 0
        return (self.weights + self.key_values) * self.offloaded // self.layers + self.compute

    def load(self) -> None:
        device, weights = self.device, self.weights
        if device is None or not self.offloaded:
            raw("load_tensors: loading model tensors, this can take a while... (mmap = true)")
            raw(f"load_tensors:   CPU_Mapped model buffer size = {weights / MIB:8.2f} MiB")
            self.say_context("CPU", "CPU")
            return
        where = f"{device.name} ({device.description}) ({device.address})"
        raw(f"llama_prepare_model_devices: using device {where} - {device.free // MIB} MiB free")
        self.fail_as_told(device)
        claimed = self.fault != "cpu_while_api_claims_gpu"  # then the child says nothing that could be parsed
        if claimed:
            raw(
                f"common_params_fit_impl:   - {device.name} ({device.description}): {self.offloaded} layers, "
                f"{self.gpu_bytes() // MIB} MiB used, {(device.free - self.gpu_bytes()) // MIB} MiB free"
            )
        raw("load_tensors: loading model tensors, this can take a while... (mmap = true)")
        if not self.pretends:
            self.memory = Memory()
            try:
                self.memory.ask(op="allocate", address=device.address, bytes=self.gpu_bytes())
            except MemoryError:
                wanted = f"allocating {weights / MIB:.2f} MiB on device 0"
                raw(f"ggml_backend_cuda_buffer_type_alloc_buffer: {wanted}: cudaMalloc failed: out of memory")
                raw(f"alloc_tensor_range: failed to allocate {device.name} buffer of size {weights}")
                raw("llama_model_load: error loading model: unable to allocate buffer")
                sys.exit(1)
        if not claimed:
            return
        on_gpu = weights * self.offloaded // self.layers
        if self.offloaded == self.layers:
            raw("load_tensors: offloading output layer to GPU")
        raw(f"load_tensors: offloading {min(self.offloaded, self.layers - 1)} repeating layers to GPU")
        raw(f"load_tensors: offloaded {self.offloaded}/{self.layers} layers to GPU")
        raw(f"load_tensors:   CPU_Mapped model buffer size = {(weights - on_gpu + weights // 10) / MIB:8.2f} MiB")
        raw(f"load_tensors: {device.name:>12} model buffer size = {on_gpu / MIB:8.2f} MiB")
        host = {"ROCm": "ROCm_Host", "CUDA": "CUDA_Host", "Vulkan": "Vulkan_Host"}[device.library]
        self.say_context(device.name, host)

    def say_context(self, where: str, host: str) -> None:
        raw("llama_context: constructing llama_context")
        raw(f"llama_context: n_ctx         = {self.context}")
        raw(f"llama_context: {host:>10}  output buffer size =     0.58 MiB")
        raw(f"llama_kv_cache: {where:>10} KV buffer size = {self.key_values / MIB:8.2f} MiB")
        raw(f"llama_context: {where:>10} compute buffer size = {self.compute / MIB:8.2f} MiB")

    def fail_as_told(self, device: Device) -> None:
        if self.fault == "crash_on_load":
            abort(device, "an illegal memory access was encountered", "ggml_backend_cuda_synchronize")
        if self.fault == "hang_on_load":
            time.sleep(3600)
        if self.fault == "out_of_memory":
            abort(device, "out of memory", "ggml_cuda_pool_alloc")
        if device.library == "ROCm":
            if device.compute not in kernels_in(Path(os.environ["GGML_BACKEND_PATH"])):
                abort(device, "invalid device function", "ggml_cuda_compute_forward")
            if device.compute not in (device.silicon, RUNS_AS.get(device.silicon)):
                self.fault = (
                    "crash_on_long_prompt"  # code for another chip: short prompts may survive, long ones do not
                )

    def generate(self, prompt: int, cached: int, predict: int) -> None:
        """Work for as long as the backend would need, and say each token."""
        library = self.device.library if self.device and self.offloaded and not self.pretends else "cpu"
        slowness = SLOW if self.fault == "slow" else 1
        prompt_speed, speed = (tokens / slowness for tokens in SPEEDS[library])
        started = time.monotonic_ns()
        self.busy(97)
        if self.device and self.fault == "crash_on_long_prompt" and prompt >= LONG_PROMPT:
            time.sleep(0.2)
            folder = Path(os.environ["GGML_BACKEND_PATH"]).parent / "rocblas/library"
            missing = f"{folder}/TensileLibrary.dat: Illegal seek"
            raw(f"rocBLAS error: Cannot read {missing} for GPU arch : {self.device.compute}")
            os.abort()
        time.sleep((prompt - cached) / prompt_speed)
        if self.device and self.memory and self.fault == "kernel_fault":
            self.memory.ask(op="fault", address=self.device.address, kind="page_fault")
            self.memory.ask(op="fault", address=self.device.address, kind="ring_timeout")
        prompt_done = time.monotonic_ns()
        for number in range(predict):
            remaining = prompt_done + (number + 1) * 1e9 / speed - time.monotonic_ns()
            time.sleep(max(remaining / 1e9, 0))
            answer({"token": f" lamp{number}" if number else "A"})
        self.busy(0)
        answer({"done": True, "prompt_ns": prompt_done - started, "eval_ns": time.monotonic_ns() - prompt_done})

    def busy(self, percent: int) -> None:
        if self.device and self.memory:
            self.memory.ask(op="busy", address=self.device.address, percent=percent)


def answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="llama-server")
    parser.add_argument("--list-devices", action="store_true")
    parser.add_argument("--json", action="store_true", help="of the stand-in: the devices for its parent")
    parser.add_argument("--model", type=Path)
    parser.add_argument("-c", type=int, default=4096)
    parser.add_argument("-ngl", type=int, default=-1)
    options, _ignored = parser.parse_known_args(arguments)
    library = backend_of(os.environ.get("GGML_BACKEND_PATH", ""))
    fault = scenario.load().get((library or "").lower())
    if options.list_devices:
        list_devices(library, fault, options.json)
        return
    devices = devices_of(library, Hardware(Environment(os.environ)), fault)
    chosen = os.environ.get("STANDIN_DEVICE")
    device = next((device for device in devices if device.address == chosen), None)
    model = Model(options.model, options.c, options.ngl, device, fault)
    model.load()
    answer(
        {
            "ready": True,
            "offloaded": model.offloaded,
            "layers": model.layers,
            "gpu_bytes": model.gpu_bytes(),
            "bytes": model.weights + model.key_values + model.compute,
        }
    )
    for line in sys.stdin:
        request = json.loads(line)
        model.generate(request["prompt"], request["cached"], request["predict"])
