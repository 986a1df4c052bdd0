"""Two changes of one core put together: a 3-way merge, with ordinary conflict markers where a person has to choose."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.submission.git import git
from harness.submission.patch import Core


@dataclass(frozen=True)
class Merged:
    """The core with both changes."""

    core: dict[str, bytes]
    conflicts: tuple[str, ...]  # paths that hold conflict markers, or that one side deleted and the other changed


def merge(ancestor: Core, ours: Core, theirs: Core, labels: tuple[str, str, str]) -> Merged:
    """`theirs` with the changes that lead from `ancestor` to `ours`; the labels name ours, ancestor and theirs."""
    merged = dict(theirs)
    conflicts = []
    for path in sorted(path for path in {*ancestor, *ours} if ancestor.get(path) != ours.get(path)):
        mine, base, other = ours.get(path), ancestor.get(path), theirs.get(path)
        if other in (base, mine):
            content, clean = mine, True
        elif mine is None or other is None:
            content, clean = (other if mine is None else mine), False  # one side deleted what the other changed
        else:
            content, clean = _merge_file(base or b"", mine, other, labels)
        if content is None:
            merged.pop(path, None)
        else:
            merged[path] = content
        if not clean:
            conflicts.append(path)
    return Merged(merged, tuple(conflicts))


def _merge_file(base: bytes, mine: bytes, other: bytes, labels: tuple[str, str, str]) -> tuple[bytes, bool]:
    with tempfile.TemporaryDirectory(prefix="blueberry-merge-") as temporary:
        folder = Path(temporary)
        for name, content in (("mine", mine), ("base", base), ("other", other)):
            (folder / name).write_bytes(content)
        done = git("merge-file", "-p", *_labelled(labels), "mine", "base", "other", cwd=folder)
    # git counts conflicts up to 127; beyond, it could not merge at all (a NUL byte makes it see a binary file)
    return (done.stdout if done.returncode < 128 else mine), done.returncode == 0


def _labelled(labels: tuple[str, str, str]) -> Iterator[str]:
    for label in labels:
        yield from ("-L", label)
