"""A billion tokens through the stream: counted exactly, each pass whole, in bounded memory."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from harness.data.shards import SHARD_TOKENS
from harness.data.stream import TokenStream

BUDGET = 10**9
SHARDS = 16  # of 2**23 tokens: 134M, so that a billion takes eight passes


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, KiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.long
def test_a_billion_tokens_are_served_to_the_token_in_flat_memory(shards, capsys):
    rng = np.random.default_rng(0)
    rows = SHARD_TOKENS // 2_048 * SHARDS
    documents = (rng.integers(0, 4_096, 2_048, dtype=np.uint16) for _ in range(rows))
    prepared = shards(documents, SHARD_TOKENS, splits=("train",))
    corpus = prepared.tokens["train"]
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    stream = TokenStream(prepared, seed=1, budget_tokens=BUDGET, block_tokens=256, epochs=8)
    counts = np.zeros(4_096, np.int64)
    served = batches = 0
    seconds = 0.0
    before = 0  # the peak of the first pass, with what drawing its order takes
    while True:
        started = time.perf_counter()
        batch = stream.take(8, 256)
        seconds += time.perf_counter() - started
        if batch is None:
            break
        served += batch[:, 1:].size
        batches += 1
        if served <= corpus:
            counts += np.bincount(batch[:, :-1].reshape(-1), minlength=4_096)
        if served == corpus:
            before = memory("VmHWM")
    grown = memory("VmHWM") - before
    with capsys.disabled():
        print(
            f"\n{served:,} tokens at {served / seconds / 1e6:,.0f}M tokens/s; {grown / 1024:.0f} MiB more after a pass"
        )
    assert served == stream.served == BUDGET // 2_048 * 2_048 == batches * 2_048
    stored = sum(np.bincount(np.load(file), minlength=4_096) for file in prepared.folder.glob("train-*.tokens.npy"))
    assert np.array_equal(counts, stored)  # every token was an input once in the first pass
    assert grown < 16 * 1024  # KiB
    assert served / seconds > 50e6
