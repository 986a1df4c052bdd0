import numpy as np
import pytest
from scipy import stats

from harness.board.entries import entries_of, measure
from harness.decide.pairs import pairs_of
from tests.decide.conftest import make_evaluation, make_runs


def judged(factory, *args, **fields):
    record = factory.evaluation(*args, **fields)
    return entries_of(record, factory.store.runs(record.id))


@pytest.mark.parametrize(
    ("decide", "confirm", "fields", "state"),
    [
        ((0.031,), (), {"close": False}, "running"),
        ((0.031, 0.027), (), {}, "accepted"),
        ((0.031, 0.027), (0.02, 0.03, 0.01), {}, "accepted"),
        ((0.031, 0.027), (0.02, 0.03, 0.01, 0.02), {}, "confirmed"),
        ((0.031, 0.027), (0.02, 0.03, 0.01, 0.02), {"close": False}, "accepted"),
        ((0.031, 0.027), (-0.02, 0.01, -0.01, 0.001), {}, "revoked"),
        ((0.031, 0.027), (), {"faster": -0.3}, "review"),
        ((-0.031, -0.027), (), {}, "rejected"),
        ((0.0, 0.0), (), {}, "rejected"),
        ((0.004, 0.006, 0.002, 0.005, 0.006, 0.001, 0.006, 0.001, 0.003, 0.001), (), {}, "inconclusive"),
        ((0.3, 0.3), (), {"status": "refused"}, "refused"),
        ((0.031, 0.027), (0.02, 0.03, 0.01, 0.02), {"invalidated": "the data leaked"}, "invalidated"),
    ],
)  # fmt: skip
def test_the_state_follows_from_the_runs(factory, decide, confirm, fields, state):
    (entry,) = judged(factory, "idea", decide, confirm, **fields)
    assert entry.state == state


def test_the_published_numbers_are_those_of_the_confirm_round(factory):
    gains = (0.02, 0.03, 0.01, 0.02)
    (entry,) = judged(factory, "idea", (0.031, 0.027), gains, faster=0.01)
    assert entry.published is entry.confirmed
    assert entry.published.gain == pytest.approx(np.mean(gains))
    assert entry.published.time_ratio == pytest.approx(np.exp(-0.01))
    assert entry.published.pairs == 4


def test_an_effect_without_a_bank_is_scipys_paired_t_test(factory):
    gains = (0.012, 0.007, 0.009, 0.004)
    record = factory.evaluation("idea", gains, d0=0.0, s0=None)
    pairs = pairs_of(factory.store.runs(record.id), "decide")
    effect = measure(pairs, record)
    c = 2 * record.alpha / (record.max_pairs + 1)
    base, sub = zip(*((pair.base.loss, pair.sub.loss) for pair in pairs), strict=True)
    interval = stats.ttest_rel(base, sub).confidence_interval(1 - 2 * c)
    assert effect.gain_interval == pytest.approx((interval.low, interval.high))
    assert effect.loss == pytest.approx(np.mean(sub))
    assert effect.loss_sd == pytest.approx(np.std(sub, ddof=1))


def test_one_pair_without_a_bank_has_no_interval(factory):
    record = factory.evaluation("idea", (0.01,), d0=0.0, s0=None)
    effect = measure(pairs_of(factory.store.runs(record.id), "decide"), record)
    assert effect.gain_interval is None and effect.loss_sd is None


def test_a_loss_gain_that_costs_more_than_it_is_worth_is_labelled(factory):
    (entry,) = judged(factory, "idea", (0.012, 0.013), (0.012, 0.013, 0.012, 0.011), faster=-0.08, s0=0.002)
    assert (entry.state, entry.kind) == ("confirmed", "data-efficiency only")


def test_each_claimed_metric_has_an_entry(factory):
    entries = judged(factory, "idea", (0.031, 0.027), metrics=("loss", "speed"), k=2)
    assert [entry.cell.metric for entry in entries] == ["loss", "speed"]


def test_a_speed_record_shows_the_pairs_that_confirmed_it():
    """One confirm pair was interrupted, so a fifth one took its place; the loss claim has its first four."""
    fresh = make_runs([0.001, 0.5, 0.001, 0.001, 0.001], [-0.05, 0.3, -0.05, -0.05, -0.05], round="confirm")
    resumed = [
        run.model_copy(update={"spec": run.spec.model_copy(update={"attempt": 2})}) if run.spec.pair == 1 else run
        for run in fresh
    ]
    runs = (*make_runs([0.03, 0.03, 0.03, 0.03], [-0.05] * 4), *resumed)
    speed, loss = entries_of(make_evaluation(metrics=("speed", "loss"), k=2, closed="2026-02-01T00:00:00Z"), runs)
    assert (speed.state, speed.confirmed.pairs) == ("confirmed", 4)
    assert speed.confirmed.time_ratio < 0.96 and speed.confirmed.gain < 0.01
    assert loss.confirmed.pairs == 4 and loss.confirmed.gain > 0.1
