"""The first backend: bubblewrap, which gives a worker namespaces and a file system of its own.

Everything is mounted by allow-list into an empty root: the system's programs and libraries, the interpreter, torch's
own packages, the arm's folder (all read-only), private memory file systems for /tmp and /dev/shm. No network, no other
process, no capability. As root the worker becomes a user that nobody else is; otherwise it has a user namespace.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.confine import closure, seccomp
from harness.confine.job import ENTER, Job, fresh_uid, orders, python
from harness.confine.watch import total_memory

ARM, ENTRY = "/arm", "/enter.py"
SCRATCH_BYTES, SCRATCH_SHARE = 4 << 30, 16  # of each memory file system: at most this, and this part of the memory
EMPTY_BYTES = 1 << 20  # of a folder that only holds what is mounted into it
PARENT = 1  # what the worker sees as its parent: the first process of its namespace


def program() -> str | None:
    """Where bubblewrap is."""
    return shutil.which("bwrap")


def command(job: Job, number: int, filter_fd: int) -> list[str]:
    """The whole command line for a job; `filter_fd` is where bubblewrap reads the seccomp filter."""
    found = program()
    assert found is not None
    uid = fresh_uid(number)
    told = orders(uid, job.processes, None, None)
    environment = [part for name, value in job.environment.items() for part in ("--setenv", name, value)]
    return [
        found,
        *_namespaces(uid),
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        *environment,
        *_files(job.folder),
        *("--seccomp", str(filter_fd)),
        *("--chdir", ARM),
        *python(ENTRY, told, [f"{ARM}/{job.program}", *job.arguments]),
    ]


def filter_program() -> bytes:
    """The seccomp filter that goes with the namespaces."""
    return seccomp.program()


def _namespaces(uid: int | None) -> list[str]:
    shared = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if uid is None:
        return [*shared, "--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    kept = [part for name in ("SETUID", "SETGID", "SETPCAP") for part in ("--cap-add", f"CAP_{name}")]
    return [*shared, "--cap-drop", "ALL", *kept]  # enter.py gives the last three up


def _files(arm: Path) -> list[str]:
    mounts = _Mounts()
    mounts.scratch("/tmp")  # first: this clone may lie in it
    for place in map(Path, closure.SYSTEM):
        if place.is_symlink():
            mounts.add("--symlink", os.readlink(place), str(place))
        elif place.is_dir():
            mounts.bind(place)
    for place in (*map(Path, closure.SETTINGS), *map(Path, closure.HARDWARE), *closure.interpreter()):
        mounts.bind(place)
    for folder in closure.package_folders():
        mounts.empty(folder)
    for place in closure.packages():
        mounts.bind(place)
    mounts.add("--proc", "/proc")
    mounts.hide(f"/proc/{PARENT}")
    mounts.add("--ro-bind", "/dev/null", "/proc/vmstat")  # counters that every stage can move and read
    mounts.add("--dev", "/dev")
    gpus = closure.devices()
    for device in gpus:
        mounts.add("--dev-bind", str(device), str(device))
    if gpus:
        mounts.add("--ro-bind", "/sys", "/sys")
    mounts.scratch("/dev/shm")
    mounts.bind(arm, ARM)
    mounts.bind(ENTER, ENTRY)
    for memory in ("/dev", "/"):  # each is memory too, and an ordinary user's worker owns it
        mounts.add("--remount-ro", memory)
    return mounts.arguments


class _Mounts:
    """Mounts in their order. Folders on the way are made readable: bubblewrap would make them for root alone."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self._there: set[Path] = {Path("/")}  # folders that exist inside
        self._whole: set[Path] = set()  # trees that are mounted as they are

    def add(self, *arguments: str) -> None:
        self.arguments += arguments

    def bind(self, place: Path, inside: str | None = None) -> None:
        if place.exists():
            target = Path(inside or place)
            self._make(target.parent)
            self.add("--ro-bind", str(place), str(target))
            self._whole.add(target)

    def scratch(self, folder: str) -> None:
        """A folder of the worker's own, in memory."""
        size = min(SCRATCH_BYTES, total_memory() // SCRATCH_SHARE)
        self._memory(folder, "1777", size)
        self._there.add(Path(folder))

    def hide(self, folder: str) -> None:
        """A folder that is there and is to be seen empty. For an ordinary user the first process of the namespace is
        the worker's own: its memory could be written, and with it what keeps it from outliving its run."""
        self._memory(folder, "0555", EMPTY_BYTES)

    def empty(self, folder: Path) -> None:
        """A folder of which nothing is seen but what is mounted into it later."""
        self._make(folder.parent)
        self._memory(str(folder), "0755", EMPTY_BYTES)
        self._there.add(folder)
        self._whole.discard(folder)

    def _memory(self, folder: str, mode: str, size: int) -> None:
        self.add("--perms", mode, "--size", str(size), "--tmpfs", folder)

    def _make(self, folder: Path) -> None:
        for one in reversed([folder, *folder.parents]):
            if one not in self._there and not self._inside(one):
                self.add("--perms", "0755", "--dir", str(one))
            self._there.add(one)

    def _inside(self, folder: Path) -> bool:
        places: Iterable[Path] = (folder, *folder.parents)
        return any(place in self._whole for place in places)
