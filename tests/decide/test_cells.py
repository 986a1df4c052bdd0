from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.decide.cells import TOP_ORDER, Cell, judge_cell, overall_verdict
from harness.decide.decision import decide
from harness.decide.doubts import WILD
from harness.decide.stats import FILLED_DF, bar, moderated_t, repeated_interval, scatter_p
from harness.errors import MachineError

Make = Callable[..., Any]
MID = [0.012, 0.007, 0.014, 0.009, 0.011, 0.010]  # accepted at the fourth pair
KEYS = (
    "track budget metric verdict reason pairs max_pairs gain interval p alpha time_ratio time_interval net_gain"
    " rho s0 d0 round confirm"
)


@pytest.fixture
def judge(evaluation_file: Make, run_files: Make) -> Callable[..., Cell]:
    """The cell of differences D (and R), with changes to the evaluation's file."""

    def judged(
        D: Sequence[float],
        R: Sequence[float] | None = None,
        metric: Any = "loss",
        more: Sequence[Any] = (),
        **changes: Any,
    ) -> Cell:
        return judge_cell(evaluation_file(**changes), (*run_files(D, R), *more), metric)

    return judged


def test_every_trace_ends_with_the_same_word_from_run_files(vectors: dict[str, Any], judge: Make) -> None:
    for trace in vectors["decision_traces"]:
        terms, expected = trace["input"], trace["expect"]
        d0 = terms.get("d0", 4.0)
        cell = judge(
            terms["D"],
            terms["R"],
            terms["claim"],
            systems_only=terms.get("equivalent", False),
            early_rms=0.01,
            max_pairs=terms["N"],
            kappa=terms.get("kappa"),
            d0=d0,
            d0_time=d0,
        )
        assert (cell.verdict, cell.pairs) == (expected[-1]["verdict"], expected[-1]["n"]), trace["name"]
        decided = [look for look in expected if d0 > 0 or look["n"] > 2]
        p = "p_loss" if terms["claim"] == "loss" else "p_speed"
        assert [look.p for look in cell.looks] == pytest.approx([look[p] for look in decided], rel=1e-6)


def test_a_cell_has_exactly_the_keys_that_other_programs_rely_on(judge: Make) -> None:
    written = json.loads(json.dumps(judge(MID).to_json(), allow_nan=False))
    assert list(written) == KEYS.split()
    assert (written["verdict"], written["pairs"], written["max_pairs"], written["round"]) == (
        "ACCEPT_LOSS",
        4,
        10,
        "decide",
    )
    assert written["reason"] == judge(MID).reason != ""
    assert written["gain"] == pytest.approx(0.0105)
    assert written["interval"] == pytest.approx([0.0007, 0.0203], abs=5e-5)
    assert written["p"] == pytest.approx(0.0143, abs=5e-5)
    assert (written["alpha"], written["s0"], written["d0"]) == (0.02, 0.0064, 4.0)
    assert (written["time_ratio"], written["net_gain"]) == pytest.approx((1.0, 0.0105 / 0.43))


def test_pairs_after_the_verdict_change_nothing_but_the_points(judge: Make) -> None:
    short, long = judge(MID[:4]), judge([*MID, -9.0, -9.0])
    assert short.to_json() == long.to_json() and short.looks == long.looks
    assert (len(short.pair_points), len(long.pair_points)) == (4, 8)


def test_the_sequential_p_is_at_most_alpha_exactly_when_accepted(judge: Make) -> None:
    @given(st.lists(st.floats(-0.02, 0.03), min_size=2, max_size=10), st.integers(1, 3))
    def holds(D: list[float], k: int) -> None:
        cell = judge(D, k=k)
        assert cell.p is not None and (cell.p <= cell.alpha) == (cell.verdict == "ACCEPT_LOSS")

    holds()


def test_before_the_first_look_there_is_a_gain_but_no_p_and_no_interval(judge: Make) -> None:
    for D, d0 in [([0.5], 4.0), ([0.5, 0.6], 0.0)]:
        cell = judge(D, d0=d0)
        assert (cell.verdict, cell.looks, cell.p, cell.interval) == ("CONTINUE", (), None, None)
        assert cell.gain == pytest.approx(sum(D) / len(D))
    assert judge([]).gain is None and judge([]).pairs == 0


def test_an_evaluation_without_any_bank_is_judged_by_its_own_spread(judge: Make) -> None:
    cell = judge(MID[:3], s0=None, s0_time=None, d0=0.0, d0_time=0.0)
    assert [look.n for look in cell.looks] == [3]
    assert cell.looks[0].p == pytest.approx(scipy_stats.ttest_1samp(MID[:3], 0, alternative="greater").pvalue)


def test_every_look_carries_the_boundaries_of_its_figure(judge: Make) -> None:
    cell = judge([0.008, 0.002, 0.009, 0.003], max_pairs=4)
    assert cell.verdict == "INCONCLUSIVE" and [look.n for look in cell.looks] == [2, 3, 4]
    for look in cell.looks:
        assert (look.t < look.accept_t) == (look.p > look.bar)
        assert look.futility_t is None or look.t >= look.futility_t
    assert [look.futility_t is None for look in cell.looks] == [False, False, True]


def test_speed_gain_is_the_log_of_the_time_saved(judge: Make) -> None:
    R = [-0.06, -0.058, -0.061]
    cell = judge([0.001, -0.003, 0.002], R, "speed", max_pairs=8)
    assert cell.verdict == "ACCEPT_SPEED"
    assert cell.gain == pytest.approx(-sum(R) / 3) and cell.time_ratio == pytest.approx(math.exp(sum(R) / 3))
    assert cell.interval is not None and cell.time_interval is not None
    assert cell.time_interval == pytest.approx((math.exp(-cell.interval[1]), math.exp(-cell.interval[0])))
    assert (cell.s0, cell.d0) == (0.0035, 4.0)


@pytest.mark.parametrize(("d0", "d0_time"), [(0.0, 4.0), (4.0, 0.0)])
def test_a_claim_on_speed_has_no_bank_while_either_is_short(judge: Make, d0: float, d0_time: float) -> None:
    cell = judge([0.0, 0.001], [-0.06, -0.061], "speed", d0=d0, d0_time=d0_time)
    assert (cell.d0, cell.looks) == (0.0, ())


def test_pairs_without_a_time_count_for_loss_and_not_for_speed(
    evaluation_file: Make, run_files: Make, run_file: Make
) -> None:
    runs = [run for run in run_files(MID, [-0.06] * 6) if (run.spec.pair, run.spec.arm) != (1, "idea")]
    runs.append(run_file(sub=True, pair=1, attempt=2, loss=4.0))
    loss, speed = (judge_cell(evaluation_file(), runs, metric) for metric in ("loss", "speed"))
    assert [look.pair for look in loss.looks][:2] == [1, 2]
    assert [look.pair for look in speed.looks][:1] == [2]


@pytest.mark.parametrize("kappa", [None, 0.0, -0.1])
def test_a_claim_on_speed_without_an_exchange_rate_is_the_machines_fault(judge: Make, kappa: float | None) -> None:
    with pytest.raises(MachineError, match=r"llm-tiny at 8M.*kappa") as raised:
        judge([0.0], [-0.1], "speed", kappa=kappa)
    assert "blueberry baseline" in str(raised.value)
    cell = judge(MID, kappa=kappa)
    accepted = (
        "ACCEPT_LOSS" if kappa is None else "REVIEW_TRADEOFF"
    )  # where tokens gain nothing, what does a patch gain?
    assert (cell.verdict, cell.net_gain, cell.net_interval) == (accepted, None, None)


def test_an_idea_that_was_tried_before_has_to_reach_half_the_bar(judge: Make) -> None:
    assert judge(MID[:4], alpha=0.01).verdict == "CONTINUE"
    assert judge(MID, alpha=0.01).verdict == "ACCEPT_LOSS"


def test_what_earlier_records_gave_away_counts_in_a_cell(evaluation_file: Make, run_files: Make) -> None:
    slower, lossy = run_files([0.03, 0.031], [0.05, 0.05]), run_files([-0.001] * 4, [-0.06] * 4)
    assert judge_cell(evaluation_file(), slower, "loss").verdict == "ACCEPT_LOSS"
    assert judge_cell(evaluation_file(time_debt=0.05), slower, "loss").verdict == "REVIEW_TRADEOFF"
    assert judge_cell(evaluation_file(), lossy, "speed").verdict == "ACCEPT_SPEED"
    assert judge_cell(evaluation_file(loss_debt=0.0045), lossy, "speed").verdict == "CONTINUE"


def test_the_net_gain_has_the_interval_of_its_own_differences(judge: Make) -> None:
    D, R, kappa = [0.031, 0.027], [0.15, 0.16], 0.43
    cell = judge(D, R)
    s0 = math.hypot(0.0064 / kappa, 0.0035)
    test = moderated_t([d / kappa - r for d, r in zip(D, R, strict=True)], s0)
    assert cell.net_gain == pytest.approx(test.mean)
    assert cell.net_interval == pytest.approx(repeated_interval(test, bar(10)))


def test_rho_is_the_correlation_of_the_two_losses(judge: Make) -> None:
    cell = judge(MID[:4])
    base, sub = ([getattr(p, name) for p in cell.pair_points] for name in ("base_loss", "sub_loss"))
    assert cell.rho == pytest.approx(scipy_stats.pearsonr(base, sub).statistic)
    assert judge(MID[:2]).rho is None


def test_rho_is_unknown_where_an_arm_does_not_vary(evaluation_file: Make, run_file: Make) -> None:
    runs = [run_file(sub=sub, pair=i, loss=4.0 - 0.001 * i * sub) for i in range(4) for sub in (False, True)]
    assert judge_cell(evaluation_file(), runs, "loss").rho is None


def test_a_refused_run_makes_the_cell_invalid_and_its_gain_null(judge: Make, run_file: Make) -> None:
    cell = judge(MID, more=[run_file(sub=True, pair=7, status="refused", error="leak")])
    assert (cell.verdict, cell.gain, cell.interval, cell.p) == ("INVALID", None, None, None)
    assert "leak" in cell.reason


def test_an_invalid_claim_on_speed_needs_no_exchange_rate(judge: Make) -> None:
    assert judge([0.0], [0.0], "speed", kappa=None, invalidated="leak").verdict == "INVALID"


def test_a_submission_that_diverges_twice_is_worse_whatever_its_other_pairs_say(judge: Make, run_file: Make) -> None:
    diverged = [run_file(sub=True, pair=6, status="diverged", attempt=i) for i in (1, 2)]
    cell = judge(MID, more=[run_file(sub=False, pair=6), *diverged])
    assert cell.verdict == "REJECT_WORSE" and "unstable" in cell.reason


def confirm(run_files: Make, D: Sequence[float], R: Sequence[float] | None = None) -> Any:
    return run_files(D, R, round="confirm")


def test_fresh_seeds_confirm_or_revoke_by_the_sign_of_their_mean_gain(judge: Make, run_files: Make) -> None:
    held = judge(MID, more=confirm(run_files, [0.01, -0.002, 0.01, 0.01]))
    lost = judge(MID, more=confirm(run_files, [0.001, -0.02, 0.001, 0.001]))
    assert held.confirm is not None and held.confirm.gain == pytest.approx(0.007) and held.confirm.confirmed is True
    assert lost.confirm is not None and lost.confirm.confirmed is False
    assert (held.verdict, lost.verdict, held.round) == ("ACCEPT_LOSS", "ACCEPT_LOSS", "confirm")
    assert held.gain == judge(MID).gain  # the cell keeps the decide round's numbers
    assert (overall_verdict([held]), overall_verdict([lost])) == ("CONFIRMED", "REVOKED")


def test_a_gain_of_exactly_zero_is_revoked(judge: Make, run_files: Make) -> None:
    cell = judge(MID, more=confirm(run_files, [0.0] * 4))
    assert overall_verdict([cell]) == "REVOKED"


def test_a_claim_stays_accepted_until_its_confirm_round_is_complete(judge: Make, run_files: Make) -> None:
    for done in range(4):
        cell = judge(MID, more=confirm(run_files, [0.01] * done))
        assert (cell.confirm.needed, cell.confirm.done, cell.confirm.confirmed) == (4, done, None)
        assert overall_verdict([cell]) == "ACCEPT_LOSS"
        gain = pytest.approx(0.01) if done else None
        expected = {"needed": 4, "done": done, "gain": gain, "confirmed": None} if done else None
        assert cell.to_json()["confirm"] == expected


def test_more_confirm_pairs_than_needed_change_nothing(judge: Make, run_files: Make) -> None:
    cell = judge(MID, more=confirm(run_files, [-0.01] * 4 + [9.0]))
    assert cell.confirm.values == pytest.approx([-0.01] * 4) and cell.confirm.confirmed is False


def test_speed_is_confirmed_by_time(judge: Make, run_files: Make) -> None:
    more = confirm(run_files, [-0.001] * 4, [-0.05] * 4)
    cell = judge([0.001, -0.003, 0.002], [-0.06] * 3, "speed", more=more)
    assert cell.confirm.gain == pytest.approx(0.05) and cell.confirm.confirmed is True


def test_diverging_on_fresh_seeds_revokes(judge: Make, run_files: Make, run_file: Make) -> None:
    diverged = [run_file(sub=True, pair=3, round="confirm", status="diverged", attempt=i) for i in (1, 2)]
    base = run_file(sub=False, pair=3, round="confirm")
    cell = judge(MID, more=[*confirm(run_files, [0.01] * 3), base, *diverged])
    assert (cell.verdict, cell.confirm.confirmed, overall_verdict([cell])) == ("ACCEPT_LOSS", False, "REVOKED")


def test_a_rejected_claim_has_no_confirm_round(judge: Make, run_files: Make) -> None:
    cell = judge([0.0, 0.0], more=confirm(run_files, [0.01] * 4))
    assert cell.verdict == "REJECT_NO_GAIN" and cell.confirm is None


def test_the_top_verdict_is_the_first_of_the_order(judge: Make) -> None:
    cell = judge(MID)
    for i, word in enumerate(TOP_ORDER):
        others = [replace(cell, verdict=other, confirm=None) for other in reversed(TOP_ORDER[i:])]
        if word not in ("ACCEPT_LOSS", "ACCEPT_SPEED"):
            assert overall_verdict(others) == word
    assert overall_verdict([judge([0.0, 0.0]), cell]) == "ACCEPT_LOSS"
    assert overall_verdict([]) == "CONTINUE"


def test_one_confirmed_claim_of_several_confirms_once_all_have_been_rerun(judge: Make, run_files: Make) -> None:
    held, lost, waiting = (judge(MID, more=confirm(run_files, D)) for D in ([0.01] * 4, [-0.01] * 4, []))
    assert overall_verdict([lost, held]) == "CONFIRMED"
    assert overall_verdict([held, waiting]) == "ACCEPT_LOSS"
    assert overall_verdict([lost, judge([0.0, 0.0])]) == "REVOKED"


def test_a_submission_that_scatters_far_more_than_the_bank_is_flagged(judge: Make) -> None:
    assert judge([0.05, 0.01, 0.05]).noisy and not judge(MID).noisy
    assert not judge([0.05, 0.01, 0.05], s0=None, d0=0.0).noisy


def test_times_too_scattered_for_a_bound_give_none(judge: Make) -> None:
    cell = judge([0.03, 0.03], [50.0, -50.0], s0_time=None, d0_time=0.0)
    assert cell.time_interval is None
    json.dumps(cell.to_json(), allow_nan=False)


def retried(run_file: Make, pair: int, status: str, **common: Any) -> Any:
    return run_file(sub=True, pair=pair, status=status, attempt=1, **common)


def second_attempts(runs: Sequence[Any], pair: int) -> list[Any]:
    """The submission's run of one pair made its second attempt."""
    mine = lambda run: run.spec.patch_sha is not None and run.spec.pair == pair  # noqa: E731
    return [
        run.model_copy(update={"spec": run.spec.model_copy(update={"attempt": 2})}) if mine(run) else run
        for run in runs
    ]


def test_a_submission_that_fails_its_way_out_of_the_clock_goes_to_people(
    evaluation_file: Make, run_files: Make, run_file: Make
) -> None:
    runs = second_attempts(run_files(MID[:4]), 1)
    crashed = judge_cell(evaluation_file(), [*runs, retried(run_file, 1, "crashed")], "loss")
    assert crashed.verdict == "REVIEW_TRADEOFF" and "1 of 4 pairs without a time" in crashed.reason
    killed = judge_cell(evaluation_file(), [*runs, retried(run_file, 1, "killed")], "loss")
    assert killed.verdict == "REVIEW_TRADEOFF", "a worker can kill itself as well as be killed"
    fresh = [*run_files(MID[:4]), *run_files(MID[:4], round="confirm"), retried(run_file, 1, "killed", round="confirm")]
    assert "ended 1 of" in judge_cell(evaluation_file(), fresh, "loss").reason
    cut_off = judge_cell(evaluation_file(), [*runs, retried(run_file, 1, "killed", host=None)], "loss")
    assert cut_off.verdict == "ACCEPT_LOSS", "an interruption is not its doing"


@pytest.mark.parametrize("stage", ["setup_seconds", "score_seconds", "audit_seconds"])
def test_work_that_no_clock_counts_goes_to_people_when_it_is_much_more_than_the_core_s(
    evaluation_file: Make, run_files: Make, stage: str
) -> None:
    def judged(own: float, cores: Sequence[float] = (10.0,) * 4) -> Any:
        runs = [
            run.model_copy(update={stage: own if run.spec.patch_sha else cores[run.spec.pair]})
            for round in ("decide", "confirm")
            for run in run_files(MID[:4], round=round)
        ]
        return judge_cell(evaluation_file(), runs, "loss")

    assert judged(17.0).verdict == "ACCEPT_LOSS"
    cell = judged(18.0)
    assert cell.verdict == "REVIEW_TRADEOFF" and "18.0 s, which no clock counts" in cell.reason
    slowed = judged(18.0, cores=[10.0, 60.0, 60.0, 60.0])
    assert slowed.verdict == "REVIEW_TRADEOFF", "it may be what slowed the core"


def test_where_training_takes_seconds_a_second_whole_training_outside_the_clock_goes_to_people(
    evaluation_file: Make, run_files: Make
) -> None:
    """A run of four seconds, and a scoring stage of as many: training again while it is scored doubles that."""

    def judged(own: float) -> Any:
        runs = [
            run.model_copy(update={"train_seconds": 4.0, "score_seconds": own if run.spec.patch_sha else 4.0})
            for run in run_files(MID[:4])
        ]
        return judge_cell(evaluation_file(), runs, "loss")

    assert judged(5.9).verdict == "ACCEPT_LOSS"
    assert judged(8.0).verdict == "REVIEW_TRADEOFF"


def test_a_gain_that_validation_shows_and_the_test_split_does_not_is_pointed_out(
    evaluation_file: Make, run_files: Make
) -> None:
    def judged(fresh: float) -> Any:
        runs = (*run_files([0.03, 0.031, 0.029, 0.03]), *run_files([fresh] * 4, round="confirm"))
        return judge_cell(evaluation_file(), runs, "loss")

    assert not judged(0.02).fades and judged(0.02).verdict == "ACCEPT_LOSS", "winners are a little lucky"
    cell = judged(0.005)
    assert cell.fades and cell.confirm.confirmed
    assert cell.verdict == "REVIEW_TRADEOFF" and "fades from 0.0305 to 0.0050" in cell.reason
    gone = judged(-0.005)
    assert (gone.verdict, gone.confirm.confirmed) == ("ACCEPT_LOSS", False), "that is revoked, and needs nobody"


def test_a_batch_cut_to_fit_by_the_submission_alone_is_its_own_doing(evaluation_file: Make, run_files: Make) -> None:
    runs = run_files(MID[:4])
    cut = [
        run.model_copy(update={"model": run.model.model_copy(update={"fitted": True})})
        if run.spec.patch_sha and run.spec.pair == 0
        else run
        for run in runs
    ]
    assert judge_cell(evaluation_file(), cut, "loss").verdict == "REVIEW_TRADEOFF"
    both = [run.model_copy(update={"model": run.model.model_copy(update={"fitted": True})}) for run in runs]
    assert judge_cell(evaluation_file(), both, "loss").verdict == "ACCEPT_LOSS"


def test_a_claim_whose_runs_are_drawn_again_in_the_confirm_round_goes_to_people(
    evaluation_file: Make, run_files: Make, run_file: Make
) -> None:
    decide = run_files([0.001, -0.003, 0.002], [-0.06] * 3)
    fresh = run_files([0.0] * 5, [-0.05] * 5, round="confirm")
    assert judge_cell(evaluation_file(), (*decide, *fresh), "speed").confirm.confirmed is True
    lower = run_files(MID[:4])
    assert judge_cell(evaluation_file(), (*lower, *run_files(MID[:4], round="confirm")), "loss").confirm.confirmed
    for status in ("crashed", "diverged", "timed_out"):
        again = [*second_attempts(fresh, 2), retried(run_file, 2, status, round="confirm")]
        cell = judge_cell(evaluation_file(), (*decide, *again), "speed")
        assert cell.verdict == "REVIEW_TRADEOFF" and "1 of 8 pairs without a time" in cell.reason
        again = second_attempts(run_files(MID[:4], round="confirm"), 1)
        again += [retried(run_file, 1, status, round="confirm")]
        assert judge_cell(evaluation_file(), (*lower, *again), "loss").verdict == "REVIEW_TRADEOFF"


def test_a_gain_that_would_take_four_times_the_tokens_waits_for_a_person(
    evaluation_file: Make, run_files: Make
) -> None:
    plausible = judge_cell(evaluation_file(kappa=0.43), run_files([0.43 * math.log(3.9)] * 4), "loss")
    assert plausible.verdict == "ACCEPT_LOSS"
    cell = judge_cell(evaluation_file(kappa=0.43), run_files([0.43 * math.log(4.1)] * 4), "loss")
    assert cell.verdict == "REVIEW_TRADEOFF" and "4.1 times the tokens" in cell.reason
    unknown = judge_cell(evaluation_file(kappa=None), run_files([0.43 * math.log(4.1)] * 4), "loss")
    assert unknown.verdict == "ACCEPT_LOSS", "without an exchange rate nobody can say"


def test_a_published_gain_is_held_to_the_same(evaluation_file: Make, run_files: Make) -> None:
    """Plausible where it was decided, and worth twenty times the tokens on the fresh seeds."""
    evaluation = evaluation_file(kappa=0.43)
    runs = (*run_files([0.03] * 4, [0.0] * 4), *run_files([1.3] * 4, [0.0] * 4, round="confirm"))
    cell = judge_cell(evaluation, runs, "loss")
    assert cell.verdict == "REVIEW_TRADEOFF" and "too good to be believed" in cell.reason


def test_a_run_in_a_quarter_of_the_time_waits_for_a_person_too(evaluation_file: Make, run_files: Make) -> None:
    quick = evaluation_file(metrics=("speed",))
    assert judge_cell(quick, run_files([0.0] * 4, [-math.log(4.1)] * 4), "speed").verdict == "REVIEW_TRADEOFF"
    assert judge_cell(quick, run_files([0.0] * 4, [-math.log(3.9)] * 4), "speed").verdict == "ACCEPT_SPEED"


def test_a_gain_in_loss_and_one_in_time_are_held_to_the_plausible_together(
    evaluation_file: Make, run_files: Make
) -> None:
    gain, faster = 0.43 * math.log(2.5), -math.log(2.5)  # 6.25 times the tokens, though neither is worth four
    for metric in ("loss", "speed"):
        evaluation = evaluation_file(metrics=(metric,), kappa=0.43)
        assert judge_cell(evaluation, run_files([gain] * 4, [0.0] * 4), "loss").verdict == "ACCEPT_LOSS"
        cell = judge_cell(evaluation, run_files([gain] * 4, [faster] * 4), metric)
        assert cell.verdict == "REVIEW_TRADEOFF" and "as if from 6." in cell.reason


@pytest.mark.parametrize("rounds", [("decide",) * 3, ("decide", "decide", "confirm")])
def test_a_claim_on_speed_whose_pairs_were_interrupted_again_and_again_goes_to_people(
    evaluation_file: Make, run_files: Make, rounds: tuple[Any, ...]
) -> None:
    evaluation = evaluation_file(metrics=("speed",))
    runs = [*run_files([0.0] * 9, [-0.2] * 9), *run_files([0.0] * 6, [-0.2] * 6, round="confirm")]

    def cut(some: tuple[Any, ...]) -> list[Any]:
        """The first pairs of each round take a second attempt."""
        hit = [(round, some[:i].count(round)) for i, round in enumerate(some)]
        again = {"attempt": 2}
        return [
            run.model_copy(update={"spec": run.spec.model_copy(update=again)})
            if (run.spec.round, run.spec.pair) in hit
            else run
            for run in runs
        ]

    assert judge_cell(evaluation, cut(rounds[:2]), "speed").verdict == "ACCEPT_SPEED"
    cell = judge_cell(evaluation, cut(rounds), "speed")
    assert cell.verdict == "REVIEW_TRADEOFF" and "without a time, and could be chosen" in cell.reason


def test_a_confirmed_gain_whose_pairs_scatter_beyond_the_bank_goes_to_people(
    evaluation_file: Make, run_files: Make
) -> None:
    """Its lucky small spread at the look that accepted it is not all that is known of its noise by then."""
    quiet, wild = [0.02, 0.025, 0.018, 0.022], [0.001, 0.05, -0.01, 0.06]
    runs = [*run_files([0.03, 0.031]), *run_files(quiet, round="confirm")]
    bank = evaluation_file(s0=0.004)
    assert judge_cell(bank, runs, "loss").confirm.confirmed
    noisy = judge_cell(bank, [*run_files([0.03, 0.031]), *run_files(wild, round="confirm")], "loss")
    assert noisy.verdict == "REVIEW_TRADEOFF" and "scatter more than the noise" in noisy.reason
    p = scatter_p([[0.03, 0.031], wild], 0.004, FILLED_DF)
    assert f"F-test, p = {p:.1e}" in noisy.reason
    assert noisy.confirm.confirmed, "what was measured is shown"
    own = evaluation_file(s0=0.004, d0=0.0)  # judged by its own spread alone
    wide = judge_cell(own, [*run_files([0.03, 0.031, 0.029]), *run_files(wild, round="confirm")], "loss")
    assert wide.verdict == "ACCEPT_LOSS"


def test_a_patch_without_a_gain_is_no_record_more_often_than_said_however_much_it_scatters() -> None:
    """Nulls of three times the bank's noise, all the way: the bar and fresh seeds alone would let too many by."""
    draws, s0 = np.random.default_rng(3), 1.0
    let_by = confirmed = 0
    for _ in range(3_000):
        D = draws.normal(0.0, 3.0 * s0, 10)
        n = next((n for n in range(2, 11) if decide(D[:n], [0.0] * n, "loss", 10, s0, 0.0).verdict != "CONTINUE"), 10)
        fresh = draws.normal(0.0, 3.0 * s0, 4)
        if decide(D[:n], [0.0] * n, "loss", 10, s0, 0.0).verdict == "ACCEPT_LOSS" and fresh.mean() > 0:
            let_by += 1
            confirmed += scatter_p([D[:n], fresh], s0, 20) >= WILD
    assert let_by / 3_000 > 0.03 and confirmed / 3_000 < 0.015
