"""The noise bank: how much pairs of runs scattered in earlier evaluations, and what half the time costs in loss."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from harness.decide.early import early_rms
from harness.decide.pairs import Pair, comparable_loss, is_base, pairs_of
from harness.decide.stats import FILLED_DF, PRIOR_DF, centre, finite
from harness.records.record import EvaluationRecord, RunRecord
from harness.tracks import BUDGETS, budget_named

LAST = 20  # evaluations that count
WINSOR = 4.0  # an evaluation enters with at most this many times the bank's variance
NEAR_NULL = 0.1  # an evaluation with less than this share of the bank's spread changed next to nothing
OBJECTS = 0.05  # p of the homogeneity test below which host classes are not pooled

Evaluation = tuple[EvaluationRecord, tuple[RunRecord, ...]]


@dataclass(frozen=True)
class Entry:
    """What one evaluation adds."""

    ss: float  # sum of squares around its own mean
    df: float


@dataclass
class NoiseBank:
    """Pooled spread of the pair differences of the last 20 evaluations, and no less than what the core shows of itself.

    Without any spread an entry would only deflate the bank, so differences that are all equal (a patch that changes
    nothing, on a deterministic machine) stay out. Patches that change next to nothing have spreads next to nothing:
    twenty of them would push the calibration out, and the next patch that does more would be held to their noise.
    """

    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=LAST))
    least: float = 0.0  # spread of the core against itself

    @property
    def df(self) -> float:
        return sum(entry.df for entry in self.entries)

    @property
    def s0(self) -> float | None:
        """Standard deviation of one difference; None for an empty bank."""
        pooled = _pooled(self.entries)
        return None if pooled is None else max(pooled, self.least)

    @property
    def d0(self) -> float:
        """The weight that the bank has in a verdict: none until it has 6 degrees of freedom."""
        return PRIOR_DF if self.df >= FILLED_DF else 0.0

    @property
    def s0_without_near_null(self) -> float | None:
        """As `s0`, without evaluations whose spread is below a tenth of it: what a real patch's noise may be."""
        least = NEAR_NULL * (self.s0 or 0.0)
        return _pooled([entry for entry in self.entries if entry.ss >= entry.df * least**2])

    def add(self, differences: Iterable[float]) -> bool:
        """Enter the pair differences of one closed evaluation; False if they say nothing: fewer than two, all equal."""
        return self._enter(list(differences), weight=1.0)

    def add_runs(self, losses: Iterable[float]) -> bool:
        """Enter unpaired runs of one arm: a difference of two such runs has twice their variance, if rho = 0."""
        return self._enter(list(losses), weight=2.0)

    def _enter(self, values: Sequence[float], weight: float) -> bool:
        entry = _entry(values, weight)
        if entry is None:
            return False
        s0 = self.s0
        if s0 is not None and self.df >= FILLED_DF:
            entry = Entry(min(entry.ss, WINSOR * entry.df * s0**2), entry.df)
        self.entries.append(entry)
        return True


@dataclass(frozen=True)
class Banks:
    """What an evaluation takes over from earlier ones, frozen when it opens."""

    loss: NoiseBank
    time: NoiseBank
    kappa: float | None  # nats per unit of ln(time); None without half-budget runs
    early_rms: float | None  # nats between the early train losses of the core's pairs with itself
    source: str  # where the numbers come from, for people


def banks_for(
    evaluations: Iterable[Evaluation],
    track: str,
    budget: str,
    precision: str,
    host_class: str,
    core_id: str | None = None,
    data_id: str | None = None,
) -> Banks:
    """The banks of a cell from all closed evaluations, calibrations included.

    Loss is pooled over host classes while their spreads agree, time never is. A budget without any entry borrows the
    bank of the next smaller one. The exchange rate and the early losses are those of one core on one data set, by
    default of the latest that was calibrated.
    """
    closed = in_order_of_closing(evaluations, track)
    loss = _or_borrowed(budget, lambda name: _loss_bank(closed, name, precision, host_class, core_id))
    time = _or_borrowed(budget, lambda name: _time_bank(closed, name, host_class, core_id))
    calibrations = [
        (evaluation, runs)
        for evaluation, runs in reversed(closed)
        if (evaluation.kind, evaluation.budget, evaluation.invalidated) == ("calibration", budget, None)
        and core_id in (None, evaluation.core_id)
        and data_id in (None, evaluation.data_id)
    ]
    kappa, early = _kappa(calibrations), _early_rms(calibrations)
    rate = "no exchange rate" if kappa is None else f"exchange rate {kappa:.4g} per unit of ln(time)"
    return Banks(loss.bank, time.bank, kappa, early, f"loss: {loss.said}; time: {time.said}; {rate}")


def in_order_of_closing(evaluations: Iterable[Evaluation], track: str) -> list[Evaluation]:
    """The closed evaluations of a track; an open one says nothing yet."""
    closed = (item for item in evaluations if item[0].closed is not None and item[0].track == track)
    return sorted(closed, key=lambda item: (item[0].closed or "", item[0].id))


@dataclass(frozen=True)
class _Filled:
    bank: NoiseBank
    said: str


def _or_borrowed(budget: str, fill: Callable[[str], _Filled]) -> _Filled:
    own = fill(budget)
    smaller = [other for other in BUDGETS.values() if other.listed and other.tokens < budget_named(budget).tokens]
    if own.bank.entries or not smaller:
        return own
    lender = max(smaller, key=lambda other: other.tokens).name
    lent = fill(lender)
    return _Filled(lent.bank, f"borrowed from {lender}, {lent.said}") if lent.bank.entries else own


def entering(closed: Iterable[Evaluation], budget: str) -> list[tuple[Pair, ...]]:
    """The pairs of each evaluation at this budget. Nothing refused: what cheated says nothing of honest noise."""
    return [
        pairs_of(runs, "calibrate" if evaluation.kind == "calibration" else "decide")
        for evaluation, runs in closed
        if evaluation.budget == budget
        and evaluation.invalidated is None
        and not any(run.status == "refused" for run in runs)
    ]


def _of_the_core(
    closed: Sequence[Evaluation], core_id: str | None, differences: Callable[[Iterable[Evaluation]], list[list[float]]]
) -> float:
    """Spread of a core against itself: of `core_id`, else of the latest whose calibrations say something."""
    known = [item for item in closed if item[0].kind == "calibration"]
    for core in dict.fromkeys([core_id, *(evaluation.core_id for evaluation, _ in reversed(known))]):
        found = _spread(differences([item for item in known if item[0].core_id == core]))
        if found:
            return found
    return 0.0


def _host_class(run: RunRecord) -> str:
    return run.host.host_class if run.host else "unknown host"


def _loss_bank(
    closed: Sequence[Evaluation], budget: str, precision: str, host_class: str, core_id: str | None
) -> _Filled:
    def by_hosts(evaluations: Iterable[Evaluation]) -> list[tuple[str, list[float]]]:
        found: list[tuple[str, list[float]]] = []
        for pairs in entering(evaluations, budget):
            alike = [pair for pair in pairs if pair.base.model and pair.base.model.precision == precision]
            for host in sorted({_host_class(pair.base) for pair in alike}):
                found.append((host, [pair.D for pair in alike if _host_class(pair.base) == host]))
        return found

    by_host = by_hosts(closed)
    p = homogeneity_p(by_host)
    pooled = p is None or p >= OBJECTS

    def counted(found: Iterable[tuple[str, list[float]]]) -> list[list[float]]:
        return [values for host, values in found if pooled or host == host_class]

    bank = NoiseBank(least=_of_the_core(closed, core_id, lambda some: counted(by_hosts(some))))
    for differences in counted(by_host):
        bank.add(differences)
    hosts = len({host for host, _ in by_host})
    if hosts < 2:
        return _Filled(bank, _describe(bank))
    tested = "too few pairs to compare them" if p is None else f"Levene p {p:.3g}"
    return _Filled(bank, f"{_describe(bank)}, {hosts} host classes {'' if pooled else 'not '}pooled ({tested})")


def _time_bank(closed: Sequence[Evaluation], budget: str, host_class: str, core_id: str | None) -> _Filled:
    def here(evaluations: Iterable[Evaluation]) -> list[list[float]]:
        return [
            [pair.R for pair in pairs if pair.R is not None and _host_class(pair.base) == host_class]
            for pairs in entering(evaluations, budget)
        ]

    bank = NoiseBank(least=_of_the_core(closed, core_id, here))
    for ratios in here(closed):
        bank.add(ratios)
    return _Filled(bank, _describe(bank))


def homogeneity_p(by_host: Collection[tuple[str, Sequence[float]]]) -> float | None:
    """p of equal noise in all host classes, from (host class, differences of one evaluation); None if untestable.

    Levene's test around the median (Brown and Forsythe 1974), which heavy tails do not mislead. It wants independent
    values of one mean, so each evaluation enters as its Helmert contrasts: one fewer than its differences, free of its
    own mean, with the same sum of squares.
    """
    if len({host for host, _ in by_host}) < 2:
        return None
    import numpy as np
    from scipy import linalg, stats

    groups: dict[str, list[float]] = {}
    for host, differences in by_host:
        if len(differences) >= 2 and min(differences) < max(differences):
            contrasts = linalg.helmert(len(differences)) @ np.asarray(differences)
            groups.setdefault(host, []).extend(contrasts.tolist())
    testable = [values for values in groups.values() if len(values) >= 3]
    if len(testable) < 2:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):  # all deviations equal: no statistic, so no objection
        p = float(stats.levene(*testable, center="median").pvalue)
    return p if math.isfinite(p) else None


def _kappa(calibrations: Iterable[Evaluation]) -> float | None:
    """Mean of (L(B/2) - L(B)) / ln 2 over the seeds that the latest calibration trained at both lengths."""
    for _, runs in calibrations:
        core = [run for run in runs if run.usable and is_base(run.spec)]
        half = {run.spec.seed: comparable_loss(run) for run in core if run.spec.round == "ladder"}
        full = {run.spec.seed: comparable_loss(run) for run in core if run.spec.round == "calibrate"}
        rises = [half[seed] - full[seed] for seed in sorted(half.keys() & full.keys())]
        if rises:
            return math.fsum(rises) / len(rises) / math.log(2)
    return None


def _early_rms(calibrations: Sequence[Evaluation]) -> float | None:
    """How far the core's early train losses lie from its own, re-keyed, in the latest calibration."""
    return early_rms(pairs_of(calibrations[0][1], "calibrate")) if calibrations else None


def _entry(values: Sequence[float], weight: float = 1.0) -> Entry | None:
    """None where they say nothing: fewer than two, all equal."""
    if len(values) < 2:
        return None
    _, ss = centre(finite(values))
    return Entry(weight * ss, float(len(values) - 1)) if ss > 0 else None


def _spread(groups: Iterable[Sequence[float]]) -> float:
    """Pooled sd within groups; 0 where they say nothing."""
    return _pooled([entry for values in groups if (entry := _entry(values))]) or 0.0


def _pooled(entries: Collection[Entry]) -> float | None:
    df = sum(entry.df for entry in entries)
    return math.sqrt(math.fsum(entry.ss for entry in entries) / df) if df else None


def _describe(bank: NoiseBank) -> str:
    if bank.s0 is None:
        return "no noise bank"
    count = len(bank.entries)
    said = f"s0 {bank.s0:.4g} from {count} evaluation{'s' if count > 1 else ''} ({bank.df:g} df)"
    if bank.d0 == 0:
        said += f", too few for a say before {FILLED_DF:g} df"
    if (_pooled(bank.entries) or 0.0) < bank.least:
        said += ", held at what the core shows against itself"
    stripped = bank.s0_without_near_null
    if stripped is not None and stripped > bank.s0:
        said += f", {stripped:.4g} without near-null ones"
    return said
