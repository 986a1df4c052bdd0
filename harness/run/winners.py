"""Which submissions may become core: those with a confirmed official record on today's core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.decide.cells import overall_verdict
from harness.errors import SubmissionError, UsageError
from harness.records.record import EvaluationRecord
from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.run.evaluate import Outcome, outcome_of
from harness.submission.manifest import Manifest, load_manifest
from harness.submission.patch import check
from harness.tracks import track_named


@dataclass(frozen=True)
class Winner:
    """A submission that may become core, and the records that say so."""

    slug: str
    manifest: Manifest
    patch_sha: str
    added: int  # lines
    removed: int
    evaluations: tuple[str, ...]  # ids
    word: str | None  # a maintainer's, for one under review


def winner(root: Path, slug: str, word: str | None) -> Winner:
    """The submission as a winner; raises SubmissionError where its patch does not apply, UsageError where its record
    is missing, belongs to another core, or is no gain. One under review needs a maintainer's `word`."""
    folder = root / "submissions" / slug
    checked = check(root, folder)
    if not checked.ok or checked.patch_sha is None:
        raise SubmissionError(*checked.faults)
    manifest = load_manifest(folder)
    measured = _measured(root, slug, checked.patch_sha, manifest.builds_on)
    today = [one for one in measured if one.core_id == track_core_id(root, track_named(one.track))]
    outcomes = _latest(root, today)
    verdict = overall_verdict(cell for outcome in outcomes for cell in outcome.cells)
    reviewed = verdict == "REVIEW_TRADEOFF"
    if not outcomes or (verdict != "CONFIRMED" and not (reviewed and word)):
        raise _refusal(slug, measured, today, verdict)
    ids = tuple(outcome.evaluation.id for outcome in outcomes)
    taken = word if reviewed else None
    return Winner(slug, manifest, checked.patch_sha, checked.added, checked.removed, ids, taken)


def _measured(root: Path, slug: str, patch_sha: str, builds_on: tuple[str, ...]) -> list[EvaluationRecord]:
    """What may stand on the board for this very patch on these parents."""
    return [
        one
        for one in Store(root / "leaderboard").evaluations()
        if (one.kind, one.slug, one.patch_sha, one.builds_on) == ("submission", slug, patch_sha, builds_on)
        if one.official and one.claimed and not one.provisional and one.closed is not None
    ]


def _latest(root: Path, evaluations: Sequence[EvaluationRecord]) -> list[Outcome]:
    """The latest of each cell, decided again from its files."""
    latest = {(one.track, one.budget): one for one in evaluations}
    return [outcome_of(Store(root / "leaderboard"), one) for one in latest.values()]


def _refusal(
    slug: str, measured: Sequence[EvaluationRecord], today: Sequence[EvaluationRecord], verdict: str
) -> UsageError:
    where, again = f"promote {slug}", f"`blueberry run {slug} --official`"
    if not measured:
        return UsageError(where, "has no official evaluation of this patch", again)
    if not today:
        what = f"was measured on the core {measured[-1].core_id[:12]}, which is not today's"
        return UsageError(where, what, f"{again} measures it on today's core; that is no second try")
    if verdict == "REVIEW_TRADEOFF":
        fix = "read its report; `--reviewed 'WHY'` takes it by your word, which the history of the core will show"
        return UsageError(where, "waits for a maintainer's word: its verdict is REVIEW_TRADEOFF", fix)
    what = f"is not confirmed on today's core: its verdict is {verdict}"
    unfinished = verdict in ("CONTINUE", "ACCEPT_LOSS", "ACCEPT_SPEED")
    return UsageError(where, what, f"{again} goes on with it" if unfinished else "only a confirmed gain becomes core")
