"""What a committed vector of log-probabilities must look like before anything is computed from it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from harness.records.record import AuditResult, Metrics

ROUNDING = 1e-5  # nats; log-softmax in float32 can end this much above zero


def highest_score(scores: NDArray[np.float32]) -> AuditResult:
    """A log-probability is never positive."""
    highest = float(scores.max())
    return AuditResult(id="audit-score", ok=highest <= ROUNDING, value=highest, limit=ROUNDING)


def mean_loss(scores: NDArray[np.float32]) -> float:
    """Nats per token, summed in float64."""
    return -float(scores.sum(dtype=np.float64)) / scores.size


def metrics(loss: float, hits: NDArray[np.uint8]) -> Metrics:
    """Accuracy and perplexity, for orientation."""
    return Metrics(accuracy=float(hits.astype(bool).mean()), perplexity=math.exp(min(loss, 20.0)))
