"""A maintainer's Sunday on a rented box: look it over, race the core against itself, work through the queue, go home.

The token may stay at home: the queue then comes in a bundle, and the results leave in one.
"""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.board import leaderboard
from harness.board.report import refresh
from harness.bot.bundle import BOARD, Bundle, take_records
from harness.bot.caps import Settings
from harness.bot.connection import redact
from harness.bot.engine import Engine
from harness.bot.github import GitHub
from harness.bot.head import Head
from harness.bot.page import cell_parts
from harness.bot.queue import Job, Queue
from harness.bot.work import start
from harness.data.cache import cache_root
from harness.decide.cells import overall_verdict
from harness.errors import MachineError, UsageError
from harness.records import ledger
from harness.records.store import Store
from harness.run.doctor import examine
from harness.run.evaluate import outcome_of
from harness.submission.git import git

WATCH_S = 30.0
CANARY = ("--budget", "test", "--pairs", "2", "--json")
_AUTHOR = ("-c", "user.name=blueberry-bot", "-c", "user.email=blueberry-bot@users.noreply.github.com")


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
    ended = tuple(
        job for job in jobs if job.state in ("done", "refused", "failed") and before.get(job.key) != job.state
    )
    return Drained(ended, tuple(job for job in jobs if job.state in ("waiting", "paused")))


def _advanced(engine: Engine, left_s: float, say: Callable[[str], None]) -> bool:
    """As the engine says; a machine or a line that fails ends the measuring, not what was measured."""
    try:
        return engine.advance(WATCH_S, left_s)
    except MachineError as error:
        say(f"no more is measured: {redact(error.faults[0].what)}")
        return False


def board(root: Path) -> None:
    """Renders the board and its reports from the run files."""
    store = Store(root / BOARD)
    ledger.verify(store)
    leaderboard.write(store, root)
    refresh(store)


def publish(root: Path, github: GitHub, title: str, body: str) -> int | None:
    """One pull request with the board as it is now; None where nothing of it is new. The clone stays as it is."""
    branch = "bot/results-" + datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    work = root / ".blueberry" / "bot" / "publish"
    shutil.rmtree(work, ignore_errors=True)
    _git(root, "worktree", "prune")
    _git(root, "worktree", "add", "--detach", "--quiet", str(work), "HEAD")
    try:
        shutil.copytree(root / BOARD, work / BOARD, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        _git(work, "add", "--", BOARD)
        if not _git(work, "status", "--porcelain", "--", BOARD).strip():
            return None
        _git(work, *_AUTHOR, "commit", "--quiet", "-m", title)
        _git(work, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    finally:
        _git(root, "worktree", "remove", "--force", str(work))
    return github.open_pull(title, branch, "main", body)


def take_results(root: Path, queue: Queue, bundle: Bundle, where: str) -> list[Job]:
    """The results of another machine: its records onto the board, its jobs into the queue that asked for them."""
    take_records(root, bundle, where)
    taken = []
    for job in bundle.jobs:
        own = queue.find(job.key)
        if own is None or own.state == "done":
            continue  # nobody here asked for it, or it is known
        update = {name: getattr(job, name) for name in ("state", "reason", "faults", "attempts", "spent")}
        taken.append(own.model_copy(update={**update, **_decided(root, queue, own)}))
        queue.put(taken[-1])
    return taken


def _decided(root: Path, queue: Queue, job: Job) -> dict[str, Any]:
    """The verdict by the run files that came along: the other machine's word for it is not needed."""
    known, store = queue.pull(job.pr), Store(root / BOARD)
    own = [
        one
        for one in store.evaluations()
        if known and (one.slug, one.track, one.budget) == (job.slug, job.track, job.budget)
        if one.patch_sha == known.check.patch_sha and one.closed is not None
    ]
    if not own:
        return {"verdict": None, "cells": ()}
    cells = outcome_of(store, own[-1]).cells
    parts = cell_parts({"cells": [cell.to_json() for cell in cells]})
    return {"verdict": overall_verdict(cells), "cells": parts}


def _require_fit(root: Path) -> None:
    wrong = [finding for finding in examine(root, cache_root()) if not finding.ok]
    if wrong:
        first = wrong[0]
        raise MachineError(first.subject, first.found, first.fix or "see `blueberry doctor`")


def _canary(root: Path, queue: Queue, say: Callable[[str], None], until: float) -> None:
    """The core against itself on the first job's track, for seconds: a box that cannot do that is no box to pay for."""
    track = next(job.track for job in queue.jobs() if job.state in ("waiting", "paused"))
    say(f"canary: the core against itself on {track}")
    work = start(root, queue.folder / "work" / "canary", ["baseline", "--track", track, *CANARY])
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


def _git(folder: Path, *arguments: str) -> bytes:
    done = git(*arguments, cwd=folder, repository=True)
    if done.returncode:
        said = redact(done.stderr.decode("utf-8", "replace")).strip().split("\n")[-1][:200]
        verb = next(word for word in arguments if not word.startswith("-") and "=" not in word)
        raise MachineError(f"git {verb}", f"fails: {said}", "mend that, then run the same command again")
    return done.stdout
