from pathlib import Path

import pytest
from scipy import stats

from harness.board import figures
from harness.board.entries import entries_of
from harness.decide.pairs import pairs_of
from harness.decide.stats import moderated_t, predictive_power


def judged(factory, *args, **fields):
    record = factory.evaluation(*args, **fields)
    runs = factory.store.runs(record.id)
    return entries_of(record, runs)[0], runs


def test_the_trace_shows_the_cells_looks(factory):
    entry, _ = judged(factory, "idea", (0.012, 0.007, 0.014, 0.009, 0.011))
    trace = figures.trace_of(entry)
    assert trace.looks == tuple((look.n, look.t) for look in entry.cell.looks)
    assert trace.looks[-1] == (4, pytest.approx(moderated_t((0.012, 0.007, 0.014, 0.009), 0.0064).t))
    assert [n for n, _ in trace.accept] == list(range(2, 11))
    assert [n for n, _ in trace.futility] == list(range(2, 10))


def test_the_boundaries_are_where_p_meets_the_bar_and_the_power_a_tenth(factory):
    entry, _ = judged(factory, "idea", (0.012, 0.007))
    trace = figures.trace_of(entry)
    for (n, accept), (_, stop) in zip(trace.accept, trace.futility, strict=False):
        assert stats.t.sf(accept, 4 + n - 1) == pytest.approx(2 * 0.02 / 11)
        assert predictive_power(stats.t.sf(stop, 4 + n - 1), n, 10, 2 * 0.02 / 11) == pytest.approx(0.1)


def test_without_a_bank_the_boundary_begins_at_three_pairs(factory):
    entry, _ = judged(factory, "idea", (0.012, 0.007, 0.01), d0=0.0, s0=None)
    assert figures.trace_of(entry).accept[0][0] == 3


def test_before_the_first_look_there_is_no_trace(factory):
    entry, _ = judged(factory, "idea", (0.012,), close=False)
    assert figures.traces(entry, "trace") == []


def test_the_difference_curve_is_core_minus_submission(factory):
    _, runs = judged(factory, "idea", (0.02, 0.03))
    pair = pairs_of(runs, "decide")[1]
    series = figures._difference(pair)
    assert len(series.x) == len(pair.base.curve)
    assert series.y == pytest.approx([0.03] * len(series.y), abs=1e-3)


def test_the_forest_has_one_row_a_round_and_not_one_a_metric(factory):
    record = factory.evaluation("idea", (0.031, 0.027), (0.02,) * 4, metrics=("loss", "speed"), k=2)
    entries = entries_of(record, factory.store.runs(record.id))
    (figure,) = figures.forest(entries)
    assert figure.svg.count("llm-tiny smoke, ") >= 2
    assert "decide (2)" in figure.svg and "confirm (4)" in figure.svg
    assert "speed" not in figure.svg


def test_a_run_without_a_curve_has_no_curve_figure(factory):
    _, runs = judged(factory, "idea", (0.02, 0.03))
    bare = [run.model_copy(update={"curve": ()}) for run in runs]
    assert figures.curves(pairs_of(bare, "decide"), "x") == []


def test_nothing_is_called_significant():
    folder = Path(figures.__file__).parent
    words = " ".join(path.read_text() for path in folder.rglob("*") if path.suffix in (".py", ".j2"))
    assert "significan" not in words.lower()
