"""Byte-pair tokenizers: learn one from the train split, or read a published one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.corpus import Document
from harness.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"  # one after every document
BATCH_DOCUMENTS = 64  # encoded at a time
SAMPLE_CHARACTERS = 32_000_000  # of the train split, from which a vocabulary is learnt


@dataclass(frozen=True)
class Vocabulary:
    """The ids that documents are written in."""

    size: int
    tokenizer: Tokenizer | None  # None: unknown, which is enough for documents that are token ids already

    @property
    def text(self) -> str | None:
        """The content of tokenizer.json."""
        return self.tokenizer.to_str() if self.tokenizer else None

    @property
    def digest(self) -> str | None:
        """sha256 of tokenizer.json."""
        return hashlib.sha256(self.text.encode()).hexdigest() if self.text else None

    def ids(self, documents: Iterable[Document]) -> Iterator[np.ndarray]:
        """Each document as (n,) uint16: texts with an end-of-text token, ids as they are.

        Raises UsageError when an id lies outside the vocabulary.
        """
        remaining = iter(documents)
        while batch := list(islice(remaining, BATCH_DOCUMENTS)):
            yield from self._encoded(batch) if isinstance(batch[0], str) else map(self._checked, batch)

    def _encoded(self, texts: list[Any]) -> Iterator[np.ndarray]:
        assert self.tokenizer is not None, "only texts are encoded"
        end = self.tokenizer.token_to_id(END_OF_TEXT)
        for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield np.array([*encoding.ids, end], np.uint16)

    def _checked(self, ids: Any) -> np.ndarray:
        if ids.min() < 0 or ids.max() >= self.size:
            raise UsageError(
                "--data",
                f"input_ids run from {ids.min()} to {ids.max()}, the vocabulary has {self.size:,} entries",
                "choose the track whose tokenizer made them",
            )
        return np.asarray(ids, np.uint16)


@dataclass(frozen=True)
class Text:
    """Words to ids and back, for people who talk to a trained model."""

    tokenizer: Tokenizer

    @staticmethod
    def read(file: Path, vocab_size: int) -> Text:
        """That of a tokenizer.json; raises UsageError as `read_tokenizer` does."""
        return Text(read_tokenizer(file, vocab_size))

    @property
    def end(self) -> int:
        """The token after every document."""
        token = self.tokenizer.token_to_id(END_OF_TEXT)
        assert token is not None, "read_tokenizer saw to it that there is one"
        return token

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decoded(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


def train_bpe(documents: Iterable[Document], vocab_size: int) -> Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2) of the first 32M characters of `documents`.

    The end-of-text token has id 0. Equal documents give an equal tokenizer, whatever the number of threads.
    Raises UsageError when the text is too little to fill the vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first_characters(documents, SAMPLE_CHARACTERS), trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise UsageError(
            "--data",
            f"the train text yields only {tokenizer.get_vocab_size():,} of {vocab_size:,} vocabulary entries",
            "give more text, or a tokenizer: files:PATH?tokenizer=PATH",
        )
    return tokenizer


def read_tokenizer(file: Path, vocab_size: int) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`.

    Raises UsageError when it cannot be read, has more entries than `vocab_size`, or knows no end-of-text token.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the Rust side raises bare Exception for every kind of bad file
        raise UsageError(
            str(file), f"not a tokenizer: {error}", "give a tokenizer.json of the tokenizers library"
        ) from error
    size = tokenizer.get_vocab_size()
    if size > vocab_size:
        raise UsageError(
            str(file),
            f"has {size:,} entries, the track {vocab_size:,}",
            "choose the track's tokenizer, or another track",
        )
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise UsageError(str(file), f"has no {END_OF_TEXT} token", "choose the track's tokenizer")
    return tokenizer


def _first_characters(documents: Iterable[Document], limit: int) -> Iterator[Document]:
    for document in documents:
        yield document
        limit -= len(document)
        if limit <= 0:
            return
