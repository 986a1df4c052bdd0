"""Captions and the layout of a captioned image: [BOS] caption <seg_start> codes <seg_end> [EOS], in one vocabulary.

Text tokens come first, then the two markers, then the codes. BOS and EOS are the text tokenizer's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.data.tokenizer import Text
from harness.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_TOKEN = 0xFFFF  # fills rows up to the length of the longest
WORDS = "words"  # the tokenizer of tiny tracks: a token for each word of the captions
BOS, EOS = "<bos>", "<eos>"


@dataclass(frozen=True)
class Layout:
    """Where text, markers and codes are in the vocabulary, and how long a row is."""

    text_vocab: int
    n_codes: int
    image_tokens: int  # G: codes of an image
    row_tokens: int  # of a whole row: longer ones are refused, shorter ones filled with NO_TOKEN

    @property
    def seg_start(self) -> int:
        return self.text_vocab

    @property
    def seg_end(self) -> int:
        return self.text_vocab + 1

    @property
    def first_code(self) -> int:
        return self.text_vocab + 2

    @property
    def vocab_size(self) -> int:
        return self.text_vocab + 2 + self.n_codes

    @property
    def caption_tokens(self) -> int:
        """The longest caption, without BOS."""
        return self.row_tokens - self.image_tokens - 4

    def rows(self, captions: Sequence[list[int]], codes: NDArray[np.uint16], bos: int, eos: int) -> NDArray[np.uint16]:
        """Rows (n, row_tokens) of captions (without BOS) and the codes (n, G) of their images."""
        rows = np.full((len(codes), self.row_tokens), NO_TOKEN, np.uint16)
        for row, caption, image in zip(rows, captions, codes, strict=True):
            start = len(caption) + 2
            row[:start] = [bos, *caption, self.seg_start]
            row[start : start + len(image)] = image + self.first_code
            row[start + len(image) : start + len(image) + 2] = [self.seg_end, eos]
        return rows

    def prompt(self, caption: list[int], bos: int) -> list[int]:
        """What stands before the codes of an image."""
        return [bos, *caption, self.seg_start]


@dataclass(frozen=True)
class CaptionTokenizer:
    """The text side of a captioned track."""

    tokenizer: Tokenizer
    bos: int
    eos: int

    @property
    def digest(self) -> str:
        """sha256 of tokenizer.json."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    def ids(self, caption: str, longest: int) -> list[int]:
        """Token ids of a caption; raises UsageError when it has unknown words or more than `longest` tokens."""
        ids = list(self.tokenizer.encode(caption, add_special_tokens=False).ids)
        unknown = self.tokenizer.token_to_id("<unknown>")
        if unknown is not None and unknown in ids:
            known = sorted(word for word in self.tokenizer.get_vocab() if not word.startswith("<"))
            raise UsageError("caption", f"{caption!r} has unknown words", f"use these: {' '.join(known)}")
        if len(ids) > longest:
            raise UsageError("caption", f"{caption!r} has {len(ids)} tokens, the limit is {longest}", "shorten it")
        return ids


def words_tokenizer(templates: Sequence[str], class_names: Sequence[str]) -> CaptionTokenizer:
    """A token for each word of the templates and the class names, after BOS, EOS and one for all other words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word for text in (*templates, *class_names) for word in text.replace("{}", " ").split()})
    vocabulary = {token: i for i, token in enumerate((BOS, EOS, "<unknown>", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return CaptionTokenizer(tokenizer, vocabulary[BOS], vocabulary[EOS])


def published_tokenizer(file: Path, text_vocab: int) -> CaptionTokenizer:
    """The tokenizer of a tokenizer.json whose end-of-text token ends a row, and begins one too."""
    text = Text.read(file, text_vocab)
    return CaptionTokenizer(text.tokenizer, text.end, text.end)
