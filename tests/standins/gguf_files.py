# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of GGUF files, written by hand, so that every lie that a file can tell can be told."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

TENSOR_TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144)}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, bool):
        return struct.pack("<I?", 7, content)
    if isinstance(content, int):
        return struct.pack("<II", 4, content)
    if isinstance(content, float):
        return struct.pack("<If", 6, content)
    if isinstance(content, str):
        return struct.pack("<I", 8) + text(content)
    if content and isinstance(content[0], str):
        return struct.pack("<IIQ", 9, 8, len(content)) + b"".join(text(item) for item in content)
    if content and isinstance(content[0], bool):
        return struct.pack(f"<IIQ{len(content)}?", 9, 7, len(content), *content)
    return struct.pack(f"<IIQ{len(content)}I", 9, 4, len(content), *content)


def header(
    values: Mapping[str, Any],
    tensors: list[tuple[str, tuple[int, ...], str]] | None = None,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> tuple[bytes, int]:
    """The header up to the tensors' data, and the bytes that the data takes."""
    tensors = tensors or []
    numbers = counts or (len(tensors), len(values))
    content = b"GGUF" + struct.pack("<IQQ", version, *numbers)
    content += b"".join(text(key) + value(item) for key, item in values.items())
    offset = end = 0
    for name, shape, kind in tensors:
        number, block, size = TENSOR_TYPES[kind]
        content += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", number, offset)
        elements = 1
        for length in shape:
            elements *= length
        end = offset + elements // block * size
        offset = (end + 31) // 32 * 32
    return content + bytes(-len(content) % 32), end


def llama(
    layers: int = 4,
    width: int = 512,
    heads: int = 8,
    kv_heads: int = 2,
    words: int = 1000,
    tied: bool = False,
    **more: Any,
) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], str]]]:
    """What the header of a model of Llama's kind tells; `more` are other keys of its architecture."""
    architecture = more.pop("architecture", "llama")
    values = {
        "general.architecture": architecture,
        f"{architecture}.context_length": 32768,
        f"{architecture}.embedding_length": width,
        f"{architecture}.block_count": layers,
        f"{architecture}.feed_forward_length": 2 * width,
        f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": kv_heads,
        "tokenizer.ggml.tokens": [f"w{n}" for n in range(words)],
        **{f"{architecture}.{key.replace('__', '.')}": item for key, item in more.items()},
    }
    head = width // heads
    rows = kv_heads if isinstance(kv_heads, int) else max(kv_heads)
    tensors = [("token_embd.weight", (width, words), "F16"), ("output_norm.weight", (width,), "F32")]
    if not tied:
        tensors.append(("output.weight", (width, words), "F16"))
    for layer in range(layers):
        tensors += [
            (f"blk.{layer}.attn_norm.weight", (width,), "F32"),
            (f"blk.{layer}.attn_q.weight", (width, heads * head), "F16"),
            (f"blk.{layer}.attn_k.weight", (width, rows * head), "F16"),
            (f"blk.{layer}.attn_v.weight", (width, rows * head), "F16"),
            (f"blk.{layer}.attn_output.weight", (heads * head, width), "F16"),
            (f"blk.{layer}.ffn_norm.weight", (width,), "F32"),
            (f"blk.{layer}.ffn_gate.weight", (width, 2 * width), "F16"),
            (f"blk.{layer}.ffn_up.weight", (width, 2 * width), "F16"),
            (f"blk.{layer}.ffn_down.weight", (2 * width, width), "F16"),
        ]
    return values, tensors
