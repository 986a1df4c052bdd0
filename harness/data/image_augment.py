"""Judge-side variation of small sets: each image served is shifted and turned a little, by its place in the stream.

Angles, shifts and the bilinear weights are integers, so an image comes out the same to the bit on every machine.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

MOST_SHIFT = 2  # pixels, each way
MOST_ANGLE = 12  # degrees, each way
BACKGROUND = 0  # what moves in from outside; the digits are written in white on black
_ANGLE_STEPS = 4  # per degree
_SHIFT_STEPS = 16  # per pixel
_UNIT = 2**12  # of the sines
_BLOCK = 128  # images at a time, so that the intermediate arrays stay in the processor's cache
_FIELD_BITS = 21  # three fields in a draw of 64 bits


class Augmenter:
    """Varies the images of one stream; the n-th image that it is given gets the n-th variation of the seed."""

    def __init__(self, seed: int) -> None:
        self._draws = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(1,)))  # raw draws never change in numpy

    def skip(self, images: int) -> None:
        """Goes on as if it had been given so many."""
        self._draws.advance(images)

    def vary(self, pixels: np.ndarray) -> np.ndarray:
        """Each image of (n, C, S, S) uint8 turned by up to 12 degrees, then shifted by up to 2 pixels each way."""
        draws = self._draws.random_raw(len(pixels))
        angle = _uniform(draws, 0, MOST_ANGLE * _ANGLE_STEPS)
        down = _uniform(draws, 1, MOST_SHIFT * _SHIFT_STEPS)
        across = _uniform(draws, 2, MOST_SHIFT * _SHIFT_STEPS)
        varied = np.empty_like(pixels)
        for start in range(0, len(pixels), _BLOCK):
            part = slice(start, start + _BLOCK)
            varied[part] = moved(pixels[part], angle[part], down[part], across[part])
        return varied


def moved(pixels: np.ndarray, angle: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Images (n, C, S, S) uint8 turned by `angle` (n,) quarter degrees, then shifted by sixteenths of a pixel (n,)."""
    count, channels, size, _ = pixels.shape
    y, x = _origins(size, angle, down, across)  # each (n, S, S), in 1 / 256 pixel
    padded = np.full((count, channels, size + 3, size + 3), BACKGROUND, np.uint8)  # one before, two after
    padded[:, :, 1 : size + 1, 1 : size + 1] = pixels
    row = size + 3
    place = ((y >> 8) + 1) * row + (x >> 8) + 1  # (n, S, S) of the upper left of the four neighbours in their image
    first = np.arange(count * channels, dtype=np.int32).reshape(count, channels, 1, 1) * row * row
    place = place[:, None] + first  # (n, C, S, S)
    flat = padded.reshape(-1)
    upper, lower = (_blend(flat, place + step, x[:, None] & 255) for step in (0, row))
    part = y[:, None] & 255
    values: np.ndarray = (upper * (256 - part) + lower * part + 2**15) >> 16
    return values.astype(np.uint8)


def _blend(flat: np.ndarray, place: np.ndarray, part: np.ndarray) -> np.ndarray:
    """256 times the value that lies `part` 256ths of the way from each place to the one on its right."""
    values: np.ndarray = flat.take(place) * (256 - part) + flat.take(place + 1) * part
    return values


def _origins(size: int, angle: np.ndarray, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in the image each pixel comes from: its row and its column, each (n, S, S) int32 in 1 / 256 pixel."""
    cosine, sine = (table[angle + MOST_ANGLE * _ANGLE_STEPS, None, None] for table in _turns())  # (n, 1, 1)
    middle = np.arange(1 - size, size, 2, dtype=np.int32) * (_SHIFT_STEPS // 2)  # (S,) from the middle, 1 / 16 pixel
    y = middle[:, None] - down.astype(np.int32)[:, None, None]  # (n, S, 1)
    x = middle[None, :] - across.astype(np.int32)[:, None, None]  # (n, 1, S)
    origin = (size - 1) * _SHIFT_STEPS // 2 * _UNIT
    bounds = -256, size * 256  # one pixel beyond the border there is background only
    rows, columns = cosine * y + sine * x + origin, cosine * x - sine * y + origin  # 1 / 65536 pixel
    return np.clip(rows >> 8, *bounds), np.clip(columns >> 8, *bounds)


@cache
def _turns() -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of every angle from the least to the largest, in 1 / 4096."""
    steps = MOST_ANGLE * _ANGLE_STEPS
    angles = [math.radians(step / _ANGLE_STEPS) for step in range(-steps, steps + 1)]
    functions = (math.cos, math.sin)
    cosines, sines = (np.array([round(_UNIT * each(a)) for a in angles], np.int32) for each in functions)
    return cosines, sines


def _uniform(draws: np.ndarray, field: int, most: int) -> np.ndarray:
    """Whole numbers from -most to most, one from each draw (n,) uint64; `field` numbers the bits that are used."""
    bits = draws >> np.uint64(field * _FIELD_BITS) & np.uint64(2**_FIELD_BITS - 1)
    return (bits * np.uint64(2 * most + 1) >> np.uint64(_FIELD_BITS)).astype(np.int64) - most
