"""A root for one submission: the clone's own core, baselines, board and store, and the submission as it was reviewed.

The clone itself stays as it is, so that the bot's work never stands in the way of a `git pull`.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.bot.caps import Settings
from harness.bot.head import Head, write
from harness.bot.page import CheckPart, PlanPart, check_part, fault_parts
from harness.errors import SubmissionError
from harness.run.contests import Options
from harness.run.plan import plan_submission
from harness.submission.manifest import Manifest, load_manifest
from harness.submission.patch import check

SHARED = ("model_core", "baselines", "leaderboard", ".blueberry")


@contextlib.contextmanager
def planted(root: Path, head: Head) -> Iterator[Path]:
    """The root of a submission for as long as the block runs; its own, whoever else looks at the same commit."""
    trees = root / ".blueberry" / "bot" / "trees"
    trees.mkdir(parents=True, exist_ok=True)
    tree = Path(tempfile.mkdtemp(prefix=f"{head.slug}-", dir=trees))
    try:
        (tree / "submissions").mkdir()
        for name in SHARED:
            (tree / name).symlink_to(root / name)
        for folder in (root / "submissions").iterdir():  # another submission may build on one of these
            if folder.is_dir() and folder.name != head.slug:
                (tree / "submissions" / folder.name).symlink_to(folder)
        write(head, tree / "submissions")
        yield tree
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def checked(root: Path, head: Head) -> CheckPart:
    """Every static rule on the submission of a head."""
    with planted(root, head) as tree:
        return check_part(check(tree, tree / "submissions" / head.slug))


def refused(error: SubmissionError) -> CheckPart:
    """What there is to say of a head that could not even be read as a submission."""
    return CheckPart(ok=False, faults=fault_parts((one.to_json() for one in error.faults), 500))


def manifest_of(root: Path, head: Head) -> Manifest:
    with planted(root, head) as tree:
        return load_manifest(tree / "submissions" / head.slug)


def plans(root: Path, head: Head, settings: Settings) -> tuple[PlanPart, ...]:
    """What every claim of a submission would take on this machine."""
    with planted(root, head) as tree:
        found = plan_submission(tree, tree / "submissions" / head.slug, Options(), settings.price_per_hour)
    return tuple(
        PlanPart(
            track=plan.track,
            budget=plan.budget,
            metric=plan.metric,
            pairs_at_most=plan.max_pairs + plan.confirm_pairs,
            seconds_at_most=plan.seconds_at_most,
            cost_at_most=plan.cost_at_most,
            least=plan.least_detectable,
        )
        for plan in found
    )
