"""From a data source to token shards on disk: split by document, tokenized, overlap measured, digested, cached.

`prepare` is the only way to data. Memory is bounded by one shard, a batch of documents and the held-out shingles,
whatever the size of the train split.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.data.cache import build_once
from harness.data.corpus import HELD_OUT, SPLITS, Corpus
from harness.data.overlap import HeldOut
from harness.data.shards import MAX_VOCABULARY, SHARD_TOKENS, ShardWriter, digest_of
from harness.data.sources import Source, find_source
from harness.data.tokenizer import Vocabulary, read_tokenizer, train_bpe
from harness.errors import MachineError, UsageError
from harness.tracks import TextTrack

FORMAT = 1  # raise it when the same source would be prepared differently
PROGRESS_SECONDS = 5.0
Progress = Callable[[str], None]


class PreparedData(BaseModel):
    """One prepared set: its folder of shards and what is known of it. Written once as `prepared.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(exclude=True)
    data_id: str  # sha256 over the token shards, the split and document bounds, and the tokenizer
    source: str
    tokenizer: str | None  # sha256 of tokenizer.json; None: the source came as token ids, without one
    vocab_size: int
    tokens: dict[str, int]  # per split, end-of-text tokens included
    documents: dict[str, int]
    shards: dict[str, int]
    overlap: dict[str, float]  # share of a held-out split's distinct 13-word shingles found in train
    overlap_unit: Literal["words", "tokens"]
    repeated: int  # train documents left out because an equal one is held out
    dropped: int  # held-out documents left out for their overlap with train

    @staticmethod
    def load(folder: Path) -> PreparedData:
        """Read a prepared folder; raises MachineError when it is not one."""
        try:
            facts = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
            return PreparedData(folder=folder, **facts)
        except (OSError, ValueError, TypeError, ValidationError) as error:
            raise MachineError(
                str(folder), f"not a prepared data set: {error}", "delete this folder and prepare again"
            ) from error


def prepare(track: TextTrack, data: str | None = None, progress: Progress = lambda line: None) -> PreparedData:
    """The prepared data of a track: from the cache, or made now (`data` as harness/data/sources.py describes).

    Raises UsageError when the source or its text cannot be used, MachineError when disk or network fail.
    """
    if track.vocab_size > MAX_VOCABULARY:
        raise UsageError(
            f"track {track.name}",
            f"a vocabulary of {track.vocab_size:,}; token ids are stored in 16 bits",
            f"choose a tokenizer of at most {MAX_VOCABULARY:,} entries",
        )
    source = find_source(track, data)
    request = (FORMAT, SHARD_TOKENS, source.identity, track.vocab_size, metadata.version("tokenizers"))
    key = f"{source.name.split(':')[0]}-{hashlib.sha256(repr(request).encode()).hexdigest()[:16]}"
    return PreparedData.load(build_once(key, lambda folder: _build(folder, track, source, progress), progress))


def describe(prepared: PreparedData) -> dict[str, Any]:
    """What `blueberry data show` shows; `intact` tells whether the files still have the digest `data_id`."""
    facts = prepared.model_dump(mode="json")
    digests = {split: digest_of(prepared.folder, split, prepared.shards[split]) for split in SPLITS}
    intact = _data_id(digests, prepared.tokenizer, prepared.vocab_size) == prepared.data_id
    return {**facts, "folder": str(prepared.folder), "intact": intact}


def _build(folder: Path, track: TextTrack, source: Source, progress: Progress) -> None:
    started = time.monotonic()
    progress(f"reading {source.name}")
    corpus = source.open()
    held_out = HeldOut(corpus)
    for split, documents in held_out.documents.items():
        _require(split, documents)
    vocabulary = _vocabulary(track, source, corpus, held_out, progress)
    writers = {split: _write(folder, split, corpus, held_out, vocabulary, progress) for split in (*HELD_OUT, "train")}
    if vocabulary.text:
        (folder / "tokenizer.json").write_text(vocabulary.text, encoding="utf-8")
    prepared = _prepared(folder, source, corpus, held_out, vocabulary, writers)
    lines = json.dumps(prepared.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    (folder / "prepared.json").write_text(lines, encoding="utf-8")
    shares = ", ".join(f"{split} {share:.2%}" for split, share in prepared.overlap.items())
    progress(f"13-{prepared.overlap_unit[:-1]} overlap with train: {shares}")
    progress(f"prepared in {time.monotonic() - started:.0f} s, data id {prepared.data_id[:12]}")


def _vocabulary(track: TextTrack, source: Source, corpus: Corpus, held_out: HeldOut, progress: Progress) -> Vocabulary:
    if held_out.tokenized:
        progress("each row of token ids counts as a document: rows cut from one text may be in different splits")
    if source.tokenizer:
        tokenizer = read_tokenizer(source.tokenizer, track.vocab_size)
        return Vocabulary(tokenizer.get_vocab_size(), tokenizer)
    if held_out.tokenized:
        return Vocabulary(track.vocab_size, None)
    if track.tokenizer != "train":
        raise UsageError(
            "--data",
            f"{source.name} is text, and track {track.name} reads it with the tokenizer {track.tokenizer}",
            "put its tokenizer.json beside the data, or add ?tokenizer=PATH",
        )
    progress(f"learning a vocabulary of {track.vocab_size:,} from the train split")
    return Vocabulary(track.vocab_size, train_bpe(held_out.without_equals(corpus.documents("train")), track.vocab_size))


def _write(
    folder: Path, split: str, corpus: Corpus, held_out: HeldOut, vocabulary: Vocabulary, progress: Progress
) -> ShardWriter:
    documents = corpus.documents(split)
    if split == "train":
        documents = held_out.watch(documents)
    writer = ShardWriter(folder, split, SHARD_TOKENS)
    reported = time.monotonic()
    for ids in vocabulary.ids(documents):
        writer.add(ids)
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            progress(f"{split}: {writer.tokens:,} tokens so far")
    writer.close()
    _require(split, writer.documents)
    progress(f"{split}: {writer.tokens:,} tokens in {writer.documents:,} documents")
    return writer


def _require(split: str, documents: int) -> None:
    if not documents:
        raise UsageError("--data", f"no document for the {split} split", "give more documents, or files for each split")


def _prepared(
    folder: Path,
    source: Source,
    corpus: Corpus,
    held_out: HeldOut,
    vocabulary: Vocabulary,
    writers: dict[str, ShardWriter],
) -> PreparedData:
    digests = {split: writer.digest.hexdigest() for split, writer in writers.items()}
    return PreparedData(
        folder=folder,
        data_id=_data_id(digests, vocabulary.digest, vocabulary.size),
        source=source.name,
        tokenizer=vocabulary.digest,
        vocab_size=vocabulary.size,
        tokens={split: writer.tokens for split, writer in writers.items()},
        documents={split: writer.documents for split, writer in writers.items()},
        shards={split: writer.shards for split, writer in writers.items()},
        overlap={split: known.share_found() for split, known in held_out.known.items()},
        overlap_unit="tokens" if held_out.tokenized else "words",
        repeated=held_out.repeated,
        dropped=corpus.dropped,
    )


def _data_id(digests: dict[str, str], tokenizer: str | None, vocab_size: int) -> str:
    facts = json.dumps([digests, tokenizer, vocab_size], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()
