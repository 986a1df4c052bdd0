import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from harness.audit import causality
from harness.records.record import AuditResult
from harness.tracks import track_named

VOCAB = 50
TOLERANCE = track_named("llm-tiny").audit_tolerance


def rows_and_scores(seed: int, rows: int = 40, tokens: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random rows (R, T + 1), the logits (R, T, V) of a model that ignores the future, and its scores (R, T)."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCAB, (rows, tokens + 1)).astype(np.uint16)
    logits = rng.normal(size=(rows, tokens, VOCAB)).astype(np.float32)
    scores = np.take_along_axis(log_softmax(logits, -1), ids[:, 1:, None].astype(int), -1)[..., 0].astype(np.float32)
    return ids, logits, scores


def audited(logits: np.ndarray, cuts: causality.Cuts) -> np.ndarray:
    return logits[cuts.rows, cuts.positions]


def compare(scores: np.ndarray, ids: np.ndarray, cuts: causality.Cuts, logits: np.ndarray) -> tuple[AuditResult, ...]:
    return causality.compare([cuts], [causality.difference(scores, ids, cuts, logits)], TOLERANCE)


def test_where_there_are_too_few_rows_for_all_cuts_another_process_is_asked_for_the_rest() -> None:
    ids, logits, scores = rows_and_scores(7, rows=40)
    rounds = list(causality.draw_rounds(scores, None, 100, np.random.default_rng(1)))
    assert [len(cuts.rows) for cuts in rounds] == [40, 40, 20]
    assert all(len(set(cuts.rows)) == len(cuts.rows) for cuts in rounds)
    found = [causality.difference(scores, ids, cuts, audited(logits, cuts)) for cuts in rounds]
    asked = {result.id: result.value for result in causality.compare(rounds, found, TOLERANCE)}
    assert asked["audit-asked"] == 100
    found[2] += 0.02
    assert not causality.compare(rounds, found, TOLERANCE)[0].ok


def test_an_honest_model_passes_with_no_difference() -> None:
    ids, logits, scores = rows_and_scores(0)
    cuts = causality.draw_cuts(scores, None, 40, np.random.default_rng(1))
    results = compare(scores, ids, cuts, audited(logits, cuts))
    assert all(result.ok for result in results)
    assert results[0].value < 1e-5


def test_a_score_that_saw_the_target_is_refused() -> None:
    ids, logits, scores = rows_and_scores(0)
    cuts = causality.draw_cuts(scores + 0.02, scores, 40, np.random.default_rng(1))
    results = {r.id: r for r in compare(scores + np.float32(0.02), ids, cuts, audited(logits, cuts))}
    assert not results["audit-causality"].ok


def test_a_small_gain_everywhere_is_refused_by_the_mean() -> None:
    ids, logits, scores = rows_and_scores(0)
    cheated = scores + np.float32(0.002)
    cuts = causality.draw_cuts(cheated, scores, 40, np.random.default_rng(1))
    results = {r.id: r for r in compare(cheated, ids, cuts, audited(logits, cuts))}
    assert results["audit-causality"].ok and not results["audit-mean"].ok


def test_one_gained_token_in_a_row_is_looked_at_half_of_the_time() -> None:
    _, _, scores = rows_and_scores(2, rows=1_000)
    cheated = scores.copy()
    cheated[:, 5] += 1.0
    cuts = causality.draw_cuts(cheated, scores, 1_000, np.random.default_rng(3))
    share = float((cuts.positions == 5).mean())
    assert 0.48 < share < 0.58  # half, and a sixteenth of the other half


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=50, deadline=None)
def test_no_row_is_cut_twice_and_the_past_is_never_changed(seed: int, rows: int) -> None:
    ids, _, scores = rows_and_scores(seed, rows=rows)
    rng = np.random.default_rng(seed)
    cuts = causality.draw_cuts(scores, scores - rng.random(scores.shape).astype(np.float32), rows, rng)
    assert len(set(cuts.rows.tolist())) == len(cuts.rows)
    asked = causality.false_futures(ids, cuts, rng)
    for row, cut, sent in zip(cuts.rows, cuts.positions, asked, strict=True):
        assert (sent[: cut + 1] == ids[row, : cut + 1]).all()


def test_no_question_holds_the_answer_to_another_one() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 60_000, (200, 65)).astype(np.uint16)
    cuts = causality.Cuts(np.arange(200), rng.integers(4, 60, 200), np.ones(200))
    asked = causality.false_futures(ids, cuts, rng)
    assert np.isin(asked, ids).all()
    sent = {tuple(stretch) for row in asked for stretch in np.lib.stride_tricks.sliding_window_view(row, 5)}
    answers = [tuple(ids[row, cut - 3 : cut + 2]) for row, cut in zip(cuts.rows, cuts.positions, strict=True)]
    assert not sent.intersection(answers), "the last four tokens of a question, and what follows them"


def test_weights_make_the_sampled_mean_an_estimate_of_the_mean_over_all_tokens() -> None:
    ids, _, scores = rows_and_scores(4, rows=2_000)
    rng = np.random.default_rng(5)
    difference = rng.random(scores.shape)
    cuts = causality.draw_cuts(scores + difference.astype(np.float32), scores, 2_000, rng)
    estimate = (cuts.weights * difference[cuts.rows, cuts.positions]).mean()
    assert estimate == pytest.approx(difference.mean(), abs=0.03)
    assert ids.shape[0] == 2_000


def test_normalised_equals_scipys_log_softmax() -> None:
    logits = np.random.default_rng(6).normal(scale=30, size=(7, VOCAB)).astype(np.float32)
    np.testing.assert_allclose(causality.normalised(logits), log_softmax(logits.astype(np.float64), -1), atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_refused(value: float) -> None:
    ids, logits, scores = rows_and_scores(0)
    cuts = causality.draw_cuts(scores, None, 40, np.random.default_rng(1))
    rows = audited(logits, cuts)
    rows[3, :] = value
    with np.errstate(invalid="ignore"):
        results = compare(scores, ids, cuts, rows)
    assert not results[0].ok
