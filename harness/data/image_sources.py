"""What `--data` can name for images, and how each source is opened. The counterpart of sources.py.

embedded, digits     the handwritten digits of scikit-learn
files:PATH           local parquet: a file, or a folder with train*, validation*, test* files
hub:NAME@COMMIT      a public dataset of the Hugging Face hub at one commit
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.data import digits, image_rows
from harness.data.image_set import ImageSet
from harness.data.parquet import local_files
from harness.data.sources import hub_source, state_of
from harness.errors import UsageError

CIFAR10 = "hub:uoft-cs/cifar10@0b2714987fa478483af9968de7c934580d0bb9a2"


@dataclass(frozen=True)
class ImageSource:
    """One image source, named but not yet read."""

    name: str  # for people; equal names may hold different data
    identity: tuple[object, ...]  # changes whenever the data may have changed; part of the key of the cache
    open: Callable[[], ImageSet]


def find_image_source(data: str) -> ImageSource:
    """The image source that `--data` names; raises UsageError when there is none of that name."""
    kind, _, address = (CIFAR10 if data == "cifar10" else data).partition(":")
    if data in ("embedded", "digits"):
        return ImageSource("digits", ("digits", digits.version()), digits.read)
    if kind == "files" and address:
        return _files(Path(address))
    if kind == "hub" and address:
        named = hub_source(address, None)
        name, _, revision = address.partition("@")
        return ImageSource(named.name, named.identity, lambda: image_rows.hub_images(name, revision))
    raise UsageError("--data", f"no image source {data!r}", "choose embedded, cifar10, files:PATH or hub:NAME@COMMIT")


def _files(path: Path) -> ImageSource:
    if not path.exists():
        raise UsageError(f"--data files:{path}", "no such file or folder", "give the path of a parquet file or folder")
    files = [file for members in local_files(path).values() for file in members]
    identity = ("files", *map(state_of, files))
    return ImageSource(f"files:{path.resolve().name}", identity, lambda: image_rows.local_images(path))
