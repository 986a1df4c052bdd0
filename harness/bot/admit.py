"""From a maintainer's line to a job, or to the sentence that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.bot.command import Command
from harness.bot.github import Comment, Pull
from harness.bot.queue import OPEN, Job, Known, Queue
from harness.decide.cells import overall_verdict
from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.run.evaluate import outcome_of
from harness.tracks import BUDGETS, track_named

CONFIRMED_BELOW = 100_000_000  # tokens from which a smaller budget has to be confirmed first
WORD_FROM = 1_000_000_000  # tokens from which a maintainer says so twice, the second time knowing the cost


@dataclass(frozen=True)
class Refusal:
    """Why nothing will be run."""

    why: str


def admit(root: Path, queue: Queue, command: Command, comment: Comment, pull: Pull, known: Known) -> Job | Refusal:
    """The job that this order makes or already has made. Whether this person may give orders is settled before."""
    said = _unfit(command, pull, known)
    if said:
        return Refusal(said)
    track = track_of(command, known)
    if isinstance(track, Refusal):
        return track
    assert known.slug and known.check.patch_sha
    fresh = Job(
        pr=pull.number,
        sha=command.sha,
        slug=known.slug,
        track=track,
        budget=command.budget,
        author=pull.author,
        asked_by=comment.author,
        asked=comment.created,
        ordered=comment.updated,
        patch_sha=known.check.patch_sha,
    )
    job = queue.find(fresh.key)
    if command.verb == "approve":
        return _approved(job, comment)
    if job is not None and not job.renewed_by(fresh.ordered):
        return _once(job, fresh.ordered)
    size = BUDGETS[command.budget].tokens
    if size >= CONFIRMED_BELOW and not confirmed_below(root, known.slug, known.check.patch_sha, track, size):
        return Refusal(f"{command.budget} comes after a smaller budget of this very patch is confirmed on {track}")
    expected = [plan for plan in known.plans if (plan.track, plan.budget) == (track, command.budget)]
    return fresh.model_copy(
        update={
            "state": "needs word" if size >= WORD_FROM else "waiting",
            "spent": job.spent if job else {},
            "seconds_expected": max((p.seconds_at_most for p in expected if p.seconds_at_most), default=None),
            "cost_expected": max((p.cost_at_most for p in expected if p.cost_at_most), default=None),
            "reason": f"to run it: /bench-approve {command.budget} {track} {command.sha}" if size >= WORD_FROM else "",
        }
    )


def _once(job: Job, ordered: str) -> Job:
    """An order that is given twice is one order; the later one is not taken for a new one when the job has ended."""
    late = ordered > max(job.asked, job.ordered) and job.state in OPEN | {"away"}
    return job.model_copy(update={"ordered": ordered}) if late else job


def confirmed_below(root: Path, slug: str, patch_sha: str, track: str, tokens: int) -> bool:
    """Whether this very patch is confirmed on today's core at a budget below `tokens`, by official runs."""
    store = Store(root / "leaderboard")
    core = track_core_id(root, track_named(track))
    return any(
        overall_verdict(outcome_of(store, one).cells) == "CONFIRMED"
        for one in store.evaluations()
        if (one.slug, one.patch_sha, one.track, one.core_id) == (slug, patch_sha, track, core)
        and one.official
        and one.closed is not None
        and one.invalidated is None
        and one.budget in BUDGETS
        and BUDGETS[one.budget].tokens < tokens
    )


def _unfit(command: Command, pull: Pull, known: Known) -> str:
    """What is wrong with the commit that an order names; empty where nothing is."""
    if command.sha != pull.head_sha or command.sha != known.sha:
        return f"the head is now {pull.head_sha[:12]}, not {command.sha[:12]}: review what is there, and name that"
    if not known.check.ok:
        return "nothing is run that breaks a rule"
    return ""


def track_of(command: Command, known: Known) -> str | Refusal:
    """The track that is meant; an official run needs a claim."""
    claimed = sorted({plan.track for plan in known.plans if plan.budget == command.budget})
    if command.track is not None:
        if command.track in claimed:
            return command.track
        return Refusal(f"submission.toml claims nothing on {command.track} at {command.budget}")
    if len(claimed) == 1:
        return claimed[0]
    if not claimed:
        return Refusal(f"submission.toml claims nothing at {command.budget}")
    return Refusal(f"several tracks are claimed at {command.budget}: name one of {', '.join(claimed)}")


def _approved(job: Job | None, comment: Comment) -> Job | Refusal:
    if job is None:
        return Refusal("there is nothing to approve: ask with /bench first, and see what it would cost")
    if job.state != "needs word":
        return job
    if not job.shown or comment.created < job.shown:
        return Refusal("the word has to come after the cost was shown: say it again")
    return job.model_copy(update={"state": "waiting", "approved_by": comment.author, "reason": ""})
