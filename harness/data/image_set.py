"""What every image source hands over: pictures by split. The counterpart of corpus.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from harness.data.corpus import HELD_OUT
from harness.data.image_form import Picture

CUT_SHARE = 0.1  # of the images, for each held-out split that is cut from train
CUT_IMAGES = 5_000  # a cut split takes no more than this


@dataclass(frozen=True)
class ImageSet:
    """Pictures of three splits. `pictures` may be called again and starts over."""

    pictures: Callable[[str], Iterator[Picture]]  # of the split of that name
    class_names: tuple[str, ...] | None  # None: the labels are bare numbers
    cut: frozenset[str] = frozenset()  # splits whose pictures are also in `pictures("train")`
    alike: bool = False  # separate pictures of this set resemble each other as much as copies do elsewhere


def with_held_out(
    given: Mapping[str, Callable[[], Iterator[Picture]]],
    class_names: tuple[str, ...] | None,
    share: float = CUT_SHARE,
    alike: bool = False,
) -> ImageSet:
    """A set from the splits at hand; a held-out split that is missing is cut from train by image hash.

    Pictures of equal pixels have equal hashes and so fall into the same split, in whatever order and file format they
    come and in whatever form they are prepared. A cut split is a pass over train that ends when the split is full, so
    no picture is kept in memory.
    """
    missing = [split for split in HELD_OUT if split not in given]

    def pictures(split: str) -> Iterator[Picture]:
        return given[split]() if split in given else _cut(given["train"](), missing.index(split), share)

    return ImageSet(pictures, class_names, frozenset(missing), alike)


def _cut(pictures: Iterator[Picture], place: int, share: float) -> Iterator[Picture]:
    """The first pictures whose hash lies in the part number `place` of the range of hashes."""
    room = CUT_IMAGES
    for picture in pictures:
        if int(picture.key / 2**64 / share) == place:
            yield picture
            room -= 1
            if room == 0:
                return
