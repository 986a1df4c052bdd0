"""Mean negative log-likelihood of captions and the codes of their images, in nats per token.

As for text (nll.py), on rows that end before the longest of them does: what fills them is neither learnt nor scored.
The loss of captions and of codes is reported apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.audit import causality
from harness.audit import scores as committed
from harness.data import captioned
from harness.data.caption_stream import CaptionStream, check_caption_budget, held_out_captions
from harness.data.captioned import PreparedCaptions, layout_of
from harness.data.captions import NO_TOKEN, Layout
from harness.data.prepare import Progress
from harness.records.record import AuditResult, Metrics
from harness.run import nll, stage
from harness.run.stage import Arm
from harness.tracks import Budget, CaptionTrack

LARGEST_TAKE = 1 << 14  # rows in one request; bounds the judge's memory
Rows = NDArray[np.uint16]


@dataclass(frozen=True)
class Scored(nll.Scored):
    """As for text, with 0 for the log-probability of a target that is not scored."""

    targets: Rows  # (R, T), NO_TOKEN where nothing is scored
    layout: Layout

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which targets are scored, (R, T)."""
        scored: NDArray[np.bool_] = self.targets != NO_TOKEN
        return scored

    @property
    def loss(self) -> float:
        return committed.mean_loss(self.log_probabilities[self.there])

    @property
    def metrics(self) -> Metrics:
        layout = self.layout
        parts = {"caption": self._caption, "image": self.there & (self.targets >= layout.first_code)}
        apart = {f"nats per {name} token": committed.mean_loss(self.log_probabilities[p]) for name, p in parts.items()}
        apart["scored tokens"] = float(self.there.sum())
        return committed.metrics(self.loss, self.hits[self.there]).model_copy(update={"details": apart})

    @property
    def _caption(self) -> NDArray[np.bool_]:
        """The words of a caption stand before the first marker."""
        before: NDArray[np.bool_] = np.cumsum(self.targets == self.layout.seg_start, axis=1) == 0
        return before


@dataclass(frozen=True)
class Feed:
    """Rows of captioned images, in batches of whatever size the worker asks for."""

    stream: CaptionStream

    @property
    def served(self) -> int:
        return self.stream.served

    @property
    def unique_tokens(self) -> int:
        return self.stream.unique_tokens

    @property
    def told(self) -> dict[str, Any]:
        return {"row_tokens": self.stream.row_tokens}

    def skip(self, tokens: int) -> None:
        self.stream.skip(tokens)

    def answer(self, request: dict[str, Any]) -> bytes | None:
        batch = self.stream.take(stage.number(request, "rows", 1, LARGEST_TAKE))
        return None if batch is None else batch.astype("<u2").tobytes()


def prepare(track: CaptionTrack, data: str | None, progress: Progress) -> PreparedCaptions:
    return captioned.prepare_captioned(track, data, progress)


def describe(prepared: PreparedCaptions) -> dict[str, Any]:
    return captioned.describe_captioned(prepared)


def check_budget(prepared: PreparedCaptions, track: CaptionTrack, budget_tokens: int, epochs: int) -> None:
    check_caption_budget(prepared, budget_tokens, track.row_tokens, epochs)


def feed(prepared: PreparedCaptions, track: CaptionTrack, seed: int, budget_tokens: int, epochs: int) -> Feed:
    return Feed(CaptionStream(prepared, seed, budget_tokens, track.row_tokens, epochs))


def held_out(prepared: PreparedCaptions, track: CaptionTrack, budget: Budget, split: str, secret: str) -> Rows:
    """(R, row_tokens), as many as the budget scores tokens or as there are.

    Nothing is drawn, so that the loss is comparable from one evaluation to the next.
    """
    return held_out_captions(prepared, split, track.row_tokens, track.scored_tokens(budget))


def score(arm: Arm, track: CaptionTrack, fd: int, rows: Rows, threads: int) -> Scored:
    """Log-probabilities of every next token of `rows` (R, T + 1)."""
    scores, hits = nll.ask_scores(arm, track, fd, _filled(rows), threads)
    targets = rows[:, 1:]
    return Scored(np.where(targets == NO_TOKEN, np.float32(0), scores), hits, targets, layout_of(track))


def audit(
    arm: Arm,
    track: CaptionTrack,
    fd: int,
    rows: Rows,
    scored: Scored,
    reference: NDArray[np.float32] | None,
    count: int,
    threads: int,
) -> tuple[AuditResult, ...]:
    """Repeats sampled predictions with the future replaced; the cuts come from the system's randomness."""
    rng = np.random.default_rng()
    rounds = list(causality.draw_rounds(scored.log_probabilities, reference, count, rng, scored.there))
    return nll.ask_again(arm, track, fd, _filled(rows), scored.log_probabilities, rounds, rng, threads)


def _filled(rows: Rows) -> Rows:
    """Rows as a model can read them: nothing that is scored comes after what stands for NO_TOKEN."""
    return np.where(rows == NO_TOKEN, np.uint16(0), rows)
