# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few GGUF facts that loading needs: architecture, layers, size of the weights."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"
STRING, ARRAY, UINT32, UINT64 = 8, 9, 4, 10
TRAINED_CONTEXT = 32768
FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# The stand-in's own key: how large the weights would be if the file were the real model's.
WEIGHTS = "standin.weights_bytes"


def read_string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode(errors="replace")


def read_value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return read_string(file)
    if kind == ARRAY:
        item, count = struct.unpack("<IQ", file.read(12))
        return [read_value(file, item) for _ in range(count)]
    layout = "<" + FIXED[kind]
    return struct.unpack(layout, file.read(struct.calcsize(layout)))[0]


def read(path: Path) -> dict[str, Any]:
    """The metadata of a GGUF file; raises ValueError for anything else."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise ValueError("invalid file magic")
        try:
            _version, _tensors, count = struct.unpack("<IQQ", file.read(20))
            metadata = {}
            for _ in range(count):
                name = read_string(file)
                (kind,) = struct.unpack("<I", file.read(4))
                metadata[name] = read_value(file, kind)
        except (struct.error, KeyError, OverflowError, MemoryError) as problem:
            raise ValueError(f"unexpected end or type: {problem}") from problem
    return metadata


def shape(path: Path) -> tuple[str, int, int]:
    """Architecture, number of blocks, bytes of the weights."""
    metadata = read(path)
    architecture = metadata.get("general.architecture", "llama")
    return architecture, metadata.get(f"{architecture}.block_count", 16), metadata.get(WEIGHTS, path.stat().st_size)


def trained_context(path: Path) -> int:
    metadata = read(path)
    return metadata.get(f"{metadata.get('general.architecture', 'llama')}.context_length", TRAINED_CONTEXT)


def write(path: Path, name: str, architecture: str, blocks: int, weights: int, padding: int) -> None:
    """A file that has the metadata of a model and noise for its tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text("general.architecture") + struct.pack("<I", STRING) + text(architecture),
        text("general.name") + struct.pack("<I", STRING) + text(name),
        text(f"{architecture}.block_count") + struct.pack("<II", UINT32, blocks),
        text(f"{architecture}.context_length") + struct.pack("<II", UINT32, TRAINED_CONTEXT),
        text(WEIGHTS) + struct.pack("<IQ", UINT64, weights),
    ]
    path.write_bytes(MAGIC + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries) + bytes(padding))
