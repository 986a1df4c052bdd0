"""A cell is one claim (track, budget, metric) of a submission: its verdict, read off the run files alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.decide.decision import Decision, Verdict, decide, exchange_rate, first_look
from harness.decide.doubts import beyond_belief, doubt_of_runs, unlike_the_bank
from harness.decide.early import equivalent
from harness.decide.failures import invalid_reason, unstable_reason
from harness.decide.pairs import Pair, pairs_of
from harness.decide.stats import (
    ModeratedT,
    accept_boundary,
    bar,
    centre,
    exp,
    futility_boundary,
    moderated_t,
    net_gain,
    repeated_interval,
    sequential_p,
    spread,
)
from harness.records.record import EvaluationRecord, Metric, Round, RunRecord

__all__ = ["Cell", "Confirmation", "Look", "Pair", "PairPoint", "judge_cell", "overall_verdict", "pairs_of"]

TopVerdict = Verdict | Literal["CONFIRMED", "REVOKED"]
Interval = tuple[float, float]

TOP_ORDER: tuple[Verdict, ...] = (
    "INVALID",
    "ACCEPT_LOSS",
    "ACCEPT_SPEED",
    "REVIEW_TRADEOFF",
    "REJECT_WORSE",
    "INCONCLUSIVE",
    "CONTINUE",
    "REJECT_NO_GAIN",
)
ACCEPTED: tuple[Verdict, ...] = ("ACCEPT_LOSS", "ACCEPT_SPEED")
FADING = 3.0  # standard errors between the gains of the two splits: a submission beyond them is flagged
NOISY = 2.0  # times s0: a submission that scatters more than this is flagged


@dataclass(frozen=True)
class Look:
    """The claim's test after n pairs."""

    n: int
    pair: int  # index of the pair that was added
    mean: float  # D for loss, -R for speed
    t: float
    df: float
    p: float
    bar: float
    accept_t: float  # t at the bar
    futility_t: float | None  # t below which the search ends; None at the last look
    pp: float  # predictive power
    p_q: float | None  # speed: p of "half of the time saved is left"
    verdict: Verdict


@dataclass(frozen=True)
class PairPoint:
    """One pair as tables and plots show it."""

    index: int
    seed: int
    base_first: bool
    base_loss: float
    sub_loss: float
    base_seconds: float | None
    sub_seconds: float | None
    D: float
    R: float | None


@dataclass(frozen=True)
class Confirmation:
    """The re-run of an accepted claim on fresh seeds, scored on test: only these numbers are published."""

    needed: int
    done: int
    gain: float | None  # mean of values
    values: tuple[float, ...]  # D, or -R for speed
    confirmed: bool | None  # None while pairs are missing

    def to_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("needed", "done", "gain", "confirmed")}


@dataclass(frozen=True)
class Cell:
    """The verdict on one claim and everything that it rests on."""

    track: str
    budget: str
    metric: Metric
    verdict: Verdict
    reason: str
    pairs: int  # used for the verdict
    max_pairs: int
    gain: float | None  # mean D for loss, -mean R for speed; None if INVALID or without a pair
    interval: Interval | None  # repeated interval of the gain at the last look
    p: float | None  # sequential p; None before the first look
    alpha: float
    k: int
    time_ratio: float | None  # exp(mean R) of the pairs used
    time_interval: Interval | None
    net_gain: float | None  # mean of D / kappa - R
    net_interval: Interval | None
    rho: float | None  # correlation of the two losses within pairs
    s0: float | None  # of the claim's own difference: the loss, or the log time ratio
    d0: float
    spread: float | None  # sd of the claim's own differences
    round: Round
    looks: tuple[Look, ...]
    pair_points: tuple[PairPoint, ...]  # every complete pair of the decide round
    confirm: Confirmation | None

    @property
    def noisy(self) -> bool:
        """The submission scatters more than twice as much as the bank: worth a look, changes no verdict."""
        return bool(self.s0) and self.spread is not None and self.spread > NOISY * (self.s0 or 0.0)

    @property
    def fades(self) -> bool:
        """The gain on the test split is smaller than on validation by more than chance explains: is it text that the
        patch knows? A confirmed claim then waits for a person."""
        if self.metric != "loss" or self.confirm is None or self.confirm.gain is None or self.gain is None:
            return False
        sd = max(self.s0 or 0.0, self.spread or 0.0)
        return self.gain - self.confirm.gain > FADING * sd * math.sqrt(1 / self.pairs + 1 / self.confirm.done)

    @property
    def data_efficiency_only(self) -> bool:
        """A lower loss that the core would have reached sooner by training longer."""
        return self.verdict == "ACCEPT_LOSS" and self.net_gain is not None and self.net_gain < 0

    def to_json(self) -> dict[str, object]:
        """The keys that other programs rely on; `confirm` is None until an accepted claim has a pair on fresh seeds."""
        names = (
            "track budget metric verdict reason pairs max_pairs gain interval p alpha time_ratio time_interval net_gain"
            " rho s0 d0 round"
        )
        values = {name: getattr(self, name) for name in names.split()}
        values["confirm"] = self.confirm.to_json() if self.confirm is not None and self.confirm.done else None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def judge_cell(evaluation: EvaluationRecord, runs: Iterable[RunRecord], metric: Metric) -> Cell:
    """Walk the decision path over the pairs in order and stop at the first verdict.

    Later pairs (another claim of the same evaluation may need them) change nothing.
    Raises MachineError for a claim on speed without an exchange rate.
    """
    runs = tuple(runs)
    pairs = pairs_of(runs, "decide")
    usable = pairs if metric == "loss" else tuple(pair for pair in pairs if pair.R is not None)
    fault = invalid_reason(evaluation, runs)
    path = () if fault else _path(evaluation, usable, metric)
    used = usable[: path[-1].n] if path else usable[: evaluation.max_pairs]
    cell = _measured(evaluation, metric, used, path, _round(runs))
    cell = replace(cell, pair_points=tuple(_point(pair) for pair in pairs))
    if fault is not None:
        return replace(cell, verdict="INVALID", reason=fault, gain=None, interval=None, p=None)
    unstable = unstable_reason(runs, "decide")
    if unstable is not None:
        return replace(cell, verdict="REJECT_WORSE", reason=unstable)
    if cell.verdict not in ACCEPTED:
        return cell
    if doubt := doubt_of_runs(evaluation, runs, metric, used):
        return replace(cell, verdict="REVIEW_TRADEOFF", reason=f"the bar was crossed, but {doubt}")
    confirm = _confirmation(evaluation, runs, metric)
    cell = replace(cell, confirm=confirm)
    if too_good := beyond_belief(cell, confirm, evaluation, pairs_of(runs, "confirm")):
        return replace(cell, verdict="REVIEW_TRADEOFF", reason=too_good, confirm=None)
    if confirm.confirmed and (but := unlike_the_bank(cell, confirm, evaluation, _values(used, metric))):
        return replace(cell, verdict="REVIEW_TRADEOFF", reason=f"the gain was confirmed, but {but}")
    return cell


def overall_verdict(cells: Iterable[Cell]) -> TopVerdict:
    """The word for the whole submission: the first of TOP_ORDER among its cells.

    Once every accepted cell has had its confirm round it becomes CONFIRMED, or REVOKED if no gain held.
    """
    listed = list(cells)
    words = {cell.verdict for cell in listed}
    top: Verdict = next((word for word in TOP_ORDER if word in words), "CONTINUE")
    if top not in ACCEPTED:
        return top
    confirmed = [cell.confirm.confirmed for cell in listed if cell.confirm is not None]
    if None in confirmed:
        return top
    return "CONFIRMED" if any(confirmed) else "REVOKED"


def _path(evaluation: EvaluationRecord, pairs: Sequence[Pair], metric: Metric) -> tuple[Decision, ...]:
    """The looks at pairs 2..N (3..N while the bank is short), up to the first verdict."""
    if metric == "speed":
        exchange_rate(evaluation.kappa, f"{evaluation.track} at {evaluation.budget}")
    d0 = _weight(evaluation, metric)
    path: list[Decision] = []
    for n in range(first_look(d0), min(len(pairs), evaluation.max_pairs) + 1):
        decision = decide(
            [pair.D for pair in pairs[:n]],
            [pair.R for pair in pairs[:n] if pair.R is not None],
            metric,
            evaluation.max_pairs,
            evaluation.s0 or 0.0,
            evaluation.s0_time or 0.0,
            k=evaluation.k,
            kappa=evaluation.kappa,
            equivalent=evaluation.systems_only and equivalent(pairs[:n], evaluation.early_rms),
            d0=d0,
            loss_debt=evaluation.loss_debt,
            alpha=evaluation.alpha,
            time_debt=evaluation.time_debt,
        )
        path.append(decision)
        if decision.verdict != "CONTINUE":
            break
    return tuple(path)


def _weight(evaluation: EvaluationRecord, metric: Metric) -> float:
    """d0 of a claim: a claim on speed rests on both banks, and both have to be filled."""
    return evaluation.d0 if metric == "loss" else min(evaluation.d0, evaluation.d0_time)


def _look(decision: Decision, metric: Metric, pair: Pair, N: int) -> Look:
    test = decision.claimed(metric)
    return Look(
        n=decision.n,
        pair=pair.index,
        mean=test.mean,
        t=test.t,
        df=test.df,
        p=test.p,
        bar=decision.c,
        accept_t=accept_boundary(decision.c, test.df),
        futility_t=futility_boundary(decision.n, N, decision.c, test.df),
        pp=decision.pp,
        p_q=decision.p_q,
        verdict=decision.verdict,
    )


def _measured(
    evaluation: EvaluationRecord,
    metric: Metric,
    used: Sequence[Pair],
    path: Sequence[Decision],
    round: Round,
) -> Cell:
    """The cell as its pairs and looks have it, before faults and the confirm round."""
    N, c = evaluation.max_pairs, bar(evaluation.max_pairs, evaluation.k, evaluation.alpha)
    values = _values(used, metric)
    timed = [pair for pair in used if pair.R is not None]
    ratios = [pair.R for pair in timed if pair.R is not None]
    log_time = _interval(ratios, evaluation.s0_time, evaluation.d0_time, c)
    net = net_gain([pair.D for pair in timed], ratios, evaluation.kappa) or []
    last = path[-1] if path else None
    return Cell(
        track=evaluation.track,
        budget=evaluation.budget,
        metric=metric,
        verdict=last.verdict if last else "CONTINUE",
        reason=last.reason if last else f"the first look is after {first_look(_weight(evaluation, metric))} pairs",
        pairs=len(used),
        max_pairs=N,
        gain=centre(values)[0] if values else None,
        interval=bounded(last.claimed(metric), c) if last else None,
        p=sequential_p([look.claimed(metric).p for look in path], N, evaluation.k) if path else None,
        alpha=evaluation.alpha,
        k=evaluation.k,
        time_ratio=exp(centre(ratios)[0]) if ratios else None,
        time_interval=_finite((exp(log_time[0]), exp(log_time[1]))) if log_time else None,
        net_gain=centre(net)[0] if net else None,
        net_interval=bounded(net_test(net, evaluation), c) if net else None,
        rho=_rho(used),
        s0=evaluation.s0 if metric == "loss" else evaluation.s0_time,
        d0=_weight(evaluation, metric),
        spread=spread(values).sd if len(values) > 1 else None,
        round=round,
        looks=tuple(_look(look, metric, used[look.n - 1], N) for look in path),
        pair_points=(),
        confirm=None,
    )


def _values(pairs: Iterable[Pair], metric: Metric) -> list[float]:
    """The differences that a claim is about, above 0 being better."""
    if metric == "loss":
        return [pair.D for pair in pairs]
    return [-pair.R for pair in pairs if pair.R is not None]


def _interval(values: Sequence[float], s0: float | None, d0: float, c: float) -> Interval | None:
    """Repeated interval of the mean; None where the values cannot bound it."""
    if not values:
        return None
    return bounded(moderated_t(values, s0 or 0.0, d0=d0), c)


def net_test(net: Sequence[float], evaluation: EvaluationRecord) -> ModeratedT:
    """The test of net gains G = D / kappa - R, which rest on both banks."""
    s0 = math.hypot((evaluation.s0 or 0.0) / (evaluation.kappa or math.inf), evaluation.s0_time or 0.0)
    return moderated_t(net, s0, d0=_weight(evaluation, "speed"))


def bounded(test: ModeratedT, c: float) -> Interval | None:
    """The repeated interval, where there is one."""
    return _finite(repeated_interval(test, c))


def _finite(interval: Interval) -> Interval | None:
    return interval if all(math.isfinite(end) for end in interval) else None


def _rho(pairs: Sequence[Pair]) -> float | None:
    base = [pair.base.loss for pair in pairs if pair.base.loss is not None]
    sub = [pair.sub.loss for pair in pairs if pair.sub.loss is not None]
    if len(pairs) < 3 or min(base) == max(base) or min(sub) == max(sub):
        return None
    return statistics.correlation(base, sub)


def _round(runs: Iterable[RunRecord]) -> Round:
    return "confirm" if any(run.spec.round == "confirm" for run in runs) else "decide"


def _point(pair: Pair) -> PairPoint:
    assert pair.base.loss is not None and pair.sub.loss is not None, "a pair has two losses"
    return PairPoint(
        index=pair.index,
        seed=pair.seed,
        base_first=pair.base_first,
        base_loss=pair.base.loss,
        sub_loss=pair.sub.loss,
        base_seconds=pair.base.train_seconds,
        sub_seconds=pair.sub.train_seconds,
        D=pair.D,
        R=pair.R,
    )


def _confirmation(evaluation: EvaluationRecord, runs: Sequence[RunRecord], metric: Metric) -> Confirmation:
    pairs = pairs_of(runs, "confirm")
    values = _values(pairs, metric)[: evaluation.confirm_pairs]
    gain = centre(values)[0] if values else None
    complete = len(values) >= evaluation.confirm_pairs
    confirmed = gain is not None and gain > 0 if complete else None
    if unstable_reason(runs, "confirm") is not None:
        confirmed = False
    return Confirmation(evaluation.confirm_pairs, len(values), gain, tuple(values), confirmed)
