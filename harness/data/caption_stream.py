"""Serves captioned images: the training stream of a seed, counted in tokens, and the held-out rows to score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.captioned import PreparedCaptions, read_rows
from harness.data.passes import Passes
from harness.errors import UsageError


def check_caption_budget(prepared: PreparedCaptions, budget_tokens: int, row_tokens: int, epochs: int) -> None:
    """Raises UsageError when the budget needs more passes than `epochs`."""
    available = prepared.rows["train"] * row_tokens * epochs
    if budget_tokens > available:
        raise UsageError(
            "--budget",
            f"{budget_tokens:,} training tokens, but {epochs} pass(es) over {prepared.source} give {available:,}",
            "choose a smaller budget, more data with --data, or allow more passes with --epochs",
        )


class CaptionStream:
    """The train rows in the order of a seed, each counted as `row_tokens` tokens, whatever its caption.

    Raises UsageError when the budget needs more passes than `epochs`, MachineError when the rows cannot be read.
    """

    def __init__(
        self, prepared: PreparedCaptions, seed: int, budget_tokens: int, row_tokens: int, epochs: int = 1
    ) -> None:
        check_caption_budget(prepared, budget_tokens, row_tokens, epochs)
        self.budget_tokens = budget_tokens
        self.row_tokens = row_tokens
        self.served = 0  # tokens so far: rows of every `take` x row_tokens
        self._rows = read_rows(prepared, "train")  # (N, row_tokens)
        self._passes = Passes(len(self._rows), seed)

    @property
    def unique_tokens(self) -> int:
        """Tokens of different stored rows within the budget; below `budget_tokens` in more than one pass."""
        return min(self.budget_tokens, len(self._rows) * self.row_tokens)

    def take(self, rows: int) -> NDArray[np.uint16] | None:
        """The next rows (rows, row_tokens), filled with NO_TOKEN after their end.

        None, and nothing served, when fewer than that remain of the budget. Raises ValueError for an empty or negative
        batch, which would turn the meter back.
        """
        if rows < 1:
            raise ValueError(f"a batch of {rows} rows")
        count = rows * self.row_tokens
        if self.served + count > self.budget_tokens:
            return None
        self.served += count
        batch: NDArray[np.uint16] = self._rows[self._passes.take(rows)]
        return batch

    def skip(self, tokens: int) -> None:
        """Serves this many to nobody: a run that is resumed has had them."""
        rows = tokens // self.row_tokens
        self._passes.take(rows)
        self.served += rows * self.row_tokens


def held_out_captions(prepared: PreparedCaptions, split: str, row_tokens: int, total_tokens: int) -> NDArray[np.uint16]:
    """The first rows of a held-out split in stored order, total_tokens // row_tokens or as many as there are."""
    return read_rows(prepared, split)[: total_tokens // row_tokens].copy()
