from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.decide.cells import TOP_ORDER, Cell, judge_cell
from harness.decide.explain import explain

Make = Callable[..., Any]
ACCEPTED = (
    "accepted: gain 0.0105 nats, 96 % repeated interval [0.0007, 0.0203], "
    "sequential p 0.0143 <= 0.02, 4 of at most 10 pairs"
)


@pytest.fixture
def accepted(evaluation_file: Make, run_files: Make) -> Cell:
    return judge_cell(evaluation_file(), run_files([0.012, 0.007, 0.014, 0.009]), "loss")


def test_an_accepted_loss_reads_as_published(accepted: Cell) -> None:
    assert explain(accepted) == ACCEPTED


@pytest.mark.parametrize("verdict", TOP_ORDER)
def test_every_verdict_is_one_calm_line(accepted: Cell, verdict: Any) -> None:
    said = explain(replace(accepted, verdict=verdict, reason="a reason"))
    assert "\n" not in said and "significant" not in said and "None" not in said and ": " in said
    assert ("a reason" in said) == (not verdict.startswith("ACCEPT"))


def test_the_confirm_round_is_told(evaluation_file: Make, run_files: Make) -> None:
    decided = run_files([0.012, 0.007, 0.014, 0.009])
    for fresh, said in [
        ([], ""),
        ([0.01], "; 1 of 4 pairs on fresh seeds confirm it so far"),
        ([0.01] * 4, "; confirmed on 4 fresh seeds: gain 0.0100 nats"),
        ([-0.01] * 4, "; revoked on 4 fresh seeds: gain -0.0100 nats"),
    ]:
        cell = judge_cell(evaluation_file(), (*decided, *run_files(fresh, round="confirm")), "loss")
        assert explain(cell) == ACCEPTED + said


def test_a_trade_shows_its_net_gain_with_an_interval(evaluation_file: Make, run_files: Make) -> None:
    said = explain(judge_cell(evaluation_file(), run_files([0.031, 0.027], [0.15, 0.16]), "loss"))
    assert said.startswith("for people to weigh: gain 0.0290 nats")
    assert "training takes 16.8 % longer (limit 10 %)" in said
    assert "net gain -0.0876 in log time, repeated interval [" in said


def test_a_gain_that_costs_more_than_it_brings_is_labelled(evaluation_file: Make, run_files: Make) -> None:
    said = explain(judge_cell(evaluation_file(), run_files([0.031, 0.027], [0.09, 0.09]), "loss"))
    assert said.startswith("accepted") and "data-efficiency only (net gain -0.0226" in said


def test_speed_is_told_in_log_time_and_as_a_ratio(evaluation_file: Make, run_files: Make) -> None:
    said = explain(judge_cell(evaluation_file(), run_files([0.001] * 3, [-0.06] * 3), "speed"))
    assert said.startswith("accepted: gain 0.0600 in log time (trains in 0.9418 of the core's time), 96 % ")


def test_a_cell_before_its_first_look_says_when_it_comes(evaluation_file: Make, run_files: Make) -> None:
    said = explain(judge_cell(evaluation_file(), run_files([0.01]), "loss"))
    assert said == "undecided so far: gain 0.0100 nats, 1 of at most 10 pairs; the first look is after 2 pairs"
    nothing = explain(judge_cell(evaluation_file(), (), "loss"))
    assert nothing == "undecided so far: 0 of at most 10 pairs; the first look is after 2 pairs"


def test_several_claims_and_earlier_tries_show_in_the_interval_and_the_bar(
    evaluation_file: Make, run_files: Make
) -> None:
    said = explain(judge_cell(evaluation_file(k=2, alpha=0.01), run_files([0.03, 0.031]), "loss"))
    assert "99 % repeated interval" in said and "<= 0.01, 2 of" in said


def test_a_wide_spread_of_its_own_is_told(evaluation_file: Make, run_files: Make) -> None:
    said = explain(judge_cell(evaluation_file(), run_files([0.05, 0.01, 0.05]), "loss"))
    assert "its own spread 0.0231 is more than twice the bank's 0.0064" in said


def test_small_numbers_are_not_rounded_away(accepted: Cell) -> None:
    assert "gain 3.2e-05 nats" in explain(replace(accepted, gain=0.000032))
    assert "gain 0.0000 nats" in explain(replace(accepted, gain=0.0))
