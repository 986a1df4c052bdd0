"""From an image source to arrays on disk: split by image, brought to one form, copies left out, digested, cached.

`prepare_images` is the only way to image data. Memory is bounded by a batch of images and a digest and an outline of
each held-out one, whatever the size of the train split.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.data.cache import build_once
from harness.data.corpus import HELD_OUT, SPLITS
from harness.data.image_copies import HeldOutImages
from harness.data.image_form import ImageForm, Picture
from harness.data.image_set import ImageSet
from harness.data.image_sources import ImageSource, find_image_source
from harness.data.image_store import BATCH_IMAGES, ImageWriter, digest_of, retain
from harness.errors import MachineError, UsageError

FORMAT = 1  # raise it when the same source would be prepared differently
PROGRESS_SECONDS = 5.0
Progress = Callable[[str], None]


class PreparedImages(BaseModel):
    """One prepared set: its folder of arrays and what is known of it. Written once as `prepared.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(exclude=True)
    data_id: str  # sha256 over the pixels and labels of each split, the form and the class names
    source: str
    form: ImageForm
    class_names: tuple[str, ...]  # of the labels 0, 1, ...
    images: dict[str, int]  # per split
    near: dict[str, int]  # per held-out split: images with a near copy in train, see image_copies.py
    repeated: int  # train images left out because an equal one is held out
    shared: int  # test images left out because an equal one is in validation
    dropped: int  # held-out images left out for their near copy in train; 0 where separate images look like copies

    @staticmethod
    def load(folder: Path) -> PreparedImages:
        """Read a prepared folder; raises MachineError when it is not one."""
        try:
            facts = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
            return PreparedImages(folder=folder, **facts)
        except (OSError, ValueError, TypeError, ValidationError) as error:
            raise MachineError(
                str(folder), f"not a prepared image set: {error}", "delete this folder and prepare again"
            ) from error


def prepare_images(form: ImageForm, data: str, progress: Progress = lambda line: None) -> PreparedImages:
    """The images of a source in one form: from the cache, or made now (`data` as image_sources.py describes).

    A held-out split that the source lacks is cut from train (image_set.py says how much). A train image equal to a
    held-out one is left out, and so is a test image equal to one in validation; equal images within a split stay. A
    held-out image with a near copy in train is left out too (image_copies.py says what that finds and what not), unless
    the source says that its separate images look like copies.

    Raises UsageError when the source or its images cannot be used, MachineError when disk or network fail.
    """
    source = find_image_source(data)
    request = (FORMAT, source.identity, form, metadata.version("pillow"))
    key = f"images-{source.name.split(':')[0]}-{hashlib.sha256(repr(request).encode()).hexdigest()[:16]}"
    return PreparedImages.load(build_once(key, lambda folder: _build(folder, form, source, progress), progress))


def describe_images(prepared: PreparedImages) -> dict[str, Any]:
    """What is known of a set, for people; `intact` tells whether the files still have the digest `data_id`."""
    digests = {split: digest_of(prepared.folder, split) for split in SPLITS}
    intact = _data_id(digests, prepared.form, prepared.class_names) == prepared.data_id
    return {**prepared.model_dump(mode="json"), "folder": str(prepared.folder), "intact": intact}


def _build(folder: Path, form: ImageForm, source: ImageSource, progress: Progress) -> None:
    started = time.monotonic()
    progress(f"reading {source.name}")
    images = source.open()
    held_out = HeldOutImages()
    writers, read = {}, {}
    for split in (*HELD_OUT, "train"):
        with ImageWriter(folder, split, form) as writers[split]:
            read[split] = _write(writers[split], images, form, held_out, progress)
        _require(split, len(writers[split].labels))
    near = {split: held_out.near(split) for split in HELD_OUT}
    for split, copies in near.items():
        if copies.any() and not images.alike:
            writers[split] = retain(folder, split, ~copies, form)
            _require(split, len(writers[split].labels))
    class_names = images.class_names or _numbered(writers)
    prepared = PreparedImages(
        folder=folder,
        data_id=_data_id({split: writer.digest for split, writer in writers.items()}, form, class_names),
        source=source.name,
        form=form,
        class_names=class_names,
        images={split: len(writer.labels) for split, writer in writers.items()},
        near={split: int(copies.sum()) for split, copies in near.items()},
        repeated=held_out.repeated - sum(read[split] for split in images.cut),  # those come by in train a second time
        shared=held_out.shared,
        dropped=0 if images.alike else sum(int(copies.sum()) for copies in near.values()),
    )
    lines = json.dumps(prepared.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    (folder / "prepared.json").write_text(lines, encoding="utf-8")
    progress(f"left out: {prepared.repeated} of train and {prepared.shared} of test, equal to held-out images")
    counts = ", ".join(f"{split} {count}" for split, count in prepared.near.items())
    progress(f"held-out images with a near copy in train: {counts}; left out: {prepared.dropped}")
    progress(f"prepared in {time.monotonic() - started:.0f} s, data id {prepared.data_id[:12]}")


def _write(writer: ImageWriter, images: ImageSet, form: ImageForm, held_out: HeldOutImages, progress: Progress) -> int:
    """Write a split without the images that are left out for an equal one; how many images it had."""
    split = writer.split
    read = 0
    reported = time.monotonic()
    for pixels, labels in _batches(images.pictures(split), form):
        kept = held_out.watch(pixels) if split == "train" else held_out.add(split, pixels)
        writer.add(pixels[kept], labels[kept])
        read += len(labels)
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            progress(f"{split}: {read:,} images so far")
    progress(f"{split}: {len(writer.labels):,} images of {form.size} x {form.size} x {form.channels}")
    return read


def _batches(pictures: Iterator[Picture], form: ImageForm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (n, C, H, W) and labels (n,), both uint8."""
    while batch := list(islice(pictures, BATCH_IMAGES)):
        yield np.stack([picture.pixels(form) for picture in batch]), np.array([each.label for each in batch], np.uint8)


def _require(split: str, images: int) -> None:
    if not images:
        raise UsageError(
            "--data", f"no image is left for the {split} split", "give more images, or files for each split"
        )


def _numbered(writers: dict[str, ImageWriter]) -> tuple[str, ...]:
    classes = 1 + max(int(writer.labels.max()) for writer in writers.values())
    return tuple(map(str, range(classes)))


def _data_id(digests: dict[str, str], form: ImageForm, class_names: tuple[str, ...]) -> str:
    facts = json.dumps([digests, form.channels, form.size, class_names], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()
