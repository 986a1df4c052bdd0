"""Winners become core: from their records to the new core, its history, and what has to follow."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board.markdown import escape
from harness.errors import UsageError
from harness.records import promotions
from harness.records.promotions import Promoted, Promotion
from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.run.refill import Refill, refills
from harness.run.winners import Winner, winner
from harness.submission.patch import Core, digest, patch_sha, read_core
from harness.submission.promote import Standing, moved_tracks, promoted_core, standings, write
from harness.submission.root import find_folder
from harness.tracks import Track


@dataclass(frozen=True)
class Outcome:
    """What was promoted, and what that means for everything else."""

    promotion: Promotion
    tracks: tuple[str, ...]  # whose core moved
    unproven: tuple[str, ...]  # those of them on which no winner has a record
    refills: tuple[Refill, ...]
    standings: tuple[Standing, ...]  # of the open submissions
    cut_off: tuple[str, ...]  # ids of open official evaluations, which cannot end on the core that they began on


def promote(root: Path, slugs: Sequence[str], by: str, word: str | None) -> Outcome:
    """Make these submissions part of the core, in this order; the caller holds the lock of the official store.

    Raises UsageError or SubmissionError before anything is written: for what is not confirmed on today's core, and for
    patches that conflict.
    """
    past = promotions.read(root / "leaderboard")
    names = _named(root, slugs, promotions.by_name(past))
    winners = [winner(root, slug, word) for slug in names]
    before = read_core(root / "model_core")
    after = promoted_core(root, names, before)
    inside = [*promotions.by_name(past), *(f"{one.slug}@{one.patch_sha}" for one in winners)]
    open_ones = standings(root, before, after, inside)
    promotion = _promotion(winners, by, before, after, open_ones)
    tracks = tuple(moved_tracks(before, after))
    moved = tuple(track.name for track in tracks)
    store = Store(root / "leaderboard")
    proven = {store.evaluation(made).track for one in winners for made in one.evaluations}
    unproven = tuple(name for name in moved if name not in proven)
    outcome = Outcome(promotion, moved, unproven, refills(root, tracks), open_ones, _cut_off(root, tracks))
    write(root, before, after, promotion, _row(promotion, winners))
    return outcome


def _named(root: Path, slugs: Sequence[str], done: Mapping[str, Promotion]) -> list[str]:
    """The folders' names; raises UsageError for one that is no submission, stands there twice, or is core already."""
    names: list[str] = []
    for slug in slugs:
        folder = find_folder(root, slug)
        if folder.parent.name != "submissions":
            raise UsageError(f"promote {slug}", "is a reference arm", "only submissions become core")
        if folder.name in names:
            raise UsageError(f"promote {slug}", "is named twice", "name each submission once")
        promotion = done.get(f"{folder.name}@{patch_sha(folder)}")
        if promotion is not None:
            raise UsageError(f"promote {slug}", f"was promoted on {promotion.date}", "nothing is left to do")
        names.append(folder.name)
    return names


def _promotion(
    winners: Sequence[Winner], by: str, before: Core, after: Core, open_ones: Sequence[Standing]
) -> Promotion:
    return Promotion(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        by=by,
        before=digest(before),
        after=digest(after),
        patches=tuple(
            Promoted(slug=one.slug, patch_sha=one.patch_sha, evaluations=one.evaluations, word=one.word)
            for one in winners
        ),
        forced=tuple(f"{one.slug}@{one.patch_sha}" for one in open_ones if one.before and not one.after),
    )


def _row(promotion: Promotion, winners: Sequence[Winner]) -> str:
    """The line of HISTORY.md."""
    said = "; ".join(_said(one) for one in winners)
    return f"| {promotion.date} | `{promotion.after[:12]}` | {said}. Promoted by {escape(promotion.by, 80)}. |"


def _said(one: Winner) -> str:
    authors = ", ".join(escape(author.name, 40) for author in one.manifest.authors[:4])
    more = " and others" if len(one.manifest.authors) > 4 else ""
    text = f"{escape(one.manifest.title, 80)} ({authors}{more}; `{one.slug}@{one.patch_sha[:12]}`"
    text += f", +{one.added} −{one.removed})"
    return text + (f", taken under review: {escape(one.word, 300)}" if one.word else "")


def _cut_off(root: Path, tracks: Sequence[Track]) -> tuple[str, ...]:
    """Open evaluations on the core that is about to move."""
    core_of = {track.name: track_core_id(root, track) for track in tracks}
    known = Store(root / "leaderboard").evaluations()
    return tuple(one.id for one in known if one.closed is None and core_of.get(one.track) == one.core_id)
