# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import struct

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import (
    Array,
    GgufError,
    read_metadata,
)
from hypothesis import example, given
from hypothesis import strategies as st

from tests.standins.gguf_files import header, llama, text, value

NAME = {"general.architecture": "llama"}
TENSOR = [("a.weight", (32,), "F32"), ("b.weight", (256, 2), "Q4_K")]
GOOD, DATA = header(NAME, TENSOR)


class Dripping(io.BytesIO):
    """A stream that gives less than it is asked for, as a socket does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 3))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("stream", [io.BytesIO, Dripping])
def test_read(version: int, stream: type[io.BytesIO]) -> None:
    content, data = header({**NAME, "n": 7, "f": 0.5, "b": True, "l": [1, 2], "s": ["x", "y"]}, TENSOR, version)
    found = read_metadata(stream(content + bytes(data)), len(content) + data)
    assert found.version == version
    assert found.architecture == "llama"
    assert [found.values[key] for key in "nfbls"] == [7, 0.5, True, Array(2, [1, 2]), Array(2, None)]
    assert [(t.name, t.shape, t.kind, t.bytes, t.offset) for t in found.tensors] == [
        ("a.weight", (32,), "F32", 128, 0),
        ("b.weight", (256, 2), "Q4_K", 288, 128),
    ]
    assert (found.header_bytes, found.file_bytes) == (len(content), len(content) + 416)


def test_no_more_than_the_header_is_read() -> None:
    stream = io.BytesIO(GOOD + bytes(DATA))
    found = read_metadata(stream)
    assert stream.tell() <= found.header_bytes


def entry(key: str, content: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(key) + content


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    named = text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", kind, offset)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("general.architecture") + value("llama") + named


REFUSED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "it is cut: it ends after 0 bytes"),
    ("a web page", b"<html>404", "not a GGUF file: it begins with b'<htm'"),
    ("magic alone", b"GGUF", "it is cut"),
    ("version 1", b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1: 2 and 3 are supported"),
    ("version 4", b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4"),
    ("big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "the other byte order"),
    ("tensors", header(NAME, counts=(1 << 40, 1))[0], "1099511627776 tensors, which no model has"),
    ("entries", header(NAME, counts=(0, 1 << 60))[0], "metadata entries, which no model has"),
    ("missing entries", header(NAME, counts=(0, 2))[0].rstrip(b"\0"), "it is cut"),
    ("a long key", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 40), "bytes of a key, which no model has"),
    ("a long text", entry("k", struct.pack("<IQ", 8, 1 << 62)), "bytes of a text, which no model has"),
    ("a header of gigabytes", entry("k", struct.pack("<IQ", 8, (128 << 20) - 8)), "larger than 128 MiB"),
    ("a long list", entry("k", struct.pack("<IIQ", 9, 4, 1 << 50)), "items of 'k', which no model has"),
    ("a list of lists", entry("k", struct.pack("<IIQ", 9, 9, 1)), "unknown type 9"),
    ("an unknown value", entry("k", struct.pack("<I", 13)), "'k' has a value of the unknown type 13"),
    ("no architecture", header({"k": 1})[0], "no general.architecture"),
    ("an odd alignment", header({**NAME, "general.alignment": 3})[0], "power of two"),
    ("no alignment", header({**NAME, "general.alignment": 0})[0], "power of two"),
    ("no dimensions", tensor("t", (), 0, 0), "'t' has 0 dimensions"),
    ("five dimensions", tensor("t", (1, 1, 1, 1, 1), 0, 0), "'t' has 5 dimensions"),
    ("an empty dimension", tensor("t", (0,), 0, 0), "impossible shape"),
    ("an endless tensor", tensor("t", (1 << 32, 1 << 32), 0, 0), "impossible shape"),
    ("half a block", tensor("t", (100,), 12, 0), "impossible shape"),
    ("an unknown tensor type", tensor("t", (32,), 200, 0), "unknown type 200"),
    ("a gap", tensor("t", (32,), 0, 32), "begins at 32 instead of 0"),
    ("a tensor twice", header(NAME, [TENSOR[0], TENSOR[0]])[0], "a tensor twice"),
    ("a key twice", b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (text("k") + value(1)) * 2, "'k' twice"),
]


@pytest.mark.parametrize(("content", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_model_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(GgufError, match=message):
        read_metadata(io.BytesIO(content))


def test_a_cut_file_is_told_from_a_whole_one() -> None:
    read_metadata(io.BytesIO(GOOD), len(GOOD) + DATA)
    with pytest.raises(GgufError, match=f"it is cut: it has {len(GOOD) + DATA - 1} bytes of {len(GOOD) + DATA}"):
        read_metadata(io.BytesIO(GOOD), len(GOOD) + DATA - 1)


@given(st.integers(0, len(GOOD) - 1))
def test_a_header_cut_anywhere_is_refused(length: int) -> None:
    if length >= read_metadata(io.BytesIO(GOOD)).header_bytes - 31:
        return  # only the padding is missing, and the size tells that
    with pytest.raises(GgufError):
        read_metadata(io.BytesIO(GOOD[:length]))


@given(st.binary(max_size=200), st.booleans())
@example(GOOD[4:], True)
def test_any_bytes_are_read_or_refused(content: bytes, magic: bool) -> None:
    try:
        read_metadata(io.BytesIO(b"GGUF" * magic + content), 100)
    except GgufError:
        return


@given(st.data())
def test_a_damaged_header_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(header(*llama(layers=1, words=3))[0])
    for _time in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_metadata(io.BytesIO(bytes(content)), len(content))
    except GgufError:
        return


@given(
    st.dictionaries(st.text(max_size=20), st.one_of(st.integers(0, 2**32 - 1), st.booleans(), st.text(max_size=50))),
)
def test_what_is_written_is_read(values: dict[str, int | bool | str]) -> None:
    values = {**values, **NAME}
    values.pop("general.alignment", None)
    assert read_metadata(io.BytesIO(header(values)[0])).values == values
