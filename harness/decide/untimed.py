"""Work that no clock counts: set-up, scoring and the audit. A model may be slower there; it must not learn there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from harness.decide.pairs import Pair
from harness.records.record import RunRecord

# How much longer than the core's shortest a submission's stage may take on average: a quarter, and a second or this
# share of a training. Set-up is held like the rest, or a patch could train in its initialisation. When this was written
# no stage of any evaluation on the board took more than 77 % of what it may.
FACTOR, SLACK_S, SLACK_SHARE = 1.25, 1.0, 0.05
STAGES: dict[str, Callable[[RunRecord], float | None]] = {
    "set-up": lambda run: run.setup_seconds,
    "scoring": lambda run: run.score_seconds,
    "the audit": lambda run: run.audit_seconds,
}


def overtime(pairs: Sequence[Pair]) -> str | None:
    """The first untimed stage in which the submission worked much longer than the core, in words; None without one.

    The core's shortest counts: where both arms are scored side by side, a submission that takes the processors
    lengthens the core's stage too, though hardly in every pair alike.
    """
    trained = [pair.base.train_seconds for pair in pairs if pair.base.train_seconds]
    slack = max(SLACK_S, SLACK_SHARE * min(trained, default=0.0))
    for stage, seconds in STAGES.items():
        known = [(b, s) for pair in pairs if (b := seconds(pair.base)) is not None and (s := seconds(pair.sub))]
        if known:
            core, own = min(base for base, _ in known), math.fsum(sub for _, sub in known) / len(known)
            if own > FACTOR * core + slack:
                return f"{stage} takes {own:.1f} s, which no clock counts, and {core:.1f} s for the core"
    return None
