"""Which images occur twice: equal ones by their pixels, near copies by an outline of 8 x 8 blocks.

The outline of an image is the difference hash of Krawetz (2013) kept in numbers: the image in grey, averaged over 8 x 8
blocks; the differences between neighbouring blocks, down and across; of each the square root with its sign, so that a
few strong edges do not outweigh the rest; scaled to length 1. Two images are near copies when the product of their
outlines is at least NEAR.

Found, of changed CIFAR-10 images: practically all copies that differ in brightness, contrast, colours or noise or were
compressed to JPEG of quality 30; 94 % of those cut by one pixel of 32 on each side; 71 % of those shifted by one pixel.
Not found: copies that are mirrored, turned, inverted or shifted by two pixels, and images without differences between
blocks. Near copies within train, or in validation and test, are not looked for.

213 of the 10,000 test images of CIFAR-10 have a near copy among the 50,000 of train by this rule. 139 of them are among
the 286 that people found with the help of a network (Barz and Denzler 2020, who allow shifts, cuts and mirrors); of the
other 74 nearly all are plain copies to the eye. Where pictures are of one kind and taken in one way some reach NEAR
that are no copies: one in forty of a set of clothes laid flat on the floor.

Only the held-out images' digests and outlines are kept in memory (about 0.5 KB each), the train images stream past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from harness.data.corpus import HELD_OUT

NEAR = 0.9
BLOCKS = 8  # on a side
_UNIT = 2048  # outlines are rounded to 1 / 2048: sums of products of integers below 2**24 are exact in float32


def digests_of(pixels: np.ndarray) -> list[int]:
    """64 bits of each image, (n, C, H, W) uint8, that tell images apart."""
    return [int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big") for image in pixels]


def outlines_of(pixels: np.ndarray) -> np.ndarray:
    """Outlines of n images (n, C, H, W) uint8: (n, 112) float32 of length 1 up to rounding, or 0 for a flat image."""
    size = pixels.shape[-1]
    member = (np.arange(size) * BLOCKS // size == np.arange(BLOCKS)[:, None]).astype(np.float32)  # (8, size)
    area = np.outer(member.sum(1), member.sum(1))  # (8, 8) pixels
    sums = member @ pixels.sum(1, dtype=np.float32) @ member.T  # (n, 8, 8) of whole numbers, so that flat is flat
    blocks = sums.astype(np.float64) / area
    steps = np.concatenate([np.diff(blocks, axis=axis).reshape(len(pixels), -1) for axis in (1, 2)], axis=1)
    total = np.abs(steps).sum(1, keepdims=True)
    roots = np.sign(steps) * np.sqrt(np.abs(steps) / np.where(total == 0, 1, total))
    outlines: np.ndarray = (np.rint(roots * _UNIT) / _UNIT).astype(np.float32)
    return outlines


class HeldOutImages:
    """What has to be known of the held-out images while the train images stream past."""

    def __init__(self) -> None:
        self.shared = 0  # test images left out because an equal one is in validation
        self.repeated = 0  # train images left out because an equal one is held out
        self._digests: dict[str, set[int]] = {split: set() for split in HELD_OUT}
        self._outlines: dict[str, list[np.ndarray]] = {split: [] for split in HELD_OUT}
        self._known: dict[str, np.ndarray] = {}  # (m, 112) outlines of each split, joined by the first `watch`
        self._best: dict[str, np.ndarray] = {}  # (m,) the largest product of each with a train image

    def add(self, split: str, pixels: np.ndarray) -> np.ndarray:
        """Take the next images (n, C, H, W) of a held-out split, validation first; which are kept, (n,) bool."""
        digests = digests_of(pixels)
        kept = self._unknown(digests, [other for other in HELD_OUT if other != split])
        self.shared += int((~kept).sum())
        self._digests[split].update(digests)
        self._outlines[split].append(outlines_of(pixels[kept]))
        return kept

    def watch(self, pixels: np.ndarray) -> np.ndarray:
        """See the next train images (n, C, H, W), after all held-out ones; which are kept, (n,) bool."""
        if not self._known:
            self._known = {split: np.concatenate(parts) for split, parts in self._outlines.items()}
            self._best = {split: np.full(len(known), -1, np.float32) for split, known in self._known.items()}
        kept = self._unknown(digests_of(pixels), HELD_OUT)
        self.repeated += int((~kept).sum())
        outlines = outlines_of(pixels[kept])
        for split, known in self._known.items():
            products = outlines @ known.T  # (n, m)
            np.maximum(self._best[split], products.max(0, initial=-1), out=self._best[split])
        return kept

    def near(self, split: str) -> np.ndarray:
        """Which of the kept images of a held-out split have a near copy among the train images seen, (m,) bool."""
        near: np.ndarray = self._best[split] >= NEAR
        return near

    def _unknown(self, digests: Iterable[int], splits: Iterable[str]) -> np.ndarray:
        known = [self._digests[split] for split in splits]
        return np.array([not any(digest in each for each in known) for digest in digests], bool)
