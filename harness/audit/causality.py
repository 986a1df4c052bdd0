"""Does a model predict the next token, or read it? Commit, then audit.

The next token is in the input, so a normalised log-probability proves nothing by itself. The score process commits to
one number per token and is killed. Then a fresh process gets the same rows with everything after a cut replaced by
other tokens, and returns its whole row of logits at the cut. The judge normalises that row itself (float64) and
compares. Only a row computed by a process that never saw the future is evidence: a model that caches by prefix passes
any check that runs inside one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.audit.agreement import agreement
from harness.records.record import AuditResult


@dataclass(frozen=True)
class Cuts:
    """Which predictions one process is asked for: at most one per row, since two cuts of one row reveal an answer."""

    rows: NDArray[np.int64]  # (n,) row of the scored set
    positions: NDArray[np.int64]  # (n,) last token that the worker sees; the next one is predicted
    weights: NDArray[np.float64]  # (n,) 1 / (tokens * probability of this choice): mean(weights * d) estimates mean d


def draw_cuts(
    scores: NDArray[np.float32],
    reference: NDArray[np.float32] | None,
    count: int,
    rng: np.random.Generator,
    there: NDArray[np.bool_] | None = None,
) -> Cuts:
    """Half of the probability is uniform, half is where `scores` (R, T) beats `reference` (R, T).

    A cheat has to gain somewhere, and that is where it is looked for. Without a reference all is uniform. `there`
    (R, T) says which predictions count, when not all of them do; every row has at least one.
    """
    rows_total, tokens = scores.shape
    rows = rng.permutation(rows_total)[:count]
    counted = np.ones_like(scores, dtype=bool) if there is None else there
    tokens_per_row = counted.sum() / rows_total
    positions = np.empty(len(rows), np.int64)
    weights = np.empty(len(rows), np.float64)
    for i, row in enumerate(rows):
        probability = counted[row] / counted[row].sum()
        if reference is not None:
            gain = np.where(counted[row], np.maximum(scores[row].astype(np.float64) - reference[row], 0.0), 0.0)
            if gain.sum() > 0:
                probability = 0.5 * probability + 0.5 * gain / gain.sum()
        positions[i] = rng.choice(tokens, p=probability)
        weights[i] = 1.0 / (tokens_per_row * probability[positions[i]])
    return Cuts(rows, positions, weights)


def draw_rounds(
    scores: NDArray[np.float32],
    reference: NDArray[np.float32] | None,
    count: int,
    rng: np.random.Generator,
    there: NDArray[np.bool_] | None = None,
) -> Iterator[Cuts]:
    """`count` cuts, in as many rounds as there are too few rows for; every round is for a fresh process of its own."""
    while count > 0:
        cuts = draw_cuts(scores, reference, count, rng, there)
        yield cuts
        count -= len(cuts.rows)


def false_futures(rows: NDArray[np.uint16], cuts: Cuts, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Rows (n, T) of the scored set (R, T + 1) whose tokens after the cut are drawn from all tokens of the set.

    One by one: a whole stretch of another row could hold the answer to another question, and all of them reach one
    process. Nothing is given away by a future that reads like none, since a worker knows that it is audited.
    """
    asked = rows[cuts.rows, :-1]
    after = np.arange(asked.shape[1])[None, :] > cuts.positions[:, None]  # (n, T)
    return np.where(after, rng.choice(rows.ravel(), asked.shape), asked)


def normalised(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """log-softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def difference(
    scores: NDArray[np.float32], rows: NDArray[np.uint16], cuts: Cuts, logits: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Committed `scores` (R, T) of `rows` (R, T + 1) minus those that the `logits` (n, V) at the cuts come to, (n,)."""
    targets = rows[cuts.rows, cuts.positions + 1]
    audited = normalised(logits)[np.arange(len(targets)), targets]
    return np.asarray(scores[cuts.rows, cuts.positions] - audited)


def compare(
    rounds: Sequence[Cuts], differences: Sequence[NDArray[np.float64]], tolerance: float
) -> tuple[AuditResult, ...]:
    """All rounds together; `tolerance` is the track's, in nats."""
    weights = np.concatenate([cuts.weights for cuts in rounds])
    return agreement("audit-causality", np.concatenate(differences), weights, tolerance)
