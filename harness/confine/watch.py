"""Keeps an eye on a confined worker: its memory and the number of its processes.

A cgroup holds both exactly where one can be made (by root, or a delegated one); elsewhere a thread looks twice a second
and kills. Memory is the sum of proportional shares (PSS), since resident sizes count shared libraries once a process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
LOOK_EVERY_S = 0.5
_counter = itertools.count()


@dataclass(frozen=True)
class Bounds:
    """What all processes of a worker may use together."""

    memory_bytes: int
    processes: int


def default_bounds() -> Bounds:
    """Nine tenths of the machine's memory, so that the judge survives what a worker does to it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Bounds(total * 9 // 10, 1_024)


@contextlib.contextmanager
def cgroup(bounds: Bounds) -> Iterator[tuple[Path, ...]]:
    """Files that a process writes itself into to be held to the bounds; none where that is not possible."""
    folders = _made(bounds)
    try:
        yield tuple(folder / "cgroup.procs" for folder in folders)
    finally:
        for folder in folders:
            with contextlib.suppress(OSError):  # still busy: the kernel frees it with its last process
                folder.rmdir()


def _made(bounds: Bounds) -> list[Path]:
    name = f"blueberry-{os.getpid()}-{next(_counter)}"
    wanted = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max", "pids.max")}
    values = {"memory": bounds.memory_bytes, "pids": bounds.processes}
    unified = (CGROUPS / "cgroup.controllers").exists()
    made: list[Path] = []
    try:
        if unified:
            folder = CGROUPS / name
            folder.mkdir()
            made.append(folder)
            for controller, (_, file) in wanted.items():
                (folder / file).write_text(str(values[controller]))
        else:
            for controller, (file, _) in wanted.items():
                folder = _own_group(controller) / name
                folder.mkdir()
                made.append(folder)
                (folder / file).write_text(str(values[controller]))
    except OSError:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return []
    return made


def _own_group(controller: str) -> Path:
    """This process's own group of a version 1 controller: a limit above it goes on holding."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, place = line.split(":", 2)
        if controller in names.split(","):
            return CGROUPS / controller / place.lstrip("/")
    return CGROUPS / controller


class Watchdog:
    """Looks at a worker's processes until it is told to stop; `over` is called once when they exceed the bounds."""

    def __init__(self, processes: Callable[[], list[int]], bounds: Bounds, over: Callable[[], object]) -> None:
        self._processes = processes
        self._bounds = bounds
        self._over = over
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            found = self._processes()
            if len(found) > self._bounds.processes or memory_of(found, self._bounds.memory_bytes):
                self._over()
                return


def memory_of(processes: list[int], limit: int) -> bool:
    """Whether processes use more than `limit` bytes; the exact sum is only taken where the rough one is above it."""
    page = os.sysconf("SC_PAGE_SIZE")
    rough = 0
    for process in processes:
        with contextlib.suppress(OSError, ValueError, IndexError):
            rough += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * page
    if rough <= limit:
        return False
    return sum(map(_proportional, processes)) > limit


def _proportional(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def descendants(process: int) -> list[int]:
    """A process and everything below it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(folder.name))
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found


def of_group(leader: int) -> list[int]:
    """Every process of a process group."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == leader:
                    found.append(int(folder.name))
    return found
