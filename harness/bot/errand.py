"""What `drain` does, by what comes in: nothing (all of it here), jobs (measure them), or results (publish them)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.bot import caps, drain, publish
from harness.bot.artifact import asked_for, is_artifact, read_artifact
from harness.bot.bundle import BOARD, Bundle, asked_of, jobs_bundle, read_bundle, results_bundle, take_records
from harness.bot.caps import Settings
from harness.bot.drain import Limits
from harness.bot.github import GitHub
from harness.bot.head import Head, read_head
from harness.bot.poll import Poll
from harness.bot.queue import Job, Queue, now
from harness.errors import UsageError
from harness.records.atomic import write_atomically
from harness.records.store import Store
from harness.run import sandbox


@dataclass(frozen=True)
class Done:
    """What came of it."""

    last: str  # line
    safe: bool = False  # everything that was begun here is decided, and is somewhere else as well
    ended: tuple[Job, ...] = ()
    left: tuple[Job, ...] = ()
    pull_request: int | None = None


@dataclass(frozen=True)
class Parcels:
    """What comes in from another machine, and what goes out to one."""

    incoming: Path | None = None
    outgoing: Path | None = None
    lost: bool = False  # the machine that has the jobs which are away does not come back


def errand(
    root: Path,
    settings: Settings,
    limits: Limits,
    parcels: Parcels,
    connect: Callable[[], GitHub],
    say: Callable[[str], None],
) -> Done:
    incoming, outgoing = parcels.incoming, parcels.outgoing
    if parcels.lost and (incoming or not outgoing):
        what = "is for jobs that are packed, which --bundle-out does without --bundle-in"
        raise UsageError("--lost", what, "give it with --bundle-out FILE alone, or leave it out")
    if incoming and is_artifact(incoming):
        return _publish_artifact(Poll(root, connect(), settings, say), incoming)
    bundle = read_bundle(incoming) if incoming else None
    if bundle and bundle.kind == "jobs":
        if outgoing is None:
            raise UsageError("--bundle-out", "is missing: the results could not leave this box", "name a file")
        return _measure_bundle(root, settings, limits, bundle, outgoing, say)
    poll = Poll(root, connect(), settings, say)
    if bundle and incoming:
        return _publish_results(poll, bundle, incoming.name)
    if outgoing:
        return _pack_jobs(poll, outgoing, parcels.lost)
    return _all_here(poll, limits, say)


def _all_here(poll: Poll, limits: Limits, say: Callable[[str], None]) -> Done:
    """With the token on this machine."""
    sandbox.require()
    with poll.queue.lock():
        poll.look()
        poll.tell()

        def after() -> None:
            poll.survive(poll.look)
            poll.survive(poll.tell)

        drained = drain.measure(
            poll.root, poll.queue, poll.settings, limits, poll.head_of, poll.objection, say, after=after
        )
        poll.tell()
        where, number = _published(poll)
    again = "run the same command again, with more hours or cost"
    safe, last = _farewell(poll.root, drained.left, where, again, "their orders stand in the pull requests")
    return Done(last, safe, drained.ended, drained.left, number)


def _published(poll: Poll) -> tuple[str, int | None]:
    done = publish.publish(poll.root, poll.github, poll.settings.login)
    return _where(done), done.number


def _where(done: publish.Published) -> str:
    none = "nothing new goes to main" if done.left else "main has every result that is finished here"
    return (f"the results are in #{done.number}" if done.number else none) + done.left


def _farewell(root: Path, left: tuple[Job, ...], where: str, again: str, orders: str) -> tuple[bool, str]:
    """Whether nothing is lost with this machine, and the sentence that says so or says what would be."""
    half = publish.half_run(root)
    if half:
        names = ", ".join(f"{one.slug} on {one.track} at {one.budget}" for one in half)
        return False, f"{where}; NOT safe to destroy: half run and only here: {names}. To finish: {again}"
    untouched = f"; {len(left)} jobs were not begun, {orders}" if left else ""
    return True, f"{where}{untouched}; safe to destroy"


def _pack_jobs(poll: Poll, out: Path, lost: bool) -> Done:
    """On the machine with the token: hears, answers, and sends the queue away instead of running it."""
    states = ("waiting", "paused", *(("away",) if lost else ()))
    with poll.queue.lock():
        poll.look()
        begun = publish.half_run(poll.root)  # nobody else could go on with these
        ready = [job for job in _affordable(poll, states) if not poll.objection(job)]
        jobs = [job for job in ready if not any(asked_of([job])[0].is_answered_by(one) for one in begun)]
        heads = [(job.model_copy(update={"state": "waiting", "again": ""}), poll.head_of(job)) for job in jobs]
        write_atomically(out, jobs_bundle(poll.github.repository, heads, _spent_beside(poll.queue.jobs(), jobs)))
        for job in jobs:  # nobody else measures them from now on
            poll.queue.put(job.model_copy(update={"state": "away", "reason": ""}))
        poll.tell()
    stay = f"; {len(ready) - len(jobs)} stay here, where they are half run" if len(ready) > len(jobs) else ""
    return Done(f"{len(heads)} jobs are in {out}{stay}", left=tuple(job for job, _ in heads))


def _affordable(poll: Poll, states: Collection[str]) -> list[Job]:
    """Jobs that the caps leave something for. One that is paused stays paused: another machine is no other purse."""
    jobs, month = poll.queue.jobs(), caps.month_of(now())
    return [job for job in jobs if job.state in states and caps.room(poll.settings, jobs, job, month)[0] > 0]


def _spent_beside(jobs: Sequence[Job], packed: Collection[Job]) -> list[Job]:
    """What was spent on other jobs, so that the box holds to the same caps; there is nothing else to do for them."""
    keys, pulls, month = {job.key for job in packed}, {job.pr for job in packed}, caps.month_of(now())
    others = [job for job in jobs if job.key not in keys and (month in job.spent or (job.pr in pulls and job.spent))]
    bare = {"state": "away", "live": "", "reason": "", "verdict": None, "cells": (), "faults": ()}
    return [job.model_copy(update=bare) for job in others]


def _measure_bundle(
    root: Path, settings: Settings, limits: Limits, bundle: Bundle, out: Path, say: Callable[[str], None]
) -> Done:
    """On the box without a token. Running it again with the same bundle goes on where it stopped."""
    sandbox.require()
    queue = Queue(root)

    def head_of(job: Job) -> Head:
        return queue.head(job) or read_head(root, job.sha)

    with queue.lock():
        for job in bundle.jobs:
            _receive(queue, job, bundle.heads[job.key])
        drained = drain.measure(root, queue, settings, limits, head_of, lambda job: "", say)
        own = [job for job in queue.jobs() if queue.head(job)]  # of this bundle and of earlier ones
        results = results_bundle(bundle.repository, own, root)
    write_atomically(out, results)
    taken = read_bundle(out).records
    staying = [one.id for one in publish.lacking(root, "HEAD") if f"{BOARD}/evaluations/{one.id}.json" not in taken]
    again = f"run the same command again, with more hours or cost, then take {out} home"
    where = f"{len(drained.ended)} jobs ended; take {out} to the other machine first"
    safe, last = _farewell(root, drained.left, where, again, "at home --bundle-out --lost packs them again")
    if safe and staying:
        safe, last = False, f"{where}; NOT safe to destroy: {', '.join(staying)} is in no bundle: commit and push it"
    return Done(last, safe, drained.ended, drained.left)


def _receive(queue: Queue, job: Job, head: Head) -> None:
    """A job that is new here, or that was ordered again since it ended here without a verdict; of one without files,
    which stays at home, what was spent on it."""
    own = queue.find(job.key)
    if own is not None and not head.files:
        job = own.model_copy(update={"spent": own.spent | job.spent})
    if own is None or not head.files or own.renewed_by(max(job.asked, job.ordered)):
        queue.put(job)
    queue.put_head(job, head)


def _publish_results(poll: Poll, bundle: Bundle, where: str) -> Done:
    """On the machine with the token, once the results are home."""
    if bundle.repository != poll.github.repository:
        raise UsageError(where, f"is of {bundle.repository}", f"this is {poll.github.repository}: add --repo")
    with poll.queue.lock():
        taken, twice = drain.take_results(poll.root, poll.queue, bundle, where)
        poll.tell()
        said, number = _published(poll)
        said += twice
        left = tuple(job for job in poll.queue.jobs() if job.state == "away")
    if left:
        said += f"; {len(left)} jobs are still away: if their machine is lost, pack them with --bundle-out --lost"
    return Done(said, False, tuple(taken), left, number)


def _publish_artifact(poll: Poll, path: Path) -> Done:
    """What a workflow measured, held to what git says of its commit."""
    artifact = read_artifact(path)
    with poll.queue.lock():
        asked = asked_for(poll.root, artifact.page, path.name)
        taken = take_records(poll.root, artifact.records, asked, path.name)
        said, number = _published(poll)
    of = f"of #{artifact.page.pr} at {artifact.page.sha[:12]}"
    return Done(f"{len(taken.new)} new evaluations {of}{taken.said}; {said}", pull_request=number)


def deliver(root: Path, github: GitHub, login: str | None) -> Done:
    """What `publish` does: finished results into a pull request, then the clone to main."""
    with Queue(root).lock(), Store(root / BOARD).lock():
        done = publish.publish(root, github, login)
        main = publish.follow(root)
    return Done(f"{_where(done)}; this clone is at main, {main[:12]}", pull_request=done.number)
