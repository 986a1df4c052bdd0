"""What all tracks of images share: their data, and how it is served to a training worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data import images as preparing
from harness.data.image_form import ImageForm
from harness.data.image_stream import ImageStream, check_image_budget
from harness.data.images import PreparedImages
from harness.data.prepare import Progress
from harness.run import stage
from harness.tracks import ImageTrack

LARGEST_TAKE = 1 << 14  # images in one request; bounds the judge's memory
LARGEST_ERROR = 1e12  # of an item, where pixels lie in -1..1; far below what float32 and the sums of all items hold


@dataclass(frozen=True)
class Feed:
    """Images with their labels, in batches of whatever size the worker asks for."""

    stream: ImageStream
    shape: tuple[int, int, int]  # of an image

    @property
    def served(self) -> int:
        return self.stream.served

    @property
    def unique_tokens(self) -> int:
        return self.stream.unique_tokens

    @property
    def told(self) -> dict[str, Any]:
        return {"image": self.shape}

    def skip(self, tokens: int) -> None:
        self.stream.skip(tokens)

    def answer(self, request: dict[str, Any]) -> bytes | None:
        batch = self.stream.take(stage.number(request, "rows", 1, LARGEST_TAKE))
        return None if batch is None else batch[0].tobytes() + batch[1].tobytes()


@dataclass(frozen=True)
class Errors:
    """What a measure of images commits to: the squared error (R,) of every item."""

    errors: NDArray[np.float64]

    @property
    def by_item(self) -> NDArray[np.float32]:
        return -self.errors.astype(np.float32)

    @property
    def loss(self) -> float:
        return float(self.errors.mean())


def prepare(track: ImageTrack, data: str | None, progress: Progress) -> PreparedImages:
    return preparing.prepare_images(ImageForm(track.channels, track.size), data or track.source, progress)


def describe(prepared: PreparedImages) -> dict[str, Any]:
    return preparing.describe_images(prepared)


def check_budget(prepared: PreparedImages, track: ImageTrack, budget_tokens: int, epochs: int) -> None:
    if not track.augment:  # else every pass serves other pictures
        check_image_budget(prepared, budget_tokens, track.image_tokens, epochs)


def feed(prepared: PreparedImages, track: ImageTrack, seed: int, budget_tokens: int, epochs: int) -> Feed:
    stream = ImageStream(prepared, seed, budget_tokens, track.image_tokens, epochs, track.augment)
    return Feed(stream, (track.channels, track.size, track.size))


def bounded(errors: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """The errors of a model's answers; raises StageError where one is not finite, or so large that it tells nothing."""
    if not (errors <= LARGEST_ERROR).all():  # NaN is not below it either
        raise stage.StageError("diverged", f"score: the model gives {what} that are not finite, or beyond all bounds")
    return errors


def as_floats(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels 0..255 as -1..1."""
    return pixels.astype(np.float32) / 127.5 - 1
