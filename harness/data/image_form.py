"""The form that every image of a set is brought to, and the one way from an image file to its pixels."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LEAST_SIZE = 8  # pixels; the outline that finds copies has 8 x 8 blocks, see image_copies.py
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # what image sets use; PIL would also start programs, for PostScript
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # what is read, and as what; others say more than 8-bit colour


@dataclass(frozen=True)
class ImageForm:
    """Channels and size of the images that a track is trained on.

    An image of another size gives its centred square, resized with the bicubic filter of PIL (which averages when it
    makes smaller). Grey is the luma of ITU-R 601-2. An image that has the size and the channels already is not changed.
    """

    channels: int  # 1: grey, 3: RGB
    size: int  # height and width in pixels

    def __post_init__(self) -> None:
        if self.channels not in (1, 3) or self.size < LEAST_SIZE:
            raise ValueError(f"{self.channels} channels of {self.size} pixels: 1 or 3 of at least {LEAST_SIZE}")


@dataclass(frozen=True)
class Picture:
    """One image as it was given, and its class."""

    image: Image.Image  # mode L or RGB, of any size
    label: int

    @property
    def key(self) -> int:
        """64 bits that tell images apart, of the pixels as given: the same in every form and file format."""
        payload = repr((self.image.mode, self.image.size)).encode() + self.image.tobytes()
        return int.from_bytes(hashlib.blake2b(payload, digest_size=8).digest(), "big")

    def pixels(self, form: ImageForm) -> np.ndarray:
        """The image in that form, (channels, size, size) uint8."""
        from PIL import Image

        image = self.image.convert("L" if form.channels == 1 else "RGB")
        if image.size != (form.size, form.size):
            side = min(image.size)
            left, top = ((length - side) / 2 for length in image.size)
            square = (left, top, left + side, top + side)
            image = image.resize((form.size, form.size), Image.Resampling.BICUBIC, box=square)
        return np.asarray(image).reshape(form.size, form.size, form.channels).transpose(2, 0, 1)


def read_picture(content: bytes, label: int) -> Picture:
    """Decode one image file, turned the way its camera was held. Raises ValueError that says what is wrong with it."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata beside good pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            transparent = image.has_transparency_data
    except UnidentifiedImageError as error:
        raise ValueError("not a PNG, JPEG, WebP or BMP file") from error
    except Exception as error:  # each file format's reader raises what it likes on a bad file
        raise ValueError(f"a damaged image file: {error}") from error
    if image.mode not in _MODES or transparent:
        clear = ", with transparency" if transparent else ""
        raise ValueError(f"mode {image.mode}{clear}, not 8-bit grey or RGB")
    return Picture(image.convert(_MODES[image.mode]), label)
