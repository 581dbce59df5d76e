#!/usr/bin/python3
# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for nvidia-smi: `nvidia-smi --query-gpu=FIELD,... --format=csv[,noheader][,nounits]` and the plain call."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path("/srv/machine")
UNITS = {"memory.total": " MiB", "memory.used": " MiB", "memory.free": " MiB", "utilization.gpu": " %"}


def values(index: int, gpu: dict[str, object], driver: str) -> dict[str, object]:
    counters = ROOT / "standin/counters" / str(gpu["address"])
    total = int(str(gpu["vram_mib"]))
    used = int((counters / "mem_info_vram_used").read_text()) // 1024**2
    busy = counters / "gpu_busy_percent"
    return {
        "index": index,
        "name": gpu["product"],
        "uuid": gpu["uuid"],
        "pci.bus_id": f"0000{str(gpu['address']).upper()}",
        "driver_version": driver,
        "compute_cap": gpu["compute"],
        "memory.total": total,
        "memory.used": used,
        "memory.free": total - used,
        "utilization.gpu": busy.read_text().strip() if busy.exists() else 0,
    }


def main() -> None:
    try:
        driver = (ROOT / "proc/driver/nvidia/version").read_text().split("x86_64")[1].split()[0]
    except OSError:
        sys.exit("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
    names = json.loads((ROOT / "standin/names.json").read_text())
    gpus = [values(i, g, driver) for i, g in enumerate(g for g in names.values() if g["vendor"] == "nvidia")]
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in sys.argv[1:])
    if "query-gpu" not in options:
        print(f"| NVIDIA-SMI {driver}   Driver Version: {driver}   CUDA Version: 13.0 |")
        for gpu in gpus:
            print(f"| {gpu['index']}  {gpu['name']}  {gpu['memory.used']}MiB / {gpu['memory.total']}MiB |")
        return
    fields = options["query-gpu"].split(",")
    style = options.get("format", "csv").split(",")
    if "noheader" not in style:
        print(", ".join(fields))
    for gpu in gpus:
        print(", ".join(f"{gpu[field]}{'' if 'nounits' in style else UNITS.get(field, '')}" for field in fields))


if __name__ == "__main__":
    main()
