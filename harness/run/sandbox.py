"""Where a worker runs. One seam for every stage of every run: `launch` starts a worker, `name` goes into its run file.

This module offers one backend today, `none`: a process of its own session with an empty environment and closed
descriptors, which keeps honest code apart and holds no hostile code. Rows measured so are marked provisional on the
official board.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

NAME = "none"
TAIL_BYTES = 16_384
# glibc keeps what a batch frees for the next one: faulting it in again takes half of a scoring pass on the CPU
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1)}
KEPT_VARIABLES = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")


@dataclass
class Worker:
    """A started worker and the last of what it printed (bounded: a worker may print for ever)."""

    process: subprocess.Popen[bytes]
    home: tempfile.TemporaryDirectory[str]
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

    def kill(self) -> int:
        """Ends the worker and everything it started in its session; returns its exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        self._reader.join(timeout=5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.home.cleanup()
        return status


def launch(folder: Path, descriptors: tuple[int, ...], threads: int) -> Worker:
    """Starts `worker.py` of an arm's folder with the given open descriptors as its arguments."""
    home = tempfile.TemporaryDirectory(prefix="home-", dir=folder.parent)  # goes with the arms if the harness dies
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": home.name,
        "TMPDIR": home.name,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        **KEEP_FREED_MEMORY,
        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
    }
    arguments = [str(fd) for fd in descriptors]
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(folder / "worker.py"), *arguments, str(os.getpid())],
        cwd=folder,
        env=environment,
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Worker(process, home)
