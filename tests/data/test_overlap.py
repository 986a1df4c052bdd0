import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import overlap
from harness.data.corpus import Corpus
from harness.data.overlap import HeldOut, Known, shingles

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=40).map(" ".join), max_size=6)


def windows(text):
    words = text.split()
    return {tuple(words[start : start + 13]) for start in range(len(words) - 12)}


@settings(deadline=None)
@given(held_out=TEXTS, train=TEXTS)
def test_the_share_found_is_that_of_plain_sets_of_thirteen_words(held_out, train):
    known = Known(np.concatenate([np.empty(0, np.uint64), *map(shingles, held_out)]))
    for text in train:
        known.see(shingles(text))
    wanted = set().union(*map(windows, held_out))
    found = wanted & set().union(*map(windows, train))
    assert known.share_found() == (len(found) / len(wanted) if wanted else 0.0)


def test_a_document_of_n_words_has_n_minus_12_shingles_and_white_space_does_not_matter():
    words = [f"word{number}" for number in range(20)]
    assert len(shingles(" ".join(words))) == 8
    assert len(shingles(" ".join(words[:12]))) == 0
    assert np.array_equal(shingles(" ".join(words)), shingles("\n  ".join(words)))


def test_the_order_of_the_words_matters():
    words = [f"word{number}" for number in range(13)]
    assert shingles(" ".join(words)) != shingles(" ".join(reversed(words)))


def test_token_ids_are_shingled_thirteen_at_a_time():
    ids = np.arange(20)
    assert np.array_equal(shingles(ids)[3:], shingles(ids[3:]))
    assert len(np.unique(shingles(ids))) == 8


def test_train_documents_equal_to_a_held_out_one_are_left_out_and_counted():
    splits = {"train": ["one", "two", "three", "two"], "validation": ["two"], "test": ["four"]}
    held_out = HeldOut(Corpus(lambda split: iter(splits[split])))
    assert list(held_out.without_equals(iter(splits["train"]))) == ["one", "three"]
    assert list(held_out.watch(iter(splits["train"]))) == ["one", "three"]
    assert held_out.repeated == 2


def test_documents_that_were_cut_from_train_do_not_count_as_repeated():
    splits = {"train": ["one", "two", "three"], "validation": ["two"], "test": ["three"]}
    held_out = HeldOut(Corpus(lambda split: iter(splits[split]), set_aside=2))
    assert list(held_out.watch(iter(splits["train"]))) == ["one"]
    assert held_out.repeated == 0


def test_a_huge_held_out_split_is_measured_from_its_start_only(monkeypatch):
    monkeypatch.setattr(overlap, "MOST_SHINGLES", 1000)
    rows = [np.arange(212) + 1000 * number for number in range(9)]  # 200 shingles each
    splits = {"train": [], "validation": rows, "test": rows[:1]}
    held_out = HeldOut(Corpus(lambda split: iter(splits[split])))
    assert len(held_out.known["validation"].hashes) == 1000
    assert held_out.documents == {"validation": 9, "test": 1}
