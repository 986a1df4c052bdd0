"""Text from parquet sets: one row is one document.

A row has a column `text`, or `input_ids` with the token ids. Rows of ids are served as they are, without a separator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.data import parquet
from harness.data.corpus import Corpus, Document, with_all_splits
from harness.data.parquet import Tables
from harness.errors import UsageError

BATCH_ROWS = 256
NEEDS = "a column text"


def local_corpus(path: Path) -> Corpus:
    """One parquet file, or a folder with train*, and perhaps validation* and test* files.

    A folder without such names is one unsplit set. Raises UsageError when there is nothing to read.
    """
    return _corpus(f"files:{path}", parquet.local_tables(path, BATCH_ROWS, NEEDS))


def hub_corpus(name: str, revision: str) -> Corpus:
    """A public dataset of the hub at one commit. Raises UsageError when unknown, MachineError without a network."""
    parquet.probe(name, revision)
    return dataset_corpus(name, revision=revision)


def dataset_corpus(name: str, **options: Any) -> Corpus:
    """Whatever `datasets.load_dataset(name, **options)` opens, with the splits it has by the names used here."""
    return _corpus(f"hub:{name}", parquet.dataset_tables(name, BATCH_ROWS, NEEDS, **options))


def _corpus(where: str, splits: Mapping[str, Tables]) -> Corpus:
    return with_all_splits({split: partial(_rows, where, tables) for split, tables in splits.items()})


def _rows(where: str, tables: Tables) -> Iterator[Document]:
    """The documents of one split; empty rows are skipped."""
    for table in tables():
        yield from _documents(table, where)


def _documents(table: Any, where: str) -> Iterator[Document]:
    """The non-empty documents of a pyarrow table."""
    names = table.column_names
    if "text" in names:
        yield from filter(None, table.column("text").to_pylist())
    elif "input_ids" in names:
        for row in table.column("input_ids"):
            if row.is_valid and len(row):
                yield np.array(row.values)  # a copy: a view would keep the whole batch in memory
    else:
        raise UsageError(f"--data {where}", f"no column text or input_ids, only {names}", "rename the column to text")
