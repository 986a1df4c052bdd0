"""The submissions and references that are committed are honest examples: every rule holds for each of them."""

from pathlib import Path

import pytest

from harness.records import ledger
from harness.records.store import Store
from harness.submission.manifest import load_manifest
from harness.submission.patch import check

ROOT = Path(__file__).parent.parent
FOLDERS = [path for part in ("submissions", "baselines") for path in sorted((ROOT / part).iterdir()) if path.is_dir()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_committed_submission_keeps_every_rule(folder: Path) -> None:
    result = check(ROOT, folder)
    moved = load_manifest(folder).base != result.core_id  # one that was promoted, or waits for its author's rebase
    allowed = {"patch-stale", "manifest-builds-on", "patch-no-change"} if moved else set()
    assert {fault.rule for fault in result.faults} <= allowed, "\n".join(str(fault) for fault in result.faults)
    assert moved or result.warnings == ()


def test_the_demo_races_a_submission_that_is_there() -> None:
    from harness.cli.runs import DEMO

    assert (ROOT / "submissions" / DEMO / "patch.diff").exists()


def test_the_committed_board_is_what_its_run_files_say() -> None:
    from harness.board import leaderboard as board

    store = Store(ROOT / "leaderboard")
    ledger.verify(store)
    assert board.check(store, ROOT) == []
