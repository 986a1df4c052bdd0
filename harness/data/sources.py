"""What `--data` can name, and how each source is opened.

    embedded                             the docstrings of installed packages (tracks that train their own tokenizer)
    files:PATH[?tokenizer=PATH]          local parquet: a file, or a folder with train*, validation*, test* files
    hub:NAME@COMMIT[?tokenizer=PATH]     a public dataset of the Hugging Face hub at one commit

Without `?tokenizer=`, a published tokenizer is looked for beside the files: `tokenizer.json` or `tokenizer/`, in the
folder or next to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.data import parquet, pydocs, rows
from harness.data.corpus import Corpus
from harness.errors import UsageError
from harness.tracks import TextTrack

HUB_DATASET = "vukrosic/blueberry-1B-pretrain"  # 70 % fineweb-edu-dedup, 30 % cosmopedia-v2, rows of 2,048 ids
_TOKENIZER = "?tokenizer="
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """One data source, named but not yet read."""

    name: str  # for people; equal names may hold different data
    identity: tuple[object, ...]  # changes whenever the data may have changed; the key of the cache
    tokenizer: Path | None  # of the published tokenizer; None: learn one, or the rows are token ids already
    open: Callable[[], Corpus]


def find_source(track: TextTrack, data: str | None) -> Source:
    """The source that `--data` names, or the track's own; raises UsageError when there is none of that name."""
    kind, _, rest = (data or track.source).partition(":")
    address, _, tokenizer = rest.partition(_TOKENIZER)
    given = tokenizer_file(Path(tokenizer)) if tokenizer else None
    if kind in ("embedded", "pydocs") and not rest:
        return _embedded(track)
    if kind == "files" and address:
        return _files(track, Path(address), given)
    if kind == "hub":
        return hub_source(address or HUB_DATASET, given)
    raise UsageError("--data", f"no source {data!r}", "choose embedded, files:PATH or hub:NAME@COMMIT")


def _embedded(track: TextTrack) -> Source:
    if track.tokenizer != "train":
        raise UsageError(
            "--data embedded",
            f"track {track.name} reads text with the tokenizer {track.tokenizer}, which is not embedded",
            "use --data files:PATH with tokenizer.json beside it, or a tiny track",
        )
    return Source("pydocs", ("pydocs", *pydocs.versions().items()), None, _read_pydocs)


def _read_pydocs() -> Corpus:
    documents = pydocs.read()
    return Corpus(lambda split: iter(documents.splits[split]), dropped=documents.dropped)


def _files(track: TextTrack, path: Path, tokenizer: Path | None) -> Source:
    if not path.exists():
        raise UsageError(f"--data files:{path}", "no such file or folder", "give the path of a parquet file or folder")
    if tokenizer is None and track.tokenizer != "train":
        tokenizer = tokenizer_beside(path if path.is_dir() else path.parent)
    files = [file for members in parquet.local_files(path).values() for file in members]
    identity = ("files", *map(state_of, files), tokenizer and state_of(tokenizer))
    return Source(f"files:{path.resolve().name}", identity, tokenizer, lambda: rows.local_corpus(path))


def hub_source(address: str, tokenizer: Path | None) -> Source:
    name, _, revision = address.partition("@")
    if not _COMMIT.fullmatch(revision):
        raise UsageError(
            f"--data hub:{address}",
            "no commit is named, and the same name may hold other data tomorrow",
            f"use --data hub:{name}@COMMIT with the 40-digit commit from {parquet.HUB}/datasets/{name}/commits/main, "
            "or local parquet with --data files:PATH",
        )
    identity = ("hub", name, revision, tokenizer and state_of(tokenizer))
    return Source(f"hub:{name}@{revision}", identity, tokenizer, lambda: rows.hub_corpus(name, revision))


def tokenizer_file(path: Path) -> Path:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"?tokenizer={path}", "no such file", "give a tokenizer.json, or a folder that holds one")
    return file


def tokenizer_beside(folder: Path) -> Path | None:
    places = (folder, folder / "tokenizer", folder.resolve().parent / "tokenizer")
    return next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)


def state_of(file: Path) -> tuple[str, int, int]:
    facts = file.stat()
    return str(file.resolve()), facts.st_size, facts.st_mtime_ns
