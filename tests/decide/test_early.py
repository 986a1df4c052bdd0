from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.decide.cells import judge_cell
from harness.decide.early import early_rms, equivalent
from harness.decide.pairs import Pair, pairs_of

Make = Callable[..., Any]


@pytest.fixture
def pair(run_file: Make) -> Callable[..., Pair]:
    """A pair of runs with these curves of (tokens, train loss, seconds); an update of the core reads one token."""

    def made(base: Any, sub: Any) -> Pair:
        runs = [run_file(sub=arm, pair=0, curve=tuple(curve)) for arm, curve in ((False, base), (True, sub))]
        (found,) = pairs_of(runs, "decide")
        return found

    return made


def test_only_the_first_hundred_updates_count(pair: Make) -> None:
    base = [(50, 5.0, 1.0), (100, 4.0, 2.0), (150, 3.0, 3.0)]
    sub = [(50, 5.3, 1.0), (100, 4.4, 2.0), (150, 9.0, 3.0)]
    assert early_rms([pair(base, sub)]) == pytest.approx(((0.3**2 + 0.4**2) / 2) ** 0.5)


def test_arms_that_report_at_different_updates_are_compared_where_both_did(pair: Make) -> None:
    assert early_rms([pair([(2, 5.0, 1.0), (4, 4.0, 2.0)], [(4, 4.1, 1.0), (8, 3.0, 2.0)])]) == pytest.approx(0.1)


def test_a_pair_with_nothing_to_compare_is_never_called_equivalent(pair: Make) -> None:
    silent = pair([(2, 5.0, 1.0)], [])
    assert early_rms([silent]) is None and not equivalent([silent], 1.0)
    assert early_rms([]) is None and not equivalent([], 1.0)


def test_equivalent_means_within_twice_what_the_core_differs_from_itself(pair: Make) -> None:
    found = [pair([(1, 5.0, 1.0)], [(1, 5.5, 1.0)])]
    assert equivalent(found, 0.25) and not equivalent(found, 0.249)
    assert not equivalent(found, None), "without a calibration there is nothing to compare with"


def test_the_label_alone_does_not_spare_the_second_test(evaluation_file: Make, run_files: Make) -> None:
    D, R = [0.0, 1e-4, -1e-4, 0.0], [-0.006, -0.0061, -0.0059, -0.006]  # too little saved to be tested against a loss
    quiet = dict(s0_time=1e-5, kappa=0.43)
    runs = run_files(D, R)
    assert judge_cell(evaluation_file(**quiet, systems_only=True, early_rms=0.01), runs, "speed").verdict == (
        "ACCEPT_SPEED"
    )
    assert judge_cell(evaluation_file(**quiet, early_rms=0.01), runs, "speed").verdict != "ACCEPT_SPEED"
    assert judge_cell(evaluation_file(**quiet, systems_only=True), runs, "speed").verdict != "ACCEPT_SPEED"
