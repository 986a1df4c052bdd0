"""Where prepared data is kept, so that it is built once, whole or not at all, also by two processes at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import MachineError


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/blueberry`, or `~/.cache/blueberry`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "blueberry"


def build_once(key: str, build: Callable[[Path], None], progress: Callable[[str], None]) -> Path:
    """The folder named `key`, made by `build(empty folder)` when it is not there yet.

    The folder appears by a rename, so it is either absent or whole. Raises MachineError when it cannot be written.
    """
    folder = cache_root() / key
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        waiting = "another process is preparing this data: waiting for it"
        with locked(folder.with_name(f"{key}.lock"), progress, waiting):
            if not folder.is_dir():
                _build_beside(folder, build)
    except OSError as error:
        raise MachineError(
            str(folder.parent),
            f"the prepared data cannot be written: {error}",
            "free some space there, or set XDG_CACHE_HOME to a folder that has it",
        ) from error
    return folder


def _build_beside(folder: Path, build: Callable[[Path], None]) -> None:
    prefix = f"{folder.name}.tmp-"
    for orphan in folder.parent.glob(f"{prefix}*"):  # left by a killed process: only the lock's holder builds
        shutil.rmtree(orphan)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        build(temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise


@contextmanager
def locked(path: Path, progress: Callable[[str], None], waiting: str) -> Iterator[None]:
    """Holds the file for the block; where somebody else does, tells `progress` that it is `waiting`, and waits."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
