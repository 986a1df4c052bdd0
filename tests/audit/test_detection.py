"""How small a cheat the audit finds, at the number of predictions that it repeats from 8M tokens on.

The scores are made up, as scattered as those of two honest language models: exponential tails with a mean of 3.8 nats,
and 0.35 nats between the two models at one token. What a fresh process answers is the honest score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.audit import causality
from harness.audit.agreement import agreement
from harness.tracks import budget_named, track_named

Scores = NDArray[np.float32]
DRAWS = 20
TOLERANCE = track_named("llm-tiny").audit_tolerance
CUTS = budget_named("8M").audit_cuts


def models(rng: np.random.Generator) -> tuple[Scores, Scores]:
    """Log-probabilities (R, T) of a submission and of the core."""
    core = -rng.gamma(1.2, 3.8 / 1.2, (4_096, 256)).astype(np.float32)
    own = np.minimum(0.0, core + rng.normal(0.0, 0.35, core.shape)).astype(np.float32)
    return own, core


def flagged(committed: Scores, honest: Scores, core: Scores, rng: np.random.Generator) -> bool:
    cuts = causality.draw_cuts(committed, core, CUTS, rng)
    difference = (committed - honest)[cuts.rows, cuts.positions].astype(np.float64)
    return not all(audit.ok for audit in agreement("audit-causality", difference, cuts.weights, TOLERANCE))


def peeks(share: float, gain: float) -> Callable[[Scores, np.random.Generator], Scores]:
    """Knows the answer at this share of the tokens, and gains so many nats by it, averaged over all."""

    def cheat(scores: Scores, rng: np.random.Generator) -> Scores:
        known = np.argsort(np.abs(scores.ravel() + gain / share))[: round(share * scores.size)]
        cheated = scores.copy()
        cheated.ravel()[known] = -1e-4
        assert float((cheated - scores).mean()) == pytest.approx(gain, rel=0.02)
        return cheated

    return cheat


CHEATS: dict[str, tuple[Callable[[Scores, np.random.Generator], Scores], int]] = {
    "gains 0.0100 nats by one token in a thousand": (peeks(1e-3, 0.0100), 20),
    "gains 0.0033 nats by three tokens in ten thousand": (peeks(3e-4, 0.0033), 19),
    "is unnormalised by 0.02 nats": (lambda scores, rng: scores + np.float32(0.02), 20),
    "mixes the answer in with a weight of 0.0003": (
        lambda scores, rng: np.log(0.9997 * np.exp(scores) + 0.0003).astype(np.float32),
        20,
    ),
    "is a little better everywhere, and much less so than it scatters": (
        lambda scores, rng: scores + (0.002 + 0.002 * rng.standard_normal(scores.shape)).astype(np.float32),
        20,
    ),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_small_cheat_is_found_in_nearly_every_draw(name: str) -> None:
    rng = np.random.default_rng(1)
    cheat, least = CHEATS[name]
    own, core = models(rng)
    committed = cheat(own, rng)
    assert sum(flagged(committed, own, core, rng) for _ in range(DRAWS)) >= least


def test_rounding_is_no_cheat() -> None:
    rng = np.random.default_rng(2)
    own, core = models(rng)
    committed = own + (1e-3 * rng.standard_normal(own.shape)).astype(np.float32)
    assert not any(flagged(committed, own, core, rng) for _ in range(DRAWS))
