"""One measurement for a workflow: the runner has no token that could write, and what it makes is an artifact."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.bot.admit import Refusal, admit, track_of
from harness.bot.artifact import measured
from harness.bot.bundle import records
from harness.bot.caps import Settings
from harness.bot.command import Command, parse
from harness.bot.comment import contest
from harness.bot.comment import measured as told_of
from harness.bot.engine import Engine
from harness.bot.github import Comment, GitHub, Pull, maintains
from harness.bot.head import read_head
from harness.bot.meet import meet, page_of
from harness.bot.page import ENTRY, Page, at_fault, cut
from harness.bot.place import login_of
from harness.bot.queue import OPEN, Job, Known, Queue, stamp
from harness.bot.zipped import zipped
from harness.errors import MachineError, UsageError
from harness.records.atomic import write_atomically

WATCH_S = 30.0  # between two lines of progress
DECISIVE = frozenset({"APPROVED", "CHANGES_REQUESTED", "DISMISSED"})  # of these a reviewer's last one holds


def dispatch(
    root: Path,
    github: GitHub,
    settings: Settings,
    pull: Pull,
    command: Command,
    say: Callable[[str], None],
) -> Page:
    """Runs what was reviewed, and answers the page of the pull request."""
    if command.sha != pull.head_sha:
        what = f"the head of #{pull.number} is {pull.head_sha[:12]}, not {command.sha[:12]}"
        raise UsageError("--sha", what, "review what is there now, and name that")
    everything = github.comments(pull.number)
    comments = [one for one in everything if parse(one.body) is not None]
    may_order = maintains(github)
    _require_review(github, pull, comments, may_order)
    known = meet(root, root, settings, pull)
    if known is None:
        raise UsageError("--sha", "the head moves while it is being read", "review what is there now, and name that")
    if not known.ours:
        raise UsageError(f"#{pull.number}", "touches no submission", "there is nothing to measure")
    queue = Queue(root)
    with queue.lock():
        queue.put_pull(known)
        if known.check.ok:
            words = [one for one in comments if may_order(one.author, one.association)]
            job = _job(root, queue, command, pull, known, words)
            if isinstance(job, Job):
                _require_first(job, known, told_of(everything, login_of(root) or github.login()))
                queue.put(job)
            known = _note(known, job) if isinstance(job, Refusal) else known
            queue.put_pull(known)
            if not isinstance(job, Refusal):
                _work(root, queue, settings, github, job, say)
        return page_of(known, queue, settings)


def write(page: Page, root: Path, out: Path) -> None:
    """The artifact: the page as JSON, or a zip of it and of the run files that it rests on."""
    content = page.to_json().encode()
    if out.suffix == ".zip":
        content = zipped({ENTRY: content, **records(root, measured(page))})
    write_atomically(out, content)


def _require_review(github: GitHub, pull: Pull, comments: list[Comment], may_order: Callable[[str, str], bool]) -> None:
    """Raises UsageError where no maintainer has approved this very commit or named it in an order."""
    latest = {one.author: one for one in github.reviews(pull.number) if one.state in DECISIVE}
    for review in latest.values():
        approves = review.state == "APPROVED" and review.sha == pull.head_sha
        if approves and may_order(review.author, review.association):
            return
    for comment in comments:
        named = parse(comment.body)
        if isinstance(named, Command) and named.sha == pull.head_sha and may_order(comment.author, comment.association):
            return
    what = f"no maintainer has reviewed {pull.head_sha[:12]}"
    fix = "approve that commit in a review, or name it in a `/bench` comment"
    raise UsageError(f"#{pull.number}", what, fix)


def _job(
    root: Path,
    queue: Queue,
    command: Command,
    pull: Pull,
    known: Known,
    comments: list[Comment],
) -> Job | Refusal:
    who = os.environ.get("GITHUB_ACTOR", "a workflow")
    order = Comment(0, pull.number, who, "", "", stamp(), stamp())
    job = admit(root, queue, command, order, pull, known)
    if isinstance(job, Refusal):
        return job
    if job.state == "needs word" and not any(_is_word(comment, job, known) for comment in comments):
        return Refusal(f"{job.budget} needs a maintainer's own word: {job.reason}")
    return job.model_copy(update={"state": "waiting", "reason": ""}) if job.state == "needs word" else job


def _require_first(job: Job, known: Known, told: set[tuple[str, str, str]]) -> None:
    """Raises UsageError for what a machine has measured that kept nothing but its artifact. No page is written then,
    so that the comment keeps the verdict that it tells."""
    if (contest(known.check), job.track, job.budget) in told:
        what = f"this patch was measured on {job.track} at {job.budget}, as the comment says: there is no second draw"
        fix = "publish its artifact; where that is lost, delete the comment and say why"
        raise UsageError(f"#{job.pr}", what, fix)


def _is_word(comment: Comment, job: Job, known: Known) -> bool:
    """One word is for one cell: what is claimed on two tracks costs twice."""
    said = parse(comment.body)
    if not isinstance(said, Command) or (said.verb, said.budget, said.sha) != ("approve", job.budget, job.sha):
        return False
    return track_of(said, known) == job.track


def _note(known: Known, refusal: Refusal) -> Known:
    return known.model_copy(update={"notes": {**known.notes, "0": cut(refusal.why)}})


def _work(root: Path, queue: Queue, settings: Settings, github: GitHub, job: Job, say: Callable[[str], None]) -> None:
    """Until this job has ended or nothing more may be spent on it."""
    with Engine(root, queue, settings, lambda one: read_head(root, one.sha)) as engine:
        said = ""
        while (now := queue.find(job.key)) is not None and now.state in OPEN:
            if not engine.advance(WATCH_S):
                break
            now = queue.find(job.key) or now
            if now.live != said:
                said = now.live
                say(said)
    if queue.find(job.key) is None:
        raise MachineError(job.key, "is gone from the queue", "leave .blueberry/bot alone while the bot works")


def ending(page: Page, command: Command) -> tuple[int, str]:
    """Exit code and last word: 0 for any verdict, 1 where the submission is at fault, 3 where the machine is."""
    if not page.check.ok:
        return 1, f"#{page.pr}: {page.check.broken}"
    job = next((one for one in page.jobs if (one.sha, one.budget) == (command.sha, command.budget)), None)
    if job is None:
        return 1, page.notes[-1] if page.notes else "nothing was run"
    if job.state == "done":
        return (1 if at_fault(job) else 0), f"#{page.pr} {page.slug}, {job.track} at {job.budget}: {job.verdict}"
    said = f"#{page.pr} {page.slug}: {job.state}; {job.reason}"
    return (1 if at_fault(job) else 3), said
