"""Gains that were held to less than the earlier tries of their idea ask for, and contests that were drawn twice.

A run freezes the rate that its own clone's tries leave. Two machines, or two branches, may measure tries of one idea
without knowing of each other: what was begun later is then held, when both are in one place, to what the earlier one
leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.decide.cells import ACCEPTED, Cell, judge_cell
from harness.records.record import ContestKey, EvaluationRecord, RunRecord
from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.run.tries import Idea, Rate, rate_of
from harness.tracks import TRACKS


def lenient_gains(root: Path, store: Store) -> list[str]:
    """The official evaluations on today's core that measure what another had begun to measure, or whose gain would not
    stand at the rate that earlier tries leave, in words."""
    past = [one for one in store.evaluations() if one.official]
    today = {name: track_core_id(root, TRACKS[name]) for name in {one.track for one in past} & TRACKS.keys()}
    shown = [one for one in past if one.kind == "submission" and one.closed is not None and not one.provisional]
    own = [one for one in shown if one.invalidated is None and one.core_id == today.get(one.track)]
    first: dict[ContestKey, EvaluationRecord] = {}
    found = []
    for one in sorted(own, key=lambda one: (one.opened, one.id)):
        other = first.setdefault(one.contest, one)
        again = f"measures what {other.id} has measured" if other is not one else None
        found.append((one, again or lenient(root, one, (run for run in store.runs(one.id)), past)))
    return [f"{one.id} {why}" for one, why in found if why]


def lenient(
    root: Path, one: EvaluationRecord, runs: Iterable[RunRecord], past: Sequence[EvaluationRecord]
) -> str | None:
    """How an evaluation was held to less than what was begun before it asks for, in words; None where it was not, and
    where that changes nothing: it is no gain, or one at the stricter rate as well."""
    rate = rate_of(
        root,
        _before(one, past),
        Idea.measured(one),
        one.track,
        one.budget,
        one.metrics,
        one.claimed,
        one.data_id,
    )
    if one.alpha <= rate.alpha and one.k >= rate.k:
        return None
    seen = tuple(runs)
    if not any(_needs_it(judge_cell(one, seen, metric), rate) for metric in one.metrics):
        return None
    held, asked = (f"{each.alpha:.4g} for {each.k} claims" for each in (one, rate))
    return f"was held to an error rate of {held}, and earlier tries leave {asked}"


def _before(one: EvaluationRecord, past: Sequence[EvaluationRecord]) -> list[EvaluationRecord]:
    """What counts as a try before it; of the same patch no measurement that was provisional, wherever this is asked."""
    earlier = [other for other in past if (other.opened, other.id) < (one.opened, one.id)]
    return [other for other in earlier if not (other.provisional and other.patch_sha == one.patch_sha)]


def _needs_it(cell: Cell, rate: Rate) -> bool:
    """Whether a gain stands at its own rate alone."""
    gains = cell.verdict in (*ACCEPTED, "REVIEW_TRADEOFF") and not (cell.confirm and cell.confirm.confirmed is False)
    return gains and (cell.p is None or cell.p * rate.k / cell.k > rate.alpha)
