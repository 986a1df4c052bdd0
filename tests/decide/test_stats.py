from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.decide import stats

differences = st.lists(st.integers(-1000, 1000).map(lambda i: i / 10_000), min_size=2, max_size=10)
RELATIVE = 1e-6


def test_importing_the_decisions_does_not_pay_for_scipy() -> None:
    modules = "bank cells decision explain failures pairs power stats"
    imports = ", ".join(f"harness.decide.{name}" for name in modules.split())
    code = f"import sys, {imports}; sys.exit('scipy' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_test_statistic_reproduces_every_vector(vectors: dict[str, Any]) -> None:
    for vector in vectors["moderated_t"]:
        test = stats.moderated_t(**vector["input"])
        measured = {name: getattr(test, name) for name in vector["expect"]}
        assert measured == pytest.approx(vector["expect"], rel=RELATIVE), vector["input"]


def test_empty_and_non_finite_input_is_refused(vectors: dict[str, Any]) -> None:
    for values in [*vectors["moderated_t_raises"], [0.1, -math.inf], [0.1, math.nan]]:
        with pytest.raises(ValueError):
            stats.moderated_t(values, s0=0.01)


@pytest.mark.parametrize("s0", [math.nan, math.inf, -0.01])
def test_a_bank_without_a_usable_spread_is_refused(s0: float) -> None:
    with pytest.raises(ValueError):
        stats.moderated_t([0.1, 0.2], s0=s0)


@given(differences, st.sampled_from([0.0, 0.005, -0.02]))
def test_without_a_bank_it_is_the_paired_t_test_of_scipy(D: list[float], margin: float) -> None:
    assume(min(D) < max(D))
    ours = stats.moderated_t(D, s0=123.0, margin=margin, d0=0)
    theirs = scipy_stats.ttest_rel(np.array(D), np.full(len(D), margin), alternative="greater")
    assert (ours.t, ours.p, ours.df) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.df), rel=1e-6, abs=1e-12)


@given(differences)
def test_with_an_infinite_bank_it_is_the_z_test(D: list[float]) -> None:
    ours = stats.moderated_t(D, s0=0.03, d0=math.inf)
    assert ours.p == pytest.approx(scipy_stats.norm.sf(np.mean(D) / (0.03 / math.sqrt(len(D)))), rel=1e-9)


@given(differences, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(D: list[float], random: Any) -> None:
    shuffled = random.sample(D, len(D))
    assert stats.moderated_t(shuffled, s0=0.01) == stats.moderated_t(D, s0=0.01)


@given(differences)
def test_scaling_differences_and_bank_alike_leaves_p(D: list[float]) -> None:
    scaled = stats.moderated_t([7 * d for d in D], s0=7 * 0.01)
    assert scaled.p == pytest.approx(stats.moderated_t(D, s0=0.01).p, rel=1e-9)


@given(differences, st.sampled_from([0.0, 4.0]))
def test_the_mirrored_differences_have_the_opposite_p(D: list[float], d0: float) -> None:
    test, mirrored = (stats.moderated_t([sign * d for d in D], s0=0.01, d0=d0) for sign in (1, -1))
    assert mirrored.p == pytest.approx(test.p_below, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "margin", "t", "p"),
    [
        ([0.1] * 3, 0.1, 0.0, 0.5),
        ([0.1] * 3, 0.0, math.inf, 0.0),
        ([-0.1] * 3, 0.0, -math.inf, 1.0),
        ([0.0] * 2, 0.005, -math.inf, 1.0),
    ],
)
def test_deterministic_runs_are_told_apart_by_the_sign_of_the_gap(
    values: list[float], margin: float, t: float, p: float
) -> None:
    test = stats.moderated_t(values, s0=0.0, margin=margin, d0=0)
    assert (test.se, test.t, test.p) == (0.0, t, p)


def test_one_value_without_a_bank_says_nothing() -> None:
    test = stats.moderated_t([5.0], s0=0.01, d0=0)
    assert (test.t, test.p, test.p_below, test.df) == (0.0, 1.0, 1.0, 0)
    assert stats.repeated_interval(test, 0.01) == (-math.inf, math.inf)


def test_bars_reproduce_every_vector(vectors: dict[str, Any]) -> None:
    for vector in vectors["bar"]:
        assert stats.bar(**vector["input"]) == pytest.approx(vector["expect"], rel=RELATIVE)


def test_accept_boundaries_reproduce_every_vector(vectors: dict[str, Any]) -> None:
    for expected in vectors["t_boundaries_k1"].values():
        N = len(expected) + 1
        boundaries = [stats.accept_boundary(stats.bar(N), n + 3) for n in range(2, N + 1)]
        assert boundaries == pytest.approx(expected, rel=RELATIVE)


def test_predictive_powers_reproduce_every_vector(vectors: dict[str, Any]) -> None:
    for vector in vectors["predictive_power"]:
        assert stats.predictive_power(**vector["input"]) == pytest.approx(vector["expect"], rel=RELATIVE)


def test_predictive_power_is_certain_at_the_ends() -> None:
    assert stats.predictive_power(0.0, 2, 10, 0.01) == 1.0
    assert stats.predictive_power(1.0, 2, 10, 0.01) == 0.0
    assert stats.predictive_power(0.01, 10, 10, 0.01) == 1.0
    assert stats.predictive_power(0.0100001, 10, 10, 0.01) == 0.0


def test_predictive_power_is_the_share_of_continued_paths_that_cross() -> None:
    n, N, c, p = 3, 8, 0.01, 0.05
    rng = np.random.default_rng(5)
    z_n, paths = scipy_stats.norm.isf(p), 400_000
    effect = rng.normal(z_n / math.sqrt(n), 1 / math.sqrt(n), paths)  # flat prior, after n values of variance 1
    total = z_n * math.sqrt(n) + rng.normal((N - n) * effect, math.sqrt(N - n))
    share = np.mean(total / math.sqrt(N) >= scipy_stats.norm.isf(c))
    assert stats.predictive_power(p, n, N, c) == pytest.approx(share, abs=4 * math.sqrt(0.25 / paths))


@pytest.mark.parametrize(("n", "N"), [(2, 4), (2, 10), (9, 10)])
def test_the_futility_boundary_is_where_the_predictive_power_is_a_tenth(n: int, N: int) -> None:
    c, df = stats.bar(N), n + 3
    t = stats.futility_boundary(n, N, c, df)
    assert t is not None
    assert stats.predictive_power(stats.upper_tail(t, df), n, N, c) == pytest.approx(0.1, rel=1e-9)
    assert stats.futility_boundary(N, N, c, df) is None


def test_the_sequential_p_reproduces_the_vectors(vectors: dict[str, Any]) -> None:
    for vector in vectors["sequential_p"]:
        ps, N, k = (vector["input"][name] for name in ("p", "N", "k"))
        assert stats.sequential_p(ps, N, k) == pytest.approx(vector["expect"], rel=RELATIVE)
    assert stats.sequential_p([0.9], 10) == 1.0


def test_the_repeated_interval_reproduces_the_vectors(vectors: dict[str, Any]) -> None:
    for vector in vectors["repeated_interval"]:
        given_ = vector["input"]
        test = stats.moderated_t(given_["x"], given_["s0"], d0=given_["d0"])
        interval = stats.repeated_interval(test, stats.bar(given_["N"], given_["k"]))
        assert interval == pytest.approx(vector["expect"], rel=RELATIVE)


@given(differences)
def test_the_interval_excludes_zero_exactly_when_the_bar_is_crossed(D: list[float]) -> None:
    c = stats.bar(10)
    test = stats.moderated_t(D, s0=0.01)
    assert (stats.repeated_interval(test, c)[0] >= 0) == (test.p <= c)


def test_time_ratios_reproduce_the_vector(vectors: dict[str, Any]) -> None:
    measured = stats.time_ratio(**vectors["time"]["input"])
    for name, expected in vectors["time"]["expect"].items():
        assert getattr(measured, name) == pytest.approx(expected, rel=RELATIVE), name


def test_net_gains_reproduce_the_vector_and_need_an_exchange_rate(vectors: dict[str, Any]) -> None:
    assert stats.net_gain(**vectors["net_gain"]["input"]) == pytest.approx(vectors["net_gain"]["expect"], rel=RELATIVE)
    assert stats.net_gain([0.1], [0.1], None) is None
    assert stats.net_gain([0.1], [0.1], 0.0) is None


def test_the_spread_reproduces_the_vector(vectors: dict[str, Any]) -> None:
    measured = stats.spread(vectors["repeat_runs"]["input"])
    for name, expected in vectors["repeat_runs"]["expect"].items():
        assert getattr(measured, name) == pytest.approx(expected, rel=RELATIVE), name
    with pytest.raises(ValueError):
        stats.spread([1.0])


def test_equal_values_have_no_spread_at_all() -> None:
    assert stats.centre([0.1] * 3) == (0.1, 0.0)
    assert np.var([0.1] * 3) > 0  # what rounding makes of it otherwise


@given(st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=6), min_size=1, max_size=3), st.floats(0.1, 10))
def test_the_p_of_a_scatter_is_that_of_an_f_test_within_groups(groups: list[list[float]], s0: float) -> None:
    ss = sum(float(np.var(values) * len(values)) for values in groups)
    df = sum(len(values) - 1 for values in groups)
    expected = scipy_stats.f.sf(ss / df / s0**2, df, 7)
    assert stats.scatter_p([*groups, [3.0]], s0, 7) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert stats.scatter_p([[1.0]], s0, 7) == stats.scatter_p(groups, 0.0, 7) == 1.0
