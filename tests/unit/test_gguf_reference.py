# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our reader of GGUF headers against llama.cpp's own Python package, which targets need not have."""

from __future__ import annotations

from pathlib import Path

import numpy
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import TENSOR_TYPES, Array, read_file
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType


def test_what_the_reference_implementation_writes(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "qwen3")
    writer.add_block_count(2)
    writer.add_head_count_kv([1, 0])
    writer.add_token_list(["a"] * 5000)
    writer.add_token_scores([0.0] * 5000)
    writer.add_tensor("a", numpy.zeros((3, 5), dtype=numpy.float32))
    writer.add_tensor("b", numpy.zeros((4, 64), dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_file(str(tmp_path / "m.gguf"))
    assert found.get("block_count") == 2
    assert found.get("attention.head_count_kv") == Array(2, [1, 0])
    assert found.values["tokenizer.ggml.scores"] == Array(5000, None)
    assert [(t.name, t.shape, t.bytes) for t in found.tensors] == [("a", (5, 3), 60), ("b", (64, 4), 512)]
    assert found.file_bytes <= (tmp_path / "m.gguf").stat().st_size < found.file_bytes + 32


def test_sizes_of_tensor_types_are_those_of_the_reference_implementation() -> None:
    known = {int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    assert {kind: TENSOR_TYPES[kind] for kind in known} == known
