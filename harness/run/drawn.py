"""The trusted side of `blueberry generate`: a kept run in a fresh worker, asked for samples."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.decide.failures import ENDED
from harness.errors import MachineError, UsageError
from harness.run import arms, checkpoint, host, stage, wire
from harness.run.kept import KeptRun
from harness.tracks import Track

LARGEST_ANSWER = 1 << 28  # bytes; bounds this process's memory


class Drawer:
    """A worker that holds a trained model and draws from it."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel

    def draw(self, header: dict[str, Any], raw: bytes) -> Iterator[bytes]:
        """The answers to one request (run/drawing.py tells which there are), as they come."""
        self._channel.send({"kind": "rows", **header}, raw)
        while True:
            self._channel.deadline = time.monotonic() + self._channel.patience_s
            answer = stage.answer(self._channel, "drawn", "end")
            if answer["kind"] == "end":
                return
            if answer["bytes"] > LARGEST_ANSWER:
                raise wire.WireError(f"an answer of {answer['bytes']} bytes")
            yield self._channel.payload(answer, answer["bytes"])

    def array(self, header: dict[str, Any], raw: bytes, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """All answers to one request as one array of that type and shape."""
        found = b"".join(self.draw(header, raw))
        size = np.dtype(kind).itemsize * int(np.prod(shape))
        if len(found) != size:
            raise wire.WireError(f"{len(found)} bytes of samples where {size} were asked for")
        return np.frombuffer(found, kind).reshape(shape)


@contextlib.contextmanager
def loaded(root: Path, kept: KeptRun, track: Track) -> Iterator[Drawer]:
    """A fresh worker with the code and the weights of a kept run."""
    with on_kept(root, kept) as (arm, fd), stage.on_checkpoint("draw", arm, track, fd, host.threads()) as channel:
        yield Drawer(channel)


@contextlib.contextmanager
def on_kept(root: Path, kept: KeptRun) -> Iterator[tuple[stage.Arm, int]]:
    """The arm of a kept run and its sealed checkpoint; a stage that fails in the block becomes the error of its owner.

    MachineError for the core, which every test draws from, for what the system ended and for what took too long;
    UsageError for a patch whose model fails.
    """
    try:
        with _sealed(root, kept) as found:
            yield found
    except stage.StageError as error:
        spec = kept.record.spec
        where = f"{spec.track}/{spec.budget}/{spec.arm}"
        if error.status == "timed_out":
            fix = "ask for less at a time, or use a faster machine"
            fix += "" if spec.patch_sha is None else "; or mend the patch, if the core is quicker"
            raise MachineError(where, error.error, fix) from error
        if error.status in ENDED or spec.patch_sha is None:
            raise MachineError(where, error.error, "see `blueberry doctor`; then run the same command again") from error
        raise UsageError(where, error.error, "mend the patch: its model cannot be drawn from") from error


@contextlib.contextmanager
def _sealed(root: Path, kept: KeptRun) -> Iterator[tuple[stage.Arm, int]]:
    spec = kept.record.spec
    fd = checkpoint.create()
    try:
        with open(kept.weights, "rb") as weights:
            while part := weights.read(1 << 24):
                os.write(fd, part)
        checkpoint.freeze(fd)
        with arms.fresh_folder(root / ".blueberry" / "work" / f"draw-{os.getpid()}") as work:
            yield arms.build(work / spec.arm, spec.arm, kept.code, spec.patch_sha), fd
    finally:
        os.close(fd)
