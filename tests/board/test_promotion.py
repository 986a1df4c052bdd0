"""From confirmed records to a new core, on a clone of the real core with records of known numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_factory import Factory

from harness.board import leaderboard
from harness.board.promotion import promote
from harness.board.status import Status, statuses
from harness.errors import SubmissionError, UsageError
from harness.records import promotions
from harness.records.store import Store
from harness.submission.patch import core_digest, patch_sha, read_core
from harness.words import promotion_text

GOOD, FRESH = (0.031, 0.027), (0.03, 0.021, 0.02, 0.025)


def state(clone: Path, slug: str) -> Status:
    return next(one for one in statuses(clone) if one.slug == slug)


def lr(new: str) -> tuple[str, str]:
    return "        adamw_lr=0.006,\n", f"        adamw_lr={new},\n"


def test_a_confirmed_record_becomes_core_and_the_board_says_so(clone: Path, submit: Any, record: Any) -> None:
    folder = submit("bold", *lr("0.02"))
    made = record(folder, GOOD, FRESH)
    before = core_digest(clone / "model_core")
    done = promote(clone, ["bold"], "Ada | Lovelace", None)
    assert "adamw_lr=0.02," in (clone / "model_core" / "lm.py").read_text()
    assert (done.promotion.before, done.promotion.after) == (before, core_digest(clone / "model_core"))
    assert promotions.read(clone / "leaderboard") == (done.promotion,)
    assert done.promotion.patches[0].evaluations == (made.id,)
    newest = (clone / "model_core" / "HISTORY.md").read_text().split("|---|---|---|\n")[1].split("\n")[0]
    assert f"| `{done.promotion.after[:12]}` | bold (anonymous; `bold@{patch_sha(folder)[:12]}`" in newest
    assert "Promoted by Ada &#124; Lovelace." in newest and newest.count("|") == 4
    board = leaderboard.render(leaderboard.collect(Store(clone / "leaderboard"), clone))
    row = next(line for line in board.splitlines() if "[bold]" in line)
    assert row.startswith("| – |") and row.endswith("| promoted |")
    assert "llm-tiny" in done.tracks and "flow-tiny" not in done.tracks
    assert set(done.unproven) == set(done.tracks) - {"llm-tiny"}, "moved without a record there"
    assert "measured nowhere on llm-88m, " in promotion_text(done)


@pytest.mark.parametrize(
    ("args", "fields", "said"),
    [
        ((GOOD,), {}, "ACCEPT_LOSS"),
        ((GOOD, (-0.02, 0.01, -0.01, 0.001)), {}, "REVOKED"),
        (((-0.031, -0.027),), {}, "REJECT_WORSE"),
        ((GOOD, FRESH), {"core_id": "0" * 64}, "core 000000000000, which is not today's"),
        ((GOOD, FRESH), {"patch_sha": "0" * 64}, "no official evaluation of this patch"),
        ((GOOD, FRESH), {"official": False}, "no official evaluation"),
        ((GOOD, FRESH), {"provisional": True}, "no official evaluation"),
        ((GOOD, FRESH), {"claimed": False}, "no official evaluation"),
        ((GOOD, FRESH), {"builds_on": ("wide@" + "0" * 64,)}, "no official evaluation"),
        ((GOOD, FRESH), {"invalidated": "the data leaked"}, "INVALID"),
        ((GOOD,), {"faster": -0.3}, "waits for a maintainer's word"),
    ],
)  # fmt: skip
def test_nothing_else_becomes_core(clone: Path, submit: Any, record: Any, args: Any, fields: Any, said: str) -> None:
    record(submit("bold", *lr("0.02")), *args, **fields)
    before = read_core(clone / "model_core")
    with pytest.raises(UsageError, match=said):
        promote(clone, ["bold"], "Ada", None)
    assert read_core(clone / "model_core") == before
    assert promotions.read(clone / "leaderboard") == ()


def test_a_review_is_taken_by_a_maintainers_word_which_history_keeps(clone: Path, submit: Any, record: Any) -> None:
    record(submit("slow", *lr("0.02")), GOOD, faster=-0.3)
    done = promote(clone, ["slow"], "Ada", "worth its time on large runs")
    assert done.promotion.patches[0].word == "worth its time on large runs"
    assert "taken under review: worth its time on large runs" in (clone / "model_core" / "HISTORY.md").read_text()
    assert state(clone, "slow").cells[0].state == "promoted"


def test_one_that_is_not_confirmed_stops_the_whole_batch(clone: Path, submit: Any, record: Any) -> None:
    record(submit("bold", *lr("0.02")), GOOD, FRESH)
    record(submit("meek", "        lr_floor=0.0,\n", "        lr_floor=0.1,\n"), (-0.03, -0.03))
    before = read_core(clone / "model_core")
    with pytest.raises(UsageError, match="meek"):
        promote(clone, ["bold", "meek"], "Ada", None)
    assert read_core(clone / "model_core") == before and promotions.read(clone / "leaderboard") == ()


def test_names_are_submissions_once_and_not_yet_core(clone: Path, submit: Any, record: Any) -> None:
    (clone / "baselines" / "reference").mkdir(parents=True)
    with pytest.raises(UsageError, match="is a reference arm"):
        promote(clone, ["reference"], "Ada", None)
    folder = submit("bold", *lr("0.02"))
    record(folder, GOOD, FRESH)
    with pytest.raises(UsageError, match="is named twice"):
        promote(clone, ["bold", "submissions/bold"], "Ada", None)
    promote(clone, ["bold"], "Ada", None)
    with pytest.raises(UsageError, match="was promoted on 20"):
        promote(clone, ["bold"], "Ada", None)
    (folder / "patch.diff").write_text("nonsense\n")
    with pytest.raises(SubmissionError):
        promote(clone, ["bold"], "Ada", None)


def test_the_plan_names_every_baseline_that_the_old_core_had_and_its_time(
    clone: Path, submit: Any, record: Any
) -> None:
    store = Store(clone / "leaderboard")
    factory = Factory(store, written=50, defaults={"opened": "2026-01-01T08:00:00Z", "max_pairs": 8})
    factory.calibration()
    lasted = factory.calibration("1M").model_copy(update={"closed": "2026-01-01T08:22:00Z"})
    assert len(lasted.runs) == 22
    store.put_evaluation(lasted)
    record(submit("bold", *lr("0.02")), GOOD, FRESH)
    smoke, larger = promote(clone, ["bold"], "Ada", None).refills
    assert smoke.command == "blueberry baseline --track llm-tiny --budget smoke --pairs 8 --official"
    assert (smoke.seconds, smoke.host_class) == (None, None), "no run file tells"
    assert (larger.budget, larger.host_class) == ("1M", "Test CPU, 2 threads, torch 2.13.0")
    assert larger.seconds == pytest.approx(20.5 * 60), "22 runs in 22 minutes, three of them of half the budget"


def test_open_submissions_and_open_evaluations_are_named(clone: Path, submit: Any, record: Any) -> None:
    record(submit("bold", *lr("0.02")), GOOD, FRESH)
    rival = submit("bolder", *lr("0.03"))
    begun = record(rival, (0.02,), close=False)
    done = promote(clone, ["bold"], "Ada", None)
    assert [(one.slug, one.before, one.after) for one in done.standings] == [("bolder", True, False)]
    assert done.promotion.forced == (f"bolder@{patch_sha(rival)}",)
    assert done.cut_off == (begun.id,)
