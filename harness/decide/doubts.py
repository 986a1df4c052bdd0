"""What makes an accepted claim wait for a person: its runs, its size, or its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.decide.failures import lost, timeless_by_own_doing
from harness.decide.order import order_effect
from harness.decide.pairs import Pair, pairs_of
from harness.decide.stats import FILLED_DF, centre, exp, net_gain, scatter_p
from harness.decide.untimed import overtime
from harness.records.record import EvaluationRecord, Metric, RunRecord

if TYPE_CHECKING:
    from harness.decide.cells import Cell, Confirmation

PLAUSIBLE = 4.0  # times the tokens, or the time, that a gain may be worth before a person has to look at it
INTERRUPTED = 2  # pairs of a claim on speed; who watches the times could drop more of them until the rest is fast
WILD = 0.05  # p of a confirmed gain's scatter, by the bank, below which a person has to look


def doubt_of_runs(
    evaluation: EvaluationRecord, runs: Sequence[RunRecord], metric: Metric, used: Sequence[Pair]
) -> str | None:
    """What of an accepted claim's runs a person has to look at first, in words; None where all went as it should."""
    pairs = [*pairs_of(runs, "decide"), *pairs_of(runs, "confirm")]
    timeless = sum(timeless_by_own_doing(pair, runs) for pair in pairs)
    if timeless:  # it could hide its slow runs, or draw lucky ones, here and on the fresh seeds
        return f"the submission left {timeless} of {len(pairs)} pairs without a time"
    untimely = sum(pair.R is None for pair in pairs)
    if metric == "speed" and untimely > INTERRUPTED:
        return f"interruptions left {untimely} of {len(pairs)} pairs without a time, and could be chosen"
    if lost(runs):  # each was drawn again
        return f"the machine seems to have ended {lost(runs)} of the submission's runs"
    return overtime(pairs) or (order_effect(used, evaluation.s0_time) if metric == "speed" else None)


def unlike_the_bank(
    cell: Cell, confirm: Confirmation, evaluation: EvaluationRecord, values: Sequence[float]
) -> str | None:
    """What makes a confirmed gain doubtful after all, in words.

    The bar takes the bank's noise for the patch's own, with the weight of four pairs. A patch that changes nothing on
    average and scatters three times as much crosses it, and is confirmed, in 4.4 % of all cases (ten pairs, simulated,
    with a bank of 20 degrees of freedom); with this in 0.8 %. Of honest gains one in twenty-three waits for a person.
    """
    if cell.fades:
        return f"fades from {cell.gain:.4f} to {confirm.gain:.4f} on the test split"
    known = evaluation.s0_df if cell.metric == "loss" else evaluation.s0_time_df
    if not cell.d0 or not cell.s0:
        return None
    p = scatter_p([values, confirm.values], cell.s0, known or FILLED_DF)
    return (
        f"its pairs scatter more than the noise that its bar was made for (F-test, p = {p:.1e})" if p < WILD else None
    )


def beyond_belief(cell: Cell, confirm: Confirmation, evaluation: EvaluationRecord, fresh: Sequence[Pair]) -> str | None:
    """Why neither the gain nor the one that would be published is to be believed at sight, in words."""
    published = confirm.gain if confirm.confirmed else None
    tokens = max(_worth_in_tokens(gain, cell.metric, evaluation) for gain in (cell.gain, published))
    timed = [pair for pair in fresh if pair.R is not None]
    net = net_gain([pair.D for pair in timed], [pair.R for pair in timed if pair.R is not None], evaluation.kappa)
    both = [cell.net_gain or 0.0, centre(net)[0] if net and confirm.confirmed else 0.0]
    tokens = max(tokens, *map(exp, both))  # a little less of both may be too much together
    if tokens <= PLAUSIBLE:
        return None
    worth = f"{tokens:.1f} times the tokens or time" if math.isfinite(tokens) else "more tokens than there are"
    return f"too good to be believed before a person has looked: as if from {worth}"


def _worth_in_tokens(gain: float | None, metric: Metric, evaluation: EvaluationRecord) -> float:
    """How many times the tokens (or the time, for speed) the core would need for the gain; 0 where nobody knows.

    Where tokens were found to be worth nothing, none are enough.
    """
    if gain is None:
        return 0.0
    if metric == "speed":
        return exp(gain)
    if evaluation.kappa is None:
        return 0.0
    return exp(gain / evaluation.kappa) if evaluation.kappa > 0 else math.inf
