"""The patches that a submission builds on, as they were when it was packed and as they are today."""

from __future__ import annotations

from pathlib import Path

from harness.errors import SubmissionError
from harness.records import promotions
from harness.rules import fault
from harness.submission.files import place
from harness.submission.history import patch_of
from harness.submission.manifest import FILE as MANIFEST
from harness.submission.patch import Core, patch_sha, patched_by


def parents_today(root: Path, folder: Path, builds_on: tuple[str, ...]) -> tuple[str, ...]:
    """`builds_on` without what has become core, each of the others with the digest of its present patch.

    Raises SubmissionError for a parent that is not here any more.
    """
    core = promotions.by_name(promotions.read(root / "leaderboard"))
    left = []
    for parent in builds_on:
        slug = parent.partition("@")[0]
        if parent in core:
            continue
        try:
            present = f"{slug}@{patch_sha(root / 'submissions' / slug)}"
        except SubmissionError as error:
            what = f"builds on {slug}, whose patch {error.faults[0].what}"
            raise SubmissionError(fault("manifest-builds-on", place(folder, MANIFEST), what)) from None
        left += [] if present in core else [present]
    return tuple(left)


def core_under(root: Path, folder: Path, parents: tuple[str, ...], core: Core) -> dict[str, bytes]:
    """`core` under patches as they were when they were named, from the clone's history where they have changed since.

    Raises SubmissionError for one that does not apply, UsageError for one that the history does not hold.
    """
    below = dict(core)
    for parent in parents:
        slug, _, sha = parent.partition("@")
        try:
            below = patched_by(patch_of(root, slug, sha), f"submissions/{slug}/patch.diff", below)
        except SubmissionError as error:
            what = f"builds on {slug}, whose patch {error.faults[0].what}"
            raise SubmissionError(fault("manifest-builds-on", place(folder, MANIFEST), what)) from None
    return below
