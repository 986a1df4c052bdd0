"""One pair at a time on the same device: two would slow each other down, and no pair would show it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from harness.data.cache import cache_root, locked
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
            for name in _devices():  # in one order for everybody, so that nobody waits in a circle
                waiting = "another harness works on this device: waiting for it"
                held.enter_context(locked(folder / f"{name}.lock", note, waiting))
        yield


def _devices() -> list[str]:
    if host.describe().accelerator != "cpu":
        return ["cuda-" + "".join(character if character.isalnum() else "-" for character in host.visible_device())]
    return [f"cpu-{number}" for number in sorted(os.sched_getaffinity(0))]
