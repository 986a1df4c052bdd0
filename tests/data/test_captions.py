"""Rows of captions and codes: layout, tokenizers, preparation, the stream of a seed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from harness.data import captioned, visual
from harness.data.caption_stream import CaptionStream, check_caption_budget, held_out_captions
from harness.data.captioned import layout_of, prepare_captioned, read_rows, text_tokenizer_of
from harness.data.captions import NO_TOKEN, Layout, words_tokenizer
from harness.data.corpus import SPLITS
from harness.data.digits import CLASS_NAMES
from harness.data.image_form import ImageForm
from harness.data.image_store import read_images
from harness.data.images import prepare_images
from harness.data.passes import Passes
from harness.errors import MachineError, UsageError
from harness.tracks import TRACKS
from model_core import multimodal

TRACK = TRACKS["multimodal-tiny"]
LAYOUT = layout_of(TRACK)
PLAIN = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", ["multimodal-tiny", "multimodal-40m"])
def test_the_layout_is_that_of_the_core(name):
    config, layout = multimodal.PRESETS[TRACKS[name].preset], layout_of(TRACKS[name])
    assert (config.seg_start, config.seg_end, config.first_code) == (
        layout.seg_start,
        layout.seg_end,
        layout.first_code,
    )
    assert (config.vocab_size, config.text_vocab) == (layout.vocab_size, layout.text_vocab)
    assert (config.image_codes, config.sequence_tokens) == (layout.image_tokens, layout.row_tokens)
    assert config.max_seq_len >= layout.row_tokens - 1


def test_the_published_vocabulary_to_the_digit():
    layout = layout_of(TRACKS["multimodal-40m"])
    assert (layout.seg_start, layout.seg_end, layout.first_code, layout.vocab_size) == (49_152, 49_153, 49_154, 50_178)


@given(
    captions=st.lists(st.lists(st.integers(2, 31), max_size=LAYOUT.caption_tokens), min_size=1, max_size=5),
    data=st.data(),
)
def test_a_row_is_bos_caption_marker_codes_marker_eos_and_can_be_read_back(captions, data):
    codes = np.array([data.draw(st.lists(st.integers(0, 127), min_size=16, max_size=16)) for _ in captions], np.uint16)
    rows = LAYOUT.rows(captions, codes, bos=0, eos=1)
    assert rows.shape == (len(captions), TRACK.row_tokens) and rows.dtype == np.uint16
    for row, caption, image in zip(rows.tolist(), captions, codes.tolist(), strict=True):
        end = row.index(NO_TOKEN) if NO_TOKEN in row else len(row)
        assert set(row[end:]) <= {NO_TOKEN}
        assert row[:end] == [0, *caption, 32, *(34 + code for code in image), 33, 1]
        assert row[: len(caption) + 2] == LAYOUT.prompt(caption, bos=0)


def test_every_caption_of_the_track_fits_and_the_longest_fills_its_row():
    text = words_tokenizer(TRACK.templates, CLASS_NAMES)
    lengths = {len(text.ids(t.format(name), LAYOUT.caption_tokens)) for t in TRACK.templates for name in CLASS_NAMES}
    assert max(lengths) == LAYOUT.caption_tokens and len(lengths) > 1
    assert text.tokenizer.get_vocab_size() <= TRACK.text_vocab
    assert (text.bos, text.eos) == (0, 1)


@pytest.mark.parametrize("caption", ["a photo of a cat", "a small picture of the handwritten digit seven seven"])
def test_a_caption_that_cannot_be_said_is_refused_in_one_message(caption):
    with pytest.raises(UsageError):
        words_tokenizer(TRACK.templates, CLASS_NAMES).ids(caption, LAYOUT.caption_tokens)


class Brightness:
    """In the place of a frozen tokenizer: the mean of each block of 4 x 4 pixels."""

    facts = visual.Frozen(
        track="b", core_id="", data_id="", tokens=0, seed=0, sha256="b", loss=0, codes_in_use=128, perplexity=1
    )

    def codes(self, pixels):
        return pixels.reshape(len(pixels), 4, 4, 4, 4).mean((2, 4)).reshape(-1, 16).astype(np.uint16) // 2


@pytest.fixture
def prepared(cache, monkeypatch):
    monkeypatch.setattr(captioned, "frozen_tokenizer", lambda name: Brightness())
    return prepare_captioned(TRACK, None)


def said(prepared, rows):
    """The words of each row's caption."""
    tokenizer = text_tokenizer_of(prepared, TRACK).tokenizer
    return [" ".join(tokenizer.id_to_token(i) for i in row[1 : row.index(LAYOUT.seg_start)]) for row in rows.tolist()]


def test_every_image_is_stored_with_a_caption_of_its_class_as_often_as_the_track_says(prepared):
    images = prepare_images(ImageForm(1, 16), "digits")
    for split, count in images.images.items():
        rows = read_rows(prepared, split)
        assert len(rows) == prepared.rows[split] == count * TRACK.copies
    pixels, labels = read_images(images.folder, "test")
    rows = read_rows(prepared, "test")[: len(pixels)]
    for row, codes, caption, label in zip(rows, Brightness().codes(pixels), said(prepared, rows), labels, strict=True):
        start = row.tolist().index(LAYOUT.seg_start) + 1
        assert np.array_equal(row[start : start + 16] - LAYOUT.first_code, codes)
        assert caption in {template.format(CLASS_NAMES[label]) for template in TRACK.templates}


def test_copies_of_an_image_differ_and_every_template_is_used_about_equally(prepared):
    count = prepared.images["train"]
    rows = read_rows(prepared, "train")
    codes = rows.copy()
    codes[codes < LAYOUT.first_code] = 0  # captions and markers aside
    assert not np.array_equal(codes[:count], codes[count : 2 * count])
    begun = [caption.rpartition(" ")[0] for caption in said(prepared, rows[: 4 * count])]
    shares = np.unique(begun, return_counts=True)[1] / len(begun)
    assert len(shares) == len(TRACK.templates) and np.abs(shares - 1 / len(shares)).max() < 0.03


def test_a_million_tokens_fit_into_one_pass_and_no_image_is_in_two_splits(prepared):
    check_caption_budget(prepared, 1_000_000, TRACK.row_tokens, epochs=1)
    with pytest.raises(UsageError, match="--epochs"):
        check_caption_budget(prepared, 8_000_000, TRACK.row_tokens, epochs=1)
    assert len(held_out_captions(prepared, "validation", TRACK.row_tokens, 131_072)) == 131_072 // 28
    pixels = [read_images(prepare_images(ImageForm(1, 16), "digits").folder, split)[0] for split in SPLITS]
    different = [{image.tobytes() for image in images} for images in pixels]
    assert [len(images) for images in pixels] == [prepared.images[split] for split in SPLITS]
    assert len(set.union(*different)) == sum(map(len, different)), "an image is in two splits"


def test_a_small_split_is_scored_whole(prepared):
    rows = held_out_captions(prepared, "validation", TRACK.row_tokens, 10**9)
    assert np.array_equal(rows, read_rows(prepared, "validation"))


def test_a_tokenizer_that_was_frozen_anew_makes_other_data(cache, monkeypatch):
    """What was learnt of the old codes says nothing about the new ones."""
    made = []
    for sha in ("a" * 64, "b" * 64):
        tokenizer = Brightness()
        tokenizer.facts = Brightness.facts.model_copy(update={"sha256": sha})
        monkeypatch.setattr(captioned, "frozen_tokenizer", lambda name, tokenizer=tokenizer: tokenizer)
        made.append(prepare_captioned(replace(TRACK, copies=1), None))
    assert made[0].data_id != made[1].data_id and [each.visual[0] for each in made] == ["a", "b"]
    assert made[0].rows_sha256 == made[1].rows_sha256, "nothing else differs"


def test_captions_of_more_words_than_the_vocabulary_has_are_refused(cache, monkeypatch):
    monkeypatch.setattr(captioned, "frozen_tokenizer", lambda name: Brightness())
    with pytest.raises(UsageError, match=r"take 23 tokens, the track has room for 20"):
        prepare_captioned(replace(TRACK, text_vocab=20), None)


def test_preparing_again_finds_the_same_and_a_changed_file_is_seen(prepared):
    assert captioned.describe_captioned(prepare_captioned(TRACK, None))["intact"] is True
    file = prepared.folder / "test.rows.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert captioned.describe_captioned(prepared)["intact"] is False
    file.unlink()
    with pytest.raises(MachineError, match="prepare again"):
        read_rows(prepared, "test")


@PLAIN
@given(shapes=st.lists(st.integers(1, 90), min_size=1, max_size=6), seed=st.integers(0, 2**40))
def test_the_order_does_not_depend_on_the_shape_of_the_batches(shapes, seed):
    whole, parts = Passes(37, seed).take(sum(shapes)), Passes(37, seed)
    assert np.array_equal(np.concatenate([parts.take(count) for count in shapes]), whole)
    for start in range(0, len(whole), 37):
        assert len(set(whole[start : start + 37])) == len(whole[start : start + 37])


def test_the_stream_serves_the_budget_and_not_a_row_more(prepared):
    stream = CaptionStream(prepared, 3, 10 * TRACK.row_tokens + 5, TRACK.row_tokens)
    assert stream.take(4).shape == (4, TRACK.row_tokens)
    assert stream.take(7) is None and stream.served == 4 * TRACK.row_tokens
    assert len(stream.take(6)) == 6 and stream.take(1) is None
    assert stream.served == stream.unique_tokens // TRACK.row_tokens * TRACK.row_tokens
    with pytest.raises(ValueError, match="batch of 0"):
        stream.take(0)


def test_a_published_tokenizer_must_be_named(cache, monkeypatch):
    track = TRACKS["multimodal-40m"]
    monkeypatch.setattr(captioned, "frozen_tokenizer", lambda name: Brightness())
    monkeypatch.setattr(captioned, "prepare_images", lambda *_: prepare_images(ImageForm(1, 16), "digits"))
    with pytest.raises(UsageError, match=r"\?tokenizer=PATH"):
        prepare_captioned(track, "cifar10")
    assert Layout(1, 1, 1, 1).vocab_size == 4


def test_rows_of_a_published_tokenizer_begin_and_end_with_its_end_of_text(cache, monkeypatch, tmp_path):
    monkeypatch.setattr(captioned, "frozen_tokenizer", lambda name: Brightness())
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    said = [template.format(name) for template in TRACK.templates for name in CLASS_NAMES]
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<other>", "<|endoftext|>"], show_progress=False)
    theirs.train_from_iterator(said, trainer)
    theirs.save(str(tmp_path / "tokenizer.json"))
    end, vocab = theirs.token_to_id("<|endoftext|>"), theirs.get_vocab_size()
    longest = max(len(theirs.encode(text).ids) for text in said)
    track = replace(TRACK, tokenizer="published", text_vocab=vocab, row_tokens=longest + 20, copies=1)
    made = prepare_captioned(track, f"digits?tokenizer={tmp_path / 'tokenizer.json'}")
    assert end == 1 and (made.folder / "tokenizer.json").exists()
    for row in read_rows(made, "test").tolist():
        there = row[: row.index(NO_TOKEN)] if NO_TOKEN in row else row
        start = there.index(vocab)  # the marker after the last token of text
        assert there[0] == end and there[start + 17 :] == [vocab + 1, end]
        assert theirs.decode(there[1:start]) in said
        assert all(vocab + 2 <= code < vocab + 130 for code in there[start + 1 : start + 17])
    assert text_tokenizer_of(made, track).bos == end


def test_a_stream_that_skips_goes_on_where_one_that_served_would(prepared):
    served, resumed = (CaptionStream(prepared, 3, 1_000_000, TRACK.row_tokens) for _ in range(2))
    served.take(1_234)
    resumed.skip(1_234 * TRACK.row_tokens)
    assert np.array_equal(served.take(50), resumed.take(50)) and served.served == resumed.served
