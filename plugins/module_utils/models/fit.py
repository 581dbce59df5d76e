# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a model takes in llama.cpp's server, told from its header alone.

Weights and KV cache are what llama.cpp allocates, to the byte; the compute buffer is a model of its graph allocator,
measured on real servers (docs/models.md) and meant to err upwards.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import (
    TENSOR_TYPES,
    Array,
    GgufError,
    Metadata,
)

MIB = 1 << 20
# Types that a KV cache may have (--cache-type-k).
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
# The server's --ubatch-size, and the multiple to which it rounds the cells of a cache.
UBATCH = 512
CELLS = 256
F32, F16 = 4, 2
# Of every so many layers one looks at everything and the others at a window (llama.cpp's src/models/*.cpp), for files
# that do not tell it themselves.
WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4, "llama4": 4}
# In whole vectors of the model's width for each token of a batch: the residual stream and its copies.
RESIDUAL_GPU, RESIDUAL_CPU = 4, 5
# The feed-forward part holds gate, up and their product at once.
FEED_FORWARD = 3


@dataclass(frozen=True)
class Use:
    """How the model is to be used: tokens of one request, requests at once, and how the cache is kept."""

    context: int
    parallel: int = 1
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: bool = True
    gpu: bool = True
    ubatch: int = UBATCH
    # Rows of logits for which the server makes room; builds before b9450 (May 2026) take the whole batch.
    logits: int | None = None


@dataclass(frozen=True)
class Need:
    """Bytes. `per_slot` is what one more request at a time would cost; the truth lies between `least` and `most`."""

    weights: int
    output: int
    layers: list[int]
    host: int
    kv: int
    compute: int
    total: int
    per_slot: int
    least: int
    most: int
    context: int
    parallel: int
    unsure: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def padded(count: int, multiple: int = CELLS) -> int:
    return (count + multiple - 1) // multiple * multiple


def row_bytes(kind: str, elements: int) -> int:
    """Bytes of so many elements of a cache type; a row that is no multiple of its block is refused by llama.cpp."""
    for label, block, size in TENSOR_TYPES.values():
        if label.lower() == kind:
            if elements % block:
                raise GgufError(
                    f"a cache of type {kind} needs rows of a multiple of {block}, this model's have {elements}"
                )
            return elements // block * size
    raise GgufError(f"{kind!r} is no type of a cache: use one of {', '.join(CACHE_TYPES)}")


def number(metadata: Metadata, key: str, default: int = 0) -> int:
    """A whole number of the architecture; of a list by layer the largest."""
    value = metadata.get(key, default)
    if isinstance(value, Array):
        value = max((item for item in value.items or [] if isinstance(item, int)), default=default)
    return max(value, 0) if isinstance(value, int) else default


def by_layer(metadata: Metadata, key: str, default: int) -> list[int]:
    """A number for each layer, from a list or from one number for all."""
    layers = number(metadata, "block_count")
    value = metadata.get(key, default)
    if isinstance(value, Array):
        items = [int(item) for item in value.items or []]
        return (items + [default] * layers)[:layers]
    return [value if isinstance(value, int) else default] * layers


def vocabulary(metadata: Metadata) -> int:
    tokens = metadata.values.get("tokenizer.ggml.tokens")
    return tokens.count if isinstance(tokens, Array) else number(metadata, "vocab_size")


class Shape:
    """The numbers of a model that decide how much it takes."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self.unsure: list[str] = []
        self.layers = number(metadata, "block_count")
        self.width = number(metadata, "embedding_length")
        if not 0 < self.layers <= 4096 or not 0 < self.width <= 1 << 20:
            raise GgufError(
                f"it does not tell its layers and width ({metadata.architecture}.block_count, "
                f"{metadata.architecture}.embedding_length): it is no language model"
            )
        self.heads = max(number(metadata, "attention.head_count"), 1)
        self.kv_heads = by_layer(metadata, "attention.head_count_kv", number(metadata, "attention.head_count"))
        head = self.width // self.heads
        self.key = number(metadata, "attention.key_length", head)
        self.value = number(metadata, "attention.value_length", head)
        self.window = number(metadata, "attention.sliding_window")
        self.experts = max(number(metadata, "expert_used_count"), 1)
        dense = number(metadata, "feed_forward_length", 4 * self.width)
        expert = number(metadata, "expert_feed_forward_length", dense if number(metadata, "expert_count") else 0)
        self.feed_forward = max(dense, expert * self.experts)
        self._look_for_the_unusual()

    def _look_for_the_unusual(self) -> None:
        if number(self.metadata, "attention.kv_lora_rank"):
            # Absorbed attention caches one compressed row for all heads; its values are a part of its keys.
            self.unsure.append("its attention is compressed (MLA)")
        if self.recurrent_bytes():
            self.unsure.append("it has recurrent layers")
        if number(self.metadata, "expert_count"):
            self.unsure.append("it is a mixture of experts")
        if self.window and not self.windowed() and self.metadata.architecture not in WINDOW_PATTERNS:
            self.unsure.append("which of its layers have a sliding window is not told")

    def cached(self) -> list[int]:
        """Layers that have a cache of their own."""
        shared = number(self.metadata, "attention.shared_kv_layers")
        interval = number(self.metadata, "full_attention_interval")
        return [
            layer
            for layer in range(self.layers - shared)
            if self.kv_heads[layer] > 0 and not (interval and (layer + 1) % interval) and not self.only_recurrent()
        ]

    def windowed(self) -> set[int]:
        """Layers that see no further back than the sliding window."""
        told = self.metadata.get("attention.sliding_window_pattern")
        if not self.window:
            return set()
        if isinstance(told, Array) and told.items:
            return {layer for layer, windowed in enumerate(told.items[: self.layers]) if windowed}
        every = told if isinstance(told, int) and told > 0 else WINDOW_PATTERNS.get(self.metadata.architecture, 0)
        return {layer for layer in range(self.layers) if every and layer % every < every - 1}

    def only_recurrent(self) -> bool:
        return bool(number(self.metadata, "ssm.state_size")) and not number(self.metadata, "attention.head_count")

    def recurrent_bytes(self) -> int:
        """State of one request in all recurrent layers (Mamba's and its kin); it does not grow with the context."""
        inner, state = number(self.metadata, "ssm.inner_size"), number(self.metadata, "ssm.state_size")
        if not inner or not state:
            return 0
        groups, width = number(self.metadata, "ssm.group_count"), number(self.metadata, "ssm.conv_kernel", 1)
        convolution = (width - 1) * (inner + 2 * groups * state)
        count = self.layers - len(self.cached())
        return (convolution + state * inner) * F32 * count


def weights(metadata: Metadata, gpu: bool) -> tuple[list[int], int, int]:
    """Bytes of each layer, of the output, and of what stays in the memory of the host beside a GPU."""
    layers = [0] * max(number(metadata, "block_count"), 0)
    output = embedding = 0
    has_output = False
    for tensor in metadata.tensors:
        block = re.match(r"blk\.(\d+)\.", tensor.name)
        if block and int(block[1]) < len(layers):
            layers[int(block[1])] += tensor.bytes
        elif tensor.name.startswith("token_embd.") and not block:
            embedding += tensor.bytes
        else:
            output += tensor.bytes
            has_output = has_output or tensor.name == "output.weight"
    if not gpu:
        return layers, output + embedding, 0
    # The embeddings are looked up by the processor; where they are the output matrix, too, the GPU has a copy.
    return layers, output if has_output else output + embedding, embedding


def cells_by_layer(shape: Shape, use: Use) -> dict[int, int]:
    """For each layer with a cache: cells of all requests together."""
    full = padded(use.context)
    windowed = padded(min(full, shape.window + use.ubatch))
    some = shape.windowed()
    return {layer: (windowed if layer in some else full) * use.parallel for layer in shape.cached()}


def kv_bytes(shape: Shape, use: Use) -> int:
    total = shape.recurrent_bytes() * use.parallel
    for layer, cells in cells_by_layer(shape, use).items():
        heads = shape.kv_heads[layer]
        total += cells * row_bytes(use.cache_type_k, shape.key * heads)
        total += cells * row_bytes(use.cache_type_v, shape.value * heads)
    return total


def compute_bytes(shape: Shape, use: Use) -> int:
    """The buffer in which a batch is computed."""
    # A batch is shared out among the requests, so that one request's cells count.
    sizes = {cells // use.parallel for cells in cells_by_layer(shape, use).values()} or {0}
    residual = (RESIDUAL_GPU if use.gpu else RESIDUAL_CPU) * shape.width
    activations = use.ubatch * F32 * (residual + FEED_FORWARD * shape.feed_forward)
    if use.flash_attention:
        attention = sum(sizes) * use.ubatch * F16
    else:
        attention = (max(sizes) * shape.heads + sum(sizes)) * use.ubatch * F32
    logits = vocabulary(shape.metadata) * F32 * (use.logits or use.parallel)
    return activations + attention + logits


def estimate(metadata: Metadata, use: Use) -> Need:
    """What the model takes on the device, used so; raises GgufError where it cannot be used so."""
    shape = Shape(metadata)
    layers, output, host = weights(metadata, use.gpu)
    kv, compute = kv_bytes(shape, use), compute_bytes(shape, use)
    total = sum(layers) + output + kv + compute
    # What was measured lies within a third of the compute buffer; the unusual has more ways to differ.
    band = compute // 3 + (kv // 4 + total // 50 if shape.unsure else 0)
    return Need(
        weights=sum(layers) + output,
        output=output,
        layers=layers,
        host=host,
        kv=kv,
        compute=compute,
        total=total,
        per_slot=kv // use.parallel,
        least=total - band,
        most=total + (band if shape.unsure else compute // 10),
        context=use.context,
        parallel=use.parallel,
        unsure=shape.unsure,
    )


def trained_context(metadata: Metadata) -> int:
    return number(metadata, "context_length") or 4096


def largest_context(metadata: Metadata, use: Use, available: int) -> int:
    """Tokens, a multiple of 256 and no more than the model was trained for; 0 if not even 256 fit."""
    low, high = 0, max(trained_context(metadata) // CELLS, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate(metadata, _with(use, context=middle * CELLS)).total <= available:
            low = middle
        else:
            high = middle - 1
    return low * CELLS


def sensible_parallel(metadata: Metadata, use: Use, available: int, most: int = 8) -> int:
    """Requests at once for which a context each fits; 0 if it does not fit even once."""
    fitting = [n for n in range(1, most + 1) if estimate(metadata, _with(use, parallel=n)).total <= available]
    return max(fitting, default=0)


def _with(use: Use, **changes: int) -> Use:
    return Use(**{**asdict(use), **changes})
