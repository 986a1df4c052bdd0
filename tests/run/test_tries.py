"""What counts as another try of an idea, and to which error rate that brings it: read off records alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.records import promotions
from harness.records.promotions import Promoted, Promotion
from harness.records.record import EvaluationRecord
from harness.run import sandbox
from harness.run.arms import track_core_id
from harness.run.tries import Idea, Rate, line_of, rate_of, to_be_run_again
from harness.tracks import track_named
from tests.decide.conftest import make_evaluation

ROOT = Path(__file__).parents[2]
LOSS, SPEED = ("llm-tiny", "smoke", "loss"), ("llm-tiny", "smoke", "speed")
LARGER = ("llm-tiny", "1M", "loss")
IDEA = Idea("idea", None, "1" * 64, "2" * 64, frozenset([LOSS]), frozenset(["Ada"]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "model_core").symlink_to(ROOT / "model_core")
    (tmp_path / "leaderboard").mkdir()
    return tmp_path


def past(root: Path, **changes: Any) -> EvaluationRecord:
    core_id = track_core_id(root, track_named("llm-tiny"))
    return make_evaluation(
        **(dict(budget="smoke", core_id=core_id, closed="1", patch_sha="f" * 64, authors=("Ada",)) | changes)
    )


def held(root: Path, *before: EvaluationRecord, idea: Idea = IDEA, budget: str = "smoke", **options: Any) -> Rate:
    return rate_of(root, before, idea, "llm-tiny", budget, **{"metrics": ("loss",), **options})


def test_every_earlier_try_halves_the_error_rate(root: Path) -> None:
    assert held(root) == Rate(0.02, 1)
    assert held(root, past(root)) == Rate(0.01, 1)
    assert held(root, past(root), past(root, closed=None)) == Rate(0.005, 1), "an open one had its draw as well"


def test_a_try_is_known_by_its_slug_its_patch_or_its_program_and_by_nothing_else(root: Path) -> None:
    assert held(root, past(root, slug="other")).alpha == 0.02
    assert held(root, past(root, slug="other", patch_sha=IDEA.patch_sha)).alpha == 0.01
    assert held(root, past(root, slug="other", program=IDEA.program)).alpha == 0.01, "the same program in other words"
    unknown = replace(IDEA, slug="new", patch_sha=None, program=None)  # planned before there is a patch
    assert held(root, past(root, program=None), idea=unknown).alpha == 0.02


def test_cells_that_are_claimed_one_after_another_share_little_more_than_one_error_rate(root: Path) -> None:
    """Each lost cell would otherwise be followed by another at the full rate."""
    spent, before = 0.0, []
    for budget in ("1M", "8M", "20M", "100M", "1B"):
        idea = replace(IDEA, claims=frozenset([("llm-tiny", budget, "loss")]))
        rate = held(root, *before, idea=idea, budget=budget)
        before.append(past(root, budget=budget, metrics=("loss",), k=rate.k, alpha=rate.alpha))
        spent += rate.alpha / rate.k
    assert rate == Rate(0.02 / 2**4, 5) and spent <= 1.4 * 0.02
    first = past(root, metrics=("loss",))
    other = held(root, first, metrics=("speed",), idea=replace(IDEA, claims=frozenset([SPEED])))
    assert other == Rate(0.01, 2), "the other metric of a cell is another claim, and no second try of the first"


def test_claims_that_were_made_at_once_share_one_error_rate_in_whatever_order_they_are_measured(root: Path) -> None:
    claims = replace(IDEA, claims=frozenset([LOSS, SPEED, LARGER]))
    first = held(root, idea=claims, metrics=("loss", "speed"))
    assert first == Rate(0.02, 3)
    done = past(root, metrics=("loss", "speed"), k=first.k)
    assert held(root, done, idea=claims, budget="1M") == Rate(0.02, 3)
    assert held(root, done, idea=replace(IDEA, claims=frozenset([LARGER])), budget="1M") == Rate(0.02, 3)
    assert held(root, done, idea=claims, metrics=("loss", "speed")) == Rate(0.01, 3), "a second try of these"


def test_a_claim_on_another_track_is_a_claim(root: Path) -> None:
    flow = track_core_id(root, track_named("flow-tiny"))
    lost = past(root, track="flow-tiny", core_id=flow, metrics=("loss",), data_id="e" * 64)
    assert held(root, lost, data_id="d" * 64) == Rate(0.01, 2)


def test_on_other_data_a_cell_is_tried_for_the_first_time(root: Path) -> None:
    assert held(root, past(root), data_id="d" * 64).alpha == 0.01
    assert held(root, past(root), data_id="e" * 64).alpha == 0.02


def test_what_was_only_tried_out_is_no_try_of_a_claim(root: Path) -> None:
    assert held(root, past(root, claimed=False)) == Rate(0.02, 1)
    assert held(root, past(root), claimed=False) == Rate(0.01, 1)


def test_a_calibration_or_another_core_is_no_try(root: Path) -> None:
    assert held(root, past(root, kind="calibration")).alpha == 0.02
    assert held(root, past(root, core_id="a" * 64)).alpha == 0.02, "the track's core has moved"


def test_a_rebase_that_a_promotion_forced_is_no_second_try_and_what_follows_is_one(root: Path) -> None:
    first = past(root)
    promoted = Promotion(
        date="2026-01-01",
        by="Ada",
        before="a" * 64,
        after="b" * 64,
        patches=(Promoted(slug="wide", patch_sha="2" * 64, evaluations=("w",)),),
        forced=(f"{first.slug}@{first.patch_sha}",),
    )
    folder = root / "leaderboard"
    (folder / promotions.NAME).write_text(promotions.text_with(folder, promoted))
    assert held(root, first).alpha == 0.02, "a promotion on another track's files no longer let the old patch apply"
    assert held(root, first, past(root, patch_sha="3" * 64)).alpha == 0.01, "what was tried after the rebase counts"


def test_a_line_of_ideas_is_one_idea_in_a_row_or_side_by_side(root: Path) -> None:
    row = [past(root, slug="b", supersedes="a"), past(root, slug="c", supersedes="b"), past(root, slug="x")]
    assert line_of(follower("c", "b"), row) == {"a", "b", "c"}
    assert line_of(follower("loop", "loop"), row) == {"loop"}
    star = [past(root, slug=slug, supersedes="a") for slug in ("b", "c", "d")]
    assert line_of(follower("e", "a"), star) == {"a", "b", "c", "d", "e"}
    assert held(root, *star, idea=follower("e", "a")).alpha == 0.02 / 2**3


def follower(slug: str, supersedes: str) -> Idea:
    return replace(IDEA, slug=slug, supersedes=supersedes)


def test_nobody_is_held_to_what_a_stranger_calls_a_successor(root: Path) -> None:
    strangers = [past(root, slug=f"s{i}", supersedes="idea", authors=(f"Stranger {i}",)) for i in range(5)]
    assert line_of(IDEA, strangers) == {"idea"}
    assert held(root, *strangers, past(root, slug="idea", authors=("Bo",)), idea=follower("mine", "idea")).alpha == 0.01


def test_what_was_measured_without_a_sandbox_is_run_again_once_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = make_evaluation(provisional=True, official=True, closed="1")
    assert to_be_run_again(bare) == (sandbox.name() != "none")
    monkeypatch.setattr(sandbox, "name", lambda: "landlock")
    assert to_be_run_again(bare)
    assert not to_be_run_again(make_evaluation(provisional=True, official=True)), "what is open is finished first"
    assert not to_be_run_again(make_evaluation(official=True, closed="1"))
    monkeypatch.setattr(sandbox, "name", lambda: "none")
    assert not to_be_run_again(bare)
