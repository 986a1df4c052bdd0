"""A maintainer's Sunday on a rented box: look it over, race the core against itself, work through the queue, go home.

The token may stay at home: the queue then comes in a bundle, and the results leave in one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bot.bundle import BOARD, Bundle, Taken, asked_of, take_records
from harness.bot.caps import Settings
from harness.bot.connection import redact
from harness.bot.engine import Engine
from harness.bot.head import Head
from harness.bot.page import cell_parts, cut
from harness.bot.queue import ENDED, Job, Queue
from harness.bot.work import start
from harness.data.cache import cache_root
from harness.decide.cells import overall_verdict
from harness.errors import MachineError, UsageError
from harness.records.store import Store
from harness.run.doctor import examine
from harness.run.evaluate import outcome_of
from harness.run.known import known_evaluations
from harness.tracks import BUDGETS, track_named

WATCH_S = 30.0
CANARY = ("--pairs", "2", "--json")
CANARY_UPDATES = 2  # of the optimizer; its ladder, at half the budget, makes one


@dataclass(frozen=True)
class Limits:
    """What a drain may take."""

    hours: float
    cost: float

    def seconds(self, settings: Settings) -> float:
        if settings.price_per_hour is None:
            raise UsageError(
                "--max-cost", "means nothing without a price", "set price_per_hour in blueberry.toml [bot]"
            )
        return 3600 * min(self.hours, self.cost / settings.price_per_hour)


@dataclass(frozen=True)
class Drained:
    """What a drain came to."""

    ended: tuple[Job, ...]
    left: tuple[Job, ...]  # what time or money did not suffice for


def measure(
    root: Path,
    queue: Queue,
    settings: Settings,
    limits: Limits,
    head_of: Callable[[Job], Head],
    objection: Callable[[Job], str],
    say: Callable[[str], None],
    after: Callable[[], None] = lambda: None,
) -> Drained:
    """Doctor, canary, queue. The caller holds the queue's lock; `after` is called after every look at a job."""
    until = time.monotonic() + limits.seconds(settings)
    before = {job.key: job.state for job in queue.jobs()}
    if "waiting" in before.values() or "paused" in before.values():
        _require_fit(root)
        _canary(root, queue, say, until)
    with Engine(root, queue, settings, head_of, objection) as engine:
        while (left := until - time.monotonic()) > 0 and _advanced(engine, left, say):
            after()
    jobs = queue.jobs()
    ended = tuple(job for job in jobs if job.state in ENDED and before.get(job.key) != job.state)
    return Drained(ended, tuple(job for job in jobs if job.state in ("waiting", "paused")))


def _advanced(engine: Engine, left_s: float, say: Callable[[str], None]) -> bool:
    """As the engine says; a machine or a line that fails ends the measuring, not what was measured."""
    try:
        return engine.advance(WATCH_S, left_s)
    except MachineError as error:
        say(f"no more is measured: {redact(error.faults[0].what)}")
        return False


def take_results(root: Path, queue: Queue, bundle: Bundle, where: str) -> tuple[list[Job], str]:
    """The results of another machine: its records onto the board, its jobs into the queue that asked for them.

    Answers the jobs that have ended with them, and what is to be said of records that were left out.
    """
    pairs = [(job, own) for job in bundle.jobs if (own := queue.find(job.key)) is not None]
    records = take_records(root, bundle.records, asked_of(own for _, own in pairs), where)
    taken = []
    for job, own in pairs:
        spent = own.spent | {month: max(s, own.spent.get(month, 0.0)) for month, s in job.spent.items()}
        own = own.model_copy(update={"spent": spent})
        queue.put(own)
        if own.state == "done" or (own.state != "away" and own.ordered > job.ordered):
            continue  # it is known, or is to be run here by an order that came since
        update = {name: getattr(job, name) for name in ("reason", "faults", "attempts")}
        if job.state not in ENDED:  # that box may go on with it: here it is not begun a second time
            queue.put(own.model_copy(update=update))
            continue
        decided = _decided(root, own)
        if job.state == "done" and decided["verdict"] is None:
            left_out = _left_out(own, records)
            if left_out:  # else it says so, and brings no record of it
                queue.put(own.model_copy(update={"state": "failed", "reason": cut(left_out)}))
            continue
        taken.append(own.model_copy(update={**update, "state": job.state, **decided}))
        queue.put(taken[-1])
    return taken, records.said


def _left_out(job: Job, records: Taken) -> str:
    """Why what was measured of a job did not come in; an order then begins it anew, at the rate that is known here."""
    (asked,) = asked_of([job])
    again = f"again: /bench {job.budget} {job.track} {job.sha}"
    own = (f"{one.id} {why}; {again}" for one, why in records.left if asked.is_answered_by(one))
    return next(own, "")


def _decided(root: Path, job: Job) -> dict[str, Any]:
    """The verdict by the run files that came along: the other machine's word for it is not needed."""
    (asked,), store = asked_of([job]), Store(root / BOARD)
    own = [
        one
        for one in store.evaluations()
        if asked.is_answered_by(one) and one.kind == "submission" and one.closed is not None
    ]
    if not own:
        return {"verdict": None, "cells": ()}
    cells = outcome_of(store, own[-1]).cells
    parts = cell_parts({"cells": [cell.to_json() for cell in cells]})
    return {"verdict": overall_verdict(cells), "cells": parts}


def canary_budget(root: Path, track: str) -> str:
    """The least budget at which the core of a track makes updates, by its latest runs."""
    batches = [
        run.model.batch_tokens
        for _, runs in known_evaluations(root, track_named(track))
        for run in runs
        if run.spec.arm == "core" and run.model is not None
    ]
    if not batches:  # never calibrated: the job itself will say so
        return "smoke"
    return next(name for name, budget in BUDGETS.items() if budget.tokens >= CANARY_UPDATES * batches[-1])


def _require_fit(root: Path) -> None:
    wrong = [finding for finding in examine(root, cache_root()) if not finding.ok]
    if wrong:
        first = wrong[0]
        raise MachineError(first.subject, first.found, first.fix or "see `blueberry doctor`")


def _canary(root: Path, queue: Queue, say: Callable[[str], None], until: float) -> None:
    """The core against itself on the first job's track, for seconds: a box that cannot do that is no box to pay for."""
    track = next(job.track for job in queue.jobs() if job.state in ("waiting", "paused"))
    say(f"canary: the core against itself on {track}")
    size = canary_budget(root, track)
    work = start(root, queue.folder / "work" / "canary", ["baseline", "--track", track, "--budget", size, *CANARY])
    ending = None
    while ending is None and time.monotonic() < until:
        ending = work.wait(min(WATCH_S, until - time.monotonic()))
        say(work.live())
    work.stop()
    if ending is None or ending.exit_code != 0:
        said = "did not end in time" if ending is None else ending.said
        raise MachineError(
            "canary", f"the core itself does not run here: {said}", "see `blueberry doctor`, or take another box"
        )
