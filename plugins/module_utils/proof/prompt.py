# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A prompt that no cache has seen: a cached one makes speeds absurd and skips the code that fails."""

from __future__ import annotations

import random

# Short common words are one token each for the usual tokenizers, never less than one.
COMMON = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power hour
game line end member law car city community name president team minute idea kid body information back parent face others
level office door health person art war history party result change morning reason research girl guy moment air teacher
"""
WORDS = COMMON.split()


def unique_prompt(tokens: int, random_source: random.Random) -> str:
    """At least `tokens` tokens, different from the first word on."""
    words = [f"{random_source.getrandbits(64):x}", *random_source.choices(WORDS, k=tokens)]
    return " ".join(words) + "\nOnce upon a time there was a lamplighter who"


def context_length(prompt_tokens: int, predict_tokens: int) -> int:
    """Room for the prompt under a tokenizer that needs six tokens for a word, as a power of two."""
    return 1 << (6 * prompt_tokens + predict_tokens - 1).bit_length()
