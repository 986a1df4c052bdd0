"""The second backend, for where namespaces are denied (rented containers): Landlock, seccomp, another user, limits.

Files are held by an allow-list of paths, TCP by Landlock's newer versions, sockets of every kind by seccomp. Signals to
others are held by Landlock from version 6 on, before that by the other user, and where there is none by seccomp, which
then lets a worker signal nobody but itself, not even its own children. A root's worker becomes a user that nobody else
is, if such a user can reach the interpreter and the arm; else it stays root without a single capability. What it does
not hold: names, sizes and dates of files elsewhere can be seen; /dev/shm cannot be used, and so neither can the worker
processes of a DataLoader; what a worker started outlives a judge that is killed.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.confine import closure, enter, seccomp
from harness.confine.job import ENTER, Job, fresh_uid, orders, python

# the program's own folder and name, as if it had been started by them, and the packages that it may see
_START = (
    "import runpy, sys; sys.path.append(sys.argv[1]); sys.argv[:2] = []; runpy.run_path(sys.argv[0], None, '__main__')"
)
LEAST_VERSION = 3  # since then files cannot be cut off either
SIGNALS_VERSION = 6  # since then signals stay inside
OWN = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/sys/kernel")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def available() -> bool:
    return enter.landlock_version() >= LEAST_VERSION


def command(job: Job, number: int) -> list[str]:
    """The whole command line for a job; its scratch folder is given to the user that it runs as."""
    uid = fresh_uid(number) if all(map(_open_to_others, (job.folder, *closure.interpreter(), ENTER))) else None
    if uid is not None:
        os.chown(job.scratch, uid, uid)
    signals = uid is not None or enter.landlock_version() >= SIGNALS_VERSION
    told = orders(uid, job.processes, _rules(job), seccomp.program(namespaces=False, signals=signals))
    worker = ["-S", "-c", _START, str(_shown_packages(job.scratch)), str(job.folder / job.program), *job.arguments]
    return python(str(ENTER), told, worker)


def _shown_packages(scratch: Path) -> Path:
    """A folder with links to the packages that may be read.

    Where they are installed nothing can be listed: a package that is found there and cannot be read would be an error
    in the middle of an import, one that is not found is an import that failed.
    """
    folder = scratch / "packages"
    folder.mkdir()
    for package in closure.packages():
        (folder / package.name).symlink_to(package)
    return folder


def _rules(job: Job) -> list[list[str]]:
    readable = (*closure.SETTINGS, *closure.HARDWARE, *OWN, *closure.packages(), job.folder)
    rules = [["read", str(path)] for path in readable]
    hidden = [folder.resolve() for folder in closure.package_folders()]
    names: tuple[str | Path, ...] = (*closure.SYSTEM, *closure.interpreter())
    places = {Path(name).resolve() for name in names}
    for place in sorted(
        one for one in places if not any(one != other and one.is_relative_to(other) for other in places)
    ):
        rules += [["list", str(place)]] if place.is_dir() else []
        rules += [["read", str(part)] for part in _beside(place, hidden)]
    rules += [["use", str(path)] for path in (*DEVICES, *closure.devices())]
    return [*rules, ["own", str(job.scratch)]]


def _beside(place: Path, hidden: list[Path]) -> list[Path]:
    """`place`, or what of it lies beside the hidden folders: a rule holds for all that is below it.

    Links are left out: a rule would follow them, and where they lead has a rule of its own.
    """
    if not any(folder.is_relative_to(place) for folder in hidden):
        return [place]
    if place in hidden:
        return []
    return [part for child in sorted(place.iterdir()) if not child.is_symlink() for part in _beside(child, hidden)]


def _open_to_others(place: Path) -> bool:
    """Whether a user who owns nothing can get there."""
    return all(folder.stat().st_mode & 0o001 for folder in place.resolve().parents)
