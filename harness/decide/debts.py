"""What earlier records gave away: many small losses for speed, or slowdowns for loss, must not add up unseen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.decide.bank import Evaluation, in_order_of_closing
from harness.decide.cells import judge_cell
from harness.decide.pairs import pairs_of
from harness.records.replaced import replaced


@dataclass(frozen=True)
class Debts:
    """Frozen into an evaluation when it opens."""

    loss: float  # nats that confirmed speed records gave away since the last confirmed loss record
    time: float  # ln(time) that confirmed loss records gave away since the last confirmed speed record


def debts(evaluations: Iterable[Evaluation], track: str, budget: str) -> Debts:
    """The debts of a cell, from the confirmed official records in the order in which they were closed."""
    closed = in_order_of_closing(evaluations, track)
    twice = replaced(evaluation for evaluation, _ in closed)
    own = [
        (evaluation, runs)
        for evaluation, runs in closed
        if evaluation.budget == budget and evaluation.official and evaluation.kind == "submission"
        if evaluation.id not in twice
    ]
    records = [
        (evaluation, metric, pairs_of(runs, "confirm"))
        for evaluation, runs in own
        for metric in evaluation.metrics
        if (confirm := judge_cell(evaluation, runs, metric).confirm) is not None and confirm.confirmed
    ]
    core_of = {evaluation.slug: evaluation.core_id for evaluation, _, _ in records}  # the latest on which it held
    loss = time = 0.0
    for evaluation, metric, fresh in records:
        if evaluation.core_id == core_of[evaluation.slug]:  # else it gives away what the newer record says
            if metric == "speed":
                loss, time = loss + _given([-pair.D for pair in fresh]), 0.0
            else:
                loss, time = 0.0, time + _given([pair.R for pair in fresh if pair.R is not None])
    return Debts(loss, time)


def _given(rises: list[float]) -> float:
    """The mean rise; a fall gives nothing back."""
    return max(0.0, math.fsum(rises) / len(rises)) if rises else 0.0
