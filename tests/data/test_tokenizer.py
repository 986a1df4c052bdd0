import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import tokenizer as module
from harness.data.tokenizer import END_OF_TEXT, Vocabulary, read_tokenizer, train_bpe
from harness.errors import UsageError


@pytest.fixture(scope="module")
def learnt():
    return train_bpe(["the cat sat on the mat, the rat ran to the hat " * 5, "über 10 Bäume = Wald"], 280)


def test_end_of_text_is_zero_and_every_byte_has_an_id(learnt):
    assert learnt.token_to_id(END_OF_TEXT) == 0
    assert learnt.get_vocab_size() == 280


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_survives_the_round_trip_in_transformers_own_tokenizer(learnt, text):
    from transformers import PreTrainedTokenizerFast

    (ids,) = Vocabulary(280, learnt).ids([text])
    reader = PreTrainedTokenizerFast(tokenizer_object=learnt, clean_up_tokenization_spaces=False)
    assert ids.dtype == np.uint16 and ids[-1] == 0
    assert reader.decode(ids[:-1].tolist()) == text


def test_equal_texts_give_an_equal_tokenizer_whatever_the_threads(texts, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    parallel = train_bpe(texts(200), 350).to_str()
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert train_bpe(texts(200), 350).to_str() == parallel


def test_only_the_first_characters_are_learnt_from(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_CHARACTERS", 3000)
    read = []

    def endless():
        for number in range(10**9):
            read.append(number)
            yield f"number {number} of {number * 7919 % 1000}"

    assert train_bpe(endless(), 270).get_vocab_size() == 270
    assert len(read) < 400


def test_too_little_text_for_the_vocabulary_is_said(learnt):
    with pytest.raises(UsageError, match="of 5,000 vocabulary entries"):
        train_bpe(["a few words"], 5000)


def test_a_tokenizer_file_is_read_back(learnt, tmp_path):
    (tmp_path / "tokenizer.json").write_text(learnt.to_str())
    assert read_tokenizer(tmp_path / "tokenizer.json", 280).to_str() == learnt.to_str()


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UsageError, match="not a tokenizer"):
        read_tokenizer(tmp_path / "tokenizer.json", 280)


def test_a_tokenizer_larger_than_the_track_is_refused(learnt, tmp_path):
    (tmp_path / "tokenizer.json").write_text(learnt.to_str())
    with pytest.raises(UsageError, match="has 280 entries, the track 279"):
        read_tokenizer(tmp_path / "tokenizer.json", 279)


def test_a_tokenizer_without_end_of_text_is_refused(learnt, tmp_path):
    (tmp_path / "tokenizer.json").write_text(learnt.to_str().replace(END_OF_TEXT, "<s>"))
    with pytest.raises(UsageError, match="has no <|endoftext|> token".replace("|", r"\|")):
        read_tokenizer(tmp_path / "tokenizer.json", 280)


@pytest.mark.parametrize("ids", [[1, 300], [-1, 2], [70_000]])
def test_ids_outside_the_vocabulary_are_refused(ids):
    with pytest.raises(UsageError, match="input_ids run from"):
        list(Vocabulary(300, None).ids([np.array(ids)]))
