"""Whether a submission is faster by itself, or slows the core that runs after it.

Heat, load and memory that a run leaves behind slow what comes next. Where the core goes first in its pair, the run
before it was the core's own or has long ended; where the submission goes first, the core inherits what it left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.decide.pairs import Pair
from harness.decide.stats import centre, spread

UNLIKELY = 3.0  # standard errors between the gains of the two orders


def order_effect(pairs: Sequence[Pair], s0_time: float | None) -> str | None:
    """Why a gain in time may be one of order, in words; None where both orders agree.

    `s0_time` is the bank's standard deviation of a log time ratio.
    """
    clean, inherited = (
        [-pair.R for pair in pairs if pair.R is not None and pair.base_first == first] for first in (True, False)
    )
    if not clean:
        return "no timed pair has the core first, where the submission cannot have slowed it"
    gain = centre(clean)[0]
    if gain <= 0:
        return f"where the core goes first the submission takes {math.exp(-gain):.3f} times as long"
    if not inherited:
        return None
    more = centre(inherited)[0] - gain
    sd = max(s0_time or 0.0, *(spread(values).sd for values in (clean, inherited) if len(values) > 1), 0.0)
    if more > UNLIKELY * sd * math.sqrt(1 / len(clean) + 1 / len(inherited)):
        return f"it gains {gain:.1%} of the time where the core goes first, {gain + more:.1%} where it comes after"
    return None
