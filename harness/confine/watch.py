"""Keeps an eye on a confined worker: its memory, the number of its processes, and what it leaves on the disk.

A cgroup holds the first two exactly where one can be made (by root, or a delegated one); elsewhere a thread looks twice
a second and kills. Memory is the sum of proportional shares (PSS), since resident sizes count shared libraries once a
process. What no share counts (files in memory) shows in what the machine has left, and the thread always looks at that.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.confine.scratch import size

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
PREFIX = "blueberry-"
LOOK_EVERY_S = 0.5
LEAST_AVAILABLE = 0.05  # of the machine's memory; with less left a worker is ended, so that the judge survives
LEAST_FREE_BYTES = 1 << 30  # of the disk that the store is on too
_PARENT, _GROUP = 1, 2  # fields of /proc/PID/stat behind the name
_counter = itertools.count()


@dataclass(frozen=True)
class Bounds:
    """What all processes of a worker may use together."""

    memory_bytes: int
    processes: int
    scratch_bytes: int = 4 << 30  # on the disk, where its scratch folder is there


def default_bounds() -> Bounds:
    """Nine tenths of the machine's memory, so that the judge survives what a worker does to it."""
    return Bounds(total_memory() * 9 // 10, 1_024)


def total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
        folder = _unified_parent() / name
        limits = {"memory.max": bounds.memory_bytes, "memory.oom.group": 1, "pids.max": bounds.processes}
        swap = {"memory.swap.max": 0} if any(folder.parent.glob("*/memory.swap.max")) else {}
        return [(folder, {**limits, **swap})]
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
    for line in OWN.read_text().splitlines():
        _, names, place = line.split(":", 2)
        if controller in names.split(","):
            return CGROUPS / controller / place.lstrip("/")
    return CGROUPS / controller


def _unified_parent() -> Path:
    """Where version 2 lets a group be made whose memory and processes are counted: in this process's own group, so that
    its limits go on holding, or beside it, since a group with processes of its own seldom may have counted groups."""
    line = next(line for line in OWN.read_text().splitlines() if line.startswith("0::"))
    own = CGROUPS / line.removeprefix("0::").lstrip("/")
    for folder in (own, own.parent) if own != CGROUPS else (own,):
        if {"memory", "pids"} <= set((folder / "cgroup.subtree_control").read_text().split()):
            return folder
    raise OSError("no group of this process may have counted groups")


class Watchdog:
    """Looks at a worker until it is told to stop. `end` is called once: with True when the worker exceeds its bounds,
    with False when the machine runs out of memory and it is not the worker who has it.

    `held` says that a cgroup counts memory and processes already; `scratch` is the worker's folder on the disk.
    """

    def __init__(
        self,
        processes: Callable[[], list[int]],
        bounds: Bounds,
        end: Callable[[bool], object],
        *,
        held: bool = False,
        scratch: Path | None = None,
    ) -> None:
        self._processes = processes
        self._bounds = bounds
        self._end = end
        self._held = held
        self._scratch = scratch
        self._free_at_first = _free(scratch) if scratch else 0
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            if self._is_over():
                self._end(True)
                return
            if available_memory() < LEAST_AVAILABLE * total_memory():
                self._end(memory_of(self._processes(), total_memory() // 2))
                return

    def _is_over(self) -> bool:
        """Also where it cannot be told: a worker that breaks the watch is not to go on without it."""
        try:
            return self._too_much() or self._fills_the_disk()
        except Exception:
            return True

    def _too_much(self) -> bool:
        found = [] if self._held else self._processes()
        return len(found) > self._bounds.processes or memory_of(found, self._bounds.memory_bytes)

    def _fills_the_disk(self) -> bool:
        """A file that it holds open and has deleted shows in the free space alone."""
        if self._scratch is None:
            return False
        free = _free(self._scratch)
        if free < LEAST_FREE_BYTES and free < self._free_at_first - LEAST_FREE_BYTES:
            return True
        return size(self._scratch) > self._bounds.scratch_bytes


def _free(folder: Path) -> int:
    """Bytes of the disk that an ordinary user may still write."""
    try:
        found = os.statvfs(folder)
    except OSError:  # it is being removed: the worker is at its end
        return 1 << 62
    return found.f_bavail * found.f_frsize


def available_memory() -> int:
    """Bytes that can be had without swapping, by the kernel's estimate."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return total_memory()


def memory_of(processes: list[int], limit: int) -> bool:
    """Whether processes use more than `limit` bytes; the exact sum is only taken where the rough one is above it."""
    if sum(map(_resident, processes)) <= limit:
        return False
    return sum(map(_proportional, processes)) > limit


def _resident(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _proportional(process: int) -> int:
    """Its share of what it shares; all of it where it keeps that from being read, as a process may."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(process)


def descendants(process: int) -> list[int]:
    """A process and everything below it."""
    parents: dict[int, list[int]] = {}
    for folder in _everybody():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents.setdefault(_stat(folder, _PARENT), []).append(int(folder.name))
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found


def threads_of_this_user() -> int:
    """What the kernel holds against a limit of processes: of everything that this person runs, every thread."""
    found = 0
    for folder in _everybody():
        with contextlib.suppress(OSError):
            found += len(os.listdir(folder / "task")) if folder.stat().st_uid == os.getuid() else 0
    return found


def of_group(leader: int) -> list[int]:
    """Every process of a process group."""
    found = []
    for folder in _everybody():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if _stat(folder, _GROUP) == leader:
                found.append(int(folder.name))
    return found


def _everybody() -> Iterator[Path]:
    """The folders of all processes in /proc."""
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())


def _stat(folder: Path, field: int) -> int:
    """A field of a process's `stat`, counted from behind its name, which may hold anything (proc(5))."""
    return int((folder / "stat").read_text().rpartition(")")[2].split()[field])
