"""How far two trainings part in their first updates: whether a patch that claims to change only the system does so.

The train loss is the worker's own word. It is read here for patches alone that a maintainer, who has read them, labels
systems-only, and it only spares such a patch a second test; the loss that the judge measures decides as always.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from harness.decide.pairs import Pair
from harness.records.record import RunRecord

FIRST_UPDATES = 100
SLACK = 2.0  # times what the core differs from itself


def early_rms(pairs: Iterable[Pair]) -> float | None:
    """RMS difference of the train losses, nats, where both arms reported one within the core's first 100 updates.

    None where any pair has nothing to compare.
    """
    squares: list[float] = []
    for pair in pairs:
        base, sub = _early(pair.base, pair.base), _early(pair.sub, pair.base)
        common = base.keys() & sub.keys()
        if not common:
            return None
        squares += [(base[tokens] - sub[tokens]) ** 2 for tokens in sorted(common)]
    return math.sqrt(math.fsum(squares) / len(squares)) if squares else None


def equivalent(pairs: Sequence[Pair], allowed: float | None) -> bool:
    """The early train losses lie within twice `allowed`, what the core differs from itself under another start."""
    found = early_rms(pairs)
    return found is not None and allowed is not None and found <= SLACK * allowed


def _early(run: RunRecord, base: RunRecord) -> dict[int, float]:
    """Train loss by tokens seen, up to 100 updates of the baseline's size."""
    last = FIRST_UPDATES * base.model.batch_tokens if base.model else 0
    return {tokens: loss for tokens, loss, _ in run.curve if tokens <= last}
