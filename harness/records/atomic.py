"""Writing files that are never half there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
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
    with disk_trouble(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            if replace:
                os.replace(name, path)
            else:
                os.link(name, path)  # unlike replace, refuses to overwrite
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
