"""Serves prepared tokens: the training stream of a seed, counted to the token, and the held-out rows to score."""

from __future__ import annotations

import numpy as np

from harness.data.prepare import PreparedData
from harness.data.shards import read_shard
from harness.errors import UsageError


def check_budget(prepared: PreparedData, budget_tokens: int, epochs: int) -> None:
    """Raises UsageError when the budget needs more passes than `epochs`."""
    available = prepared.tokens["train"] * epochs - 1  # the last token has no successor to predict
    if budget_tokens > available:
        raise UsageError(
            "--budget",
            f"{budget_tokens:,} training tokens, but {epochs} pass(es) over {prepared.source} give {available:,}",
            "choose a smaller budget, more data with --data, or allow more passes with --epochs",
        )


class TokenStream:
    """The train split in the order of a seed, cut one row after the other from a budget of tokens.

    Shards are shuffled, and within each shard its blocks of `block_tokens` (the documents stand in a fixed order and
    are cut without regard to where they end). Whole documents in random order would make an update of a small model
    one document long, and its gradient that of one topic: on llm-tiny at smoke, runs of different seeds then scatter
    by 0.11 nat instead of 0.006. The shuffled blocks are joined into one stream s[0], s[1], ... A row of T predictions
    is T + 1 tokens and shares one with the next row: row i of a batch that starts at token n is
    s[n + iT : n + iT + T + 1]. So the order does not depend on the shape of the batches, and each token is an input
    once per pass. One shard is in memory at a time.

    `block_tokens` belongs to the track (the length of its scored rows), so both arms of a pair read the same order.
    Raises UsageError when the budget needs more passes than `epochs`.
    """

    def __init__(
        self, prepared: PreparedData, seed: int, budget_tokens: int, block_tokens: int, epochs: int = 1
    ) -> None:
        self.prepared = prepared
        self.seed = seed
        self.budget_tokens = budget_tokens
        self.block_tokens = block_tokens
        self.served = 0  # tokens so far: rows x tokens of every `take`
        check_budget(prepared, budget_tokens, epochs)
        self._epoch = 0
        self._queue: list[int] = []  # shards of this epoch that are still to come, next one last
        self._shard = np.empty(0, np.uint16)  # shuffled tokens of the shard being served
        self._position = 0  # in `_shard`
        self._last = np.empty(0, np.uint16)  # the token that the next row shares with the row before it

    @property
    def unique_tokens(self) -> int:
        """Different train tokens within the budget; below `budget_tokens` when there is more than one pass."""
        return min(self.budget_tokens, self.prepared.tokens["train"])

    def take(self, rows: int, tokens: int) -> np.ndarray | None:
        """The next `rows` rows of `tokens` predictions, (rows, tokens + 1) uint16.

        None, and nothing served, when fewer than rows x tokens remain of the budget. Raises ValueError for an empty
        or negative shape, which would turn the meter back.
        """
        if rows < 1 or tokens < 1:
            raise ValueError(f"a batch of {rows} rows of {tokens} tokens")
        count = rows * tokens
        if self.served + count > self.budget_tokens:
            return None
        run = self._advance(count)  # (rows * tokens + 1,)
        batch = np.empty((rows, tokens + 1), np.uint16)
        batch[:, :-1] = run[:-1].reshape(rows, tokens)
        batch[:, -1] = run[tokens::tokens]
        self.served += count
        return batch

    def skip(self, tokens: int) -> None:
        """Serves this many to nobody: a run that is resumed has had them."""
        while tokens:
            part = min(tokens, 1 << 20)
            self._advance(part)
            self.served += part
            tokens -= part

    def _advance(self, count: int) -> np.ndarray:
        """The next `count` tokens and the one before them, (count + 1,)."""
        run = np.empty(count + 1, np.uint16)
        filled = len(self._last)
        run[:filled] = self._last
        while filled <= count:
            if self._position == len(self._shard):
                self._load_next_shard()
            part = self._shard[self._position : self._position + count + 1 - filled]
            run[filled : filled + len(part)] = part
            filled += len(part)
            self._position += len(part)
        self._last = run[-1:].copy()
        return run

    def _load_next_shard(self) -> None:
        if not self._queue:
            order = shuffled(self.prepared.shards["train"], self.seed, self._epoch)
            self._queue = [int(index) for index in order[::-1]]
            self._epoch += 1
        index = self._queue.pop()
        tokens = read_shard(self.prepared.folder, "train", index).tokens
        blocks = -(-len(tokens) // self.block_tokens)  # the last one may be shorter
        self._shard = _joined(tokens, self.block_tokens, shuffled(blocks, self.seed, self._epoch, index))
        self._position = 0


def held_out_rows(prepared: PreparedData, split: str, row_tokens: int, total_tokens: int) -> np.ndarray:
    """The first rows of a held-out split in stored order, (total_tokens // row_tokens, row_tokens + 1) uint16.

    Rows overlap by one token like those of the stream. Raises UsageError when the split is too short.
    """
    rows = total_tokens // row_tokens
    needed = rows * row_tokens + 1
    if needed > prepared.tokens[split]:
        raise UsageError(
            "--data",
            f"the {split} split of {prepared.source} holds {prepared.tokens[split]:,} tokens, scoring takes {needed:,}",
            "choose a smaller budget, or data with more held-out text",
        )
    parts: list[np.ndarray] = []
    for index in range(prepared.shards[split]):
        parts.append(read_shard(prepared.folder, split, index).tokens)
        if sum(map(len, parts)) >= needed:
            break
    run = np.concatenate(parts)[:needed]
    return np.lib.stride_tricks.sliding_window_view(run, row_tokens + 1)[::row_tokens].copy()


def shuffled(count: int, *key: int) -> np.ndarray:
    """A permutation of range(count) drawn from `key`; raw PCG64 output is the same in every version of numpy."""
    draws = np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)
    return np.argsort(draws, kind="stable")


def _joined(tokens: np.ndarray, block: int, order: np.ndarray) -> np.ndarray:
    """The blocks of `tokens` in `order`, one after the other."""
    return np.concatenate([tokens[place * block : (place + 1) * block] for place in order.tolist()])
