"""Where a worker runs. One seam for every stage of every run: `launch` starts a worker, `name` goes into its run file.

The first backend that works here, which is found out by running something in it: bubblewrap, then Landlock (see
harness/confine/). Without either, a worker is a process of its own session with an empty environment and closed
descriptors, which keeps honest code apart and holds no hostile code; official runs are refused then.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Literal

from harness.confine import bubblewrap, closure, landlock, watch
from harness.confine.job import Job
from harness.confine.scratch import removed
from harness.data.cache import cache_root
from harness.errors import MachineError, UsageError
from harness.submission.root import find_root

Backend = Literal["bubblewrap", "landlock", "none"]
BACKENDS: tuple[Backend, ...] = ("bubblewrap", "landlock")  # best first
TAIL_BYTES = 16_384
KILL_LIMIT_S = 30.0
_SIGNALLED = 128
# glibc keeps what a batch frees for the next one: faulting it in again takes half of a scoring pass on the CPU
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1)}
KEPT_VARIABLES = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
INSTALL = "install bubblewrap (Debian, Ubuntu: sudo apt-get install bubblewrap), then see `blueberry doctor`"
DENIED = (
    "let bubblewrap make namespaces, then see `blueberry doctor`; Ubuntu 23.10 and newer keeps ordinary users from it "
    "until there is an AppArmor profile for bwrap, or after "
    "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
)
MOVE = "move it elsewhere: the clone into a home folder, the cache with XDG_CACHE_HOME"
# a process joins its cgroups and becomes the program, so that there is no moment outside them
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'
_numbers = itertools.count()


@dataclass
class Worker:
    """A started worker and the last of what it printed (bounded: a worker may print for ever)."""

    process: subprocess.Popen[bytes]
    processes: Callable[[], list[int]]
    closing: contextlib.ExitStack
    backend: Backend
    joined: tuple[Path, ...] = ()  # its cgroups
    over: bool = False  # killed for what it used
    _tail: deque[bytes] = field(default_factory=lambda: deque(maxlen=TAIL_BYTES // 1024))

    def __post_init__(self) -> None:
        self._reader = Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        assert self.process.stdout is not None
        while chunk := self.process.stdout.read1(1024):  # type: ignore[attr-defined]
            self._tail.append(chunk)

    @property
    def printed(self) -> str:
        return b"".join(self._tail).decode("utf-8", "replace")

    def ended(self, patience_s: float) -> bool:
        """Whether it comes to its end in that time without being killed from here."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> int:
        """Ends the worker and everything it started, and waits until all of it is gone; returns its exit status.

        Raises MachineError where something stays: the next run would be timed beside it.
        """
        mine = self.processes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in mine:  # each by itself: what ends a namespace is its first process, which it may have starved
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        status = self.process.wait()
        if _SIGNALLED < status < _SIGNALLED + signal.NSIG:  # as a shell, bubblewrap tells so what it passes on
            status = _SIGNALLED - status
        deadline = time.monotonic() + KILL_LIMIT_S
        while (left := [process for process in mine if alive(process)]) and time.monotonic() < deadline:
            time.sleep(0.002)
        self._reader.join(timeout=5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.over = self.over or watch.ran_out_of_memory(self.joined)
        self.closing.close()
        if left:
            found = f"{len(left)} processes of a worker are there {KILL_LIMIT_S:.0f} s after they were killed"
            raise MachineError("a worker", found, "end them, then run the same command again")
        return status

    def end(self, its_fault: bool) -> None:
        """What the watchdog does."""
        self.over = self.over or its_fault
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def launch(
    folder: Path, descriptors: tuple[int, ...], threads: int, program: str = "worker.py", backend: Backend | None = None
) -> Worker:
    """Starts a program of an arm's folder with the given open descriptors as its arguments."""
    chosen = backend or name()
    bounds, number = watch.default_bounds(), next(_numbers)
    with contextlib.ExitStack() as closing:
        scratch = Path(tempfile.mkdtemp(prefix="home-", dir=folder.parent))
        closing.callback(removed, scratch)
        joined = closing.enter_context(watch.cgroup(bounds)) if chosen != "none" else ()
        job = Job(
            folder=folder,
            program=program,
            arguments=(*map(str, descriptors), str(bubblewrap.PARENT if chosen == "bubblewrap" else os.getpid())),
            environment=_environment("/tmp" if chosen == "bubblewrap" else str(scratch), threads),
            processes=bounds.processes,
            scratch=scratch,
        )
        command, inherited = _command(chosen, job, number, closing)
        if joined:
            command = ["/bin/sh", "-c", _JOIN, "sh", *map(str, joined), "--", *command]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=job.environment,
            pass_fds=(*descriptors, *inherited),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        members = watch.descendants if chosen == "bubblewrap" else watch.of_group
        worker = Worker(process, functools.partial(members, process.pid), closing.pop_all(), chosen, joined)
    if chosen != "none":
        on_disk = scratch if chosen == "landlock" else None  # bubblewrap's is in memory
        dog = watch.Watchdog(worker.processes, bounds, worker.end, held=bool(joined), scratch=on_disk)
        worker.closing.callback(dog.stop)
    return worker


def _command(
    chosen: Backend, job: Job, number: int, closing: contextlib.ExitStack
) -> tuple[list[str], tuple[int, ...]]:
    """The command line of a job, and the descriptors that it reads besides."""
    if chosen == "bubblewrap":
        fd = os.memfd_create("seccomp")
        closing.callback(os.close, fd)
        os.write(fd, bubblewrap.filter_program())
        os.lseek(fd, 0, os.SEEK_SET)
        return bubblewrap.command(job, number, fd), (fd,)
    if chosen == "landlock":
        return landlock.command(job, number), ()
    return [sys.executable, "-I", "-B", str(job.folder / job.program), *job.arguments], ()


def _environment(home: str, threads: int) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "USER": "worker",  # torch names its caches by it
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        **KEEP_FREED_MEMORY,
        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
    }


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@functools.cache
def name() -> Backend:
    """The backend that works here."""
    return next((backend for backend in BACKENDS if not trouble(backend)), "none")


def examined() -> tuple[tuple[Backend, str], ...]:
    """Every backend, best first, with what keeps it from working here ("" when nothing does)."""
    return tuple((backend, trouble(backend)) for backend in BACKENDS)


@functools.cache
def trouble(backend: Backend) -> str:
    """What keeps a backend from working here, found out by a trial; "" when nothing does."""
    if backend == "bubblewrap" and not bubblewrap.program():
        return "bwrap is not installed"
    if backend == "landlock" and not landlock.available():
        return "the kernel has no Landlock, or one older than version 3"
    return _trial(backend)


def _trial(backend: Backend) -> str:
    """Runs confine/trial.py in a backend; what went wrong, or which door it found open."""
    with tempfile.TemporaryDirectory(prefix="blueberry-trial-") as outside:
        folder = Path(outside) / "arm"
        folder.mkdir()
        folder.chmod(0o755)
        Path(outside).chmod(0o755)
        source = Path(bubblewrap.__file__).with_name("trial.py")
        (folder / "trial.py").write_bytes(source.read_bytes())
        try:
            worker = launch(folder, (), 1, "trial.py", backend)
        except OSError as error:
            return f"it cannot be started: {error}"[:200]
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=20)
        status = worker.kill()
    said = worker.printed.strip().splitlines()
    return "" if status == 0 and said == ["closed"] else (said[-1][:200] if said else f"it ended with {status}")


def mend() -> str:
    """How to get the better backend; "" where it works."""
    if not trouble("bubblewrap"):
        return ""
    return DENIED if bubblewrap.program() else INSTALL


def exposed() -> str:
    """What of the judge's own lies where every worker may read, in words; "" when nothing does."""
    places = {"the data cache": cache_root()}
    with contextlib.suppress(UsageError):  # outside of a clone
        places["this clone"] = find_root(Path.cwd())
    for what, place in places.items():
        for tree in closure.trees():
            if place.resolve().is_relative_to(tree):
                return f"{what}, {place}, lies below {tree}, which every worker may read"
    return ""


def require() -> None:
    """Official runs and those in CI are of strangers' code: raises MachineError where nothing holds it."""
    if found := exposed():
        raise MachineError("sandbox", found, MOVE)
    if name() == "none":
        found = "; ".join(f"{backend}: {what}" for backend, what in examined())
        raise MachineError("sandbox", f"strangers' code needs one, and none works here ({found})", mend())


def require_in_ci() -> None:
    """For whatever runs the code of a submission: in CI it is a stranger's."""
    if os.environ.get("CI") == "true":
        require()
