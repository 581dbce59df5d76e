# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fit.estimate says beforehand, and what the real llama-server then allocates: the table of docs/models.md.

The models are noise of several sizes; what they take does not depend on what they have learnt.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.fit import MIB, Need, Use, estimate
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import read_file

PROJECT = Path(__file__).resolve().parents[3]
SSH = PROJECT / ".cache/fleet" / os.environ.get("LAMPLIGHTER_FLEET", "lamplighter-inference") / "ssh_config"
HOST, PORT = "forky", 8240
FOLDER = "/var/tmp/fit"
# Layers, width, heads, heads of keys and values, words.
MODELS: dict[str, tuple[int, int, int, int, int]] = {
    "small": (6, 128, 4, 4, 1000),
    "medium": (8, 256, 8, 2, 4000),
    "wide": (4, 768, 12, 4, 8000),
    "large": (12, 512, 8, 8, 16000),
    "vocabulary": (4, 256, 4, 1, 64000),
    "deep": (32, 384, 6, 2, 4000),
}
Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
USES: dict[str, Use] = {
    "4096": Use(4096),
    "16384": Use(16384),
    "4 x 4096 in q8_0": Use(4096, 4, **Q8),
    "4096 on the processor": Use(4096, gpu=False),
}
# Of the whole, predicted minus allocated, and of the compute buffer alone.
MOST_ABOVE, MOST_BELOW, MOST_OF_COMPUTE = 0.08, 0.01, 0.35

# Starts a server, keeps what it says until all is allocated, and ends it.
SERVE = r"""
import json, subprocess, sys, time
for case in json.load(sys.stdin):
    environment = {"PATH": "/usr/bin", "HOME": "/tmp", **case["environment"]}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    server = subprocess.Popen(case["command"], env=environment, **pipes)
    end, said = time.monotonic() + 120, ""
    for line in server.stdout:
        said += line
        if "sched_reserve: reserve took" in line or time.monotonic() > end:
            break
    server.kill()
    server.wait()
    print(json.dumps(said), flush=True)
"""


def case(name: str, use: Use) -> dict[str, object]:
    command = ["/usr/bin/llama-server", "--model", f"{FOLDER}/{name}.gguf", "--host", "127.0.0.1", "--port", str(PORT)]
    command += ["--ctx-size", str(use.context * use.parallel), "--parallel", str(use.parallel)]
    command += ["--cache-type-k", use.cache_type_k, "--cache-type-v", use.cache_type_v, "--log-verbosity", "4"]
    command += ["--flash-attn", "on" if use.flash_attention else "off", "--fit", "off", "--no-warmup"]
    command += ["--device", "Vulkan0", "--n-gpu-layers", "99"] if use.gpu else ["--device", "none"]
    return {"command": command, "environment": {"GGML_VK_VISIBLE_DEVICES": "0"} if use.gpu else {}}


def allocated(said: str, use: Use) -> dict[str, float]:
    device = "Vulkan0" if use.gpu else "CPU(?:_Mapped)?"
    kinds = {"weights": "model", "kv": "KV", "compute": "compute"}
    return {
        part: sum(float(size) for size in re.findall(rf" {device} {kind} buffer size = +([\d.]+) MiB", said)) * MIB
        for part, kind in kinds.items()
    }


def on_host(command: str, given: bytes) -> str:
    ssh = ["ssh", "-F", str(SSH), HOST, command]
    return subprocess.run(ssh, input=given, stdout=subprocess.PIPE, check=True, timeout=600).stdout.decode()


def make_model(path: Path, shape: tuple[int, int, int, int, int]) -> None:
    options = zip(("--layers", "--width", "--heads", "--kv-heads", "--words"), map(str, shape), strict=True)
    command = [sys.executable, "molecule/inference/make_model.py", str(path), "--f16", "--context", "32768"]
    subprocess.run([*command, *(word for option in options for word in option)], cwd=PROJECT, check=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> list[tuple[str, str, Need, dict[str, float]]]:
    folder = tmp_path_factory.mktemp("fit")
    on_host(f"mkdir -p {FOLDER}; cat > {FOLDER}/serve.py", SERVE.encode())
    rows = []
    for name, shape in MODELS.items():
        path = folder / f"{name}.gguf"
        make_model(path, shape)
        on_host(f"cat > {FOLDER}/{name}.gguf", path.read_bytes())
        metadata = read_file(str(path))
        cases = json.dumps([case(name, use) for use in USES.values()])
        said = on_host(f"python3 {FOLDER}/serve.py; rm {FOLDER}/{name}.gguf", cases.encode())
        for (label, use), line in zip(USES.items(), said.splitlines(), strict=True):
            rows.append((name, label, estimate(metadata, use), allocated(json.loads(line), use)))
        path.unlink()
    on_host(f"rm -r {FOLDER}", b"")
    return rows


def test_what_is_predicted_is_what_the_server_allocates(table):
    print("\n| model | context | weights | KV cache | compute, predicted / real | whole, predicted / real | error |")
    wrong = []
    for name, label, need, real in table:
        whole = sum(real.values())
        error = (need.total - whole) / whole
        print(
            f"| {name} | {label} | {need.weights / MIB:.2f} | {need.kv / MIB:.2f} | "
            f"{need.compute / MIB:.2f} / {real['compute'] / MIB:.2f} | {need.total / MIB:.2f} / {whole / MIB:.2f} | "
            f"{error:+.1%} |"
        )
        exact = all(abs(getattr(need, part) - real[part]) < 0.02 * MIB for part in ("weights", "kv"))
        compute = abs(need.compute - real["compute"]) <= MOST_OF_COMPUTE * real["compute"]
        if not (exact and compute and -MOST_BELOW <= error <= MOST_ABOVE and need.least <= whole <= need.most):
            wrong.append((name, label, error))
    assert len(table) == len(MODELS) * len(USES)
    assert wrong == []
