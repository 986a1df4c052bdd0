"""What an evaluation will cost and what it can see, before anything is spent. Reads files, runs nothing."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.decide import power
from harness.decide.decision import SPEED_MARGIN
from harness.errors import SubmissionError
from harness.records.record import ContestKey, EvaluationRecord, Metric
from harness.records.store import Store
from harness.run import host
from harness.run.arms import track_core_id
from harness.run.contests import ChosenCell, Options, chosen_cells
from harness.run.known import Known, banks_here, known_evaluations
from harness.run.tries import Idea, Rate, begun, rate_of
from harness.submission.manifest import Manifest, load_manifest
from harness.tracks import Budget, Track


@dataclass(frozen=True)
class CellPlan:
    """One claim. Gains are in nats for a loss, in ln(time ratio) for a speed."""

    track: str
    budget: str
    metric: Metric
    max_pairs: int
    confirm_pairs: int
    alpha: float  # error rate: halved by every earlier try of the idea
    k: int  # claims that share it
    sigma: float | None  # sd of a pair's difference that is reckoned with; None without a bank
    bank: str
    least_detectable: float | None  # found with a chance of 80 %
    pairs_without_gain: float | None  # expected
    pairs_with_gain: float | None  # expected, at twice the least detectable gain
    seconds_per_pair: float | None  # None where this host class has no closed evaluation of this cell
    cost_at_most: float | None  # for the largest number of pairs, confirmation included
    peak_memory_bytes: int | None

    @property
    def seconds_at_most(self) -> float | None:
        return None if self.seconds_per_pair is None else self.seconds_per_pair * (self.max_pairs + self.confirm_pairs)


def plan_submission(root: Path, folder: Path, options: Options, price_per_hour: float | None) -> list[CellPlan]:
    """Every claim of a submission that the options leave, at the rate to which earlier official tries have brought it.

    Raises SubmissionError for a manifest that cannot be read; a patch that does not apply yet can be planned for.
    """
    manifest = load_manifest(folder)
    try:
        idea = Idea.of(root, folder, manifest)
    except SubmissionError:
        idea = Idea.named(folder, manifest)
    past = Store(root / "leaderboard").evaluations()
    plans = []
    for cell in chosen_cells(manifest, options):
        rate = _frozen(root, past, idea, manifest, cell) or rate_of(
            root, past, idea, cell.track.name, cell.budget.name, cell.metrics, cell.claimed
        )
        pairs = options.pairs or cell.budget.max_pairs
        for metric in cell.metrics:
            plans.append(plan_cell(root, cell.track, cell.budget, metric, rate, pairs, price_per_hour))
    return plans


def _frozen(
    root: Path, past: Sequence[EvaluationRecord], idea: Idea, manifest: Manifest, cell: ChosenCell
) -> Rate | None:
    """The rate of this very contest where it was begun before: a run goes on with that one."""
    contest = ContestKey(
        slug=idea.slug,
        patch_sha=idea.patch_sha,
        builds_on=manifest.builds_on,
        track=cell.track.name,
        budget=cell.budget.name,
        metrics=cell.metrics,
        claimed=cell.claimed,
        core_id=track_core_id(root, cell.track),
        data_id="",
    )
    one = begun(past, contest)
    return Rate(one.alpha, one.k) if one else None


def plan_cell(
    root: Path, track: Track, budget: Budget, metric: Metric, rate: Rate, max_pairs: int, price_per_hour: float | None
) -> CellPlan:
    """Expectations from the noise bank and from what closed evaluations took on this host class."""
    known = known_evaluations(root, track)
    banks = banks_here(known, track, budget)
    sigma = banks.loss.s0 if metric == "loss" else banks.time.s0
    d0 = banks.loss.d0 if metric == "loss" else min(banks.loss.d0, banks.time.d0)
    margin = 0.0 if metric == "loss" else SPEED_MARGIN
    seconds = seconds_per_pair(known, budget, host.describe().host_class)
    most = max_pairs + budget.confirm_pairs
    least = power.least_detectable(sigma, max_pairs, rate.k, alpha=rate.alpha, d0=d0) if sigma else None
    return CellPlan(
        track=track.name,
        budget=budget.name,
        metric=metric,
        max_pairs=max_pairs,
        confirm_pairs=budget.confirm_pairs,
        alpha=rate.alpha,
        k=rate.k,
        sigma=sigma,
        bank=banks.source,
        least_detectable=None if least is None else margin + least,
        pairs_without_gain=power.expected_pairs(0.0, sigma, max_pairs, rate.k, alpha=rate.alpha, d0=d0)
        if sigma
        else None,
        pairs_with_gain=power.expected_pairs(2 * least, sigma, max_pairs, rate.k, alpha=rate.alpha, d0=d0)
        if sigma and least
        else None,
        seconds_per_pair=seconds,
        cost_at_most=price_per_hour * seconds * most / 3600 if price_per_hour and seconds else None,
        peak_memory_bytes=_peak_memory(known, budget),
    )


def seconds_per_pair(known: Known, budget: Budget, host_class: str) -> float | None:
    """Twice the median of what a run took: set-up and training, and its share of scoring and audit."""
    per_run = []
    for evaluation, runs in known:
        for run in runs if evaluation.budget == budget.name else ():
            here = run.host is not None and run.host.host_class == host_class
            stages = (run.setup_seconds, run.train_seconds, run.score_seconds, run.audit_seconds)
            if here and run.status == "completed" and run.spec.tokens == budget.tokens and None not in stages:
                set_up, train, score, audit = (seconds or 0.0 for seconds in stages)
                on_cpu = run.host is not None and run.host.accelerator == "cpu"
                at_once = 2 if on_cpu and not evaluation.official else 1  # scored together
                per_run.append(set_up + train + (score + audit) / at_once)
    return 2 * statistics.median(per_run) if per_run else _wall_seconds_per_pair(known, budget, host_class)


def _wall_seconds_per_pair(known: Known, budget: Budget, host_class: str) -> float | None:
    """The same from the dates of evaluations alone, pauses included: older run files tell no more."""
    per_run = []
    for evaluation, runs in known:
        here = runs and all(run.host and run.host.host_class == host_class for run in runs)
        if evaluation.budget == budget.name and evaluation.closed and here:
            opened = datetime.datetime.fromisoformat(evaluation.opened)
            closed = datetime.datetime.fromisoformat(evaluation.closed)
            if closed > opened:  # not where the clock was set back in between
                per_run.append((closed - opened).total_seconds() / len(runs))
    return 2 * statistics.median(per_run) if per_run else None


def _peak_memory(known: Known, budget: Budget) -> int | None:
    peaks = [
        run.model.peak_memory_bytes
        for evaluation, runs in known
        for run in runs
        if evaluation.budget == budget.name and run.model
    ]
    return max(peaks) if peaks else None
