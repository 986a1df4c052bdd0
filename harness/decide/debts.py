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
    core_of = {evaluation.slug: evaluation.core_id for evaluation, _ in own}  # the latest on which it was measured
    loss = time = 0.0
    for evaluation, runs in own:
        if evaluation.core_id != core_of[evaluation.slug]:
            continue  # it was measured again on a newer core, and gives away what that says
        fresh = pairs_of(runs, "confirm")
        for metric in evaluation.metrics:
            confirm = judge_cell(evaluation, runs, metric).confirm
            if confirm is None or not confirm.confirmed:
                continue
            if metric == "speed":
                loss, time = loss + _given([-pair.D for pair in fresh]), 0.0
            else:
                loss, time = 0.0, time + _given([pair.R for pair in fresh if pair.R is not None])
    return Debts(loss, time)


def _given(rises: list[float]) -> float:
    """The mean rise; a fall gives nothing back."""
    return max(0.0, math.fsum(rises) / len(rises)) if rises else 0.0
