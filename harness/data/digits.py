"""The embedded images: the handwritten digits that come with scikit-learn (Alpaydin and Kaynak 1998).

1,797 grey images of 8 x 8 pixels with values from 0 to 16, scaled to 0..255 and resized as every image is. They are
public, so tracks that use them are for practice and demonstration. Who wrote which digit is not recorded: digits of one
hand are in several splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from harness.data.image_form import Picture
from harness.data.image_set import ImageSet, with_held_out

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT_SHARE = 0.15  # of the images, for validation and for test each: 270 rather than 180 to measure on


def version() -> str:
    """The installed version of scikit-learn, which holds the digits."""
    return metadata.version("scikit-learn")


def read() -> ImageSet:
    """The digits, split by image. At 8 x 8 pixels two digits of different hands may look like copies: `alike`."""
    return with_held_out({"train": _pictures}, CLASS_NAMES, HELD_OUT_SHARE, alike=True)


def _pictures() -> Iterator[Picture]:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for values, label in zip(digits.images, digits.target, strict=True):
        yield Picture(Image.fromarray((values * (255 / 16)).round().astype("uint8")), int(label))
