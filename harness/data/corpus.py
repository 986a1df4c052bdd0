"""What every data source hands over: documents by split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

Document = str | np.ndarray  # a text, or the token ids of one

HELD_OUT = ("validation", "test")
SPLITS = ("train", *HELD_OUT)
CUT_SHARE = 0.04  # of the documents, for each held-out split that is cut from train
CUT_CHARACTERS = 8_000_000  # a cut split takes no more than this; about 2M tokens of English
_CHARACTERS_PER_ID = 4  # a token id stands for about as many characters


@dataclass(frozen=True)
class Corpus:
    """Documents of three splits. `documents` may be called again and starts over."""

    documents: Callable[[str], Iterator[Document]]  # of the split of that name
    set_aside: int = 0  # documents in `documents("train")` that were cut from it for a held-out split
    dropped: int = 0  # held-out documents left out for their overlap with train


def digest(document: Document) -> int:
    """64 bits that tell documents apart."""
    payload = document.encode() if isinstance(document, str) else document.astype("<i8").tobytes()
    return int.from_bytes(hashlib.blake2b(payload, digest_size=8).digest(), "big")


def with_all_splits(given: Mapping[str, Callable[[], Iterator[Document]]]) -> Corpus:
    """A corpus from the splits at hand; a held-out split that is missing is cut from train by document hash.

    Equal documents have equal hashes and so fall into the same split. The pass over train ends as soon as the cut
    splits are full, which keeps it short and the memory flat on a large set.
    """
    missing = [split for split in HELD_OUT if split not in given]
    cut = _cut(given["train"](), missing) if missing else {}

    def documents(split: str) -> Iterator[Document]:
        return iter(cut[split]) if split in cut else given[split]()

    return Corpus(documents, set_aside=sum(map(len, cut.values())))


def _cut(documents: Iterator[Document], splits: list[str]) -> dict[str, list[Document]]:
    cut: dict[str, list[Document]] = {split: [] for split in splits}
    room = dict.fromkeys(splits, CUT_CHARACTERS)
    for document in documents:
        place = digest(document) / 2**64 / CUT_SHARE
        if place < len(splits) and room[split := splits[int(place)]] > 0:
            cut[split].append(document)
            room[split] -= len(document) * (1 if isinstance(document, str) else _CHARACTERS_PER_ID)
            if max(room.values()) <= 0:
                break
    return cut
