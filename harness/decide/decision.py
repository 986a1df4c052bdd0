"""The decision tree: what one look at the pairs of a claim means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.decide.stats import (
    ALPHA,
    FUTILITY,
    PRIOR_DF,
    ModeratedT,
    bar,
    finite,
    moderated_t,
    predictive_power,
)
from harness.errors import MachineError
from harness.records.record import Metric

Verdict = Literal[
    "CONTINUE",
    "ACCEPT_LOSS",
    "ACCEPT_SPEED",
    "REVIEW_TRADEOFF",
    "REJECT_WORSE",
    "REJECT_NO_GAIN",
    "INCONCLUSIVE",
    "INVALID",
]

SPEED_MARGIN = 0.005  # log-ratio of time: less than half a percent faster is no record
SLOWER_LIMIT = math.log(1.10)  # a lower loss that costs more time than this is for people to weigh
LOSS_GIVEN = 0.005  # nats that one speed record may give away at most
SAVED_SHARE = 0.5  # of the time saved, what may be spent on paying for a loss change
LOSS_ALPHA = 0.05  # for the second condition of a speed claim
EQUIVALENT_PAIRS = 4  # pairs that a patch labelled systems-only needs in place of that condition


@dataclass(frozen=True)
class Decision:
    """One look: the tests, the bar, and the word."""

    verdict: Verdict
    reason: str  # one clause, for people
    n: int
    c: float  # bar of the claim
    loss: ModeratedT  # of D, margin 0
    time: ModeratedT | None  # of -R, margin SPEED_MARGIN; None where no pair has a time
    trade: ModeratedT | None  # of Q = D - kappa R / 2; None for a claim on loss
    pp: float  # predictive power of the claim
    pp_q: float | None = None

    def claimed(self, claim: Metric) -> ModeratedT:
        """The test that the claim itself rests on."""
        if claim == "loss":
            return self.loss
        assert self.time is not None, "a claim on speed is only decided with times"
        return self.time

    @property
    def p_loss(self) -> float:
        return self.loss.p

    @property
    def p_speed(self) -> float | None:
        return self.time.p if self.time else None

    @property
    def p_q(self) -> float | None:
        return self.trade.p if self.trade else None


def first_look(d0: float) -> int:
    """Pairs before the first decision: two, or three while the noise is known from the pairs alone."""
    return 2 if d0 > 0 else 3


def exchange_rate(kappa: float | None, where: str) -> float:
    """`kappa`, if a claim on speed can be evaluated with it; raises MachineError."""
    if kappa is None or not kappa > 0:
        raise MachineError(
            where,
            f"no usable exchange rate (kappa is {kappa}), so a claim on speed cannot be evaluated",
            "run `blueberry baseline` for this track and budget; where kappa comes out at zero or below, claim loss",
        )
    return kappa


def decide(
    D: Sequence[float],
    R: Sequence[float],
    claim: Metric,
    N: int,
    s0: float,
    s0_time: float,
    k: int = 1,
    kappa: float | None = None,
    equivalent: bool = False,
    d0: float = PRIOR_DF,
    loss_debt: float = 0.0,
    alpha: float = ALPHA,
    time_debt: float = 0.0,
) -> Decision:
    """What the first n pairs say about a claim.

    `D_i = L_base - L_sub` and `R_i = ln(T_sub / T_base)`; a claim on loss may come with fewer R than D, because the
    time of a resumed run does not count. `N` is the most pairs, `k` the number of cells claimed. `loss_debt` and
    `time_debt` are what the records since the last loss (speed) record have given away already; a patch that gives
    away nothing is never held to them.
    Raises ValueError on empty or non-finite input, MachineError for a claim on speed without an exchange rate.
    """
    c = bar(N, k, alpha)
    loss = moderated_t(D, s0, 0.0, d0)
    time = moderated_t([-r for r in R], s0_time, SPEED_MARGIN, d0) if len(R) else None
    if claim == "loss":
        pp = predictive_power(loss.p, loss.n, N, c)
        verdict, reason = _loss_claim(loss, time, N, c, pp, d0, max(0.0, SLOWER_LIMIT - time_debt))
        return Decision(verdict, reason, loss.n, c, loss, time, None, pp)
    rate = SAVED_SHARE * exchange_rate(kappa, "claim on speed")
    if time is None or time.n != loss.n:
        raise ValueError("a claim on speed needs a time for every pair")
    Q = [d - rate * r for d, r in zip(finite(D), finite(R), strict=True)]
    trade = moderated_t(Q, math.hypot(s0, rate * s0_time), 0.0, d0)
    cq = bar(N, 1, LOSS_ALPHA)
    pp, pp_q = predictive_power(time.p, time.n, N, c), predictive_power(trade.p, trade.n, N, cq)
    loss_ok = trade.p <= cq or (equivalent and loss.n >= EQUIVALENT_PAIRS and loss.p_below > cq)
    loss_ok = loss_ok and loss.mean >= min(0.0, loss_debt - LOSS_GIVEN)
    hopeless = pp_q < FUTILITY and not equivalent
    verdict, reason = _speed_claim(time, N, c, pp, d0, loss_ok, hopeless)
    return Decision(verdict, reason, loss.n, c, loss, time, trade, pp, pp_q)


def _loss_claim(
    loss: ModeratedT, time: ModeratedT | None, N: int, c: float, pp: float, d0: float, slower_limit: float
) -> tuple[Verdict, str]:
    if loss.n >= first_look(d0):
        if loss.p <= c:
            return _accept_loss(time, slower_limit)
        if loss.p_below <= c:
            return "REJECT_WORSE", "the loss is higher"
    if loss.n >= N:
        return "INCONCLUSIVE", "all pairs are used and the bar was not reached"
    if loss.n >= first_look(d0) and pp < FUTILITY:
        return "REJECT_NO_GAIN", f"the chance of reaching the bar fell to {100 * pp:.1f} %"
    return "CONTINUE", "more pairs are needed"


def _accept_loss(time: ModeratedT | None, slower_limit: float) -> tuple[Verdict, str]:
    if time is None:  # a patch that crashes its first attempts must not hide that it is slow
        return "REVIEW_TRADEOFF", "the loss is lower, but no pair has a time"
    if -time.mean > slower_limit:
        slower, limit = 100 * math.expm1(-time.mean), 100 * math.expm1(slower_limit)
        return "REVIEW_TRADEOFF", f"the loss is lower, but training takes {slower:.1f} % longer (limit {limit:.3g} %)"
    return "ACCEPT_LOSS", "the loss is lower"


def _speed_claim(
    time: ModeratedT, N: int, c: float, pp: float, d0: float, loss_ok: bool, hopeless: bool
) -> tuple[Verdict, str]:
    looking = time.n >= first_look(d0)
    fast = looking and time.p <= c
    if fast and loss_ok:
        return "ACCEPT_SPEED", "training is faster and the loss is paid for"
    faster_but = "training is faster, but it is not shown that half of the time saved is left after the loss"
    if time.n >= N:
        if fast:
            return "REVIEW_TRADEOFF", faster_but
        return "INCONCLUSIVE", "all pairs are used and the bar was not reached"
    if looking and not fast and pp < FUTILITY:
        return "REJECT_NO_GAIN", f"the chance of reaching the bar fell to {100 * pp:.1f} %"
    if looking and hopeless:
        if fast:
            return "REVIEW_TRADEOFF", faster_but
        return "REJECT_NO_GAIN", "the time saved would not pay for the loss"
    return "CONTINUE", "more pairs are needed"
