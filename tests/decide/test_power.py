"""Error rates and power by simulation: standard deviation of a difference 1, the bank knows it, fixed seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.decide import power
from harness.decide.decision import decide
from harness.decide.power import LossPaths, loss_paths

PATHS = 200_000
LARGEST = [4, 6, 8, 10]  # N


def noise(N: int, seed: int, df: int | None = None, paths: int = PATHS) -> NDArray[np.float64]:
    """(paths, N) normal differences; with `df`, every path has a variance of its own, inverse chi-square around 1."""
    rng = np.random.default_rng([seed, N])
    sigma = 1.0 if df is None else np.sqrt(df / rng.chisquare(df, (paths, 1)))
    return sigma * rng.standard_normal((paths, N))


def four_errors(share: float, paths: int = PATHS) -> float:
    return 4 * math.sqrt(share * (1 - share) / paths)


def mean_pairs(paths: LossPaths) -> tuple[float, float]:
    return float(paths.pairs.mean()), 4 * float(paths.pairs.std()) / math.sqrt(len(paths.pairs))


@pytest.mark.parametrize("N", LARGEST)
@pytest.mark.parametrize(("df", "k", "most"), [(4, 1, 0.02), (4, 4, 0.005), (15, 1, 0.010)])
def test_null_patches_are_accepted_at_most_as_often_as_promised(N: int, df: int, k: int, most: float) -> None:
    accepted = loss_paths(noise(N, 1, df), s0=1.0, k=k, futility=False).accepted.mean()
    assert most / 3 < accepted <= most + four_errors(most)


@pytest.mark.parametrize(
    ("N", "at_1", "at_2", "at_3"),
    [(4, 0.17, 0.80, 0.99), (6, 0.31, 0.94, 0.99), (8, 0.44, 0.98, 0.99), (10, 0.545, 0.99, 0.99)],
)
def test_true_gains_are_found_as_often_as_promised(N: int, at_1: float, at_2: float, at_3: float) -> None:
    for gain, least in [(1, at_1), (2, at_2), (3, at_3)]:
        assert loss_paths(gain + noise(N, 2), s0=1.0).accepted.mean() >= least - four_errors(least)


@pytest.mark.parametrize(
    ("N", "at_0", "at_2", "at_3"), [(4, 2.35, 3.2, 2.8), (6, 2.7, 3.8, 2.8), (8, 3.05, 4.1, 2.8), (10, 3.35, 4.35, 2.8)]
)
def test_verdicts_come_as_soon_as_promised(N: int, at_0: float, at_2: float, at_3: float) -> None:
    for gain, df, most in [(0, 15, at_0), (2, None, at_2), (3, None, at_3)]:
        mean, error = mean_pairs(loss_paths(gain + noise(N, 3, df), s0=1.0))
        assert mean <= most + error


def test_a_typical_year_of_submissions_has_few_false_records() -> None:
    """Half of the submissions null, 15 % harmful, 35 % gains, effects exponential around 1.5 sigma; N = 10."""
    rng = np.random.default_rng(4)
    sign = rng.choice([0.0, -1.0, 1.0], p=[0.5, 0.15, 0.35], size=PATHS)
    gain = sign * rng.exponential(1.5, PATHS)
    paths = loss_paths(gain[:, None] + noise(10, 5, df=15), s0=1.0)
    fresh = gain + noise(4, 6, df=15).mean(axis=1)  # the confirm round
    confirmed = paths.accepted & (fresh > 0)
    assert 2 * paths.pairs.mean() == pytest.approx(7.05, abs=0.05)
    assert paths.accepted[gain == 0].mean() == pytest.approx(0.0078, abs=four_errors(0.0078, PATHS // 2))
    assert confirmed[gain == 0].mean() == pytest.approx(0.0040, abs=four_errors(0.0040, PATHS // 2))
    assert np.count_nonzero(gain[paths.accepted] <= 0) <= 0.022 * paths.accepted.sum()
    assert np.count_nonzero(gain[confirmed] <= 0) <= 0.012 * confirmed.sum()
    assert paths.accepted[gain > 1].mean() == pytest.approx(0.91, abs=0.015)


def verdict_of(D: NDArray[np.float64], **terms: Any) -> tuple[str, int]:
    """The verdict of one path by the decision tree itself, and the pairs it took."""
    values, N = D.tolist(), len(D)
    for n in range(2, N + 1):
        word = decide(values[:n], [0.0] * n, "loss", N, s0=1.0, s0_time=1.0, **terms).verdict
        if word != "CONTINUE":
            break
    return word, n


@pytest.mark.parametrize("d0", [0.0, 4.0])
@pytest.mark.parametrize("N", LARGEST)
def test_the_simulated_paths_end_as_the_decision_tree_ends_them(N: int, d0: float) -> None:
    D = np.vstack([gain + noise(N, 7, df=4, paths=60) for gain in (-2, 0, 1, 2)])
    paths = loss_paths(D, s0=1.0, d0=d0, k=2)
    for i, path in enumerate(D):
        word, pairs = verdict_of(path, d0=d0, k=2)
        assert (word == "ACCEPT_LOSS", word == "REJECT_WORSE", pairs) == (
            paths.accepted[i],
            paths.worse[i],
            paths.pairs[i],
        )


@pytest.mark.long
@pytest.mark.parametrize("N", LARGEST)
def test_the_decision_tree_itself_keeps_the_error_rate_and_finds_the_gains(N: int) -> None:
    null = [verdict_of(D) for D in noise(N, 8, df=15)]
    accepted = sum(word == "ACCEPT_LOSS" for word, _ in null) / PATHS
    assert accepted <= 0.010 + four_errors(0.010)
    paths = PATHS // 10
    found = sum(verdict_of(D)[0] == "ACCEPT_LOSS" for D in 2 + noise(N, 9, paths=paths)) / paths
    least = {4: 0.80, 6: 0.94, 8: 0.98, 10: 0.99}[N]
    assert found >= least - four_errors(least, paths)


def test_powers_reproduce_every_vector(vectors: dict[str, Any]) -> None:
    for vector in vectors["power"]:
        assert power.power(**vector["input"]) == pytest.approx(vector["expect"], rel=1e-6)


def test_pairs_needed_reproduce_every_vector(vectors: dict[str, Any]) -> None:
    for vector in vectors["pairs_needed_80"]:
        assert power.pairs_needed(**vector["input"]) == vector["expect"]


def test_power_is_the_share_of_paths_above_the_bar_at_the_last_pair() -> None:
    rng, N, df = np.random.default_rng(10), 6, 9
    # the prior's four degrees of freedom are, by their meaning, four further draws of the noise
    ss = rng.chisquare(4, PATHS) + rng.chisquare(N - 1, PATHS)
    t = (1.5 * math.sqrt(N) + rng.standard_normal(PATHS)) / np.sqrt(ss / df)
    share = np.mean(t >= power.accept_boundary(power.bar(N), df))
    assert power.power(1.5, 1.0, N) == pytest.approx(share, abs=four_errors(share))


def test_pairs_needed_is_the_fewest_that_suffice() -> None:
    N = power.pairs_needed(0.002, 0.0045, 0.5)
    assert N is not None
    sigma_D = power.sigma_of_difference(0.0045, 0.5)
    assert power.power(0.002, sigma_D, N) >= 0.8 > power.power(0.002, sigma_D, N - 1)


def test_a_gain_far_below_the_noise_is_out_of_reach_and_no_gain_is_refused() -> None:
    assert power.pairs_needed(1e-9, 0.0045) is None
    for delta in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError):
            power.pairs_needed(delta, 0.0045)


@pytest.mark.parametrize(("N", "d0"), [(4, 4.0), (10, 4.0), (10, 0.0)])
def test_the_least_detectable_gain_has_the_power_asked_for(N: int, d0: float) -> None:
    gain = power.least_detectable(0.0064, N, k=2, d0=d0)
    assert power.power(gain, 0.0064, N, k=2, d0=d0) == pytest.approx(0.8, rel=1e-9)


def test_expected_pairs_fall_with_the_gain_and_never_pass_the_most() -> None:
    few, many = power.expected_pairs(0.03, 0.0064, 10), power.expected_pairs(0.0064, 0.0064, 10)
    assert 2 <= few < many <= 10
    assert power.expected_pairs(0.0128, 0.0064, 10) == pytest.approx(4.2, abs=0.1)
    assert power.expected_pairs(1.0, 0.0064, 10, d0=0.0) >= 3


def test_seed_correlation_buys_power() -> None:
    assert power.sigma_of_difference(1.0, 0.0) == pytest.approx(math.sqrt(2))
    assert power.sigma_of_difference(1.0, 1.0) == 0.0
