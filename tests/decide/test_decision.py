from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.decide.decision import SLOWER_LIMIT, Decision, decide
from harness.decide.stats import bar, sequential_p
from harness.errors import MachineError

BANK: dict[str, Any] = dict(s0=0.0064, s0_time=0.0035)
FAST = [-0.06, -0.058, -0.061, -0.06]
values = st.lists(st.integers(-400, 400).map(lambda i: i / 10_000), min_size=2, max_size=10)
claims = st.sampled_from(["loss", "speed"])


def clear_of_every_threshold(decision: Decision) -> bool:
    """A verdict may turn on the last bit exactly at a threshold, and nowhere else."""
    thresholds = (decision.c, 1 - decision.c, 2 * 0.05 / 11, 1 - 2 * 0.05 / 11)
    ps = [p for p in (decision.p_loss, decision.p_speed, decision.p_q) if p is not None]
    means = [decision.loss.mean + 0.005] + [test.mean + SLOWER_LIMIT for test in [decision.time] if test]
    powers = [decision.pp - 0.1] + ([] if decision.pp_q is None else [decision.pp_q - 0.1])
    return all(abs(gap) > 1e-9 for gap in [p - at for p in ps for at in thresholds] + means + powers)


def test_decision_traces_reproduce_every_vector(vectors: dict[str, Any]) -> None:
    for trace in vectors["decision_traces"]:
        terms = dict(trace["input"])
        D, R = terms.pop("D"), terms.pop("R")
        for expected in trace["expect"]:
            n = expected["n"]
            decision = decide(D[:n], R[:n], **terms)
            assert decision.verdict == expected["verdict"], (trace["name"], n)
            for name in expected.keys() - {"n", "verdict"}:
                assert getattr(decision, name) == pytest.approx(expected[name], rel=1e-6), (trace["name"], n, name)


@given(values, values, claims, st.booleans())
def test_scaling_all_that_is_in_nats_leaves_p(D: list[float], R: list[float], claim: Any, bank: bool) -> None:
    n = min(len(D), len(R))
    D, R, d0 = D[:n], R[:n], 4.0 if bank else 0.0
    before = decide(D, R, claim, 10, **BANK, kappa=0.43, d0=d0)
    scaled = decide([7 * d for d in D], R, claim, 10, s0=7 * 0.0064, s0_time=0.0035, kappa=7 * 0.43, d0=d0)
    assert scaled.p_loss == pytest.approx(before.p_loss, rel=1e-6, abs=1e-15)
    if claim == "speed":  # the limit on the loss given away is in nats and does not scale
        assert scaled.p_q == pytest.approx(before.p_q, rel=1e-6, abs=1e-15)
    else:
        assume(clear_of_every_threshold(before))
        assert scaled.verdict == before.verdict


@given(values, values, claims, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(D: list[float], R: list[float], claim: Any, random: Any) -> None:
    pairs = list(zip(D, R, strict=False))
    shuffled = random.sample(pairs, len(pairs))
    before, after = (
        decide([d for d, _ in order], [r for _, r in order], claim, 10, **BANK, kappa=0.43)
        for order in (pairs, shuffled)
    )
    assert after == before


@given(values)
def test_the_mirror_image_of_a_lower_loss_is_a_higher_loss(D: list[float]) -> None:
    words = {"ACCEPT_LOSS": "REJECT_WORSE", "REJECT_WORSE": "ACCEPT_LOSS"}
    decision, mirrored = (decide([sign * d for d in D], [0.0] * len(D), "loss", 10, **BANK) for sign in (1, -1))
    assume(clear_of_every_threshold(decision))
    if decision.verdict in words:
        assert mirrored.verdict == words[decision.verdict]
    else:
        assert mirrored.verdict not in words


@given(values, st.integers(-64, 64).map(lambda i: i / 16))
def test_a_common_shift_of_all_losses_changes_nothing(D: list[float], shift: float) -> None:
    base = [4 + 0.01 * i for i in range(len(D))]
    losses = [(b, b - d) for b, d in zip(base, D, strict=True)]
    before = decide([b - s for b, s in losses], [0.0] * len(D), "loss", 10, **BANK)
    after = decide([(b + shift) - (s + shift) for b, s in losses], [0.0] * len(D), "loss", 10, **BANK)
    assert after.p_loss == pytest.approx(before.p_loss, rel=1e-6)
    assume(clear_of_every_threshold(before))
    assert after.verdict == before.verdict


@given(st.lists(st.floats(-0.05, 0.05), min_size=10, max_size=10), st.integers(1, 4), st.integers(0, 2))
def test_the_sequential_p_is_at_most_alpha_exactly_when_the_claim_is_accepted(
    D: list[float], k: int, earlier: int
) -> None:
    alpha, N, ps, verdict = 0.02 / 2**earlier, 10, [], "CONTINUE"
    for n in range(2, N + 1):
        look = decide(D[:n], [0.0] * n, "loss", N, **BANK, k=k, alpha=alpha)
        ps.append(look.p_loss)
        verdict = look.verdict
        if verdict != "CONTINUE":
            break
    assume(all(abs(p - bar(N, k, alpha)) > 1e-12 for p in ps))
    assert (sequential_p(ps, N, k) <= alpha) == (verdict == "ACCEPT_LOSS")


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_non_finite_difference_is_refused(broken: float) -> None:
    with pytest.raises(ValueError):
        decide([0.01, broken], [0.0, 0.0], "loss", 10, **BANK)
    with pytest.raises(ValueError):
        decide([0.01, 0.01], [0.0, broken], "speed", 10, **BANK, kappa=0.4)


@pytest.mark.parametrize("kappa", [None, 0.0, -0.2, math.nan])
def test_a_claim_on_speed_needs_an_exchange_rate(kappa: float | None) -> None:
    with pytest.raises(MachineError, match="blueberry baseline"):
        decide([0.0, 0.0], [-0.1, -0.1], "speed", 10, **BANK, kappa=kappa)


def test_a_claim_on_speed_needs_a_time_for_every_pair() -> None:
    with pytest.raises(ValueError, match="time for every pair"):
        decide([0.0, 0.0], [-0.1], "speed", 10, **BANK, kappa=0.4)


@pytest.mark.parametrize("d0", [0.0, 4.0])
@pytest.mark.parametrize("claim", ["loss", "speed"])
def test_one_pair_decides_nothing(claim: Any, d0: float) -> None:
    assert decide([9.0], [-9.0], claim, 10, **BANK, kappa=0.4, d0=d0).verdict == "CONTINUE"


@pytest.mark.parametrize("claim", ["loss", "speed"])
def test_a_short_bank_decides_nothing_before_three_pairs(claim: Any) -> None:
    D, R = [1.0, 1.1, 1.2], [-1.0, -1.1, -1.2]
    words = [decide(D[:n], R[:n], claim, 10, **BANK, kappa=0.4, d0=0.0).verdict for n in (2, 3)]
    assert words[0] == "CONTINUE" and words[1].startswith("ACCEPT")


@pytest.mark.parametrize("d0", [0.0, 4.0])
def test_a_patch_that_changes_nothing_on_a_deterministic_machine_is_no_gain(d0: float) -> None:
    decision = decide([0.0] * 3, [0.0] * 3, "loss", 10, s0=0.0, s0_time=0.0, d0=d0)
    assert (decision.verdict, decision.p_loss) == ("REJECT_NO_GAIN", 0.5)


def test_a_lower_loss_without_any_time_goes_to_people() -> None:
    assert decide([0.03, 0.03], [], "loss", 10, **BANK).verdict == "REVIEW_TRADEOFF"
    assert decide([0.03, 0.03], [0.0], "loss", 10, **BANK).verdict == "ACCEPT_LOSS"


@pytest.mark.parametrize(("r", "debt", "word"), [(0.095, 0.0, "ACCEPT_LOSS"), (0.096, 0.0, "REVIEW_TRADEOFF")])
def test_more_than_a_tenth_of_extra_time_goes_to_people(r: float, debt: float, word: str) -> None:
    assert decide([0.03, 0.031], [r, r], "loss", 10, **BANK).verdict == word


def test_slowdowns_of_earlier_records_count_against_the_limit() -> None:
    terms: dict[str, Any] = dict(D=[0.03, 0.031], R=[0.05, 0.05], claim="loss", N=10, **BANK)
    assert decide(**terms, time_debt=0.04).verdict == "ACCEPT_LOSS"
    assert decide(**terms, time_debt=0.05).verdict == "REVIEW_TRADEOFF"


def test_loss_given_away_by_earlier_speed_records_counts_against_the_next() -> None:
    D = [-0.001, -0.0015, -0.001, -0.0012]
    terms: dict[str, Any] = dict(D=D, R=FAST, claim="speed", N=10, **BANK, kappa=0.43)
    assert decide(**terms).verdict == "ACCEPT_SPEED"
    assert decide(**terms, loss_debt=0.003).verdict == "ACCEPT_SPEED"
    assert decide(**terms, loss_debt=0.004).verdict == "CONTINUE"


def test_a_single_speed_record_may_not_give_away_half_a_hundredth_of_a_nat() -> None:
    R = [-0.5, -0.51, -0.5, -0.52]  # so fast that the loss would be paid for many times over
    assert decide([-0.0049] * 4, R, "speed", 4, **BANK, kappa=0.43).verdict == "ACCEPT_SPEED"
    assert decide([-0.0051] * 4, R, "speed", 4, **BANK, kappa=0.43).verdict == "REVIEW_TRADEOFF"


def test_half_a_percent_of_speed_is_no_record() -> None:
    decision = decide([0.01] * 4, [-0.005] * 4, "speed", 4, **BANK, kappa=0.43)
    assert decision.verdict == "INCONCLUSIVE" and decision.p_speed == pytest.approx(0.5)


def test_a_label_of_equivalence_never_excuses_a_loss_that_is_higher() -> None:
    D = [-0.004, -0.0045, -0.005, -0.0045, -0.0046, -0.0047]
    R = [-0.008, -0.0081, -0.0079, -0.008, -0.0081, -0.008]
    quiet: dict[str, Any] = dict(s0=0.0003, s0_time=0.0003, kappa=0.43)
    assert decide(D, R, "speed", 6, **quiet, equivalent=True).verdict == "REVIEW_TRADEOFF"
    assert decide([0.0, 1e-4, -1e-4, 0.0], R[:4], "speed", 6, **quiet, equivalent=True).verdict == "ACCEPT_SPEED"


def test_a_loss_that_eats_the_time_saved_ends_the_search() -> None:
    D, R = [-0.03, -0.031, -0.03], [-0.007, -0.0071, -0.0072]
    decision = decide(D, R, "speed", 10, **BANK, kappa=0.43)
    assert decision.p_speed is not None and decision.p_speed > decision.c
    assert decision.pp > 0.1 and decision.verdict == "REJECT_NO_GAIN"
    assert decide(D, R, "speed", 10, **BANK, kappa=0.43, equivalent=True).verdict == "CONTINUE"


def test_the_last_pair_always_ends_in_a_verdict() -> None:
    assert decide([0.001, 0.003], [0.0, 0.0], "loss", 2, **BANK, d0=0.0).verdict == "INCONCLUSIVE"
    assert decide([0.001], [0.0], "loss", 1, **BANK).verdict == "INCONCLUSIVE"
