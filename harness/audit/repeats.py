"""Is a prediction of an image the same whoever else is asked about? Commit, then ask again, alone and in another order.

An image model never sees its target: the judge holds the velocity, and a decoder has only the codes. What is left to a
cheat is to carry something from one request to the next, or to read it off the other images of a batch. So a fresh
process is asked for sampled predictions one at a time, and their errors must be what was committed to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.audit.agreement import agreement
from harness.records.record import AuditResult


@dataclass(frozen=True)
class Repeats:
    """Which predictions are asked for again, in this order; the same one may be drawn twice."""

    items: NDArray[np.int64]  # (n,)
    weights: NDArray[np.float64]  # (n,) 1 / (items * probability of this choice): mean(weights * d) estimates mean d


def draw_repeats(
    scores: NDArray[np.float32], reference: NDArray[np.float32] | None, count: int, rng: np.random.Generator
) -> Repeats:
    """Half of the probability is uniform, half is where `scores` (R,) beats `reference` (R,)."""
    probability = np.full(len(scores), 1.0 / len(scores))
    if reference is not None:
        gain = np.maximum(scores.astype(np.float64) - reference, 0.0)
        if gain.sum() > 0:
            probability = 0.5 * probability + 0.5 * gain / gain.sum()
    items = rng.choice(len(scores), size=count, p=probability)
    return Repeats(items, 1.0 / (len(scores) * probability[items]))


def compare(
    errors: NDArray[np.float64], repeats: Repeats, again: NDArray[np.float64], tolerance: float
) -> tuple[AuditResult, ...]:
    """Committed `errors` (R,) against those found `again` (n,) at the repeats; differences, and the track's `tolerance`
    for one of them, are shares of the mean error."""
    difference = (errors[repeats.items] - again) / max(float(errors.mean()), 1e-12)
    return agreement("audit-alone", difference, repeats.weights, tolerance)
