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
PREFIX = "blueberry-"
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


def ran_out_of_memory(joined: tuple[Path, ...]) -> bool:
    """Whether the kernel killed something in these cgroups for want of memory."""
    for procs in joined:
        for name in ("memory.events", "memory.oom_control"):  # version 2, version 1
            with contextlib.suppress(OSError):
                counts = dict(line.split() for line in (procs.parent / name).read_text().splitlines())
                if int(counts.get("oom_kill", 0)) > 0:
                    return True
    return False


def _made(bounds: Bounds) -> list[Path]:
    """New groups with their limits; none where even one cannot be made."""
    made: list[Path] = []
    try:
        for folder, limits in _wanted(bounds):
            _sweep(folder.parent)
            folder.mkdir()
            made.append(folder)
            for file, limit in limits.items():
                (folder / file).write_text(str(limit))
    except OSError:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return []
    return made


def _wanted(bounds: Bounds) -> list[tuple[Path, dict[str, int]]]:
    """The groups of this call, as version 2 or version 1 of cgroups has them, and what is written into their files."""
    name = f"{PREFIX}{os.getpid()}-{next(_counter)}"
    if (CGROUPS / "cgroup.controllers").exists():
        return [(CGROUPS / name, {"memory.max": bounds.memory_bytes, "pids.max": bounds.processes})]
    return [
        (_own_group("memory") / name, {"memory.limit_in_bytes": bounds.memory_bytes}),
        (_own_group("pids") / name, {"pids.max": bounds.processes}),
    ]


def _sweep(parent: Path) -> None:
    """Removes the groups of harnesses that were killed before they could."""
    for folder in parent.glob(f"{PREFIX}*"):
        if not Path("/proc", folder.name.removeprefix(PREFIX).split("-")[0]).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


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
