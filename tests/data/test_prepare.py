import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from harness.data.prepare import PreparedData, describe, prepare
from harness.data.shards import read_shard
from harness.data.stream import TokenStream, held_out_rows
from harness.data.tokenizer import train_bpe
from harness.errors import MachineError, UsageError
from harness.tracks import TRACKS

LIMITED = """
import resource, sys
from dataclasses import replace
from harness.data.prepare import prepare
from harness.errors import MachineError
from harness.tracks import TRACKS

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # bytes; larger files fail as on a full disk
try:
    prepare(replace(TRACKS["llm-tiny"], vocab_size=300), "files:" + sys.argv[1])
except MachineError as error:
    print(error)
"""

PEAK = """
import re, sys
from pathlib import Path
from harness.data import prepare
from harness.tracks import TRACKS

prepare.SHARD_TOKENS = 2**20
prepared = prepare.prepare(TRACKS["llm-88m"], "files:" + sys.argv[1])
# not ru_maxrss, which begins at the size of the process that started this one
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(prepared.tokens["train"], peak * 1024)
"""


@pytest.fixture
def folder(parquet, tmp_path, texts):
    """A set with files for all three splits."""
    parquet(tmp_path / "set" / "train.parquet", text=texts(400))
    parquet(tmp_path / "set" / "validation.parquet", text=texts(30, seed=1))
    parquet(tmp_path / "set" / "test.parquet", text=texts(20, seed=2))
    return tmp_path / "set"


def stored(prepared, split):
    """The documents of a split as lists of ids."""
    documents = []
    for index in range(prepared.shards[split]):
        shard = read_shard(prepared.folder, split, index)
        documents += [each.tolist() for each in np.split(shard.tokens, shard.bounds[1:-1])]
    return documents


def test_the_text_comes_back_from_the_shards_word_for_word(track, folder, texts):
    from transformers import PreTrainedTokenizerFast

    prepared = prepare(track, f"files:{folder}")
    reader = PreTrainedTokenizerFast(tokenizer_file=str(prepared.folder / "tokenizer.json"))
    for split, documents in {"train": texts(400), "validation": texts(30, 1), "test": texts(20, 2)}.items():
        ids = stored(prepared, split)
        assert [reader.decode(each[:-1], clean_up_tokenization_spaces=False) for each in ids] == documents
        assert all(each[-1] == 0 and 0 not in each[:-1] for each in ids)
        assert (prepared.tokens[split], prepared.documents[split]) == (sum(map(len, ids)), len(documents))


def test_the_vocabulary_is_learnt_from_train_alone(track, folder, texts):
    prepared = prepare(track, f"files:{folder}")
    assert (prepared.folder / "tokenizer.json").read_text() == train_bpe(texts(400), 300).to_str()


def test_equal_data_has_an_equal_id_wherever_it_is_and_other_data_another(track, folder, parquet, tmp_path, texts):
    first = prepare(track, f"files:{folder}")
    folder.rename(tmp_path / "moved")
    again = prepare(track, f"files:{tmp_path / 'moved'}")
    assert again.folder != first.folder and again.data_id == first.data_id
    parquet(tmp_path / "moved" / "test.parquet", text=texts(19, seed=2))
    assert prepare(track, f"files:{tmp_path / 'moved'}").data_id != first.data_id


def test_a_second_call_reads_the_cache_and_prepares_nothing(track, folder):
    lines = []
    first = prepare(track, f"files:{folder}", lines.append)
    assert len(lines) >= 5 and "13-word overlap with train: validation" in "\n".join(lines)
    lines.clear()
    assert prepare(track, f"files:{folder}", lines.append) == first == PreparedData.load(first.folder)
    assert lines == []


def test_an_unsplit_set_is_cut_by_document_without_losing_any(track, parquet, tmp_path, texts):
    file = parquet(tmp_path / "set.parquet", text=texts(600))
    prepared = prepare(track, f"files:{file}")
    assert sum(prepared.documents.values()) == 600
    assert 8 <= prepared.documents["validation"] <= 50 and 8 <= prepared.documents["test"] <= 50
    everything = [tuple(each) for split in prepared.tokens for each in stored(prepared, split)]
    assert len(set(everything)) == 600
    assert prepared.repeated == 0


def test_a_train_document_that_is_also_held_out_is_left_out_and_counted(track, folder, parquet, texts):
    parquet(folder / "train.parquet", text=[*texts(400), *texts(30, seed=1)[:3]])
    prepared = prepare(track, f"files:{folder}")
    assert (prepared.documents["train"], prepared.repeated) == (400, 3)


def test_the_overlap_is_measured_against_what_is_trained_on(track, folder, parquet, texts):
    held_out = texts(30, seed=1)
    copied = [f"{document} and more" for document in held_out[:15]]
    parquet(folder / "train.parquet", text=[*texts(400), *copied])
    windows = [len(document.split()) - 12 for document in held_out]
    prepared = prepare(track, f"files:{folder}")
    assert prepared.overlap["validation"] == pytest.approx(sum(windows[:15]) / sum(windows), abs=1e-12)
    assert prepared.overlap["test"] == 0
    assert prepared.overlap_unit == "words"


def test_a_published_tokenizer_is_used_as_it_is(folder, texts):
    (folder / "tokenizer.json").write_text(train_bpe(texts(100, seed=9), 280).to_str())
    track = replace(TRACKS["llm-88m"], vocab_size=290)
    prepared = prepare(track, f"files:{folder}")
    assert prepared.vocab_size == 280
    assert (prepared.folder / "tokenizer.json").read_text() == (folder / "tokenizer.json").read_text()


def test_text_for_a_track_with_a_published_tokenizer_needs_that_tokenizer(folder):
    with pytest.raises(UsageError, match=r"SmolLM2-135M.*\n.*\?tokenizer=PATH"):
        prepare(TRACKS["llm-88m"], f"files:{folder}")


def test_token_ids_are_served_as_they_are(parquet, tmp_path):
    rows = np.random.default_rng(0).integers(0, 49_152, (300, 64))
    file = parquet(tmp_path / "set.parquet", input_ids=rows.tolist(), labels=rows.tolist())
    lines = []
    prepared = prepare(TRACKS["llm-88m"], f"files:{file}", lines.append)
    assert sum(prepared.tokens.values()) == rows.size
    assert (prepared.vocab_size, prepared.tokenizer, prepared.overlap_unit) == (49_152, None, "tokens")
    everything = sorted(each for split in prepared.tokens for each in stored(prepared, split))
    assert everything == sorted(rows.tolist())
    assert any("each row of token ids counts as a document" in line for line in lines)


def test_ids_of_another_tokenizer_are_refused(parquet, tmp_path, cache):
    file = parquet(tmp_path / "set.parquet", input_ids=[[number, 49_152] for number in range(200)])
    with pytest.raises(UsageError, match="the vocabulary has 49,152 entries"):
        prepare(TRACKS["llm-88m"], f"files:{file}")
    assert not any(each.is_dir() for each in cache.iterdir())


def test_a_vocabulary_beyond_16_bits_is_refused(folder):
    with pytest.raises(UsageError, match="65,537; token ids are stored in 16 bits"):
        prepare(replace(TRACKS["llm-88m"], vocab_size=65_537), f"files:{folder}")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_documents_for_three_splits_are_refused(track, parquet, tmp_path, texts, count, cache):
    file = parquet(tmp_path / "set.parquet", text=texts(count) or [""])
    with pytest.raises(UsageError, match=r"no document for the (validation|test) split"):
        prepare(track, f"files:{file}")
    assert not any(each.is_dir() for each in cache.iterdir())


def test_an_empty_train_file_is_refused(folder, parquet):
    parquet(folder / "train.parquet", input_ids=[[]])
    parquet(folder / "validation.parquet", input_ids=[[1]])
    parquet(folder / "test.parquet", input_ids=[[1]])
    with pytest.raises(UsageError, match="no document for the train split"):
        prepare(TRACKS["llm-88m"], f"files:{folder}")


def test_a_full_disk_gets_one_message_and_leaves_the_cache_whole(folder, cache, track):
    done = subprocess.run([sys.executable, "-c", LIMITED, folder], capture_output=True, text=True, timeout=120)
    assert "the prepared data cannot be written" in done.stdout and done.stderr == ""
    assert [each.suffix for each in cache.iterdir()] == [".lock"]
    assert prepare(track, f"files:{folder}").documents["train"] == 400


def test_damage_is_seen_by_describe_and_by_load(track, folder):
    prepared = prepare(track, f"files:{folder}")
    shown = describe(prepared)
    assert shown["intact"] and shown["tokens"] == prepared.tokens and json.dumps(shown)
    shard = prepared.folder / "train-00000.tokens.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert not describe(prepared)["intact"]
    (prepared.folder / "prepared.json").write_text("{}")
    with pytest.raises(MachineError, match=r"not a prepared data set.*(\n.*)*delete this folder"):
        PreparedData.load(prepared.folder)


def test_a_prepared_set_is_streamed_and_scored(track, folder):
    prepared = prepare(track, f"files:{folder}")
    stream = TokenStream(prepared, 1, 2_048, 256)
    assert stream.take(8, 256).shape == (8, 257)
    assert held_out_rows(prepared, "validation", 32, 320).max() < 300


@pytest.mark.long
def test_the_embedded_text_is_prepared_within_a_minute_and_suffices_for_every_tiny_budget():
    started = time.monotonic()
    prepared = prepare(TRACKS["llm-tiny"])
    assert time.monotonic() - started < 60
    assert prepared.tokens["train"] > 5_000_000
    assert min(prepared.tokens["validation"], prepared.tokens["test"]) > 1.5 * 131_073
    assert max(prepared.overlap.values()) < 0.05


def test_memory_stays_flat_as_the_corpus_grows(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = np.random.default_rng(0).integers(0, 1024, (2_000, 2_048), dtype=np.uint16)  # 4.1M tokens
    table = pyarrow.table({"input_ids": pyarrow.FixedSizeListArray.from_arrays(rows.reshape(-1), 2_048)})
    peaks = {}
    for times in (1, 8):
        folder = tmp_path / str(times)
        folder.mkdir()
        for name, part, repeats in (
            ("validation", table[:50], 1),
            ("test", table[50:100], 1),
            ("train", table[100:], times),
        ):
            with pyarrow.parquet.ParquetWriter(folder / f"{name}.parquet", table.schema) as writer:
                for _ in range(repeats):
                    writer.write_table(part, row_group_size=256)
        done = subprocess.run([sys.executable, "-c", PEAK, folder], capture_output=True, text=True, timeout=300)
        tokens, peaks[times] = map(int, done.stdout.split())
        assert tokens == 1_900 * 2_048 * times
    assert peaks[8] - peaks[1] < 24 * 2**20  # bytes; as uint16 the tokens that were added take 52 MiB
