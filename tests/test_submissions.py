"""The submissions and references that are committed are honest examples: every rule holds for each of them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.runs import EXAMPLES, _example
from harness.errors import UsageError
from harness.records import ledger
from harness.records.store import Store
from harness.submission.manifest import load_manifest
from harness.submission.patch import check
from tests.conftest import Project

ROOT = Path(__file__).parent.parent
FOLDERS = [path for part in ("submissions", "baselines") for path in sorted((ROOT / part).iterdir()) if path.is_dir()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_committed_submission_keeps_every_rule(folder: Path) -> None:
    result = check(ROOT, folder)
    moved = load_manifest(folder).base != result.core_id  # one that was promoted, or waits for its author's rebase
    allowed = {"patch-stale", "manifest-builds-on", "patch-no-change"} if moved else set()
    assert {fault.rule for fault in result.faults} <= allowed, "\n".join(str(fault) for fault in result.faults)
    assert moved or result.warnings == ()


def test_the_demo_goes_on_when_its_example_has_become_core(make_project: Callable[[str], Project]) -> None:
    project = make_project("demo")
    for folder in ("submissions", "leaderboard"):
        shutil.copytree(ROOT / folder, project.root / folder, dirs_exist_ok=True)
    first, second, *_ = EXAMPLES
    assert _example(project.root) == first
    subprocess.run(["git", "apply", f"submissions/{first}/patch.diff"], cwd=project.root, check=True)
    assert _example(project.root) != first
    for file in ("lm.py", "muon.py"):
        path = project.root / "model_core" / file
        path.write_text(path.read_text().replace("\n", "\n\n"))
    with pytest.raises(UsageError, match=f"none of {first}, {second}"):
        _example(project.root)


def test_the_committed_board_is_what_its_run_files_say() -> None:
    from harness.board import leaderboard as board

    store = Store(ROOT / "leaderboard")
    ledger.verify(store)
    assert board.check(store, ROOT) == []
