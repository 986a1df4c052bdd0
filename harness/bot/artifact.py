"""What a workflow has measured: a page and the run files that it rests on, from a machine that ran a stranger's code.

The page says which pull request, commit and cells; whether that is so is looked up in git, and the verdict is decided
again from the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.bot.bundle import BOARD, Asked, opened
from harness.bot.head import read_submission
from harness.bot.page import ENTRY, Page, page_in
from harness.bot.tree import manifest_of
from harness.errors import SubmissionError
from harness.records.store import sha256
from harness.rules import fault
from harness.submission.patch import FILE as PATCH


@dataclass(frozen=True)
class Artifact:
    """What `blueberry bot dispatch` wrote as a zip."""

    page: Page
    records: Mapping[str, bytes]  # by path from the root


def is_artifact(path: Path) -> bool:
    """Whether a zip is one of a workflow, and no bundle; raises SubmissionError for what is no zip."""
    return ENTRY in opened(path)


def read_artifact(path: Path) -> Artifact:
    """Raises SubmissionError for anything that `dispatch` does not write."""
    files = opened(path)
    page = page_in(files.pop(ENTRY, b""), path.name)
    other = [name for name in sorted(files) if not name.startswith(f"{BOARD}/")]
    if other:
        raise SubmissionError(fault("pull-artifact", path.name, f"holds {other[0][:80]!a}, which no artifact has"))
    return Artifact(page, files)


def measured(page: Page) -> list[Asked]:
    """What its own words say was measured of the commit that it is about."""
    jobs = [job for job in page.jobs if job.state == "done" and job.sha == page.sha]
    return [Asked(page.slug or "", page.check.patch_sha, job.track, job.budget, baseline=False) for job in jobs]


def asked_for(root: Path, page: Page, where: str) -> list[Asked]:
    """What of it git bears out: a commit of that pull request, its slug, its patch, its claims."""
    if page.slug is None or not measured(page):
        raise SubmissionError(fault("pull-artifact", where, "tells of nothing that was measured to its end"))
    head = read_submission(root, page.pr, page.sha, page.slug)
    if PATCH not in head.files or sha256(head.files[PATCH]) != page.check.patch_sha:
        raise SubmissionError(fault("pull-artifact", where, f"is of another patch than {page.sha[:12]} has"))
    claims = {(claim.track, claim.budget) for claim in manifest_of(root, head).claims}
    unclaimed = [one for one in measured(page) if (one.track, one.budget) not in claims]
    if unclaimed:
        cell = f"{unclaimed[0].track} at {unclaimed[0].budget}"
        raise SubmissionError(fault("pull-artifact", where, f"tells of {cell}, which is not claimed"))
    return measured(page)
