"""What `drain` does, by what comes in: nothing (all of it here), jobs (measure them), or results (publish them)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.bot import drain
from harness.bot.bundle import Bundle, jobs_bundle, read_bundle, results_bundle
from harness.bot.caps import Settings
from harness.bot.drain import Limits
from harness.bot.github import GitHub
from harness.bot.head import Head
from harness.bot.poll import Poll
from harness.bot.queue import Job, Queue
from harness.errors import UsageError
from harness.records.atomic import write_atomically
from harness.run import sandbox

TITLE = "Official results"


@dataclass(frozen=True)
class Done:
    """What came of it."""

    last: str  # line
    safe: bool = False  # everything that was measured is somewhere else as well
    ended: tuple[Job, ...] = ()
    left: tuple[Job, ...] = ()
    pull_request: int | None = None


def errand(
    root: Path,
    settings: Settings,
    limits: Limits,
    bundle_in: Path | None,
    bundle_out: Path | None,
    connect: Callable[[], GitHub],
    say: Callable[[str], None],
) -> Done:
    bundle = read_bundle(bundle_in) if bundle_in else None
    if bundle and bundle.kind == "jobs":
        if bundle_out is None:
            raise UsageError("--bundle-out", "is missing: the results could not leave this box", "name a file")
        return _measure_bundle(root, settings, limits, bundle, bundle_out, say)
    poll = Poll(root, connect(), settings, say)
    if bundle and bundle_in:
        return _publish_results(poll, bundle, bundle_in.name)
    if bundle_out:
        return _pack_jobs(poll, bundle_out)
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
        return _published(poll, drained.ended, drained.left)


def _published(poll: Poll, ended: tuple[Job, ...], left: tuple[Job, ...]) -> Done:
    drain.board(poll.root)
    body = "\n".join(
        f"- #{job.pr} `{job.slug}`, {job.track} at {job.budget}: {job.verdict or job.state}" for job in ended
    )
    number = drain.publish(poll.root, poll.github, TITLE, body or "The board, rendered again.")
    where = f"the results are in #{number}" if number else "nothing new was measured"
    return Done(f"{where}; safe to destroy", True, ended, left, number)


def _pack_jobs(poll: Poll, out: Path) -> Done:
    """On the machine with the token: hears, answers, and sends the queue away instead of running it."""
    with poll.queue.lock():
        poll.look()
        poll.tell()
        jobs = [job for job in poll.queue.jobs() if job.state in ("waiting", "paused")]
        heads = [(job, poll.head_of(job)) for job in jobs if not poll.objection(job)]
    write_atomically(out, jobs_bundle(poll.github.repository, heads))
    return Done(f"{len(heads)} jobs are in {out}", left=tuple(job for job, _ in heads))


def _measure_bundle(
    root: Path, settings: Settings, limits: Limits, bundle: Bundle, out: Path, say: Callable[[str], None]
) -> Done:
    """On the box without a token. Running it again with the same bundle goes on where it stopped."""
    sandbox.require()
    queue = Queue(root)

    def head_of(job: Job) -> Head:
        return bundle.heads[job.key]

    with queue.lock():
        for job in bundle.jobs:
            if queue.find(job.key) is None:
                queue.put(job)
        drained = drain.measure(root, queue, settings, limits, head_of, lambda job: "", say)
        drain.board(root)
        own = [job for job in queue.jobs() if job.key in bundle.heads]
    write_atomically(out, results_bundle(bundle.repository, own, root))
    last = f"{len(drained.ended)} jobs ended; once {out} is on another machine: safe to destroy"
    return Done(last, True, drained.ended, drained.left)


def _publish_results(poll: Poll, bundle: Bundle, where: str) -> Done:
    """On the machine with the token, once the results are home."""
    if bundle.repository != poll.github.repository:
        raise UsageError(where, f"is of {bundle.repository}", f"this is {poll.github.repository}: add --repo")
    with poll.queue.lock():
        taken = drain.take_results(poll.root, poll.queue, bundle, where)
        poll.tell()
        return _published(poll, tuple(taken), ())
