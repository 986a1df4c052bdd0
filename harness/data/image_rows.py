"""Image sets in parquet, local or on the Hugging Face hub, streamed through `datasets`: one row is one image.

A row has a column `img` or `image` with the content of an image file, and a column `label` with the number of its
class; the names of the classes are taken from the set's description if it has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from harness.data import parquet
from harness.data.image_form import Picture, read_picture
from harness.data.image_set import ImageSet, with_held_out
from harness.data.parquet import Tables
from harness.errors import UsageError

BATCH_ROWS = 64
MAX_CLASSES = 2**8  # labels are stored as uint8
NEEDS = "the columns img and label"
_IMAGE_COLUMNS = ("img", "image")


def local_images(path: Path) -> ImageSet:
    """One parquet file, or a folder with train*, and perhaps validation* and test* files.

    A folder without such names is one unsplit set. Raises UsageError when there is nothing to read.
    """
    return _image_set(f"files:{path}", parquet.local_tables(path, BATCH_ROWS, NEEDS))


def hub_images(name: str, revision: str) -> ImageSet:
    """A public dataset of the hub at one commit. Raises UsageError when unknown, MachineError without a network."""
    parquet.probe(name, revision)
    return dataset_images(name, revision=revision)


def dataset_images(name: str, **options: Any) -> ImageSet:
    """Whatever `datasets.load_dataset(name, **options)` opens, with the splits it has by the names used here."""
    return _image_set(f"hub:{name}", parquet.dataset_tables(name, BATCH_ROWS, NEEDS, **options))


def _image_set(where: str, tables: Mapping[str, Tables]) -> ImageSet:
    first = {split: next(open_tables(), None) for split, open_tables in tables.items()}
    named = {split: _class_names(where, table) for split, table in first.items() if table is not None}
    if len(set(named.values())) > 1:
        raise UsageError(f"--data {where}", f"the class names of its splits differ: {named}", "give one set of classes")
    names = next(iter(named.values()), None)
    readers = {split: partial(_pictures, where, split, each, names) for split, each in tables.items()}
    return with_held_out(readers, names)


def _class_names(where: str, table: Any) -> tuple[str, ...] | None:
    """Names of the classes in the description that came with a table; None when its labels are bare integers."""
    import datasets
    import pyarrow  # type: ignore[import-untyped]

    names = table.column_names
    if "label" not in names or not any(column in names for column in _IMAGE_COLUMNS):
        raise UsageError(
            f"--data {where}", f"no columns img (or image) and label, only {names}", "rename the columns to img, label"
        )
    label = datasets.Features.from_arrow_schema(table.schema)["label"]
    if isinstance(label, datasets.ClassLabel):
        return tuple(label.names)
    if not pyarrow.types.is_integer(table.schema.field("label").type):
        raise UsageError(
            f"--data {where}", f"column label holds {table.schema.field('label').type}", "number the classes from 0"
        )
    return None


def _pictures(where: str, split: str, open_tables: Tables, names: tuple[str, ...] | None) -> Iterator[Picture]:
    number = 0
    classes = min(len(names), MAX_CLASSES) if names else MAX_CLASSES
    for table in open_tables():
        column = next(column for column in _IMAGE_COLUMNS if column in table.column_names)
        for cell, label in zip(table.column(column), table.column("label"), strict=True):
            try:
                picture = read_picture(_content(cell.as_py()), _checked(label.as_py(), classes))
            except ValueError as error:
                raise UsageError(
                    f"--data {where}",
                    f"image {number} of {split}: {error}",
                    f"give PNG, JPEG, WebP or BMP files in 8-bit grey or RGB, with labels from 0 to {classes - 1}",
                ) from error
            yield picture
            number += 1


def _content(cell: Any) -> bytes:
    """The image file in a cell: `datasets` stores it with the path that it once had."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise ValueError("the content of an image file is missing")
    return content


def _checked(label: Any, classes: int) -> int:
    if label is None or not 0 <= label < classes:
        raise ValueError(f"label {label}, with {classes} classes")
    return int(label)
