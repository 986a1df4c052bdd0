"""One stage of a run: a fresh worker process, its job, and every way in which it can fail.

What happens in a stage is told by judge.py (training) and by the metrics (scoring and audit). A stage that cannot be
finished raises StageError, which becomes the status of the run.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records.record import Status
from harness.run import checkpoint, sandbox, wire
from harness.tracks import Track

PATIENCE_S = 600.0
ENDING_S = 10.0  # between a worker's last word and its end


class StageError(Exception):
    """A stage that could not be finished: the run's status and one line for people."""

    def __init__(self, status: Status, error: str) -> None:
        super().__init__(error)
        self.status: Status = status
        self.error = error


@dataclass(frozen=True)
class Arm:
    """One side of a pair: a folder with the arm's model_core, worker.py and wire.py."""

    name: str
    folder: Path
    patch_sha: str | None
    patience_s: float = PATIENCE_S  # for its set-up, and for each batch that it scores


@contextlib.contextmanager
def started(arm: Arm, job: dict[str, Any], checkpoint_fd: int, threads: int) -> Iterator[wire.Channel]:
    """A worker that has its job; killed when the block ends. Turns every way of failing into StageError."""
    read_fd, worker_write = os.pipe()
    worker_read, write_fd = os.pipe()
    try:
        worker = sandbox.launch(arm.folder, (worker_read, worker_write, checkpoint_fd), threads)
    finally:
        os.close(worker_read)
        os.close(worker_write)
    channel = wire.Channel(read_fd, write_fd)
    channel.patience_s = arm.patience_s
    channel.deadline = time.monotonic() + arm.patience_s
    try:
        channel.send({**job, "threads": threads})
        yield channel
    except wire.SilentError as error:
        raise StageError("timed_out", f"{job['stage']}: no answer within the time limit") from error
    except wire.ClosedError as error:
        if not worker.ended(ENDING_S):
            raise StageError("crashed", f"{job['stage']}: the worker closed its pipe and went on") from error
        status = worker.kill()
        if status == -9 and not worker.over and worker.backend != "none":
            raise StageError("killed", f"{job['stage']}: the worker was killed, and not for what it used") from error
        raise StageError("crashed", f"{job['stage']}: {_last_words(status, worker.printed)}") from error
    except wire.WireError as error:
        raise StageError("crashed", f"{job['stage']}: the worker sent {error}") from error
    finally:
        worker.kill()
        channel.close()


@contextlib.contextmanager
def on_checkpoint(name: str, arm: Arm, track: Track, fd: int, threads: int, **job: object) -> Iterator[wire.Channel]:
    """A worker that is ready to work on its own copy of a sealed checkpoint: stages share nothing, not even a file."""
    own = checkpoint.duplicate(fd)
    try:
        with started(arm, {**job_for(name, track), **job}, own, threads) as channel:
            answer(channel, "ready")
            yield channel
    finally:
        os.close(own)


def text(value: object, limit: int) -> str:
    """What a worker says, in a form that can be shown: bounded, one line, no half characters, nothing invisible."""
    whole = str(value)[:limit].encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else " " for character in whole)


def _last_words(status: int, printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    reason = "was killed by the system, most likely for want of memory" if status == -9 else f"exited with {status}"
    return f"the worker {reason}" + (f": {text(lines[-1], 500)}" if lines and status != -9 else "")


def answer(channel: wire.Channel, *kinds: str) -> dict[str, Any]:
    """The next header, which must be of one of these kinds."""
    header = channel.receive()
    kind = header.get("kind")
    if kind == "failed":
        raise StageError("crashed", text(header.get("error"), 1000))
    if kind not in kinds:
        raise wire.WireError(f"{text(kind, 40)!r} where {' or '.join(kinds)} was due")
    return header


def batches(count: int, rows: int) -> Iterator[slice]:
    """`count` rows in batches of at most `rows`."""
    for first in range(0, count, rows):
        yield slice(first, min(first + rows, count))


def exchange(channel: wire.Channel, header: dict[str, Any], payload: bytes, kind: str, size: int) -> bytes:
    """Sends one batch and waits for its answer, which must be `size` bytes long."""
    channel.deadline = time.monotonic() + channel.patience_s
    channel.send({"kind": "rows", **header}, payload)
    return channel.payload(answer(channel, kind), size)


def number(header: dict[str, Any], name: str, low: int, high: int) -> int:
    """A whole number that the worker names; raises WireError out of bounds."""
    value = header.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise wire.WireError(f"{name} = {str(value)[:40]}; it must be a whole number from {low} to {high}")
    return value


def job_for(stage: str, track: Track) -> dict[str, Any]:
    """What every worker is told: its stage, and where its model is."""
    place = {"module": track.module, "model": track.model, "preset": track.preset, "method": "forward"}
    return {"stage": stage, "metric": track.metric, **place}
