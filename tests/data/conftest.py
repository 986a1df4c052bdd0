"""Small sets to prepare and to stream."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.data.prepare import PreparedData
from harness.data.shards import ShardWriter
from harness.tracks import TRACKS, TextTrack

WORDS = [f"{first}{second}{third}" for first in "bdklmr" for second in "aeiou" for third in ("n", "st", "rk", "ng")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "blueberry"


@pytest.fixture
def track() -> TextTrack:
    """A track that learns 300 entries from the train split."""
    return replace(TRACKS["llm-tiny"], vocab_size=300)


@pytest.fixture
def texts() -> Callable[..., list[str]]:
    """`count` made-up documents, the same ones for the same seed."""

    def make(count: int, seed: int = 0) -> list[str]:
        rng = random.Random(seed)
        return [" ".join(rng.choices(WORDS, k=rng.randint(20, 60))) for _ in range(count)]

    return make


@pytest.fixture
def parquet() -> Callable[..., Path]:
    """Write columns to a parquet file."""

    def write(path: Path, **columns: list[object]) -> Path:
        import pyarrow
        import pyarrow.parquet

        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=100)
        return path

    return write


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., PreparedData]:
    """Prepared data of the given documents, the same ones in every split that is asked for."""

    def write(
        documents: Iterable[np.ndarray], shard_tokens: int, splits: tuple[str, ...] = ("train", "validation", "test")
    ) -> PreparedData:
        writers = {split: ShardWriter(tmp_path, split, shard_tokens) for split in splits}
        for document in documents:
            for writer in writers.values():
                writer.add(document.astype(np.uint16))
        for writer in writers.values():
            writer.close()
        return PreparedData(
            folder=tmp_path,
            data_id="made up",
            source="made up",
            tokenizer=None,
            vocab_size=2**16,
            tokens={split: writer.tokens for split, writer in writers.items()},
            documents={split: writer.documents for split, writer in writers.items()},
            shards={split: writer.shards for split, writer in writers.items()},
            overlap={},
            overlap_unit="tokens",
            repeated=0,
            dropped=0,
        )

    return write
