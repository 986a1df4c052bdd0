"""What has to be calibrated again after the core has moved, and how long it took the last time. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.records.record import EvaluationRecord
from harness.run import host
from harness.run.calibrate import LADDER, REPEATS
from harness.run.known import Known, known_evaluations
from harness.run.plan import seconds_per_pair
from harness.tracks import Track, budget_named


@dataclass(frozen=True)
class Refill:
    """One calibration of the new core."""

    track: str
    budget: str
    command: str
    seconds: float | None  # expected; None where no run file tells
    host_class: str | None  # on which it would take that long


def refills(root: Path, tracks: Iterable[Track]) -> tuple[Refill, ...]:
    """One for every track and budget that has an official calibration of an earlier core, cheapest first."""
    found = []
    for track in tracks:
        known = known_evaluations(root, track, official=True)
        latest: dict[str, EvaluationRecord] = {}
        for evaluation, _ in known:
            if evaluation.kind == "calibration" and evaluation.invalidated is None:
                latest[evaluation.budget] = evaluation
        for evaluation in sorted(latest.values(), key=lambda one: budget_named(one.budget).tokens):
            found.append(_refill(evaluation, known))
    return tuple(found)


def _refill(evaluation: EvaluationRecord, known: Known) -> Refill:
    """The same calibration again: as many pairs, repeats and half budgets as it had."""
    command = f"blueberry baseline --track {evaluation.track} --budget {evaluation.budget} --pairs"
    command += f" {evaluation.max_pairs} --official"
    if evaluation.epochs > 1:
        command += f" --epochs {evaluation.epochs}"
    runs = 2 * evaluation.max_pairs + REPEATS + min(LADDER, evaluation.max_pairs) / 2  # in runs of the whole budget
    there = {run.host.host_class for one, made in known if one.id == evaluation.id for run in made if run.host}
    for host_class in (host.describe().host_class, *sorted(there)):
        seconds = seconds_per_pair(known, budget_named(evaluation.budget), host_class)
        if seconds is not None:
            return Refill(evaluation.track, evaluation.budget, command, seconds / 2 * runs, host_class)
    return Refill(evaluation.track, evaluation.budget, command, None, None)
