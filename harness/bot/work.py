"""One job at work: the harness's own `run --official --json` in a process of its own, without a token near it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bot.queue import Job

MAX_ANSWER = 8 * 1024 * 1024  # bytes
TAIL = 4_096  # bytes of what it said that are looked at
STOP_LIMIT_S = 60.0
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "_KEY")
# The harness ends with the bot, however the bot ends: 1 is PR_SET_PDEATHSIG.
BOUND = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "parent = int(sys.argv.pop(1)); os.getppid() == parent or sys.exit(130); "
)
_START = BOUND + "from harness.cli import main; main()"


@dataclass(frozen=True)
class Ending:
    """How the harness ended."""

    exit_code: int
    answer: dict[str, Any] | None  # what it printed, where that was one JSON object
    said: str  # the end of its words for people


class Work:
    """A running harness."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._since = time.monotonic()

    def charge(self) -> float:
        """Seconds since it started or since this was last asked."""
        before, self._since = self._since, time.monotonic()
        return self._since - before

    def wait(self, seconds: float) -> Ending | None:
        """Its ending, or None where it is still at work after that time."""
        try:
            code = self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return None
        return Ending(code, _answer(self._folder / "answer.json"), self.live())

    def live(self) -> str:
        """The last line that it said to people."""
        path = self._folder / "said.txt"
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip()[:400] if lines else ""

    def stop(self) -> None:
        """Ends it so that the same command resumes it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def start(tree: Path, folder: Path, arguments: list[str]) -> Work:
    """Runs a verb of the harness in the root `tree`; what it says goes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _START, str(os.getpid()), *arguments]
    with open(folder / "answer.json", "wb") as out, open(folder / "said.txt", "wb") as err:
        process = subprocess.Popen(
            command, cwd=tree, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
    return Work(process, folder)


def run_arguments(job: Job) -> list[str]:
    return ["run", job.slug, "--official", "--track", job.track, "--budget", job.budget, "--json"]


def environment() -> dict[str, str]:
    """Without anything that looks like a secret: a stranger's code runs below this process."""
    return {key: value for key, value in os.environ.items() if not any(word in key.upper() for word in _SECRET)}


def _answer(path: Path) -> dict[str, Any] | None:
    with open(path, "rb") as file:
        content = file.read(MAX_ANSWER)
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
