"""Mean negative log-likelihood of text, in nats per token: the metric of the language tracks.

`score` takes one log-probability and one hit per held-out token, `audit` asks for sampled predictions again with
another future (see harness/audit/causality.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.audit import causality
from harness.audit import scores as committed
from harness.data import prepare as preparing
from harness.data import stream as streaming
from harness.data.prepare import PreparedData, Progress
from harness.data.stream import TokenStream, held_out_rows
from harness.records.record import AuditResult, Metrics
from harness.run import stage
from harness.run.stage import Arm, StageError
from harness.tracks import Budget, CaptionTrack, TextTrack

LARGEST_TAKE = 1 << 24  # tokens in one request; bounds the judge's memory
Rows = NDArray[np.uint16]


@dataclass(frozen=True)
class Scored:
    """One log-probability (R, T) and one hit (R, T) for every held-out token."""

    log_probabilities: NDArray[np.float32]
    hits: NDArray[np.uint8]

    @property
    def by_item(self) -> NDArray[np.float32]:
        return self.log_probabilities

    @property
    def loss(self) -> float:
        return committed.mean_loss(self.log_probabilities)

    @property
    def metrics(self) -> Metrics:
        return committed.metrics(self.loss, self.hits)

    @property
    def checks(self) -> tuple[AuditResult, ...]:
        return (committed.highest_score(self.log_probabilities),)


@dataclass(frozen=True)
class Feed:
    """Rows of tokens in whatever shape the worker asks for."""

    stream: TokenStream

    @property
    def served(self) -> int:
        return self.stream.served

    @property
    def unique_tokens(self) -> int:
        return self.stream.unique_tokens

    @property
    def told(self) -> dict[str, Any]:
        return {}

    def skip(self, tokens: int) -> None:
        self.stream.skip(tokens)

    def answer(self, request: dict[str, Any]) -> bytes | None:
        rows = stage.number(request, "rows", 1, LARGEST_TAKE)
        tokens = stage.number(request, "tokens", 1, LARGEST_TAKE // rows)
        batch = self.stream.take(rows, tokens)
        return None if batch is None else batch.astype("<u2").tobytes()


def prepare(track: TextTrack, data: str | None, progress: Progress) -> PreparedData:
    return preparing.prepare(track, data, progress)


def describe(prepared: PreparedData) -> dict[str, Any]:
    return preparing.describe(prepared)


def check_budget(prepared: PreparedData, track: TextTrack, budget_tokens: int, epochs: int) -> None:
    streaming.check_budget(prepared, budget_tokens, epochs)


def feed(prepared: PreparedData, track: TextTrack, seed: int, budget_tokens: int, epochs: int) -> Feed:
    return Feed(TokenStream(prepared, seed, budget_tokens, track.row_tokens, epochs))


def held_out(prepared: PreparedData, track: TextTrack, budget: Budget, split: str, secret: str) -> Rows:
    """(R, T + 1); nothing is drawn, so that the loss is comparable from one evaluation to the next."""
    return held_out_rows(prepared, split, track.row_tokens, track.scored_tokens(budget))


def score(arm: Arm, track: TextTrack, fd: int, rows: Rows, threads: int) -> Scored:
    """Log-probabilities of every next token of `rows` (R, T + 1)."""
    return Scored(*ask_scores(arm, track, fd, rows, threads))


def ask_scores(
    arm: Arm, track: TextTrack | CaptionTrack, fd: int, rows: Rows, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One log-probability and one hit, each (R, T), for every next token of `rows` (R, T + 1)."""
    tokens = rows.shape[1] - 1
    scores = np.empty((len(rows), tokens), np.float32)
    hits = np.empty((len(rows), tokens), np.uint8)
    with stage.on_checkpoint("score", arm, track, fd, threads) as channel:
        for part in stage.batches(len(rows), track.score_rows):
            batch = rows[part]
            header = {"rows": len(batch), "tokens": tokens + 1}
            raw = stage.exchange(channel, header, batch.astype("<u2").tobytes(), "scores", batch[:, 1:].size * 5)
            split = batch[:, 1:].size * 4
            scores[part] = np.frombuffer(raw[:split], "<f4").reshape(-1, tokens)
            hits[part] = np.frombuffer(raw[split:], np.uint8).reshape(-1, tokens)
    if not np.isfinite(scores).all():
        raise StageError("diverged", "score: the model gives log-probabilities that are not finite")
    return scores, hits


def audit(
    arm: Arm,
    track: TextTrack,
    fd: int,
    rows: Rows,
    scored: Scored,
    reference: NDArray[np.float32] | None,
    count: int,
    threads: int,
) -> tuple[AuditResult, ...]:
    """Repeats sampled predictions with the future replaced; the cuts come from the system's randomness."""
    rng = np.random.default_rng()
    rounds = list(causality.draw_rounds(scored.log_probabilities, reference, count, rng))
    return ask_again(arm, track, fd, rows, scored.log_probabilities, rounds, rng, threads)


def ask_again(
    arm: Arm,
    track: TextTrack | CaptionTrack,
    fd: int,
    rows: Rows,
    committed_scores: NDArray[np.float32],
    rounds: Sequence[causality.Cuts],
    rng: np.random.Generator,
    threads: int,
) -> tuple[AuditResult, ...]:
    """Committed scores (R, T) of `rows` (R, T + 1) against what fresh workers, one for each round, say of the cuts."""

    def difference(cuts: causality.Cuts) -> NDArray[np.float64]:
        logits = _logits(arm, track, fd, rows, cuts, rng, threads)
        return causality.difference(committed_scores, rows, cuts, logits)

    return causality.compare(rounds, [difference(cuts) for cuts in rounds], track.audit_tolerance)


def _logits(
    arm: Arm,
    track: TextTrack | CaptionTrack,
    fd: int,
    rows: Rows,
    cuts: causality.Cuts,
    rng: np.random.Generator,
    threads: int,
) -> NDArray[np.float32]:
    """A fresh worker's logits (n, V) at the cuts, with false futures after them."""
    asked = causality.false_futures(rows, cuts, rng)  # (n, T)
    logits = np.empty((len(asked), track.vocab_size), np.float32)
    with stage.on_checkpoint("audit", arm, track, fd, threads) as channel:
        for part in stage.batches(len(asked), track.score_rows):
            batch = asked[part]
            header = {"rows": len(batch), "tokens": batch.shape[1], "cuts": cuts.positions[part].tolist()}
            size = len(batch) * track.vocab_size * 4
            raw = stage.exchange(channel, header, batch.astype("<u2").tobytes(), "logits", size)
            logits[part] = np.frombuffer(raw, "<f4").reshape(len(batch), -1)
    return logits
