"""Parquet sets, local or on the Hugging Face hub, opened through `datasets` and read in tables of a few rows.

What a row means is for rows.py (text) and image_rows.py (images) to say.
"""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from harness.data.corpus import SPLITS
from harness.errors import MachineError, UsageError

PROBE_SECONDS = 5.0
HUB = "https://huggingface.co"
Tables = Callable[[], Iterator[Any]]  # pyarrow tables; called again, it starts over


def local_tables(path: Path, rows: int, needs: str) -> dict[str, Tables]:
    """The splits of a parquet file or folder, in tables of at most `rows` rows; `needs` says what a good file holds."""
    where = f"files:{path}"
    return {
        split: partial(
            tables, where, "parquet", "train", rows, needs, data_files=list(map(str, names)), batch_size=rows
        )
        for split, names in local_files(path).items()
    }


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


def dataset_tables(name: str, rows: int, needs: str, **options: Any) -> dict[str, Tables]:
    """Whatever `datasets.load_dataset(name, **options)` opens, with the splits it has by the names used here."""
    import datasets

    where = f"hub:{name}"
    try:
        names = datasets.get_dataset_split_names(name, **options)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _unreadable(where, error, needs) from error
    if "train" not in names:
        raise UsageError(f"--data {where}", f"has no train split, only {names}", "choose another dataset")
    return {split: partial(tables, where, name, split, rows, needs, **options) for split in SPLITS if split in names}


def tables(where: str, name: str, split: str, rows: int, needs: str, **options: Any) -> Iterator[Any]:
    """One split as pyarrow tables of at most `rows` rows."""
    import datasets
    import pyarrow  # type: ignore[import-untyped]

    datasets.logging.set_verbosity(logging.CRITICAL)  # what it logs of a failure is in the message raised here
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else local files, too, wait for an answer from the network
    try:
        # resharded to one row group each: the reader runs ahead of us by a whole shard, which could be gigabytes
        opened = datasets.load_dataset(name, split=split, streaming=True, **options).reshard()
        yield from opened.with_format("arrow").iter(batch_size=rows)
    except (FileNotFoundError, pyarrow.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise _unreadable(where, error, needs) from error
    except OSError as error:
        raise MachineError(
            f"--data {where}", f"reading stopped: {error}", "try again, or copy the data to a disk and use files:PATH"
        ) from error


def probe(name: str, revision: str) -> None:
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


def _unreadable(where: str, error: Exception, needs: str) -> UsageError:
    return UsageError(f"--data {where}", f"cannot be read: {error}", f"give whole parquet files with {needs}")
