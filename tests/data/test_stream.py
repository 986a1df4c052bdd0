import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.stream import TokenStream, held_out_rows, shuffled
from harness.errors import MachineError, UsageError

LENGTHS = (np.arange(60) * 7) % 41 + 1  # of documents 0 .. 59
DOCUMENTS = [100 * number + np.arange(length) for number, length in enumerate(LENGTHS)]  # every token is unique
TOTAL = int(LENGTHS.sum())
BLOCK = 16  # tokens


@pytest.fixture
def prepared(shards):
    return shards(DOCUMENTS, shard_tokens=200)


def joined(batches):
    """The stream that the overlapping rows were cut from."""
    return np.concatenate([batches[0][0, :1], *(batch[:, 1:].reshape(-1) for batch in batches)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 50)), min_size=1, max_size=8),
    seed=st.integers(0, 2**70),
)
def test_the_order_does_not_depend_on_the_shape_of_the_batches(prepared, shapes, seed):
    count = sum(rows * tokens for rows, tokens in shapes)
    whole = TokenStream(prepared, seed, count, BLOCK, epochs=2).take(1, count)[0]
    stream = TokenStream(prepared, seed, count, BLOCK, epochs=2)
    batches = [stream.take(*shape) for shape in shapes]
    assert np.array_equal(joined(batches), whole)
    assert stream.served == count
    assert stream.take(1, 1) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(skipped=st.integers(0, 1_800), seed=st.integers(0, 2**70))
def test_a_stream_that_skips_goes_on_where_one_that_served_would(prepared, skipped, seed):
    served, resumed = (TokenStream(prepared, seed, 2_000, BLOCK, epochs=3) for _ in range(2))
    if skipped:
        served.take(1, skipped)
    resumed.skip(skipped)
    assert np.array_equal(served.take(2, 70), resumed.take(2, 70))
    assert served.served == resumed.served == skipped + 140


def test_rows_overlap_by_exactly_one_token_within_and_across_batches(prepared):
    stream = TokenStream(prepared, 5, 600, BLOCK)
    rows = np.concatenate([stream.take(3, 20) for _ in range(10)])
    assert rows.shape == (30, 21) and rows.dtype == np.uint16
    assert np.array_equal(rows[:-1, -1], rows[1:, 0])


def test_one_pass_holds_every_block_once_and_whole(shards):
    prepared = shards(DOCUMENTS, shard_tokens=TOTAL)
    stored = np.concatenate(DOCUMENTS)
    blocks = [tuple(stored[at : at + BLOCK]) for at in range(0, TOTAL, BLOCK)]
    served = TokenStream(prepared, 3, TOTAL - 1, BLOCK).take(1, TOTAL - 1)[0].tolist()
    starts = {block[0]: block for block in blocks}  # every token is unique
    found = []
    while served:
        block = starts[served[0]]
        assert tuple(served[: len(block)]) == block
        found.append(block)
        served = served[len(block) :]
    assert sorted(found) == sorted(blocks) and found != blocks


def test_neighbouring_blocks_come_from_different_documents(shards):
    long = [np.full(400, number) for number in range(20)]
    prepared = shards(long, shard_tokens=8_000)
    served = TokenStream(prepared, 0, 7_999, 20).take(1, 7_999)[0]
    assert (
        np.mean(served[20::20] == served[19:-1:20]) < 0.2
    )  # one in twenty by chance; all but 19 if documents stayed whole


def test_every_further_pass_holds_the_same_documents_in_another_order(prepared):
    tokens = TokenStream(prepared, 3, 3 * TOTAL - 1, BLOCK, epochs=3).take(1, 3 * TOTAL - 1)[0].reshape(3, TOTAL)
    assert all(np.array_equal(np.sort(each), np.concatenate(DOCUMENTS)) for each in tokens)
    assert not np.array_equal(tokens[0], tokens[1]) and not np.array_equal(tokens[1], tokens[2])


def test_blocks_areshuffled_anew_within_a_shard_too(shards):
    prepared = shards(DOCUMENTS, shard_tokens=TOTAL)
    first, second = TokenStream(prepared, 3, 2 * TOTAL - 1, BLOCK, epochs=2).take(1, 2 * TOTAL - 1)[0].reshape(2, TOTAL)
    assert prepared.shards["train"] == 1
    assert not np.array_equal(first, second) and not np.array_equal(first, np.sort(first))


def test_a_seed_is_an_order(prepared):
    first, again, other = (TokenStream(prepared, seed, 500, BLOCK).take(1, 500) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_shuffle_of_a_key_is_pinned():
    assert shuffled(8, 1, 2).tolist() == [5, 6, 3, 2, 1, 0, 4, 7]


def test_the_budget_is_served_to_the_token_and_not_beyond(prepared):
    stream = TokenStream(prepared, 0, 100, BLOCK)
    assert stream.take(4, 20).shape == (4, 21)
    assert stream.take(1, 21) is None and stream.served == 80
    assert stream.take(2, 10) is not None and stream.served == 100
    assert stream.take(1, 1) is None and stream.served == 100


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-1, 5), (-2, -2)])
def test_no_shape_turns_the_meter_back(prepared, shape):
    stream = TokenStream(prepared, 0, 100, BLOCK)
    with pytest.raises(ValueError, match="a batch of"):
        stream.take(*shape)
    assert stream.served == 0


def test_a_budget_above_one_pass_is_refused_unless_more_are_allowed(prepared):
    assert TokenStream(prepared, 0, TOTAL - 1, BLOCK).unique_tokens == TOTAL - 1
    with pytest.raises(UsageError, match=rf"{TOTAL:,} training tokens.*\n.*--epochs"):
        TokenStream(prepared, 0, TOTAL, BLOCK)
    assert TokenStream(prepared, 0, 2 * TOTAL - 1, BLOCK, epochs=2).unique_tokens == TOTAL
    with pytest.raises(UsageError, match="2 pass"):
        TokenStream(prepared, 0, 2 * TOTAL, BLOCK, epochs=2)


def test_memory_does_not_grow_with_the_number_of_shards(shards):
    peaks = []
    for count in (2, 16):
        prepared = shards([np.zeros(50_000)] * count, shard_tokens=50_000)
        stream = TokenStream(prepared, 0, 50_000 * count - 1, BLOCK)
        tracemalloc.start()
        while stream.take(8, 256) is not None:
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000  # bytes; seven eighths of the corpus are 1.4 million more


def test_held_out_rows_are_the_documents_in_stored_order(prepared):
    stored = np.concatenate(DOCUMENTS)
    rows = held_out_rows(prepared, "validation", row_tokens=16, total_tokens=320)
    assert rows.shape == (20, 17) and rows.dtype == np.uint16
    assert np.array_equal(rows, [stored[16 * row : 16 * row + 17] for row in range(20)])


def test_held_out_rows_may_use_the_last_token_but_need_no_more(prepared):
    assert held_out_rows(prepared, "test", 1, TOTAL - 1).shape == (TOTAL - 1, 2)
    with pytest.raises(UsageError, match=f"test split.*holds {TOTAL:,} tokens"):
        held_out_rows(prepared, "test", 1, TOTAL)


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00 cut off"])
def test_a_lost_or_damaged_shard_is_a_fault_of_the_machine(prepared, content):
    for file in prepared.folder.glob("train-*.tokens.npy"):
        file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(MachineError, match=r"cannot be read.*\n.*prepare again"):
        TokenStream(prepared, 0, 10, BLOCK).take(1, 10)
