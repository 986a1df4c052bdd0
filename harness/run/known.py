"""What this clone knows from closed evaluations, and what that makes of the machine's own noise banks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.decide.bank import Banks, banks_for
from harness.records.record import EvaluationRecord, RunRecord
from harness.records.store import Store
from harness.run import host
from harness.tracks import Budget, Track

Known = Sequence[tuple[EvaluationRecord, tuple[RunRecord, ...]]]


def known_evaluations(root: Path, track: Track, official: bool = False) -> Known:
    """Closed evaluations of a track: what the noise bank is made of.

    An official evaluation rests on official ones alone, so that anyone can derive its numbers again; a local one also
    on what this clone has measured itself.
    """
    return [
        (evaluation, tuple(store.runs(evaluation.id)))
        for store in (Store(root / "leaderboard"), *([] if official else [Store(root / ".blueberry")]))
        for evaluation in store.evaluations()
        if evaluation.track == track.name and evaluation.closed
    ]


def banks_here(
    known: Known, track: Track, budget: Budget, core_id: str | None = None, data_id: str | None = None
) -> Banks:
    """The banks for a run on this machine, of one core and data set or of the latest that was calibrated."""
    here = host.describe().host_class
    return banks_for(known, track.name, budget.name, host.precision(), here, core_id, data_id)
