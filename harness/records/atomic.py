"""Writing files that are never half there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness.errors import MachineError


@contextlib.contextmanager
def disk_trouble(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into one message that names the file and the mend."""
    try:
        yield
    except OSError as error:
        fix = "free some space or make the folder writable, then run the same command again: it resumes"
        raise MachineError(str(path), f"cannot be written: {error.strerror or error}", fix) from error


def write_atomically(path: Path, content: str | bytes | Iterable[bytes], *, replace: bool = True) -> None:
    """Writes the whole file or nothing, durably; with `replace=False` an existing file is left alone and raises.

    What comes in pieces is written as it comes; an error while it comes leaves nothing behind.
    """
    whole = content.encode() if isinstance(content, str) else content
    pieces = [whole] if isinstance(whole, bytes) else whole
    with disk_trouble(path), _complete_beside(path, pieces) as name:
        if replace:
            os.replace(name, path)
        else:
            os.link(name, path)  # unlike replace, refuses to overwrite
        _sync_folder(path.parent)


def write_together(contents: Mapping[Path, bytes | None]) -> None:
    """Writes several files (None: removes one), all or none: each lies complete beside its place before the first is
    put there, and where one then cannot be put into its place, those before it are taken back."""
    with contextlib.ExitStack() as stack:
        names = {}
        for path, data in contents.items():
            if data is not None:
                with disk_trouble(path):
                    names[path] = stack.enter_context(_complete_beside(path, [data]))
        before = {path: path.read_bytes() if path.exists() else None for path in contents}
        done: list[Path] = []
        try:
            for path in contents:
                with disk_trouble(path):
                    os.replace(names[path], path) if path in names else path.unlink(missing_ok=True)
                done.append(path)
        except BaseException:
            for path in done:
                _put_back(path, before[path])
            raise
        for folder in {path.parent for path in contents}:
            _sync_folder(folder)


def _put_back(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, data)


@contextlib.contextmanager
def _complete_beside(path: Path, pieces: Iterable[bytes]) -> Iterator[str]:
    """The name of a file in the folder of `path` that holds these, durably; removed after the block if still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
