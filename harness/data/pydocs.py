"""The embedded text: docstrings of installed Python packages, read from their files without importing them.

The packages are dependencies of the harness that a training worker does not need and never sees. The text is public,
so tracks that use it are for practice and demonstration.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from harness.data.overlap import shingles
from harness.errors import MachineError

PACKAGES = ("scipy", "pandas", "scikit-learn", "transformers", "matplotlib", "datasets", "huggingface_hub")
HELD_OUT_SHARE = 0.07  # of the module files, for validation and for test each, before the overlap rule
MOST_OVERLAP = 0.10  # a held-out document shares at most this part of its 13-word shingles with train
_NOT_PROSE = {"tests", "testing", "_testing"}  # test suites: much code to read, hardly a docstring

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PyDocs:
    """The documents of each split, one per module file, and what was left out of them."""

    splits: dict[str, tuple[str, ...]]
    duplicates: int  # docstrings left out because an equal one came before
    dropped: int  # held-out documents left out for their overlap with train


def versions() -> dict[str, str]:
    """Installed version of each package; raises MachineError when one is missing."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise MachineError(
                "pydocs", f"the package {package} is not installed", "install the harness again: make setup"
            ) from error
    return found


def read() -> PyDocs:
    """Read, split by module file, drop duplicates (train keeps the first) and held-out near-copies of train."""
    modules: dict[str, list[tuple[str, list[str]]]] = {"train": [], "validation": [], "test": []}
    for package in PACKAGES:
        for path, docstrings in _modules(package):
            modules[split_of(path)].append((path, docstrings))
    seen: set[str] = set()
    splits: dict[str, tuple[str, ...]] = {}
    duplicates = 0
    for split, members in modules.items():  # train first, so that nothing of it recurs in the other two
        documents = []
        for _, docstrings in sorted(members, key=lambda member: _hash(member[0])):
            fresh = [text for text in dict.fromkeys(docstrings) if text not in seen]
            duplicates += len(docstrings) - len(fresh)
            seen.update(fresh)
            if fresh:
                documents.append("\n\n".join(fresh))
        splits[split] = tuple(documents)
    return _without_near_copies(splits, duplicates)


def split_of(module_path: str) -> str:
    """The split of a module file, by the hash of its path alone."""
    place = _hash(module_path) / 2**64
    if place < HELD_OUT_SHARE:
        return "validation"
    return "test" if place < 2 * HELD_OUT_SHARE else "train"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _modules(package: str) -> Iterator[tuple[str, list[str]]]:
    """(path within site-packages, docstrings in source order) of every module file of an installed package."""
    distribution = metadata.distribution(package)
    paths = {file.as_posix() for file in distribution.files or () if file.suffix == ".py"}
    for path in sorted(paths):
        if not _NOT_PROSE.isdisjoint(path.split("/")):
            continue
        if docstrings := docstrings_of(_source(Path(str(distribution.locate_file(path))))):
            yield path, docstrings


def _source(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise MachineError(str(file), f"cannot be read: {error}", "install the harness again: make setup") from error


def docstrings_of(source: str) -> list[str]:
    """The cleaned docstrings of the module, its classes and functions, in source order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stray backslashes in other people's docstrings
        module = ast.parse(source)
    texts = (ast.get_docstring(node) for node in (module, *_definitions(module.body)))
    return [text for text in texts if text]


def _definitions(body: list[ast.stmt]) -> Iterator[_Definition]:
    """Classes and functions, also below `if` and `try`; expressions are not searched, which saves most of the time."""
    for node in body:
        if isinstance(node, _Definition):
            yield node
        for field in ("body", "orelse", "finalbody"):
            yield from _definitions(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from _definitions(handler.body)


def _without_near_copies(splits: dict[str, tuple[str, ...]], duplicates: int) -> PyDocs:
    train = np.unique(np.concatenate([shingles(document) for document in splits["train"]]))
    kept = {"train": splits["train"]}
    for split in ("validation", "test"):
        kept[split] = tuple(text for text in splits[split] if _share_in(shingles(text), train) <= MOST_OVERLAP)
    dropped = sum(len(splits[split]) - len(kept[split]) for split in splits)
    return PyDocs(kept, duplicates, dropped)


def _share_in(hashes: np.ndarray, known: np.ndarray) -> float:
    """Share of `hashes` found in the sorted array `known`."""
    if not len(hashes):
        return 0.0
    places = np.searchsorted(known, hashes)
    places[places == len(known)] = 0
    return float((known[places] == hashes).mean())
