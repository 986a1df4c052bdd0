"""The trusted side of one run: holds the data, the token meter, the clock and the loss.

Each stage talks to a fresh worker process. `train` serves tokens and takes a checkpoint, `score` takes one
log-probability per held-out token, `audit` asks for sampled predictions again with another future. A stage that cannot
be finished raises StageError, which becomes the status of the run.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.audit import causality
from harness.data.stream import TokenStream
from harness.records.record import AuditResult, Host, ModelFacts, RunSpec, Status
from harness.run import checkpoint, host, sandbox, wire
from harness.tracks import Track

SETUP_LIMIT_S = 600.0
SCORE_LIMIT_S = 600.0  # for one batch
GRACE_S = 60.0  # on top of the slowest acceptable training time
LONGEST_CURVE = 1_000  # points kept of what a worker reports; the core's own trainer sends about a hundred
LARGEST_TAKE = 1 << 24  # tokens in one request; bounds the judge's memory


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


@dataclass(frozen=True)
class Trained:
    """What the train stage leaves behind."""

    checkpoint: checkpoint.Checkpoint
    tokens_served: int
    unique_tokens: int
    setup_seconds: float  # from the launch to `ready`, outside the clock
    seconds: float
    curve: tuple[tuple[int, float, float], ...]
    model: ModelFacts
    host: Host


@dataclass(frozen=True)
class Scored:
    """The commitment: one log-probability (R, T) and one hit (R, T) for every held-out token."""

    log_probabilities: NDArray[np.float32]
    hits: NDArray[np.uint8]


Tick = Callable[[int, float | None, float], None]  # tokens served, train loss, seconds since the clock started


@contextlib.contextmanager
def _stage(arm: Arm, job: dict[str, Any], checkpoint_fd: int, threads: int) -> Iterator[wire.Channel]:
    """A worker that has its job; killed when the block ends. Turns every way of failing into StageError."""
    read_fd, worker_write = os.pipe()
    worker_read, write_fd = os.pipe()
    try:
        worker = sandbox.launch(arm.folder, (worker_read, worker_write, checkpoint_fd), threads)
    finally:
        os.close(worker_read)
        os.close(worker_write)
    channel = wire.Channel(read_fd, write_fd)
    channel.deadline = time.monotonic() + SETUP_LIMIT_S
    try:
        channel.send({**job, "threads": threads})
        yield channel
    except wire.SilentError as error:
        raise StageError("timed_out", f"{job['stage']}: no answer within the time limit") from error
    except wire.ClosedError as error:
        status = worker.kill()
        raise StageError("crashed", f"{job['stage']}: {_last_words(status, worker.printed)}") from error
    except wire.WireError as error:
        raise StageError("crashed", f"{job['stage']}: the worker sent {error}") from error
    finally:
        worker.kill()
        channel.close()


@contextlib.contextmanager
def _copy_of(fd: int) -> Iterator[int]:
    """The checkpoint for one stage."""
    copy = checkpoint.duplicate(fd)
    try:
        yield copy
    finally:
        os.close(copy)


def _text(value: object, limit: int) -> str:
    """What a worker says, in a form that can be written down: bounded, and without half characters."""
    return str(value)[:limit].encode("utf-8", "replace").decode()


def _last_words(status: int, printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    reason = "was killed by the system, most likely for want of memory" if status == -9 else f"exited with {status}"
    return f"the worker {reason}" + (f": {lines[-1][:500]}" if lines and status != -9 else "")


def _answer(channel: wire.Channel, *kinds: str) -> dict[str, Any]:
    """The next header, which must be of one of these kinds."""
    header = channel.receive()
    kind = header.get("kind")
    if kind == "failed":
        raise StageError("crashed", _text(header.get("error"), 1000))
    if kind not in kinds:
        raise wire.WireError(f"{kind!r} where {' or '.join(kinds)} was due")
    return header


def _number(header: dict[str, Any], name: str, low: int, high: int) -> int:
    value = header.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise wire.WireError(f"{name} = {str(value)[:40]}; it must be a whole number from {low} to {high}")
    return value


def _job(stage: str, track: Track) -> dict[str, Any]:
    return {"stage": stage, "module": track.module, "model": track.model, "preset": track.preset}


def train(arm: Arm, spec: RunSpec, track: Track, stream: TokenStream, micro_batch: int | None, tick: Tick) -> Trained:
    """Serves the budget, stops the clock when the checkpoint is complete, seals it."""
    threads = host.threads()
    job = {
        **_job("train", track),
        "seed": host.worker_seed(spec.seed, spec.init_key),
        "budget_tokens": spec.tokens,
        "micro_batch": micro_batch,
    }
    fd = checkpoint.create()
    launched = time.monotonic()
    try:
        with _stage(arm, job, fd, threads) as channel:
            ready = _answer(channel, "ready")
            start = time.monotonic()
            channel.deadline = start + GRACE_S + spec.tokens / track.slowest_tokens_per_s
            curve = _serve(channel, stream, track, start, tick)
            done = _answer(channel, "done")
            checkpoint.freeze(fd)  # before the clock stops, so that nothing can be added on time that is not counted
            seconds = time.monotonic() - start
            late = {name: done.get(name) for name in ("steps", "peak_memory_bytes")}
            told = _model_facts({**ready, **late})  # the rest was said before the clock started, and stays so
        sealed = checkpoint.seal(fd)
    except checkpoint.CheckpointError as error:
        os.close(fd)
        raise StageError("crashed", f"train: the checkpoint cannot be used: {error}") from error
    except StageError:
        os.close(fd)
        raise
    model = told.model_copy(update={"parameters": sealed.parameters})
    served, setup = stream.served, start - launched
    return Trained(sealed, served, stream.unique_tokens, setup, seconds, curve, model, host.describe())


def rehearse(arm: Arm, track: Track) -> None:
    """A start and a warm-up whose result is thrown away, so that no timed run pays for cold file and compile caches.

    A failure is left to the run that follows, which records it.
    """
    job = {**_job("train", track), "seed": 0, "budget_tokens": 1 << 20, "micro_batch": None}
    fd = checkpoint.create()
    try:
        with contextlib.suppress(StageError), _stage(arm, job, fd, host.threads()) as channel:
            _answer(channel, "ready")
    finally:
        os.close(fd)


def _serve(
    channel: wire.Channel, stream: TokenStream, track: Track, start: float, tick: Tick
) -> tuple[tuple[int, float, float], ...]:
    """Answers requests for tokens until the meter is empty. Points of the curve are the worker's word."""
    curve: list[tuple[int, float, float]] = []
    while True:
        request = _answer(channel, "take")
        now = time.monotonic() - start
        points = _points(request)[: LONGEST_CURVE - len(curve)]
        curve += [(tokens, loss, round(now, 3)) for tokens, loss in points]
        tick(stream.served, curve[-1][1] if curve else None, now)
        rows = _number(request, "rows", 1, LARGEST_TAKE)
        tokens = _number(request, "tokens", 1, LARGEST_TAKE // rows)
        batch = stream.take(rows, tokens)
        if batch is None:
            channel.send({"kind": "end"})
            return tuple(curve)
        channel.send({"kind": "tokens"}, batch.astype("<u2").tobytes())


def _points(request: dict[str, Any]) -> list[tuple[int, float]]:
    points = request.get("points", [])
    try:
        found = [(int(tokens), round(float(loss), 5)) for tokens, loss in points[:4]]
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise wire.WireError("progress points that are not numbers") from error
    if not all(math.isfinite(loss) and 0 <= tokens < 1 << 53 for tokens, loss in found):
        raise wire.WireError("progress points out of bounds")
    return found


def _model_facts(told: dict[str, Any]) -> ModelFacts:
    """The worker's word on its model, in bounds; the judge puts its own count of the parameters in."""

    def count(name: str) -> int:
        return _number(told, name, 0, 1 << 53)

    return ModelFacts(
        parameters=count("active_parameters"),
        active_parameters=count("active_parameters"),
        steps=count("steps"),
        batch_tokens=count("batch_tokens"),
        micro_batch=count("micro_batch"),
        fitted=told.get("fitted") is True,
        precision=_text(told.get("precision"), 8),
        peak_memory_bytes=count("peak_memory_bytes"),
    )


def score(arm: Arm, track: Track, fd: int, rows: NDArray[np.uint16], threads: int) -> Scored:
    """Log-probabilities of every next token of `rows` (R, T + 1); the worker is dead when this returns."""
    tokens = rows.shape[1] - 1
    scores = np.empty((len(rows), tokens), np.float32)
    hits = np.empty((len(rows), tokens), np.uint8)
    with _copy_of(fd) as own, _stage(arm, _job("score", track), own, threads) as channel:
        _answer(channel, "ready")
        for first in range(0, len(rows), track.score_rows):
            batch = rows[first : first + track.score_rows]
            channel.deadline = time.monotonic() + SCORE_LIMIT_S
            channel.send({"kind": "rows", "rows": len(batch), "tokens": tokens + 1}, batch.astype("<u2").tobytes())
            raw = channel.payload(_answer(channel, "scores"), len(batch) * tokens * 5)
            split = len(batch) * tokens * 4
            scores[first : first + len(batch)] = np.frombuffer(raw[:split], "<f4").reshape(len(batch), tokens)
            hits[first : first + len(batch)] = np.frombuffer(raw[split:], np.uint8).reshape(len(batch), tokens)
    if not np.isfinite(scores).all():
        raise StageError("diverged", "score: the model gives log-probabilities that are not finite")
    return Scored(scores, hits)


def audit(
    arm: Arm,
    track: Track,
    fd: int,
    rows: NDArray[np.uint16],
    scored: Scored,
    reference: NDArray[np.float32] | None,
    count: int,
    threads: int,
) -> tuple[AuditResult, ...]:
    """Repeats sampled predictions with the future replaced; the cuts come from the system's randomness."""
    rng = np.random.default_rng()
    cuts = causality.draw_cuts(scored.log_probabilities, reference, count, rng)
    asked = causality.false_futures(rows, cuts, rng)  # (n, T)
    logits = np.empty((len(asked), track.vocab_size), np.float32)
    with _copy_of(fd) as own, _stage(arm, _job("audit", track), own, threads) as channel:
        _answer(channel, "ready")
        for first in range(0, len(asked), track.score_rows):
            batch = asked[first : first + track.score_rows]
            positions = [int(p) for p in cuts.positions[first : first + len(batch)]]
            channel.deadline = time.monotonic() + SCORE_LIMIT_S
            header = {"kind": "rows", "rows": len(batch), "tokens": batch.shape[1], "cuts": positions}
            channel.send(header, batch.astype("<u2").tobytes())
            raw = channel.payload(_answer(channel, "logits"), len(batch) * track.vocab_size * 4)
            logits[first : first + len(batch)] = np.frombuffer(raw, "<f4").reshape(len(batch), -1)
    return causality.compare(scored.log_probabilities, rows, cuts, logits)
