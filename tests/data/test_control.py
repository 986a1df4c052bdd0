"""The control source: its entropy, and that no honest account of it scores below."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from harness.data import control
from harness.data.stream import TokenStream, held_out_rows
from harness.tracks import TRACKS

TRACK = TRACKS["llm-tiny"]


def test_the_entropy_is_that_of_its_branches():
    assert pytest.approx(stats.entropy(control.BRANCHES)) == control.ENTROPY
    information = -np.log(control.BRANCHES)
    assert pytest.approx(np.sqrt(np.cov(information, aweights=control.BRANCHES, ddof=0))) == control.SPREAD


def test_every_token_is_followed_by_four_others_with_the_stated_shares():
    walk = control.walk(200_000, TRACK.vocab_size, seed=1).tolist()
    assert max(walk) < TRACK.vocab_size and len(set(walk)) <= control.STATES
    after: dict[int, Counter[int]] = {}
    for token, following in itertools.pairwise(walk):
        after.setdefault(token, Counter())[following] += 1
    for counts in after.values():
        if counts.total() > 3_000:
            shares = np.array(sorted(counts.values(), reverse=True)) / counts.total()
            assert len(shares) == len(control.BRANCHES)
            assert np.abs(shares - control.BRANCHES).max() < 0.04


@pytest.mark.parametrize("seed", range(20))
def test_whoever_knows_the_chain_scores_its_entropy_and_not_below_the_floor(seed):
    """The best that can be known: the shares of what follows each token, counted on a long walk."""
    known = control.walk(400_000, TRACK.vocab_size, seed=999)
    pairs, counts = np.unique(np.stack((known[:-1], known[1:])), axis=1, return_counts=True)
    total = dict(zip(*np.unique(known[:-1], return_counts=True), strict=True))
    chance = {(a, b): count / total[a] for (a, b), count in zip(pairs.T.tolist(), counts, strict=True)}
    walk = control.walk(8_192, TRACK.vocab_size, seed).tolist()
    loss = np.mean([-np.log(chance[pair]) for pair in itertools.pairwise(walk)])
    assert control.floor(8_192) < loss < control.ENTROPY + (control.ENTROPY - control.floor(8_192))


def test_it_is_served_and_held_out_like_any_other_text(cache):
    prepared = control.prepare_control(TRACK)
    stream = TokenStream(prepared, 0, 65_536, 256)
    assert stream.take(8, 256).shape == (8, 257)
    rows = held_out_rows(prepared, "validation", 256, 8_192)
    assert rows.shape == (32, 257) and not np.array_equal(rows, held_out_rows(prepared, "test", 256, 8_192))
    assert control.prepare_control(TRACK) == prepared
