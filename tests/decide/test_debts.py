from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.decide.debts import debts

Make = Callable[..., Any]


@pytest.fixture
def record(evaluation_file: Make, run_files: Make) -> Callable[..., Any]:
    """A closed evaluation that is accepted, with these differences in its confirm round."""

    def made(closed: str, metric: str, D: float, R: float, **changes: Any) -> Any:
        decide = run_files([0.03 if metric == "loss" else 0.0] * 4, [0.0 if metric == "loss" else -0.06] * 4)
        fields = dict(slug=f"idea-{closed}", metrics=(metric,), official=True, closed=closed) | changes
        return evaluation_file(**fields), (*decide, *run_files([D] * 4, [R] * 4, round="confirm"))

    return made


def test_speed_records_add_up_what_they_gave_away_until_a_loss_record(record: Make) -> None:
    history = [record("1", "speed", -0.002, -0.05), record("2", "speed", -0.001, -0.05)]
    assert debts(history, "llm-tiny", "8M").loss == pytest.approx(0.003)
    history.append(record("3", "loss", 0.02, 0.04))
    found = debts(history, "llm-tiny", "8M")
    assert (found.loss, found.time) == pytest.approx((0.0, 0.04))
    history.append(record("4", "speed", -0.001, -0.05))
    found = debts(history, "llm-tiny", "8M")
    assert (found.loss, found.time) == pytest.approx((0.001, 0.0))


def test_a_record_that_gained_in_both_gives_no_credit(record: Make) -> None:
    found = debts([record("1", "loss", 0.02, -0.1), record("2", "speed", 0.01, -0.1)], "llm-tiny", "8M")
    assert (found.loss, found.time) == (0.0, 0.0)


@pytest.mark.parametrize(
    "changes", [{"official": False}, {"closed": None}, {"budget": "20M"}, {"invalidated": "a rule was broken"}]
)
def test_only_official_records_of_the_cell_that_stand_count(record: Make, changes: dict[str, Any]) -> None:
    assert (
        debts([record(**{"closed": "1", "metric": "speed", "D": -0.002, "R": -0.05} | changes)], "llm-tiny", "8M").loss
        == 0
    )


def test_a_revoked_record_owes_nothing(record: Make) -> None:
    assert debts([record("1", "speed", -0.002, 0.05)], "llm-tiny", "8M").loss == 0


def test_an_idea_that_was_measured_again_on_another_core_owes_what_its_last_measurement_says(record: Make) -> None:
    history = [record("1", "speed", -0.002, -0.05, slug="a", core_id="0"), record("2", "speed", -0.001, -0.05)]
    history.append(record("3", "speed", -0.004, -0.05, slug="a"))
    assert debts(history, "llm-tiny", "8M").loss == pytest.approx(0.005)
    history.append(record("4", "speed", -0.004, 0.05, slug="a"))  # another patch of it, which did not hold
    assert debts(history, "llm-tiny", "8M").loss == pytest.approx(0.005), "the record stands all the same"


def test_a_record_that_was_run_again_in_a_sandbox_owes_once(record: Make) -> None:
    bare = record("1", "speed", -0.002, -0.05, id="bare", slug="a", provisional=True)
    boxed = record("2", "speed", -0.003, -0.05, id="boxed", slug="a")
    assert debts([bare, boxed], "llm-tiny", "8M").loss == pytest.approx(0.003)


def test_another_patch_under_the_slug_of_a_record_does_not_wipe_out_what_it_gave_away(record: Make) -> None:
    history = [record("1", "speed", -0.004, -0.05, slug="a", core_id="0")]
    evaluation, runs = record("2", "loss", 0.0, 0.0, slug="a")
    history.append((evaluation, runs[:4]))  # never confirmed
    assert debts(history, "llm-tiny", "8M").loss == pytest.approx(0.004)
