"""Do the answers of a fresh process agree with what was committed to? One by one, and on average."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.records.record import AuditResult

MEAN_TOLERANCE = 5e-4  # for the importance-weighted mean, beyond 4 standard errors
REPEATED = 1e-6  # differences below it count as the same answer


def agreement(
    rule: str, difference: NDArray[np.float64], weights: NDArray[np.float64], tolerance: float
) -> tuple[AuditResult, ...]:
    """Committed minus audited (n,), drawn with these weights: mean(weights * difference) estimates the mean of all.

    One difference may be as large as `tolerance`, under the rule of that name; the weighted mean only as its own spread
    explains. How many were asked and the share of equal answers are recorded and refuse nothing.
    """
    if not np.isfinite(difference).all():
        return (AuditResult(id=rule, ok=False, value=1e9, limit=tolerance),)
    largest = float(np.abs(difference).max())
    weighted = weights * difference
    mean = float(weighted.mean())
    error = float(weighted.std(ddof=1) / np.sqrt(len(weighted))) if len(weighted) > 1 else 0.0
    limit = 4.0 * error + MEAN_TOLERANCE
    return (
        AuditResult(id=rule, ok=largest <= tolerance, value=largest, limit=tolerance),
        AuditResult(id="audit-mean", ok=abs(mean) <= limit, value=mean, limit=limit),
        AuditResult(id="audit-asked", ok=True, value=float(len(difference)), limit=0.0),
        AuditResult(id="audit-repeats", ok=True, value=float((np.abs(difference) < REPEATED).mean()), limit=0.0),
    )
