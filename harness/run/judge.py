"""The trusted side of one run: holds the data, the token meter, the clock and the loss.

Each stage talks to a fresh worker process. `train` serves tokens and takes a checkpoint, `score` takes one
log-probability per held-out token, `audit` asks for sampled predictions again with another future. A stage that cannot
be finished raises stage.StageError, which becomes the status of the run.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from harness.records.record import AuditResult, Host, ModelFacts
from harness.run import checkpoint, host, stage, wire
from harness.run.saved import Curve, Saves
from harness.tracks import Track

GRACE_S = 60.0  # on top of the slowest acceptable training time
LATE_S = 60.0  # from the request for a state to its coming; the core gives it after the update that it is in
LARGEST_TOLD = 1e30  # train loss: what squares to a finite number and can be drawn
LONGEST_CURVE = 1_000  # points kept of what a worker reports; the core's own trainer sends about a hundred


class Feed(Protocol):
    """What a training worker is served, and the meter of it."""

    @property
    def served(self) -> int:
        """Tokens so far."""

    @property
    def unique_tokens(self) -> int:
        """Different ones within the budget."""

    @property
    def told(self) -> dict[str, Any]:
        """What a worker has to know to read a batch."""

    def skip(self, tokens: int) -> None:
        """Counts this many as served: a run that is resumed has had them."""

    def answer(self, request: dict[str, Any]) -> bytes | None:
        """The batch that a worker asks for, None when less is left; raises WireError for a request that is none."""


@dataclass(frozen=True)
class Trained:
    """What the train stage leaves behind."""

    checkpoint: checkpoint.Checkpoint
    tokens_served: int
    unique_tokens: int
    setup_seconds: float  # from the launch to `ready`, outside the clock
    seconds: float
    curve: Curve
    model: ModelFacts
    host: Host
    warm_up: AuditResult


Tick = Callable[[int, float | None, float], None]  # tokens served, train loss, seconds since the clock started


def train(
    arm: stage.Arm,
    track: Track,
    tokens: int,
    seed: int,
    feed: Feed,
    micro_batch: int | None,
    tick: Tick,
    saves: Saves | None = None,
) -> Trained:
    """Serves the budget of `tokens`, stops the clock when the checkpoint is complete, seals it.

    `seed` is the worker's own (host.worker_seed). With `saves` the run goes on from its latest state, if it has one.
    """
    threads = host.threads()
    before = saves.latest() if saves else None
    job = {
        **stage.job_for("train", track),
        "resumes": before is not None,
        "seed": seed,
        "budget_tokens": tokens,
        "micro_batch": micro_batch,
        **feed.told,
    }
    fd = checkpoint.create()
    launched = time.monotonic()
    try:
        with stage.started(arm, job, fd, threads) as channel:
            if before is not None:
                channel.send({"kind": "state"}, before.raw)
                feed.skip(before.served)
            ready = stage.answer(channel, "ready")
            _check_device(ready)
            began = time.monotonic()
            start = began - (before.seconds if before else 0.0)
            channel.deadline = start + min(GRACE_S, arm.patience_s) + tokens / track.slowest_tokens_per_s
            curve, least = _serve(channel, feed, start, tick, saves, before.curve if before else ())
            done = stage.answer(channel, "done")
            checkpoint.freeze(fd)  # before the clock stops, so that nothing can be added on time that is not counted
            seconds = time.monotonic() - start
            late = {name: done.get(name) for name in ("steps", "peak_memory_bytes", "unmoved")}
            told = _model_facts({**ready, **late})  # the rest was said before the clock started, and stays so
        _hold_states_to_be_whole(least, fd)
        sealed = checkpoint.seal(fd)
    except checkpoint.CheckpointError as error:
        os.close(fd)
        raise stage.StageError("crashed", f"train: the checkpoint cannot be used: {error}") from error
    except stage.StageError:
        os.close(fd)
        raise
    model = told.model_copy(update={"parameters": sealed.parameters})
    served, setup, warm_up = feed.served, began - launched, _warm_up_left_nothing(ready)
    return Trained(sealed, served, feed.unique_tokens, setup, seconds, curve, model, host.describe(), warm_up)


def _hold_states_to_be_whole(least: int | None, fd: int) -> None:
    """Half the bytes of the checkpoint is what its weights alone may come to."""
    if least is not None and 2 * least < os.fstat(fd).st_size:
        what = f"a state of {least:,} bytes, from which no run could go on: `snapshot` leaves out what it has"
        raise stage.StageError("crashed", f"train: saves {what}")


def _warm_up_left_nothing(ready: dict[str, Any]) -> AuditResult:
    """The worker's word, as no other process can look: it holds honest code to it, and whoever tampers with the worker
    has to do so in the open."""
    match ready.get("warm_up"):
        case [str(before), str(after)]:
            ok = before == after
        case _:
            ok = False
    return AuditResult(id="warm-up", ok=ok, value=0.0 if ok else 1.0, limit=0.0)


def _check_device(ready: dict[str, Any]) -> None:
    """Raises StageError where a worker does not train on what its run file will say that it did."""
    expected, found = host.describe().accelerator, stage.text(ready.get("device"), 100)
    if not found.startswith(expected):  # a slice of an accelerator has a longer name
        what = f"the worker trains on {found}, and this machine's device is {expected}"
        raise stage.StageError("infrastructure", f"train: {what}; `blueberry doctor` and torch must agree")


def rehearse(arm: stage.Arm, track: Track) -> int | None:
    """A start and a warm-up whose result is thrown away, so that no timed run pays for cold file and compile caches.

    Gives the number of parameters, by the arm's own word. A failure is left to the run that follows, which records it.
    """
    job = {**stage.job_for("train", track), "seed": 0, "budget_tokens": 1 << 20, "micro_batch": None, "resumes": False}
    fd = checkpoint.create()
    try:
        with contextlib.suppress(stage.StageError), stage.started(arm, job, fd, host.threads()) as channel:
            return stage.number(stage.answer(channel, "ready"), "parameters", 1, 1 << 53)
        return None
    finally:
        os.close(fd)


def _serve(
    channel: wire.Channel, feed: Feed, start: float, tick: Tick, saves: Saves | None, before: Curve
) -> tuple[Curve, int | None]:
    """Answers requests for tokens until the meter is empty. Points of the curve are the worker's word.

    A worker's state is taken once each time that it has been asked for, and on to the disk as it comes. It costs time
    on the clock, so it has to come: within LATE_S, and whole. Answers the bytes of the smallest beside the curve.
    """
    curve, least = list(before), None
    saved_at, wanted, asked_at = time.monotonic(), False, 0.0
    while True:
        request = stage.answer(channel, *(("take", "state") if wanted else ("take",)))
        now = time.monotonic() - start
        points = _points(request)[: LONGEST_CURVE - len(curve)]
        curve += [(tokens, loss, round(now, 3)) for tokens, loss in points]
        if request["kind"] == "state":
            assert saves is not None, "a state is asked for only where there is a place for it"
            size = stage.number(request, "bytes", 1, saves.largest)
            least = size if least is None else min(least, size)
            saves.put(feed.served, now, tuple(curve), channel.pieces(request))  # all that was served is trained on
            saved_at, wanted = time.monotonic(), False
            continue
        if wanted and time.monotonic() - asked_at > LATE_S:
            what = "was asked for its state and goes on without: `stream.report` belongs after every update"
            raise stage.StageError("crashed", f"train: {what}")
        tick(feed.served, curve[-1][1] if curve else None, now)
        batch = feed.answer(request)
        if batch is None:
            channel.send({"kind": "end"})
            return tuple(curve), least
        if saves is not None and not wanted and time.monotonic() - saved_at >= saves.every_s:
            wanted, asked_at = True, time.monotonic()
        channel.send({"kind": "batch", "save": wanted}, batch)


def _points(request: dict[str, Any]) -> list[tuple[int, float]]:
    points = request.get("points", [])
    try:
        found = [(int(tokens), float(loss)) for tokens, loss in points[:4]]
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise wire.WireError("progress points that are not numbers") from error
    if not all(math.isfinite(loss) and 0 <= tokens < 1 << 53 for tokens, loss in found):
        raise wire.WireError("progress points out of bounds")
    return [(tokens, round(max(-LARGEST_TOLD, min(LARGEST_TOLD, loss)), 5)) for tokens, loss in found]


def _share(value: object) -> float | None:
    """A number from 0 to 1; None for anything else that a worker may say."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return round(float(value), 4)


def _model_facts(told: dict[str, Any]) -> ModelFacts:
    """The worker's word on its model, in bounds; the judge puts its own count of the parameters in."""

    def count(name: str) -> int:
        return stage.number(told, name, 0, 1 << 53)

    return ModelFacts(
        parameters=count("active_parameters"),
        active_parameters=count("active_parameters"),
        steps=count("steps"),
        batch_tokens=count("batch_tokens"),
        micro_batch=count("micro_batch"),
        fitted=told.get("fitted") is True,
        precision=stage.text(told.get("precision"), 8),
        peak_memory_bytes=count("peak_memory_bytes"),
        unmoved=_share(told.get("unmoved")),
    )
