import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.shards import ShardWriter, digest_of, read_shard


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=30), limit=st.integers(1, 40))
def test_shards_hold_whole_documents_in_order_within_their_limit(tmp_path, lengths, limit):
    documents = [np.full(length, number, np.uint16) for number, length in enumerate(lengths)]
    writer = ShardWriter(tmp_path, "train", limit)
    for document in documents:
        writer.add(document)
    writer.close()
    shards = [read_shard(tmp_path, "train", index) for index in range(writer.shards)]
    assert np.array_equal(np.concatenate([shard.tokens for shard in shards]), np.concatenate(documents))
    assert [int(n) for shard in shards for n in np.diff(shard.bounds)] == lengths
    assert all(len(shard.tokens) <= limit or len(shard.bounds) == 2 for shard in shards)
    assert (writer.tokens, writer.documents) == (sum(lengths), len(lengths))
    assert digest_of(tmp_path, "train", writer.shards) == writer.digest.hexdigest()


def test_shards_are_memory_mapped_uint16(tmp_path):
    writer = ShardWriter(tmp_path, "test", 100)
    writer.add(np.array([1, 65_535], np.uint16))
    writer.close()
    tokens = read_shard(tmp_path, "test", 0).tokens
    assert isinstance(tokens, np.memmap) and tokens.dtype == np.uint16 and tokens.tolist() == [1, 65_535]


@pytest.mark.parametrize("documents", [[[1], [2, 3]], [[1, 2], [3]], [[1, 2, 3]], [[1, 2, 4]]])
def test_the_digest_sees_tokens_and_document_bounds(tmp_path, documents):
    digests = []
    for each in ([[1], [2], [3]], documents):
        writer = ShardWriter(tmp_path, "train", 100)
        for document in each:
            writer.add(np.array(document, np.uint16))
        writer.close()
        digests.append(writer.digest.hexdigest())
    assert digests[0] != digests[1]
