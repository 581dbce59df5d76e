# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a GGUF file, versions 2 and 3: metadata and where each tensor lies.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Nothing of the tensors is read, and nothing is
believed before it is checked: the file may come from anywhere and may be cut.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import Any, Protocol

MAGIC = b"GGUF"
# No model comes near these; a file that does is damaged or hostile.
MOST_HEADER_BYTES = 128 << 20
MOST_ENTRIES = 1 << 16
MOST_KEY_BYTES = 1 << 16
MOST_ARRAY_ITEMS = 1 << 24
MOST_DIMENSIONS = 4
# Longer arrays (the tokens) are counted and not kept.
KEPT_ITEMS = 4096

STRING, ARRAY = 8, 9
# Value type: the format of struct. Booleans are bytes of 0 or 1.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Tensor type: name, elements of a block, bytes of a block (ggml_type and its traits).
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


class GgufError(Exception):
    """The file cannot be used as a model; the message says what is wrong with it."""


class Stream(Protocol):
    """Anything with bytes to read in order: a file, an HTTP answer."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


@dataclass(frozen=True)
class Array:
    """An array of the metadata. Of long ones and of strings only the number of items is kept."""

    count: int
    items: list[Any] | None


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: str
    bytes: int
    offset: int


@dataclass
class Metadata:
    version: int
    values: dict[str, Any] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    # Where the header ends, and what a whole file has at least.
    header_bytes: int = 0
    file_bytes: int = 0

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture") or "")

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the model's architecture, such as attention.head_count."""
        return self.values.get(f"{self.architecture}.{key}", default)

    @property
    def parts(self) -> int:
        """Into how many files the model is split; one for nearly all."""
        count = self.values.get("split.count")
        return count if isinstance(count, int) and count > 0 else 1


class _Reader:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.position = 0

    def take(self, count: int) -> bytes:
        if self.position + count > MOST_HEADER_BYTES:
            raise GgufError(f"its header is larger than {MOST_HEADER_BYTES >> 20} MiB, which no model's is")
        pieces, missing = [], count
        while missing:
            piece = self.stream.read(missing)
            if not piece:
                raise GgufError(f"it is cut: it ends after {self.position + count - missing} bytes, inside the header")
            pieces.append(piece)
            missing -= len(piece)
        self.position += count
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def number(self, layout: str) -> Any:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))[0]

    def count(self, what: str, most: int) -> int:
        found = int(self.number("Q"))
        if found > most:
            raise GgufError(f"it claims {found} {what}, which no model has")
        return found

    def text(self, what: str, most: int = MOST_HEADER_BYTES) -> str:
        return self.take(self.count(f"bytes of a {what}", most)).decode("utf-8", "replace")

    def value(self, key: str) -> Any:
        kind = self.number("I")
        if kind == STRING:
            return self.text("text")
        if kind == ARRAY:
            return self.array(key)
        return self.number(self.layout(kind, key))

    @staticmethod
    def layout(kind: int, key: str) -> str:
        if kind not in SCALARS:
            raise GgufError(f"{key!r} has a value of the unknown type {kind}")
        return SCALARS[kind]

    def array(self, key: str) -> Array:
        kind = self.number("I")
        count = self.count(f"items of {key!r}", MOST_ARRAY_ITEMS)
        if kind == STRING:
            for _item in range(count):
                self.take(self.count("bytes of a text", MOST_HEADER_BYTES))
            return Array(count, None)
        layout = self.layout(kind, key)
        content = self.take(count * struct.calcsize("<" + layout))
        return Array(count, list(struct.unpack(f"<{count}{layout}", content)) if count <= KEPT_ITEMS else None)

    def tensor(self) -> Tensor:
        name = self.text("tensor's name", MOST_KEY_BYTES)
        dimensions = self.number("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise GgufError(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(int(self.number("Q")) for _dimension in range(dimensions))
        kind, offset = self.number("I"), int(self.number("Q"))
        if kind not in TENSOR_TYPES:
            raise GgufError(f"tensor {name!r} has the unknown type {kind}: this Lamplighter does not know it yet")
        label, block, size = TENSOR_TYPES[kind]
        elements = 1
        for length in shape:
            elements *= length
        if not 0 < elements < 1 << 48 or shape[0] % block:
            raise GgufError(f"tensor {name!r} of type {label} has the impossible shape {shape}")
        return Tensor(name, shape, label, elements // block * size, offset)


def _check_begin(reader: _Reader) -> int:
    magic = reader.take(4)
    if magic != MAGIC:
        raise GgufError(f"it is not a GGUF file: it begins with {magic!r}")
    version = int(reader.number("I"))
    if version not in (2, 3):
        if struct.unpack(">I", struct.pack("<I", version))[0] in (2, 3):
            raise GgufError("it is a GGUF file for machines of the other byte order")
        raise GgufError(f"it is of GGUF version {version}: 2 and 3 are supported")
    return version


def _aligned(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _end_of(tensors: list[Tensor], start: int, alignment: int) -> int:
    """Where the last tensor ends. Tensors follow each other without gaps, in the order of their list."""
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            raise GgufError(f"tensor {tensor.name!r} begins at {tensor.offset} instead of {expected}")
        expected = _aligned(expected + tensor.bytes, alignment)
    return start + (tensors[-1].offset + tensors[-1].bytes if tensors else 0)


def read_metadata(stream: Stream, size: int | None = None) -> Metadata:
    """The header; raises GgufError for anything else. With the file's size, a cut file is an error, too."""
    reader = _Reader(stream)
    try:
        metadata = Metadata(_check_begin(reader))
        tensors = reader.count("tensors", MOST_ENTRIES)
        for _entry in range(reader.count("metadata entries", MOST_ENTRIES)):
            key = reader.text("key", MOST_KEY_BYTES)
            if key in metadata.values:
                raise GgufError(f"it has {key!r} twice")
            metadata.values[key] = reader.value(key)
        metadata.tensors = [reader.tensor() for _tensor in range(tensors)]
    except struct.error as error:
        raise GgufError(f"its header cannot be read: {error}") from error
    if len({tensor.name for tensor in metadata.tensors}) < tensors:
        raise GgufError("it has a tensor twice")
    if not metadata.architecture:
        raise GgufError("it has no general.architecture")
    alignment = metadata.values.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise GgufError(f"its general.alignment is {alignment!r}, which is no power of two")
    metadata.header_bytes = _aligned(reader.position, alignment)
    metadata.file_bytes = _end_of(metadata.tensors, metadata.header_bytes, alignment)
    if size is not None and size < metadata.file_bytes:
        raise GgufError(f"it is cut: it has {size} bytes of {metadata.file_bytes}")
    return metadata


def read_file(path: str) -> Metadata:
    with open(path, "rb") as stream:
        return read_metadata(stream, os.fstat(stream.fileno()).st_size)
