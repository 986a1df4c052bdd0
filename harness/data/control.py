"""A control source: made-up text whose entropy is known, so that a loss below it can only be a leak.

A Markov chain over a few tokens. Every token is followed by one of four others with the same probabilities, so each
step, whatever came before, has the same entropy: -sum p ln p nats. No honest model can score below that but by luck,
which is bounded by the spread of -ln p over the tokens that are scored.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.cache import build_once
from harness.data.corpus import SPLITS
from harness.data.prepare import PreparedData
from harness.data.shards import SHARD_TOKENS, ShardWriter
from harness.tracks import TextTrack

STATES = 64  # tokens that occur
BRANCHES = (0.5, 0.25, 0.15, 0.1)  # probabilities of what may follow
ENTROPY = -sum(p * math.log(p) for p in BRANCHES)  # nats per token
SPREAD = math.sqrt(sum(p * math.log(p) ** 2 for p in BRANCHES) - ENTROPY**2)  # sd of -ln p of one token
LUCK = 4.0  # standard errors
TOKENS = {"train": 1 << 18, "validation": 1 << 15, "test": 1 << 15}


def floor(tokens: int) -> float:
    """The least loss, in nats per token, that luck explains over so many scored tokens."""
    return ENTROPY - LUCK * SPREAD / math.sqrt(tokens)


def walk(count: int, vocab_size: int, seed: int) -> NDArray[np.uint16]:
    """`count` tokens of the source; the chain is the same for every seed, the walk on it another."""
    fixed = np.random.Generator(np.random.PCG64(0))
    tokens = fixed.permutation(vocab_size)[:STATES]
    following = np.stack([fixed.permutation(STATES)[: len(BRANCHES)] for _ in range(STATES)])  # (STATES, branches)
    draws = np.random.Generator(np.random.PCG64(seed)).choice(len(BRANCHES), size=count, p=BRANCHES)
    states = np.empty(count, np.int64)
    state = 0
    for i, draw in enumerate(draws.tolist()):
        state = int(following[state, draw])
        states[i] = state
    found: NDArray[np.uint16] = tokens[states].astype(np.uint16)
    return found


def prepare_control(track: TextTrack) -> PreparedData:
    """The control source in the vocabulary of a track, from the cache or made now."""

    def build(folder: Path) -> None:
        for place, split in enumerate(SPLITS):
            writer = ShardWriter(folder, split, SHARD_TOKENS)
            writer.add(walk(TOKENS[split], track.vocab_size, seed=place + 1))
            writer.close()

    name = f"control-{track.vocab_size}-{STATES}-{BRANCHES}-{sorted(TOKENS.items())}"
    folder = build_once(f"control-{hashlib.sha256(name.encode()).hexdigest()[:16]}", build, lambda line: None)
    return PreparedData(
        folder=folder,
        data_id=hashlib.sha256(name.encode()).hexdigest(),
        source="control",
        tokenizer=None,
        vocab_size=track.vocab_size,
        tokens=TOKENS,
        documents=dict.fromkeys(TOKENS, 1),
        shards=dict.fromkeys(TOKENS, 1),
        overlap={},
        overlap_unit="tokens",
        repeated=0,
        dropped=0,
    )
