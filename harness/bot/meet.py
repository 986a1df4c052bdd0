"""A pull request's head, met for the first time: fetched as objects, checked, and reckoned."""

from __future__ import annotations

from pathlib import Path

from harness.bot.caps import Settings
from harness.bot.github import Pull
from harness.bot.head import Head, fetch, read_head, touches_submissions
from harness.bot.page import CheckPart, Page
from harness.bot.queue import Job, Known, Queue
from harness.bot.tree import checked, plans, refused
from harness.errors import SubmissionError


def meet(root: Path, repository: Path, settings: Settings, pull: Pull) -> Known | None:
    """What there is to know of its head; None where the head has just moved on, so that a later look has to tell."""
    found = Known(pr=pull.number, sha=pull.head_sha, author=pull.author, ours=True, check=CheckPart(ok=False))
    try:
        if fetch(repository, pull.number) != pull.head_sha:
            return None
    except SubmissionError as error:  # too large to be looked at: told once, and not fetched again
        return found.model_copy(update={"check": refused(error)})
    if not touches_submissions(repository, pull.head_sha):
        return found.model_copy(update={"ours": False})
    head, check = examined(root, repository, pull.head_sha)
    if head is None:
        return found.model_copy(update={"check": check})
    known = found.model_copy(update={"slug": head.slug, "check": check, "patch": head.patch})
    return known.model_copy(update={"plans": plans(root, head, settings)}) if check.ok else known


def examined(root: Path, repository: Path, sha: str) -> tuple[Head | None, CheckPart]:
    """The head as a submission, where it is one, and every rule on it."""
    try:
        head = read_head(repository, sha)
    except SubmissionError as error:
        return None, refused(error)
    return head, checked(root, head)


def page_of(known: Known, queue: Queue, settings: Settings) -> Page:
    """Everything that the pull request is told now: its jobs, the latest order first."""
    waiting = [job.key for job in queue.jobs() if job.state in ("running", "waiting")]
    own: list[Job] = [job for job in queue.jobs() if job.pr == known.pr]
    parts = [
        job.part(waiting.index(job.key) + 1 if job.key in waiting else None, settings.cost(job.seconds)) for job in own
    ]
    return Page(
        pr=known.pr,
        sha=known.sha,
        slug=known.slug,
        currency=settings.currency,
        check=known.check,
        patch=known.patch,
        plans=known.plans,
        jobs=tuple(reversed(parts))[:200],
        notes=tuple(list(known.notes.values())[-10:]),
    )
