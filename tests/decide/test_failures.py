from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.decide.failures import invalid_reason, unstable_reason

Make = Callable[..., Any]


def attempts(run_file: Make, *statuses: str, **common: Any) -> list[Any]:
    return [run_file(sub=True, status=status, attempt=i, **common) for i, status in enumerate(statuses, start=1)]


def test_a_refused_run_of_the_submission_is_invalid_and_says_why(run_file: Make, evaluation_file: Make) -> None:
    runs = [run_file(sub=True, pair=2, status="refused", error="causality: 0.31 > 0.01")]
    reason = invalid_reason(evaluation_file(), runs)
    assert reason == "refused in the decide round, pair 3: causality: 0.31 > 0.01"


def test_a_rule_found_broken_afterwards_is_invalid(evaluation_file: Make) -> None:
    assert invalid_reason(evaluation_file(invalidated="read the test split"), []) == "read the test split"


@pytest.mark.parametrize(
    "statuses", [("crashed", "crashed"), ("timed_out", "timed_out"), ("crashed", "timed_out"), ("diverged", "crashed")]
)
def test_two_failed_attempts_at_one_run_are_invalid(
    run_file: Make, evaluation_file: Make, statuses: tuple[str, str]
) -> None:
    reason = invalid_reason(evaluation_file(), attempts(run_file, *statuses, pair=3))
    assert reason is not None and "in 2 attempts of the decide round, pair 4" in reason
    assert statuses[1].replace("_", " ") in reason


@pytest.mark.parametrize(
    "statuses",
    [("crashed",), ("killed", "killed"), ("infrastructure", "infrastructure"), ("crashed", "crashed", "completed")],
)
def test_what_is_not_the_submissions_fault_or_was_mended_is_valid(
    run_file: Make, evaluation_file: Make, statuses: tuple[str, ...]
) -> None:
    assert invalid_reason(evaluation_file(), attempts(run_file, *statuses, pair=0)) is None


def test_single_crashes_on_two_pairs_are_valid(run_file: Make, evaluation_file: Make) -> None:
    runs = attempts(run_file, "crashed", pair=0) + attempts(run_file, "crashed", pair=1)
    assert invalid_reason(evaluation_file(), runs) is None


def test_failures_of_the_core_are_not_the_submissions(run_file: Make, evaluation_file: Make) -> None:
    runs = [run_file(sub=False, pair=0, status=status, attempt=i) for i in (1, 2) for status in ("crashed", "refused")]
    assert invalid_reason(evaluation_file(), runs) is None


def test_diverging_twice_where_the_core_completed_is_unstable(run_file: Make, evaluation_file: Make) -> None:
    base = run_file(sub=False, pair=1)
    runs = [base, *attempts(run_file, "diverged", "diverged", pair=1)]
    said = "unstable: diverged in 2 attempts at pair 2, where the core did not"
    assert unstable_reason(runs, "decide") == said
    assert invalid_reason(evaluation_file(), runs) is None
    assert unstable_reason(runs, "confirm") is None


def test_diverging_once_or_with_the_core_is_not_unstable(run_file: Make) -> None:
    base = run_file(sub=False, pair=1)
    assert unstable_reason([base, *attempts(run_file, "diverged", pair=1)], "decide") is None
    other = run_file(sub=False, pair=1, status="diverged")
    assert unstable_reason([other, *attempts(run_file, "diverged", "diverged", pair=1)], "decide") is None


def test_failing_at_first_in_a_third_pair_is_invalid_for_a_run_could_be_drawn_again_at_will(
    run_file: Make, evaluation_file: Make
) -> None:
    runs = [run for pair in range(2) for run in attempts(run_file, "crashed", "completed", pair=pair)]
    assert invalid_reason(evaluation_file(), runs) is None
    runs += attempts(run_file, "timed_out", "completed", pair=2)
    assert "in 3 pairs" in (invalid_reason(evaluation_file(), runs) or "")
    assert "in 3 pairs" in (invalid_reason(evaluation_file(), [*runs[:-2], *diverged_at_first(run_file, 2)]) or "")
    assert invalid_reason(evaluation_file(), [run for run in runs if run.status == "completed"]) is None


def diverged_at_first(run_file: Make, *pairs: int, **common: Any) -> list[Any]:
    return [run for pair in pairs for run in attempts(run_file, "diverged", "completed", pair=pair, **common)]


def test_a_loss_that_is_not_finite_at_first_draws_a_run_again_as_a_crash_does(
    run_file: Make, evaluation_file: Make
) -> None:
    runs = diverged_at_first(run_file, 0) + diverged_at_first(run_file, 0, round="confirm")
    assert invalid_reason(evaluation_file(), runs) is None
    runs += diverged_at_first(run_file, 1, round="confirm")
    assert "in 3 pairs" in (invalid_reason(evaluation_file(), runs) or "")


def test_a_pair_that_diverges_in_every_attempt_was_not_drawn_again(run_file: Make, evaluation_file: Make) -> None:
    runs = diverged_at_first(run_file, 0, 1) + attempts(run_file, "diverged", "diverged", pair=2)
    assert invalid_reason(evaluation_file(), runs) is None
    assert "at pair 3" in (unstable_reason([run_file(sub=False, pair=2), *runs], "decide") or "")
