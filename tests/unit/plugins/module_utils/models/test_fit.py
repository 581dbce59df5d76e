# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.fit import (
    MIB,
    Use,
    estimate,
    largest_context,
    sensible_parallel,
    trained_context,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import GgufError, Metadata, read_metadata
from hypothesis import given
from hypothesis import strategies as st

from tests.standins.gguf_files import header, llama


def model(**shape: Any) -> Metadata:
    return read_metadata(io.BytesIO(header(*llama(**shape))[0]))


LARGE: dict[str, Any] = {"layers": 12, "width": 512, "heads": 8, "kv_heads": 8, "words": 16259}
BIG: dict[str, Any] = {"layers": 16, "width": 1024, "heads": 16, "kv_heads": 4, "words": 32259}
VOCAB: dict[str, Any] = {"layers": 4, "width": 256, "heads": 4, "kv_heads": 1, "words": 64259}
WIDE: dict[str, Any] = {"layers": 4, "width": 768, "heads": 12, "kv_heads": 4, "words": 8259}
Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
# What llama-server 0.7.0 (build 11669) told it had allocated, in MiB: weights, KV cache, compute buffer.
ALLOCATED: list[tuple[dict[str, Any], Use, tuple[float, float, float]]] = [
    (LARGE, Use(1024), (75.93, 24.0, 9.01)),
    (LARGE, Use(16384), (75.93, 384.0, 24.01)),
    (LARGE, Use(4096, 4), (75.93, 384.0, 12.01)),
    (LARGE, Use(4096, **Q8), (75.93, 51.0, 14.04)),
    (LARGE, Use(4096, flash_attention=False), (75.93, 96.0, 79.01)),
    (LARGE, Use(4096, gpu=False), (91.8, 96.0, 15.02)),
    (LARGE, Use(16384, gpu=False, flash_attention=False), (91.8, 384.0, 296.01)),
    (BIG, Use(4096), (335.13, 64.0, 20.01)),
    (BIG, Use(4096, 4, gpu=False), (398.14, 256.0, 26.02)),
    (VOCAB, Use(16384), (35.64, 16.0, 20.01)),
    (VOCAB, Use(4096, 4), (35.64, 16.0, 8.01)),
    (WIDE, Use(4096, **Q8), (51.12, 8.5, 16.04)),
    (WIDE, Use(4096, gpu=False), (63.22, 16.0, 20.52)),
]


@pytest.mark.parametrize(("shape", "use", "allocated"), ALLOCATED)
def test_estimate_is_what_the_server_allocated(
    shape: dict[str, Any], use: Use, allocated: tuple[float, float, float]
) -> None:
    need = estimate(model(**shape), use)
    weights, kv, compute = (part * MIB for part in allocated)
    assert need.weights == pytest.approx(weights, abs=0.01 * MIB)
    assert need.kv == pytest.approx(kv, abs=0.01 * MIB)
    assert 0.995 * compute < need.compute < 1.3 * compute
    assert need.least <= weights + kv + compute <= need.most
    assert need.total == need.weights + need.kv + need.compute
    assert need.unsure == []


def test_parts() -> None:
    need = estimate(model(**LARGE), Use(4096, 4))
    assert need.weights == need.output + sum(need.layers)
    assert len(need.layers) == 12
    assert len(set(need.layers)) == 1
    assert need.host == 16259 * 512 * 2
    assert need.output == need.host + 512 * 4
    assert need.per_slot * 4 == need.kv
    assert need.as_dict()["context"] == 4096


def test_tied_embeddings_are_in_both_memories_beside_a_gpu() -> None:
    tied, own = model(tied=True), model()
    assert estimate(tied, Use(1024)).weights == estimate(own, Use(1024)).weights
    host = estimate(own, Use(1024)).host
    assert estimate(own, Use(1024, gpu=False)).weights - estimate(tied, Use(1024, gpu=False)).weights == host


# Cells times bytes of a cell and layer: 2 heads of 64 for keys and values at two bytes each.
CELL = 2 * 64 * 2 * 2
KV: list[tuple[dict[str, Any], Use, int]] = [
    ({}, Use(1000), 4 * 1024 * CELL),
    ({}, Use(1025), 4 * 1280 * CELL),
    ({}, Use(1024, 3), 3 * 4 * 1024 * CELL),
    ({"kv_heads": [2, 0, 2, 0]}, Use(1024), 2 * 1024 * CELL),
    ({"attention__key_length": 128}, Use(1024), 4 * 1024 * (128 + 64) * 2 * 2),
    ({}, Use(1024, cache_type_v="q4_0"), 4 * 1024 * (128 * 2 + 128 // 32 * 18)),
    # One layer of six sees everything; the others 512 tokens and the batch, never more than the context.
    ({"architecture": "gemma3", "layers": 6, "attention__sliding_window": 512}, Use(8192), (8192 + 5 * 1024) * CELL),
    ({"architecture": "gemma3", "layers": 6, "attention__sliding_window": 512}, Use(512), 6 * 512 * CELL),
    (
        {"attention__sliding_window": 256, "attention__sliding_window_pattern": [True, False, False, True]},
        Use(8192),
        (2 * 8192 + 2 * 768) * CELL,
    ),
    ({"attention__sliding_window": 256, "attention__sliding_window_pattern": 2}, Use(8192), 2 * (8192 + 768) * CELL),
    # Nobody tells which layers: all of them count in full.
    ({"architecture": "new", "attention__sliding_window": 256}, Use(8192), 4 * 8192 * CELL),
    ({"attention__shared_kv_layers": 1}, Use(1024), 3 * 1024 * CELL),
    # Hybrid: each fourth layer attends, three have a state of (4 - 1) * (64 + 2 * 16) + 16 * 64 numbers.
    (
        {
            "full_attention_interval": 4,
            "ssm__inner_size": 64,
            "ssm__state_size": 16,
            "ssm__conv_kernel": 4,
            "ssm__group_count": 1,
        },
        Use(1024, 2),
        2 * (1024 * CELL + 3 * 4 * (3 * 96 + 1024)),
    ),
]


@pytest.mark.parametrize(("shape", "use", "expected"), KV)
def test_kv_cache(shape: dict[str, Any], use: Use, expected: int) -> None:
    assert estimate(model(**shape), use).kv == expected


def test_a_purely_recurrent_model_has_no_cache_that_grows() -> None:
    mamba = model(heads=1, ssm__inner_size=64, ssm__state_size=16, ssm__conv_kernel=4)
    mamba.values["llama.attention.head_count"] = mamba.values["llama.attention.head_count_kv"] = 0
    assert estimate(mamba, Use(1024)).kv == estimate(mamba, Use(32768)).kv == 4 * 4 * (3 * 64 + 1024)


UNSURE: list[tuple[dict[str, Any], str]] = [
    ({"expert_count": 8, "expert_used_count": 2}, "mixture of experts"),
    ({"attention__kv_lora_rank": 512}, "MLA"),
    ({"full_attention_interval": 4, "ssm__inner_size": 64, "ssm__state_size": 16}, "recurrent"),
    ({"architecture": "new", "attention__sliding_window": 256}, "sliding window"),
]


@pytest.mark.parametrize(("shape", "word"), UNSURE)
def test_what_is_unusual_is_less_sure(shape: dict[str, Any], word: str) -> None:
    need = estimate(model(**shape), Use(4096))
    assert [word in reason for reason in need.unsure] == [True]
    assert need.most - need.total > need.total // 50


def test_experts_count_as_often_as_they_are_used() -> None:
    dense = estimate(model(), Use(1024)).compute
    sparse = estimate(model(expert_count=8, expert_used_count=2), Use(1024)).compute
    assert sparse - dense == 512 * 4 * 3 * 1024


def test_builds_that_compute_all_logits_need_room_for_them() -> None:
    one, all_of_them = estimate(model(), Use(1024)), estimate(model(), Use(1024, logits=512))
    assert all_of_them.compute - one.compute == 511 * 4 * 1000


REFUSED: list[tuple[dict[str, Any], Use, str]] = [
    ({"layers": 0}, Use(1024), "no language model"),
    ({}, Use(1024, cache_type_k="q3_0"), "'q3_0' is no type of a cache"),
    ({"kv_heads": 1, "heads": 32}, Use(1024, cache_type_k="q8_0"), "multiple of 32, this model's have 16"),
]


@pytest.mark.parametrize(("shape", "use", "message"), REFUSED)
def test_what_cannot_be_is_refused(shape: dict[str, Any], use: Use, message: str) -> None:
    with pytest.raises(GgufError, match=message):
        estimate(model(**shape), use)


def test_largest_context() -> None:
    one, use = model(), Use(0)
    limit = estimate(one, Use(8192)).total
    assert largest_context(one, use, limit) == 8192
    assert largest_context(one, use, limit - 1) == 8192 - 256
    assert largest_context(one, use, 1 << 50) == trained_context(one) == 32768
    assert largest_context(one, use, 1 << 20) == 0
    assert largest_context(one, Use(0, 2), limit) < 8192


def test_sensible_parallel() -> None:
    one, use = model(), Use(4096)
    assert sensible_parallel(one, use, estimate(one, Use(4096, 3)).total) == 3
    assert sensible_parallel(one, use, estimate(one, Use(4096, 3)).total - 1) == 2
    assert sensible_parallel(one, use, 1 << 50) == 8
    assert sensible_parallel(one, use, 1000) == 0


@given(st.integers(1, 200_000), st.integers(1, 16), st.booleans(), st.booleans())
def test_more_is_never_less(context: int, parallel: int, flash_attention: bool, gpu: bool) -> None:
    one = model(words=10)
    need = estimate(one, Use(context, parallel, flash_attention=flash_attention, gpu=gpu))
    assert 0 < need.least <= need.total <= need.most
    assert need.total <= estimate(one, Use(context + 1, parallel, flash_attention=flash_attention, gpu=gpu)).total
    assert need.total < estimate(one, Use(context, parallel + 1, flash_attention=flash_attention, gpu=gpu)).total


KEYS = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.shared_kv_layers",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_used_count",
    "feed_forward_length",
    "ssm.inner_size",
    "ssm.state_size",
]
ODD = st.one_of(
    st.integers(0, 2**32 - 1), st.text(max_size=3), st.booleans(), st.lists(st.integers(0, 100), min_size=1, max_size=8)
)


@given(st.dictionaries(st.sampled_from(KEYS), ODD))
def test_any_metadata_is_estimated_or_refused(values: dict[str, Any]) -> None:
    base: dict[str, Any] = {"block_count": 4, "embedding_length": 64, "attention.head_count": 4}
    content, _data = header({"general.architecture": "x", **{f"x.{key}": v for key, v in {**base, **values}.items()}})
    metadata = read_metadata(io.BytesIO(content))
    try:
        assert estimate(metadata, Use(4096)).total >= 0
        assert largest_context(metadata, Use(0), 1 << 30) >= 0
    except GgufError:
        return
