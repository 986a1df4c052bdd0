"""Judged cells: what the board and the reports say of one claim of one evaluation, decided again from its files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.decide.bank import Evaluation
from harness.decide.cells import Cell, bounded, judge_cell, net_test
from harness.decide.pairs import Pair, pairs_of
from harness.decide.stats import bar, exp, moderated_t, net_gain, spread
from harness.records.promotions import Promotion
from harness.records.record import EvaluationRecord, Metric, RunRecord
from harness.records.store import Store
from harness.tracks import BUDGETS

State = Literal[
    "running",
    "accepted",
    "review",
    "confirmed",
    "revoked",
    "rejected",
    "inconclusive",
    "refused",
    "invalidated",
    "promoted",
]
PROMOTABLE: tuple[State, ...] = ("confirmed", "review")  # the latter by a maintainer's word

STATES: dict[str, State] = {
    "CONTINUE": "running",
    "ACCEPT_LOSS": "accepted",
    "ACCEPT_SPEED": "accepted",
    "REVIEW_TRADEOFF": "review",
    "REJECT_WORSE": "rejected",
    "REJECT_NO_GAIN": "rejected",
    "INCONCLUSIVE": "inconclusive",
    "INVALID": "refused",
}
# What a reader has to know about an interval of the second race that holds zero
SECOND_RACE = "There the mean gain has to be above zero, its interval need not be: the first race holds the error rate."
MEANINGS: dict[str, str] = {
    "running": "pairs are still to run.",
    "accepted": "the first race is won, the second is still to run.",
    "review": "a maintainer decides; the reason says why.",
    "confirmed": "accepted at the stated error rate, and held on fresh seeds.",
    "promoted": "part of the core by now.",
    "stale": "confirmed on an earlier core.",
    "revoked": "accepted, but the gain was gone on fresh seeds.",
    "rejected": "worse than the core, or a gain of the size that can be seen is unlikely.",
    "inconclusive": "all pairs are spent, and the interval holds both a gain and none.",
    "refused": "a rule was broken, or its runs failed: there is no number.",
    "invalidated": "a rule was found broken afterwards.",
    "provisional": "measured without a sandbox around the submitted code.",
    "exploratory": "measured where the submission claims nothing.",
    "local": "somebody's own run, not an official one.",
    "data-efficiency only": "a lower loss that the core would have reached sooner by training longer.",
}


@dataclass(frozen=True)
class Effect:
    """What the pairs of one round measured. Intervals are the repeated ones of the evaluation's own bar."""

    pairs: int
    loss: float  # mean of the submission, on validation in the decide round and on test in the confirm round
    loss_sd: float | None  # sample sd over seeds; None for a single pair
    gain: float  # mean D
    gain_interval: tuple[float, float] | None  # None where the pairs cannot bound it
    time_ratio: float | None  # submission / core; None where no pair has comparable times
    time_interval: tuple[float, float] | None
    net_gain: float | None  # mean G, a log-ratio of tokens
    net_interval: tuple[float, float] | None
    core_seconds: float | None  # mean training time of the core; None where no pair has comparable times

    def value(self, metric: Metric) -> float:
        """The gain in the metric of a claim: nats, or the log of the time saved. Larger is better."""
        return self.gain if metric == "loss" else -math.log(self.time_ratio or 1.0)


@dataclass(frozen=True)
class Entry:
    """One claim of one evaluation as it stands now."""

    evaluation: EvaluationRecord
    cell: Cell
    state: State
    decided: Effect | None  # None while there is no complete pair
    confirmed: Effect | None
    host_class: str  # of the submission's runs; several are joined
    precision: str

    @property
    def published(self) -> Effect | None:
        """The numbers to show: those of fresh seeds where there are some."""
        return self.confirmed or self.decided

    @property
    def tokens(self) -> int:
        return BUDGETS[self.evaluation.budget].tokens

    @property
    def date(self) -> str:
        """Day of the last word, UTC."""
        return (self.evaluation.closed or self.evaluation.opened)[:10]

    @property
    def kind(self) -> str:
        """What the claim is about; a loss that costs more time than it is worth says so."""
        net = self.published.net_gain if self.published else None
        thrifty = self.cell.metric == "loss" and self.state in ("accepted", "confirmed", "promoted")
        return "data-efficiency only" if thrifty and net is not None and net < 0 else self.cell.metric


def read(store: Store) -> list[Evaluation]:
    """Every evaluation of the store with its runs, oldest first; raises MachineError that names an unreadable file."""
    return [(record, tuple(store.runs(record.id))) for record in store.evaluations()]


def measure(pairs: Sequence[Pair], evaluation: EvaluationRecord) -> Effect | None:
    """Summary of the pairs of one round; None where there are none."""
    if not pairs:
        return None
    losses = [pair.sub.loss for pair in pairs if pair.sub.loss is not None]
    c = bar(evaluation.max_pairs, evaluation.k, evaluation.alpha)
    D = [pair.D for pair in pairs]
    timed = [(pair.D, pair.R) for pair in pairs if pair.R is not None]
    R = [r for _, r in timed]
    test = moderated_t(D, evaluation.s0 or 0.0, d0=evaluation.d0)
    net = net_gain([d for d, _ in timed], R, evaluation.kappa)
    log_time = bounded(moderated_t(R, evaluation.s0_time or 0.0, d0=evaluation.d0_time), c) if R else None
    return Effect(
        pairs=len(pairs),
        loss=math.fsum(losses) / len(losses),
        loss_sd=spread(losses).sd if len(losses) > 1 else None,
        gain=test.mean,
        gain_interval=bounded(test, c),
        time_ratio=exp(math.fsum(R) / len(R)) if R else None,
        time_interval=(exp(log_time[0]), exp(log_time[1])) if log_time else None,
        net_gain=math.fsum(net) / len(net) if net else None,
        net_interval=bounded(net_test(net, evaluation), c) if net else None,
        core_seconds=_mean([pair.base.train_seconds for pair in pairs if pair.R is not None]),
    )


def _mean(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return math.fsum(known) / len(known) if known else None


def entries_of(evaluation: EvaluationRecord, runs: Sequence[RunRecord]) -> list[Entry]:
    """One entry for every metric that the evaluation decides."""
    pairs, fresh = pairs_of(runs, "decide"), pairs_of(runs, "confirm")
    own = [run for run in runs if run.spec.patch_sha is not None]
    hosts = _distinct(run.host.host_class for run in own if run.host is not None)
    precisions = _distinct(run.model.precision for run in own if run.model is not None)
    entries = []
    for metric in evaluation.metrics:
        cell = judge_cell(evaluation, runs, metric)
        decided = measure(_usable(pairs, metric)[: cell.pairs], evaluation)
        confirmed = measure(_usable(fresh, metric)[: evaluation.confirm_pairs], evaluation)
        entries.append(Entry(evaluation, cell, state_of(evaluation, cell), decided, confirmed, hosts, precisions))
    return entries


def _usable(pairs: Sequence[Pair], metric: Metric) -> list[Pair]:
    """The pairs that a claim is decided on: for a claim on speed those with comparable times."""
    return [pair for pair in pairs if metric == "loss" or pair.R is not None]


def state_of(evaluation: EvaluationRecord, cell: Cell) -> State:
    """The word of the submission's life for this cell."""
    if evaluation.invalidated is not None:
        return "invalidated"
    if cell.confirm is not None and cell.confirm.confirmed is not None and evaluation.closed is not None:
        return "confirmed" if cell.confirm.confirmed else "revoked"
    return STATES[cell.verdict]


def with_promoted(entries: Iterable[Entry], promotions: Iterable[Promotion]) -> list[Entry]:
    """The entries as they stand once the patches of these promotions are part of the core."""
    ids = {name for promotion in promotions for patch in promotion.patches for name in patch.evaluations}
    return [
        replace(entry, state="promoted") if entry.evaluation.id in ids and entry.state in PROMOTABLE else entry
        for entry in entries
    ]


def _distinct(names: Iterable[str]) -> str:
    return "; ".join(sorted(set(names))) or "–"
