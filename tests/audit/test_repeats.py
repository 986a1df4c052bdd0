"""The audit of image models on errors whose cheats are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.audit.repeats import Repeats, compare, draw_repeats
from harness.records.record import AuditResult
from harness.tracks import track_named

ITEMS = 1_000
TOLERANCE = track_named("flow-tiny").audit_tolerance


def errors(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).gamma(4.0, 0.05, ITEMS)


def audited(
    committed: NDArray[np.float64], honest: NDArray[np.float64], count: int = 256, seed: int = 1
) -> dict[str, AuditResult]:
    """`committed` was claimed, `honest` is what a fresh process finds; the core's errors are a little higher."""
    reference = (-honest * 1.01).astype(np.float32)
    repeats = draw_repeats((-committed).astype(np.float32), reference, count, np.random.default_rng(seed))
    return {result.id: result for result in compare(committed, repeats, honest[repeats.items], TOLERANCE)}


def test_honest_errors_pass_and_are_repeated_to_the_bit() -> None:
    results = audited(errors(), errors())
    assert all(result.ok for result in results.values())
    assert results["audit-repeats"].value == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_rounding_passes(seed: int) -> None:
    noise = 1 + 2e-3 * np.random.default_rng(seed).standard_normal(ITEMS)
    assert all(result.ok for result in audited(errors() * noise, errors(), seed=seed).values())


@pytest.mark.parametrize("seed", range(20))
def test_one_image_in_fifty_that_was_known_is_found(seed: int) -> None:
    claimed = errors()
    known = np.random.default_rng(seed).random(ITEMS) < 0.02
    claimed[known] *= 0.5
    assert not audited(claimed, errors(), seed=seed)["audit-alone"].ok


@pytest.mark.parametrize("seed", range(20))
def test_a_small_gain_on_every_image_is_found_in_the_mean(seed: int) -> None:
    assert not audited(errors() * 0.995, errors(), seed=seed)["audit-mean"].ok


def test_errors_that_are_not_finite_are_refused() -> None:
    repeats = Repeats(np.array([0, 1]), np.ones(2))
    (result,) = compare(errors(), repeats, np.array([0.1, np.nan]), TOLERANCE)
    assert not result.ok


def test_weights_make_the_mean_of_the_sample_that_of_the_set() -> None:
    values, scores = errors(3), -errors()
    reference = scores - np.random.default_rng(4).exponential(0.1, ITEMS) * (np.arange(ITEMS) < 50)
    repeats = draw_repeats(scores.astype(np.float32), reference.astype(np.float32), 400_000, np.random.default_rng(5))
    assert np.mean(repeats.weights * values[repeats.items]) == pytest.approx(values.mean(), rel=0.02)
    assert np.bincount(repeats.items, minlength=ITEMS)[:50].sum() > 150_000, "half of them where there is a gain"


def test_without_a_reference_all_images_are_equally_likely() -> None:
    repeats = draw_repeats(-errors().astype(np.float32), None, 100_000, np.random.default_rng(0))
    assert np.allclose(repeats.weights, 1.0)
    assert np.bincount(repeats.items, minlength=ITEMS).min() > 50
