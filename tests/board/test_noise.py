import numpy as np
import pytest

from harness.board.entries import read
from harness.board.noise import noise_of, scatters_of
from harness.decide.pairs import pairs_of


def test_run_sd_and_rho_are_numpys(factory):
    record = factory.calibration()
    (noise,) = noise_of(read(factory.store), "llm-tiny")
    pairs = pairs_of(factory.store.runs(record.id), "calibrate")
    base, sub = ([getattr(pair, arm).loss for pair in pairs] for arm in ("base", "sub"))
    assert noise.run_sd == pytest.approx(np.std(base, ddof=1))
    assert noise.rho == pytest.approx(np.corrcoef(base, sub)[0, 1])
    assert noise.s0 == pytest.approx(np.std(np.subtract(base, sub), ddof=1))
    assert noise.df == 7


def test_repeats_of_one_seed_and_the_exchange_rate_are_kept_apart(factory):
    factory.calibration()
    (noise,) = noise_of(read(factory.store), "llm-tiny")
    assert noise.repeats == 3
    assert noise.repeat_sd == pytest.approx(1e-4)
    assert noise.kappa == pytest.approx(0.2 / np.log(2))


def test_levels_of_different_evaluations_do_not_count_as_noise(factory):
    for slug, level in (("one", 0.0), ("two", 5.0)):
        factory.evaluation(slug, (level + 0.01, level - 0.01, level))
    (noise,) = noise_of(read(factory.store), "llm-tiny")
    assert noise.s0 == pytest.approx(0.01)


def test_open_evaluations_say_nothing_yet(factory):
    factory.evaluation("idea", (0.01, 0.02), close=False)
    assert noise_of(read(factory.store), "llm-tiny") == ()


def test_the_bank_is_drawn_as_it_was_after_each_evaluation_that_entered_it(factory):
    factory.calibration()
    factory.evaluation("comment", (0.0, 0.0, 0.0))  # without any spread it does not enter
    factory.evaluation("idea", (0.01, -0.01, 0.0))
    (scatter,) = scatters_of(read(factory.store), "llm-tiny")
    (noise,) = noise_of(read(factory.store), "llm-tiny")
    assert len(scatter.s0) == 2 and scatter.s0[-1] == pytest.approx(noise.s0)


def test_only_the_core_against_itself_is_held_to_the_normal_law(factory):
    record = factory.calibration()
    factory.evaluation("idea", (0.01, -0.01, 0.0))
    (scatter,) = scatters_of(read(factory.store), "llm-tiny")
    D = [pair.D for pair in pairs_of(factory.store.runs(record.id), "calibrate")]
    assert scatter.same == pytest.approx(sorted((D - np.mean(D)) / np.std(D, ddof=1)))


def test_there_is_no_noise_figure_before_the_core_was_paired_with_itself(factory):
    factory.evaluation("idea", (0.01, -0.01, 0.0))
    assert scatters_of(read(factory.store), "llm-tiny") == ()
