"""A submission that starves its baseline, or leaves heat or load behind, does not win on time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.decide.cells import Cell, judge_cell
from harness.decide.order import order_effect
from harness.decide.pairs import pairs_of

Make = Callable[..., Any]
FASTER, SLOWED = math.log(0.95), math.log(0.90)


@pytest.fixture
def judge(evaluation_file: Make, run_files: Make) -> Callable[[Sequence[float]], Cell]:
    """The verdict on a claim of speed from log time ratios; in every other pair the submission goes first."""

    def judged(R: Sequence[float]) -> Cell:
        return judge_cell(evaluation_file(metrics=("speed",)), run_files([0.002] * len(R), R), "speed")

    return judged


def test_a_gain_in_both_orders_is_accepted(judge: Make) -> None:
    assert judge([FASTER, FASTER - 0.004, FASTER + 0.003, FASTER]).verdict == "ACCEPT_SPEED"


@pytest.mark.parametrize(
    ("R", "reason"),
    [
        ([0.001, SLOWED, -0.001, SLOWED, 0.001, SLOWED, 0.0, SLOWED, 0.0, SLOWED], "core goes first"),
        ([-0.02, SLOWED, -0.021, SLOWED, -0.019, SLOWED, -0.02, SLOWED], "where it comes after"),
    ],
)
def test_a_gain_that_depends_on_who_goes_first_waits_for_a_person(judge: Make, R: list[float], reason: str) -> None:
    cell = judge(R)
    assert cell.verdict == "REVIEW_TRADEOFF" and reason in cell.reason


def test_a_slowed_core_is_told_from_a_faster_submission(run_files: Make) -> None:
    slowed = pairs_of(run_files([0.0] * 6, [-0.02, SLOWED] * 3), "decide")
    assert "where it comes after" in (order_effect(slowed, 0.0035) or "")
    starved = pairs_of(run_files([0.0] * 6, [0.002, SLOWED] * 3), "decide")
    assert "1.002 times as long" in (order_effect(starved, 0.0035) or "")


def test_honest_gains_are_rarely_doubted(run_files: Make) -> None:
    """Four pairs of the bank's own scatter: two of each order."""
    rng = np.random.default_rng(0)
    doubted = 0
    for _ in range(400):
        R = FASTER + rng.normal(0, 0.0035, 4)
        doubted += order_effect(pairs_of(run_files([0.0] * 4, list(R)), "decide"), 0.0035) is not None
    assert doubted / 400 < 0.01


def test_without_a_pair_that_the_core_began_nobody_knows(run_files: Make) -> None:
    second = [pair for pair in pairs_of(run_files([0.0] * 4, [FASTER] * 4), "decide") if not pair.base_first]
    assert "no timed pair" in (order_effect(second, 0.0035) or "")
