"""Images on disk: the images of a split in one uint8 array, written as they stream in and memory-mapped when read.

`train.pixels.npy` holds the images (N, C, H, W), `train.labels.npy` their classes (N,).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from harness.data.image_form import ImageForm
from harness.errors import MachineError

BATCH_IMAGES = 128  # read and written at a time


class ImageWriter:
    """Writes the images of one split as they come: for a `with` statement, at whose end the split is whole."""

    def __init__(self, folder: Path, split: str, form: ImageForm) -> None:
        self.folder = folder
        self.split = split
        self._shape = (form.channels, form.size, form.size)
        self._labels: list[np.ndarray] = [np.empty(0, np.uint8)]
        self._pixels_digest = hashlib.sha256()
        self._file = _pixels_file(folder, split).open("wb")
        self._write_header()

    @property
    def labels(self) -> np.ndarray:
        """The labels so far, (N,) uint8."""
        return np.concatenate(self._labels)

    @property
    def digest(self) -> str:
        """What `digest_of` finds on disk when the split is whole."""
        return _joined_digest(self._pixels_digest.hexdigest(), self.labels)

    def add(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        """Append n images, (n, C, H, W) uint8, with their labels, (n,) uint8."""
        content = np.ascontiguousarray(pixels).data
        self._file.write(content)
        self._pixels_digest.update(content)
        self._labels.append(labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *details: object) -> None:
        with self._file:
            if failed is None:
                self._file.seek(0)
                self._write_header()
        if failed is None:
            np.save(_labels_file(self.folder, self.split), self.labels)

    def _write_header(self) -> None:
        shape = (len(self.labels), *self._shape)  # numpy leaves room for the first number to grow
        np.lib.format.write_array_header_1_0(self._file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def read_images(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Map the images (N, C, H, W) and labels (N,) of a split, both uint8; MachineError when missing or damaged."""
    try:
        pixels = np.load(_pixels_file(folder, split), mmap_mode="r")
        labels = np.load(_labels_file(folder, split), mmap_mode="r")
        if len(pixels) != len(labels):
            raise ValueError(f"{len(pixels):,} images and {len(labels):,} labels")
    except (OSError, ValueError, EOFError) as error:
        raise MachineError(
            str(folder), f"the {split} images cannot be read: {error}", "delete this folder and prepare again"
        ) from error
    return pixels, labels


def digest_of(folder: Path, split: str) -> str:
    """The digest that the writer had computed, from what is on disk now."""
    digest = hashlib.sha256()
    for pixels in _batches(folder, split):
        digest.update(pixels.data)
    return _joined_digest(digest.hexdigest(), read_images(folder, split)[1])


def retain(folder: Path, split: str, keep: np.ndarray, form: ImageForm) -> ImageWriter:
    """Write a split again with those images alone whose `keep` (N,) is true, in the same order."""
    labels = read_images(folder, split)[1]
    start = 0
    with ImageWriter(folder, f"{split}.kept", form) as writer:
        for pixels in _batches(folder, split):
            part = slice(start, start + len(pixels))
            writer.add(pixels[keep[part]], labels[part][keep[part]])
            start += len(pixels)
    for file in (_pixels_file, _labels_file):
        file(folder, writer.split).replace(file(folder, split))
    return writer


def _batches(folder: Path, split: str) -> Iterator[np.ndarray]:
    """The images of a split, some at a time; mapped anew each time, so that what was read need not stay in memory."""
    for start in range(0, len(read_images(folder, split)[0]), BATCH_IMAGES):
        yield read_images(folder, split)[0][start : start + BATCH_IMAGES]


def _joined_digest(pixels_digest: str, labels: np.ndarray) -> str:
    return hashlib.sha256(f"{pixels_digest} {len(labels)} ".encode() + labels.tobytes()).hexdigest()


def _pixels_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.pixels.npy"


def _labels_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.labels.npy"
