"""One pair at a time on the same device: two would slow each other down, and no pair would show it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from harness.data.cache import cache_root
from harness.records.atomic import disk_trouble
from harness.run import host


@contextlib.contextmanager
def alone(note: Callable[[str], None]) -> Iterator[None]:
    """Holds this process's device for the block, and waits while another harness of this user works on it.

    A device is every processor that this process may use, or the accelerator that torch takes.
    """
    folder = cache_root() / "devices"
    with contextlib.ExitStack() as held:
        with disk_trouble(folder):
            folder.mkdir(parents=True, exist_ok=True)
            files = [held.enter_context(open(folder / f"{name}.lock", "w")) for name in _devices()]
        for file in files:  # in one order for everybody, so that nobody waits in a circle
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note("another harness works on this device: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _devices() -> list[str]:
    if host.describe().accelerator != "cpu":
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        return ["cuda-" + "".join(character if character.isalnum() else "-" for character in first)]
    return [f"cpu-{number}" for number in sorted(os.sched_getaffinity(0))]
