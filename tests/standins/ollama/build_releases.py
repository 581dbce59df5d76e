# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the stand-in into release archives with the names and the layout of Ollama's own.

usage: build_releases.py FOLDER VERSION,...

Writes ollama-linux-amd64.tar.zst, ollama-linux-amd64-rocm.tar.zst and sha256sum.txt into FOLDER/v<version>, for the
versions that are missing or were packed from other sources, and says "packed" for each.
"""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ENGINE = Path(__file__).parent / "engine"
KERNELS = (
    "gfx908",
    "gfx90a",
    "gfx942",
    "gfx950",
    "gfx1030",
    "gfx1100",
    "gfx1101",
    "gfx1102",
    "gfx1150",
    "gfx1151",
    "gfx1200",
    "gfx1201",
)
# rocBLAS's files come from the ROCm image and cover more than the kernels do: such a card passes discovery and dies at
# its first load.
ROCBLAS_ONLY = ("gfx1010", "gfx1012")
LIBRARIES = {
    "lib/ollama/libggml-base.so": 1,
    "lib/ollama/libggml-cpu-x64.so": 1,
    "lib/ollama/libggml-cpu-haswell.so": 1,
    "lib/ollama/libggml-cpu-icelake.so": 1,
    "lib/ollama/vulkan/libggml-vulkan.so": 2,
    "lib/ollama/cuda_v12/libggml-cuda.so": 4,
    "lib/ollama/cuda_v13/libggml-cuda.so": 4,
}
MIB = 1024 * 1024


def program(version: str) -> bytes:
    """A zip application: Python runs it by its first line, from any folder."""
    content = io.BytesIO()
    content.write(b"#!/usr/bin/python3\n")
    main = (
        "import sys\nfrom pathlib import Path\nfrom engine.cli import main\n"
        f"main(Path(sys.argv[0]), {version!r})\n"
    )  # fmt: skip
    with zipfile.ZipFile(content, "a") as archive:
        files = {
            "__main__.py": main,
            **{f"engine/{file.name}": file.read_text() for file in sorted(ENGINE.glob("*.py"))},
        }
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()


def noise(name: str, megabytes: int) -> bytes:
    """The same incompressible bytes each time, so that the archives have a size worth downloading."""
    return f"stand-in for {name}\n".encode() + random.Random(name).randbytes(megabytes * MIB)


def base_files(version: str) -> dict[str, bytes]:
    files = {"bin/ollama": program(version), "lib/ollama/llama-server": program(version)}
    return files | {name: noise(name, size) for name, size in LIBRARIES.items()}


def rocm_files() -> dict[str, bytes]:
    folder = "lib/ollama/rocm_v7_2"
    code_objects = "".join(f"hipv4-amdgcn-amd-amdhsa--{gfx}\0" for gfx in KERNELS).encode()
    files = {
        f"{folder}/libggml-hip.so": code_objects + noise("hip", 4).replace(b"gfx", b"___"),
        f"{folder}/librocblas.so.5": noise("rocblas", 1),
        f"{folder}/rocblas/library/TensileManifest.txt": b"",
    }
    for gfx in (*KERNELS, *ROCBLAS_ONLY):
        files[f"{folder}/rocblas/library/TensileLibrary_lazy_{gfx}.dat"] = gfx.encode()
    return files


def archive(files: dict[str, bytes]) -> bytes:
    """A reproducible tar, packed by the machine's zstd."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        folders = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
        for name in [*folders, *files]:
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            if name in folders:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.mode = 0o755 if name.endswith(("/ollama", "/llama-server")) else 0o644
                member.size = len(files[name])
                tar.addfile(member, io.BytesIO(files[name]))
    return subprocess.run(["zstd", "--quiet", "-1"], input=content.getvalue(), capture_output=True, check=True).stdout


def pack(folder: Path, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    archives = {
        "ollama-linux-amd64.tar.zst": archive(base_files(version)),
        "ollama-linux-amd64-rocm.tar.zst": archive(rocm_files()),
    }
    for name, content in archives.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  ./{name}\n" for name, content in archives.items())
    (folder / "sha256sum.txt").write_text(sums)


def main() -> None:
    root = Path(sys.argv[1])
    sources = b"".join(file.read_bytes() for file in [Path(__file__), *sorted(ENGINE.glob("*.py"))])
    for version in sys.argv[2].split(","):
        made_from = root / f".{version}.made-from"
        key = hashlib.sha256(sources).hexdigest()
        if not made_from.exists() or made_from.read_text() != key:
            pack(root / f"v{version}", version)
            made_from.write_text(key)
            print(f"packed {version}")


if __name__ == "__main__":
    main()
