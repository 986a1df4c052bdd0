"""How much of the held-out text can be found in the train text, counted in 13-word shingles.

Thirteen consecutive words, split at white space: the unit of the GPT-3 contamination study (Brown et al. 2020,
appendix C). Sets that come as token ids have no words; there the unit is thirteen consecutive tokens.
Only the held-out shingles are kept in memory (8 bytes each), the train text streams past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from harness.data.corpus import HELD_OUT, Corpus, Document, digest

SHINGLE = 13  # words
MOST_SHINGLES = 2**22  # of a held-out split, counted from its start; about 4M words
_WEIGHT = 0x9E3779B97F4A7C15  # odd, so that every power of it is invertible modulo 2**64
_FILTER_BITS = 22


@lru_cache(maxsize=1 << 18)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def shingles(document: Document) -> np.ndarray:
    """Hashes (n - 12,) uint64 of the shingles of one document of n words or token ids; empty below 13."""
    if isinstance(document, str):
        words = document.split()
        units = np.fromiter(map(_word_hash, words), np.uint64, len(words))
    else:
        units = _mix(document.astype(np.uint64) + np.uint64(1))
    count = max(len(units) - SHINGLE + 1, 0)
    total = np.zeros(count, np.uint64)
    for offset in range(SHINGLE):
        total *= np.uint64(_WEIGHT)
        total += units[offset : offset + count]
    return _mix(total)


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: spreads every bit over all 64 (Steele et al. 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


class Known:
    """The distinct shingles of one held-out split, and which of them train has shown so far."""

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = np.unique(hashes)  # (K,) sorted
        self.found = np.zeros(len(self.hashes), bool)  # (K,)
        # most train shingles are not held out: one look at this table settles them without a binary search
        self._present = np.zeros(1 << _FILTER_BITS, bool)
        self._present[self._slot(self.hashes)] = True

    @staticmethod
    def _slot(hashes: np.ndarray) -> np.ndarray:
        return (hashes >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)

    def see(self, train_hashes: np.ndarray) -> None:
        """Note the shingles of one train document."""
        likely = train_hashes[self._present[self._slot(train_hashes)]]
        if not len(likely):
            return
        places = np.searchsorted(self.hashes, likely)
        places[places == len(self.hashes)] = 0
        self.found[places[self.hashes[places] == likely]] = True

    def share_found(self) -> float:
        """Share of the distinct held-out shingles that occur in train; 0 when there are none."""
        return float(self.found.mean()) if len(self.found) else 0.0


class HeldOut:
    """What has to be known of the held-out documents while the train documents stream past."""

    def __init__(self, corpus: Corpus) -> None:
        self.digests: set[int] = set()
        self.known: dict[str, Known] = {}
        self.documents = dict.fromkeys(HELD_OUT, 0)
        self.tokenized = False  # the documents are token ids, not text
        self.repeated = -corpus.set_aside  # train documents left out because an equal one is held out
        for split in HELD_OUT:
            self.known[split] = Known(self._scan(split, corpus.documents(split)))

    def _scan(self, split: str, documents: Iterator[Document]) -> np.ndarray:
        parts = [np.empty(0, np.uint64)]
        count = 0
        for document in documents:
            self.tokenized = not isinstance(document, str)
            self.digests.add(digest(document))
            self.documents[split] += 1
            if count < MOST_SHINGLES:
                parts.append(shingles(document))
                count += len(parts[-1])
        return np.concatenate(parts)

    def without_equals(self, documents: Iterator[Document]) -> Iterator[Document]:
        """The train documents that are not held out."""
        return (document for document in documents if digest(document) not in self.digests)

    def watch(self, documents: Iterator[Document]) -> Iterator[Document]:
        """The same, noting the shingles that pass and the documents left out: for one pass over train."""
        for document in documents:
            if digest(document) in self.digests:
                self.repeated += 1
                continue
            hashes = shingles(document)
            for known in self.known.values():
                known.see(hashes)
            yield document
