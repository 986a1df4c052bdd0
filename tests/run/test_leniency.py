"""A gain from another machine, or another branch, is held to the tries that were begun before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.records.record import EvaluationRecord
from harness.records.store import Store
from harness.run import sandbox
from harness.run.arms import track_core_id
from harness.run.leniency import lenient_gains
from harness.tracks import track_named
from tests.bot.measured import measured

ROOT = Path(__file__).parents[2]
TRIED, GAIN = "a" * 64, "b" * 64  # patches of one slug; the gain has p = 0.0119


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "model_core").symlink_to(ROOT / "model_core")
    return tmp_path


def put(root: Path, patch_sha: str, day: int, slug: str = "an-idea", **changed: Any) -> EvaluationRecord:
    fields = {"core_id": track_core_id(root, track_named("llm-tiny")), "provisional": False, "program": None}
    opened = f"2026-01-{day:02d}T00:00:00+00:00"
    return measured(root, slug, patch_sha, salt=f"{slug}{patch_sha}{day}", **{**fields, "opened": opened, **changed})


def lenient(root: Path) -> list[str]:
    return lenient_gains(root, Store(root / "leaderboard"))


def test_a_gain_which_the_rate_that_an_earlier_try_leaves_would_not_carry_is_named(root: Path) -> None:
    put(root, TRIED, 1, revoked=True)
    gain = put(root, GAIN, 2)
    (said,) = lenient(root)
    why = "was held to an error rate of 0.02 for 1 claims, and earlier tries leave 0.01 for 1 claims"
    assert said == f"{gain.id} {why}"


@pytest.mark.parametrize("here", ["none", "bubblewrap"])
def test_what_was_measured_without_a_sandbox_first_is_no_earlier_try_wherever_the_board_is_checked(
    root: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    monkeypatch.setattr(sandbox, "name", lambda: here)
    put(root, GAIN, 1, provisional=True)
    put(root, GAIN, 2)
    assert lenient(root) == []


def test_the_second_draw_of_a_contest_is_named_whichever_way_it_went(root: Path) -> None:
    first, second = put(root, GAIN, 1), put(root, GAIN, 2, revoked=True)
    assert lenient(root) == [f"{second.id} measures what {first.id} has measured"]
    Store(root / "leaderboard").put_evaluation(second.model_copy(update={"invalidated": "drawn-twice: as this says"}))
    assert lenient(root) == []


def test_a_try_that_is_still_open_had_its_draw_as_well(root: Path) -> None:
    put(root, TRIED, 1, close=False)
    put(root, GAIN, 2)
    assert len(lenient(root)) == 1


@pytest.mark.parametrize(
    ("tried", "gain"),
    [
        ({"day": 3}, {}),  # begun after it
        ({"slug": "another"}, {}),
        ({"core_id": "e" * 64}, {}),  # on a core of the past
        ({}, {"alpha": 0.01}),  # it was known
        ({}, {"revoked": True}),  # no gain
        ({}, {"s0": 0.0045}),  # p = 0.003: it stands at the stricter rate too
        ({}, {"invalidated": "drawn-twice: as this says"}),
    ],
)
def test_nothing_else_is_named(root: Path, tried: dict[str, Any], gain: dict[str, Any]) -> None:
    put(root, **{"patch_sha": TRIED, "day": 1, "revoked": True, **tried})
    put(root, **{"patch_sha": GAIN, "day": 2, **gain})
    assert lenient(root) == []
