# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a tiny model that a real engine loads and generates from: its weights are noise, its format is not.

usage: make_model.py FILE [--layers 4] [--width 64] [--heads 4] [--kv-heads 2] [--words 64] [--context 4096] [--f16]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

BYTES = 256
SPECIAL = ["<unk>", "<s>", "</s>"]


def write(
    path: Path, layers: int, width: int, heads: int, kv_heads: int, words: int, context: int, f16: bool, name: str
) -> None:
    random = numpy.random.default_rng(1)
    feed_forward = 2 * width
    head = width // heads
    # Every byte is a token, so that any text can be tokenized; the rest are words.
    tokens = SPECIAL + [f"<0x{byte:02X}>" for byte in range(BYTES)] + [f"\u2581w{number}" for number in range(words)]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * BYTES + [TokenType.NORMAL] * words

    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if f16 else LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    def matrix(tensor: str, rows: int, columns: int) -> None:
        values = random.standard_normal((rows, columns), dtype=numpy.float32) * numpy.float32(columns**-0.5)
        writer.add_tensor(
            tensor,
            values.astype(numpy.float16) if f16 else values,
            raw_dtype=GGMLQuantizationType.F16 if f16 else None,
        )

    def norm(tensor: str) -> None:
        writer.add_tensor(tensor, numpy.ones(width, dtype=numpy.float32))

    matrix("token_embd.weight", len(tokens), width)
    norm("output_norm.weight")
    matrix("output.weight", len(tokens), width)
    for layer in range(layers):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        matrix(f"{block}.attn_q.weight", width, width)
        matrix(f"{block}.attn_k.weight", kv_heads * head, width)
        matrix(f"{block}.attn_v.weight", kv_heads * head, width)
        matrix(f"{block}.attn_output.weight", width, width)
        norm(f"{block}.ffn_norm.weight")
        matrix(f"{block}.ffn_gate.weight", feed_forward, width)
        matrix(f"{block}.ffn_up.weight", feed_forward, width)
        matrix(f"{block}.ffn_down.weight", width, feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("path", type=Path)
    for option, default in {"layers": 4, "width": 64, "heads": 4, "kv-heads": 2, "words": 64, "context": 4096}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--f16", action="store_true")
    parser.add_argument("--name", default="toy")
    write(**vars(parser.parse_args()))
