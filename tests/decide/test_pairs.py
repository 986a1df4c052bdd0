from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness import tracks
from harness.decide.pairs import pairs_of
from harness.records.record import Host

ELSEWHERE = Host(accelerator="cpu", cpu="Other CPU", threads=2, torch="2.13", python="3.12", system="Linux x86_64")
Make = Callable[..., Any]


def test_a_pair_is_the_gain_in_nats_and_the_log_ratio_of_times(run_file: Make) -> None:
    base = run_file(sub=False, pair=1, loss=4.0, seconds=100.0)
    (pair,) = pairs_of([run_file(sub=True, pair=1, loss=3.9, seconds=110.0), base], "decide")
    gain, slower = pair.D, pair.R
    assert [gain, slower] == pytest.approx([0.1, math.log(1.1)])
    assert (pair.index, pair.seed, pair.base_first, pair.base) == (1, 1_001, False, base)


def test_only_pairs_with_both_runs_completed_count(run_file: Make, run_files: Make) -> None:
    runs = [run for run in run_files([0.01, 0.02, 0.03]) if (run.spec.pair, run.spec.arm) != (1, "core")]
    runs.append(run_file(sub=False, pair=1, status="crashed"))
    assert [pair.index for pair in pairs_of(runs, "decide")] == [0, 2]
    assert pairs_of(runs, "confirm") == ()


def test_runs_on_different_seeds_are_no_pair(run_file: Make) -> None:
    assert pairs_of([run_file(sub=False, pair=0), run_file(sub=True, pair=0, seed=7)], "decide") == ()


def test_of_several_attempts_the_first_that_completed_counts_and_has_no_time(run_file: Make) -> None:
    runs = [
        run_file(sub=False, pair=0),
        run_file(sub=True, pair=0, attempt=3, loss=1.0),
        run_file(sub=True, pair=0, attempt=1, status="killed"),
        run_file(sub=True, pair=0, attempt=2, loss=3.5),
    ]
    (pair,) = pairs_of(runs, "decide")
    assert (pair.D, pair.R) == (0.5, None)


@pytest.mark.parametrize("change", [{"seconds": None}, {"fitted": True}, {"host": ELSEWHERE}, {"attempt": 2}])
@pytest.mark.parametrize("sub", [True, False])
def test_times_that_cannot_be_compared_leave_a_pair_for_loss_alone(
    run_file: Make, change: dict[str, Any], sub: bool
) -> None:
    (pair,) = pairs_of([run_file(sub=sub, pair=0, **change), run_file(sub=not sub, pair=0)], "decide")
    assert (pair.D, pair.R) == (0.0, None)


def test_arms_that_were_fitted_alike_keep_their_time(run_file: Make) -> None:
    (pair,) = pairs_of([run_file(sub=sub, pair=0, fitted=True) for sub in (True, False)], "decide")
    assert pair.R == 0.0


def test_a_calibration_pairs_the_core_with_its_rekeyed_self(run_file: Make) -> None:
    runs = [run_file(sub=sub, pair=0, round="calibrate", calibration=True, loss=4.0 - sub) for sub in (True, False)]
    (pair,) = pairs_of(runs, "calibrate")
    assert pair.base.spec.init_key == 0 and pair.D == 1.0


def test_a_loss_that_is_not_in_nats_is_compared_by_its_logarithm(
    run_file: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    mse = replace(tracks.TRACKS["llm-tiny"], name="mse", log_ratio=True)
    monkeypatch.setitem(tracks.TRACKS, "mse", mse)
    runs = [run_file(sub=sub, pair=0, track="mse", loss=0.2 if sub else 0.4) for sub in (True, False)]
    (pair,) = pairs_of(runs, "decide")
    assert math.exp(pair.D) == pytest.approx(2.0)
