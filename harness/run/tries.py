"""How often an idea was measured before: every measurement was a draw, and all draws share one error rate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.decide.stats import ALPHA
from harness.records import promotions
from harness.records.record import ContestKey, EvaluationRecord, Metric
from harness.run import sandbox
from harness.run.arms import track_core_id
from harness.submission.manifest import Manifest
from harness.submission.patch import patch_sha, patched
from harness.submission.program import program_digest
from harness.tracks import TRACKS

Claimed = tuple[str, str, Metric]  # track, budget, metric


@dataclass(frozen=True)
class Idea:
    """By what a submission is recognised when it comes again."""

    slug: str
    supersedes: str | None
    patch_sha: str | None
    program: str | None  # digest of what the patched core computes
    claims: frozenset[Claimed]
    authors: frozenset[str]  # names

    @classmethod
    def of(cls, root: Path, folder: Path, manifest: Manifest) -> Idea:
        """Of a submission's folder; raises SubmissionError where its patch does not apply."""
        program = program_digest(patched(root, folder))
        return replace(cls.named(folder, manifest), patch_sha=patch_sha(folder), program=program)

    @classmethod
    def named(cls, folder: Path, manifest: Manifest) -> Idea:
        """By its name alone, while there is no patch yet."""
        claims = frozenset((claim.track, claim.budget, claim.metric) for claim in manifest.claims)
        authors = frozenset(author.name for author in manifest.authors)
        return cls(folder.name, manifest.supersedes, None, None, claims, authors)

    @classmethod
    def measured(cls, one: EvaluationRecord) -> Idea:
        """Of an evaluation, as far as it tells: it holds the claims of its own cell alone."""
        claims = frozenset((one.track, one.budget, metric) for metric in one.metrics)
        return cls(one.slug, one.supersedes, one.patch_sha, one.program, claims, frozenset(one.authors))


@dataclass(frozen=True)
class Rate:
    """The error rate of one claim."""

    alpha: float  # halved by every earlier try, and for claims that were added later
    k: int  # claims that share it


def rate_of(
    root: Path,
    past: Sequence[EvaluationRecord],
    idea: Idea,
    track: str,
    budget: str,
    metrics: Collection[Metric],
    claimed: bool = True,
    data_id: str | None = None,
) -> Rate:
    """The rate at which the idea is held in a cell after its evaluations in `past`, of one store.

    A cell that was claimed before counts with those that are claimed now. Claims that were added after others had been
    measured are held to half the rate besides, once more at each addition: who claims cell after cell, each once the
    one before is lost, has in all at most 1.4 times the chance of who claims them all at once.
    What is only tried out claims nothing. `data_id`: tries on other data do not count.
    """
    alike = [one for one in of_one_idea(root, past, idea) if one.claimed >= claimed]
    tries = sum(
        (one.track, one.budget) == (track, budget)
        and not set(metrics).isdisjoint(one.metrics)
        and data_id in (None, one.data_id)
        for one in alike
    )
    if not claimed:
        return Rate(ALPHA / 2**tries, 1)
    before = {(one.track, one.budget, metric) for one in alike for metric in one.metrics}
    k = len(idea.claims | before)
    additions = len({one.k for one in alike if one.k < k})
    return Rate(ALPHA / 2 ** (tries + additions), k)


def of_one_idea(root: Path, past: Sequence[EvaluationRecord], idea: Idea) -> list[EvaluationRecord]:
    """Evaluations of this slug, of one of its line, of this very patch, or of one that differs from it in comments,
    layout and docstrings alone, on today's core.

    Open ones count as well: each had its draw.
    """
    forced = promotions.forced(promotions.read(root / "leaderboard"))
    line = line_of(idea, past)
    alike = [
        one
        for one in past
        if one.kind == "submission"
        and (one.slug in line or idea.patch_sha == one.patch_sha or idea.program == one.program is not None)
    ]
    today = {name: track_core_id(root, TRACKS[name]) for name in {one.track for one in alike} & TRACKS.keys()}
    return [
        one
        for one in alike
        # a rebase that a promotion forces is no re-submission, also where this track's own files have not moved
        if one.core_id == today.get(one.track)
        and f"{one.slug}@{one.patch_sha}" not in forced
        and not (to_be_run_again(one) and one.patch_sha == idea.patch_sha)
    ]


def begun(past: Sequence[EvaluationRecord], contest: ContestKey) -> EvaluationRecord | None:
    """This very contest, open or closed, where it was begun before and stands; without a data id on whichever data."""
    for one in reversed(past):
        wanted = contest._replace(data_id=contest.data_id or one.data_id)
        if one.contest == wanted and one.invalidated is None and not to_be_run_again(one):
            return one
    return None


def to_be_run_again(evaluation: EvaluationRecord) -> bool:
    """Measured without a sandbox where there is one now; what is still open is finished first."""
    return evaluation.provisional and evaluation.closed is not None and sandbox.name() != "none"


def line_of(idea: Idea, past: Sequence[EvaluationRecord]) -> set[str]:
    """The slugs of one idea: its own, those that it supersedes one after the other, and what its authors have let
    supersede one of these besides: five followers are five tries, whether in a row or side by side.

    What others let follow a submission is not counted, for that one or for its other followers: anybody may claim to
    follow anybody.
    """
    above = _closure({idea.supersedes} - {idea.slug, None}, {(e.slug, e.supersedes) for e in past})
    own = {(e.supersedes, e.slug) for e in past if not idea.authors.isdisjoint(e.authors)}
    return {idea.slug} | _closure(above, own)


def _closure(start: Collection[str | None], edges: Collection[tuple[str | None, str | None]]) -> set[str]:
    found: set[str] = set()
    following = {one for one in start if one}
    while following:
        found |= following
        following = {end for begin, end in edges if begin in found and end} - found
    return found
