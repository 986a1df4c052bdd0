"""Serves prepared images: the training stream of a seed, counted in tokens, and the held-out images to score."""

from __future__ import annotations

import numpy as np

from harness.data.corpus import HELD_OUT
from harness.data.image_augment import Augmenter
from harness.data.image_store import read_images
from harness.data.images import PreparedImages
from harness.data.passes import Passes
from harness.errors import UsageError


def check_image_budget(prepared: PreparedImages, budget_tokens: int, image_tokens: int, epochs: int) -> None:
    """Raises UsageError when the budget needs more passes than `epochs`; an image is `image_tokens` tokens."""
    available = prepared.images["train"] * image_tokens * epochs
    if budget_tokens > available:
        raise UsageError(
            "--budget",
            f"{budget_tokens:,} training tokens, but {epochs} pass(es) over {prepared.source} give {available:,}",
            "choose a smaller budget, more data with --data, or allow more passes with --epochs",
        )


class ImageStream:
    """The train images in the order of a seed, each counted as `image_tokens` tokens of a budget.

    No image is served twice within a pass, and the order does not depend on the shape of the batches (passes.py). The
    images stay on disk and are mapped.

    With `augment` every image served is shifted and turned a little (image_augment.py), in a way that follows from the
    seed and from how many images were served before. Each pass then shows other pictures, so passes are not limited and
    `epochs` is not looked at; `unique_tokens` still counts the stored images.

    Raises UsageError when the budget needs more passes than `epochs`, MachineError when the images cannot be read.
    """

    def __init__(
        self,
        prepared: PreparedImages,
        seed: int,
        budget_tokens: int,
        image_tokens: int,
        epochs: int = 1,
        augment: bool = False,
    ) -> None:
        if image_tokens < 1:
            raise ValueError(f"an image of {image_tokens} tokens")
        if not augment:
            check_image_budget(prepared, budget_tokens, image_tokens, epochs)
        self.prepared = prepared
        self.seed = seed
        self.budget_tokens = budget_tokens
        self.image_tokens = image_tokens
        self.served = 0  # tokens so far: images of every `take` x image_tokens
        self._pixels, self._labels = read_images(prepared.folder, "train")  # (N, C, H, W), (N,)
        self._augmenter = Augmenter(seed) if augment else None
        self._passes = Passes(len(self._labels), seed)

    @property
    def unique_tokens(self) -> int:
        """Tokens of different stored images within the budget; below `budget_tokens` in more than one pass."""
        return min(self.budget_tokens, len(self._labels) * self.image_tokens)

    def take(self, rows: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The next images, (rows, C, H, W) uint8, and their labels, (rows,) uint8.

        None, and nothing served, when fewer than rows x image_tokens tokens remain of the budget. Raises ValueError for
        an empty or negative batch, which would turn the meter back.
        """
        if rows < 1:
            raise ValueError(f"a batch of {rows} images")
        count = rows * self.image_tokens
        if self.served + count > self.budget_tokens:
            return None
        places = self._passes.take(rows)
        pixels, labels = self._pixels[places], self._labels[places]
        self.served += count
        return (self._augmenter.vary(pixels) if self._augmenter else pixels), labels

    def skip(self, tokens: int) -> None:
        """Serves this many to nobody: a run that is resumed has had them."""
        images = tokens // self.image_tokens
        self._passes.take(images)
        if self._augmenter:
            self._augmenter.skip(images)
        self.served += images * self.image_tokens


def held_out_images(prepared: PreparedImages, split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images (N, C, H, W) and labels (N,) of a held-out split in stored order, uint8, mapped from disk.

    Raises ValueError for another split, MachineError when they cannot be read.
    """
    if split not in HELD_OUT:
        raise ValueError(f"{split} is not held out")
    return read_images(prepared.folder, split)
