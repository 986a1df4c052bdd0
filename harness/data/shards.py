"""Tokens on disk: uint16 arrays of whole documents, written as they stream in and read one shard at a time.

`train-00000.tokens.npy` holds the documents of a shard one after the other, `train-00000.bounds.npy` where each of
them begins and the last one ends. Both are memory-mapped when read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import MachineError

SHARD_TOKENS = 2**23  # 16 MiB; a shard is closed before it would exceed this; a longer document has a shard to itself
MAX_VOCABULARY = 2**16  # ids are stored as uint16


@dataclass(frozen=True)
class Shard:
    """Some documents of one split."""

    tokens: np.ndarray  # (N,) uint16
    bounds: np.ndarray  # (documents + 1,) int64, from 0 to N


class ShardWriter:
    """Writes the documents of one split, holding at most one shard in memory; `close` it at the end."""

    def __init__(self, folder: Path, split: str, shard_tokens: int) -> None:
        self.folder = folder
        self.split = split
        self.shard_tokens = shard_tokens
        self.tokens = 0
        self.documents = 0
        self.shards = 0
        self.digest = hashlib.sha256()  # of what was written, shard bounds included
        self._pending: list[np.ndarray] = []
        self._pending_tokens = 0

    def add(self, document: np.ndarray) -> None:
        """Append one document of (n,) uint16 tokens."""
        if self._pending and self._pending_tokens + len(document) > self.shard_tokens:
            self._flush()
        self._pending.append(document)
        self._pending_tokens += len(document)
        self.tokens += len(document)
        self.documents += 1

    def close(self) -> None:
        """Write what is left."""
        if self._pending:
            self._flush()

    def _flush(self) -> None:
        tokens = np.concatenate(self._pending).astype("<u2")
        bounds = np.cumsum([0, *(len(document) for document in self._pending)], dtype="<i8")
        stem = _stem(self.folder, self.split, self.shards)
        np.save(f"{stem}.tokens.npy", tokens)
        np.save(f"{stem}.bounds.npy", bounds)
        self.digest.update(bounds.data)
        self.digest.update(tokens.data)
        self.shards += 1
        self._pending = []
        self._pending_tokens = 0


def read_shard(folder: Path, split: str, index: int) -> Shard:
    """Map one shard; raises MachineError when it is missing or damaged."""
    stem = _stem(folder, split, index)
    try:
        tokens = np.load(f"{stem}.tokens.npy", mmap_mode="r")
        bounds = np.load(f"{stem}.bounds.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise MachineError(
            str(folder), f"{split} shard {index} cannot be read: {error}", "delete this folder and prepare again"
        ) from error
    return Shard(tokens, bounds)


def digest_of(folder: Path, split: str, shards: int) -> str:
    """The digest that the writer had computed, from what is on disk now."""
    digest = hashlib.sha256()
    for index in range(shards):
        shard = read_shard(folder, split, index)
        digest.update(shard.bounds.data)
        digest.update(shard.tokens.data)
    return digest.hexdigest()


def _stem(folder: Path, split: str, index: int) -> str:
    return str(folder / f"{split}-{index:05d}")
