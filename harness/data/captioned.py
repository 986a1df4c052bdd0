"""From images to rows of tokens: captions and codes in one stream, encoded once by a frozen tokenizer, cached.

`prepare_captioned` is the only way to captioned data. It begins with the images of image_*.py, split and cleared of
copies there. A set that is too small for one pass over a budget is made larger beforehand: every image is stored
`copies` times, each time shifted and turned a little. Memory is bounded by a batch of images.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.data.cache import build_once
from harness.data.captions import WORDS, CaptionTokenizer, Layout, published_tokenizer, words_tokenizer
from harness.data.corpus import SPLITS
from harness.data.image_augment import Augmenter
from harness.data.image_form import ImageForm
from harness.data.image_store import read_images
from harness.data.images import PROGRESS_SECONDS, PreparedImages, Progress, prepare_images
from harness.data.sources import tokenizer_beside, tokenizer_file
from harness.data.visual import VisualTokenizer, frozen_tokenizer
from harness.errors import MachineError, UsageError
from harness.tracks import CaptionTrack

FORMAT = 1  # raise it when the same source would be prepared differently
BATCH_IMAGES = 256
_SEEDS = {"train": 1, "validation": 2, "test": 3}  # of variations and captions


class PreparedCaptions(BaseModel):
    """One prepared set: its folder of rows and what is known of it. Written once as `prepared.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(exclude=True)
    data_id: str  # sha256 over the images, the frozen tokenizer, the text tokenizer and the captions
    rows_sha256: dict[str, str]  # of what is on disk; codes may differ in the last bit from one machine to another
    source: str
    images_id: str  # data_id of the images
    visual: str  # sha256 of the frozen tokenizer's weights
    class_names: tuple[str, ...]
    rows: dict[str, int]  # per split
    images: dict[str, int]  # different ones, per split

    @staticmethod
    def load(folder: Path) -> PreparedCaptions:
        """Read a prepared folder; raises MachineError when it is not one."""
        try:
            facts = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
            return PreparedCaptions(folder=folder, **facts)
        except (OSError, ValueError, TypeError, ValidationError) as error:
            raise MachineError(
                str(folder), f"not a prepared set of captions: {error}", "delete this folder and prepare again"
            ) from error


def layout_of(track: CaptionTrack) -> Layout:
    return Layout(track.text_vocab, track.n_codes, track.image_tokens, track.row_tokens)


def prepare_captioned(
    track: CaptionTrack, data: str | None, progress: Progress = lambda line: None
) -> PreparedCaptions:
    """The captioned images of a source: from the cache, or made now.

    `data` is as image_sources.py describes, with `?tokenizer=PATH` after it where the track has a published tokenizer.
    Raises UsageError when source, captions or tokenizer cannot be used, MachineError when disk or network fail.
    """
    source, _, given = (data or track.source).partition("?tokenizer=")
    images = prepare_images(ImageForm(track.channels, track.size), source, progress)
    visual = frozen_tokenizer(track.visual)
    maker = _Maker(track, images, visual, _text_tokenizer(track, source, given, images.class_names))
    key = f"captions-{maker.data_id[:16]}"
    return PreparedCaptions.load(build_once(key, lambda folder: _build(folder, maker, progress), progress))


def describe_captioned(prepared: PreparedCaptions) -> dict[str, Any]:
    """What is known of a set, for people; `intact` tells whether the files are still as they were written."""
    intact = all(_digest(read_rows(prepared, split)) == prepared.rows_sha256[split] for split in SPLITS)
    return {**prepared.model_dump(mode="json"), "folder": str(prepared.folder), "intact": intact}


def read_rows(prepared: PreparedCaptions, split: str) -> NDArray[np.uint16]:
    """Map the rows (N, row_tokens) of a split; MachineError when missing or damaged."""
    try:
        rows: NDArray[np.uint16] = np.load(prepared.folder / f"{split}.rows.npy", mmap_mode="r")
        if len(rows) != prepared.rows[split]:
            raise ValueError(f"{len(rows):,} rows where {prepared.rows[split]:,} were written")
    except (OSError, ValueError, EOFError) as error:
        raise MachineError(
            str(prepared.folder), f"the {split} rows cannot be read: {error}", "delete this folder and prepare again"
        ) from error
    return rows


def text_tokenizer_of(prepared: PreparedCaptions, track: CaptionTrack) -> CaptionTokenizer:
    """The text tokenizer that a prepared set was made with."""
    if track.tokenizer == WORDS:
        return words_tokenizer(track.templates, prepared.class_names)
    return published_tokenizer(prepared.folder / "tokenizer.json", track.text_vocab)


def _text_tokenizer(track: CaptionTrack, source: str, given: str, class_names: tuple[str, ...]) -> CaptionTokenizer:
    if track.tokenizer == WORDS:
        text = words_tokenizer(track.templates, class_names)
        if (words := text.tokenizer.get_vocab_size()) > track.text_vocab:
            what = f"its captions take {words} tokens, the track has room for {track.text_vocab}"
            raise UsageError(f"--data {source}", what, "choose images of fewer classes, or with shorter names")
        return text
    kind, _, address = source.partition(":")
    path = Path(address)
    beside = tokenizer_beside(path if path.is_dir() else path.parent) if kind == "files" else None
    file = tokenizer_file(Path(given)) if given else beside
    if file is None:
        raise UsageError(
            f"--data {source}",
            f"track {track.name} reads captions with the tokenizer {track.tokenizer}, which is not there",
            f"add ?tokenizer=PATH of its tokenizer.json: --data '{source}?tokenizer=PATH'",
        )
    return published_tokenizer(file, track.text_vocab)


@dataclass(frozen=True)
class _Maker:
    """Everything that the rows of a set follow from."""

    track: CaptionTrack
    images: PreparedImages
    visual: VisualTokenizer
    text: CaptionTokenizer

    @property
    def data_id(self) -> str:
        track, layout = self.track, layout_of(self.track)
        parts = (self.images.data_id, self.visual.facts.sha256, self.text.digest)
        return hashlib.sha256(repr((FORMAT, parts, track.templates, track.copies, layout)).encode()).hexdigest()

    def rows(self, split: str) -> Iterator[NDArray[np.uint16]]:
        """Rows (n, row_tokens), some at a time."""
        layout = layout_of(self.track)
        names = self.images.class_names
        captions = [
            [self.text.ids(template.format(name), layout.caption_tokens) for template in self.track.templates]
            for name in names
        ]
        for pixels, labels, drawn in self._varied(split):
            chosen = [captions[label][template] for label, template in zip(labels, drawn, strict=True)]
            yield layout.rows(chosen, self.visual.codes(pixels), self.text.bos, self.text.eos)

    def _varied(self, split: str) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint64]]]:
        """Pixels (n, C, S, S), labels and templates (n,): all images as they are, then all of them varied, again."""
        pixels, labels = read_images(self.images.folder, split)
        draws = np.random.PCG64(np.random.SeedSequence(_SEEDS[split]))  # raw draws never change in numpy
        augmenter = Augmenter(_SEEDS[split])
        for copy in range(self.track.copies):
            for start in range(0, len(pixels), BATCH_IMAGES):
                part = slice(start, start + BATCH_IMAGES)
                drawn = (draws.random_raw(len(labels[part])) >> np.uint64(32)) * np.uint64(len(self.track.templates))
                yield augmenter.vary(pixels[part]) if copy else pixels[part], labels[part], drawn >> np.uint64(32)


def _build(folder: Path, maker: _Maker, progress: Progress) -> None:
    started = time.monotonic()
    counts = {split: maker.images.images[split] * maker.track.copies for split in SPLITS}
    digests = {split: _write(folder, split, counts[split], maker, progress) for split in SPLITS}
    if maker.track.tokenizer != WORDS:
        (folder / "tokenizer.json").write_text(maker.text.tokenizer.to_str(), encoding="utf-8")
    prepared = PreparedCaptions(
        folder=folder,
        data_id=maker.data_id,
        rows_sha256=digests,
        source=maker.images.source,
        images_id=maker.images.data_id,
        visual=maker.visual.facts.sha256,
        class_names=maker.images.class_names,
        rows=counts,
        images={split: maker.images.images[split] for split in SPLITS},
    )
    lines = json.dumps(prepared.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    (folder / "prepared.json").write_text(lines, encoding="utf-8")
    progress(f"prepared in {time.monotonic() - started:.0f} s, data id {prepared.data_id[:12]}")


def _write(folder: Path, split: str, count: int, maker: _Maker, progress: Progress) -> str:
    """Write a split; the digest of its rows."""
    file = folder / f"{split}.rows.npy"
    stored = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint16, shape=(count, maker.track.row_tokens))
    done, reported = 0, time.monotonic()
    for rows in maker.rows(split):
        stored[done : done + len(rows)] = rows
        done += len(rows)
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            progress(f"{split}: {done:,} of {count:,} images encoded")
    stored.flush()
    progress(f"{split}: {count:,} rows of {maker.track.row_tokens} tokens")
    return _digest(stored)


def _digest(rows: NDArray[np.uint16]) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(rows), 1 << 12):
        digest.update(np.ascontiguousarray(rows[start : start + (1 << 12)]).data)
    return digest.hexdigest()
