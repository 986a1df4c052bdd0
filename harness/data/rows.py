"""Parquet sets, local or on the Hugging Face hub, streamed through `datasets`: one row is one document.

A row has a column `text`, or `input_ids` with the token ids. Rows of ids are served as they are, without a separator.
"""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.corpus import SPLITS, Corpus, Document, with_all_splits
from harness.errors import MachineError, UsageError

BATCH_ROWS = 256
PROBE_SECONDS = 5.0
HUB = "https://huggingface.co"


def local_corpus(path: Path) -> Corpus:
    """One parquet file, or a folder with train*, and perhaps validation* and test* files.

    A folder without such names is one unsplit set. Raises UsageError when there is nothing to read.
    """
    files = local_files(path)
    readers = {}
    for split, names in files.items():
        readers[split] = partial(_rows, f"files:{path}", "parquet", "train", data_files=list(map(str, names)))
    return with_all_splits(readers)


def local_files(path: Path) -> dict[str, list[Path]]:
    """The files of each split, sorted by name."""
    found = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not found:
        raise UsageError(f"--data files:{path}", "no parquet file there", "give a parquet file, or a folder with some")
    named = {split: [file for file in found if file.name.startswith(split)] for split in SPLITS}
    if path.is_file() or not any(named.values()):
        return {"train": found}
    if not named["train"]:
        raise UsageError(f"--data files:{path}", "no file there is named train*.parquet", "add the train files")
    return {split: files for split, files in named.items() if files}


def hub_corpus(name: str, revision: str) -> Corpus:
    """A public dataset of the hub at one commit. Raises UsageError when unknown, MachineError without a network."""
    _probe(name, revision)
    return dataset_corpus(name, revision=revision)


def dataset_corpus(name: str, **options: Any) -> Corpus:
    """Whatever `datasets.load_dataset(name, **options)` opens, with the splits it has by the names used here."""
    import datasets

    where = f"hub:{name}"
    try:
        names = datasets.get_dataset_split_names(name, **options)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _unreadable(where, error) from error
    if "train" not in names:
        raise UsageError(f"--data {where}", f"has no train split, only {names}", "choose another dataset")
    return with_all_splits({split: partial(_rows, where, name, split, **options) for split in SPLITS if split in names})


def _rows(where: str, name: str, split: str, **options: Any) -> Iterator[Document]:
    """The documents of one split; empty rows are skipped."""
    import datasets
    import pyarrow  # type: ignore[import-untyped]

    datasets.logging.set_verbosity(logging.CRITICAL)  # what it logs of a failure is in the message raised here
    try:
        # resharded to one row group each: the reader runs ahead of us by a whole shard, which could be gigabytes
        rows = datasets.load_dataset(name, split=split, streaming=True, **options).reshard()
        for table in rows.with_format("arrow").iter(batch_size=BATCH_ROWS):
            yield from _documents(table, where)
    except (FileNotFoundError, pyarrow.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise _unreadable(where, error) from error
    except OSError as error:
        raise MachineError(
            f"--data {where}", f"reading stopped: {error}", "try again, or copy the data to a disk and use files:PATH"
        ) from error


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


def _probe(name: str, revision: str) -> None:
    """Ask the hub for that commit first: `datasets` itself would retry for long before it gave up."""
    address = f"{HUB}/api/datasets/{name}/revision/{revision}"
    where = f"--data hub:{name}@{revision}"
    try:
        urllib.request.urlopen(address, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        raise UsageError(
            where,
            f"the hub answers {error.code} {error.reason}: no such public dataset or commit",
            f"take the commit from {HUB}/datasets/{name}/commits/main",
        ) from error
    except OSError as error:
        raise MachineError(
            where,
            f"{HUB} cannot be reached: {error}",
            "connect this machine to the network, or use a local copy with --data files:PATH",
        ) from error


def _unreadable(where: str, error: Exception) -> UsageError:
    return UsageError(f"--data {where}", f"cannot be read: {error}", "give whole parquet files with a column text")
