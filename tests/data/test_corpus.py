import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import corpus
from harness.data.corpus import digest, with_all_splits

NUMBERED = [f"document {number}" for number in range(3000)]


def cut_of(documents):
    whole = with_all_splits({"train": lambda: iter(documents)})
    return whole, list(whole.documents("validation")), list(whole.documents("test"))


def test_about_four_per_cent_of_the_documents_go_to_each_held_out_split():
    whole, validation, test = cut_of(NUMBERED)
    assert 80 < len(validation) < 160 and 80 < len(test) < 160
    assert set(validation).isdisjoint(test)
    assert whole.set_aside == len(validation) + len(test)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_split_of_a_document_does_not_depend_on_its_place(shuffler):
    documents = NUMBERED[:500]
    shuffler.shuffle(documents)
    assert set(cut_of(documents)[1]) == set(cut_of(NUMBERED[:500])[1])


def test_equal_documents_fall_into_the_same_split():
    _, validation, test = cut_of(NUMBERED[:400] * 2)
    assert sorted(validation) == sorted(cut_of(NUMBERED[:400])[1] * 2)
    assert sorted(test) == sorted(cut_of(NUMBERED[:400])[2] * 2)


def test_a_split_that_is_given_is_not_cut():
    given_splits = {"train": lambda: iter(NUMBERED), "validation": lambda: iter(["mine"])}
    whole = with_all_splits(given_splits)
    assert list(whole.documents("validation")) == ["mine"]
    assert 80 < len(list(whole.documents("test"))) < 160


def test_a_cut_split_stops_growing_and_so_does_the_pass_over_train(monkeypatch):
    monkeypatch.setattr(corpus, "CUT_CHARACTERS", 3000)
    read = []

    def endless():
        for number in range(10**9):
            read.append(number)
            yield f"document {number:9d}"

    whole = with_all_splits({"train": endless})
    for split in ("validation", "test"):
        assert sum(map(len, whole.documents(split))) == 3006, "as many documents of 18 characters as it takes"
    assert len(read) < 20_000


def test_the_digest_tells_ids_apart_and_ignores_their_width():
    ids = np.array([1, 2, 3])
    assert digest(ids) == digest(ids.astype(np.uint16)) != digest(ids[::-1])
