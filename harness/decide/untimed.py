"""Work that no clock counts: set-up, scoring and the audit. A model may be slower there; it must not learn there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from harness.decide.pairs import Pair
from harness.records.record import RunRecord

FACTOR, SLACK_S = 2.0, 5.0  # how much longer than the core's shortest a submission's stage may take on average
STAGES: dict[str, Callable[[RunRecord], float | None]] = {
    "set-up": lambda run: run.setup_seconds,
    "scoring": lambda run: run.score_seconds,
    "the audit": lambda run: run.audit_seconds,
}


def overtime(pairs: Sequence[Pair]) -> str | None:
    """The first untimed stage in which the submission worked much longer than the core, in words; None without one.

    The core's shortest counts: both arms are scored side by side, so a submission that takes the processors lengthens
    the core's stage too, though hardly in every pair alike.
    """
    for stage, seconds in STAGES.items():
        known = [(b, s) for pair in pairs if (b := seconds(pair.base)) is not None and (s := seconds(pair.sub))]
        if known:
            core, own = min(base for base, _ in known), math.fsum(sub for _, sub in known) / len(known)
            if own > FACTOR * core + SLACK_S:
                return f"{stage} takes {own:.0f} s, which no clock counts, and {core:.0f} s for the core"
    return None
