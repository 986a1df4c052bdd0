"""What a long run leaves behind now and then, so that an interruption costs minutes and not the whole of it.

Kept in the scratch of the evaluation, outside git. What the worker gives is its own word and goes back to nobody but a
worker of the same run. A resumed run has no comparable time: it is a further attempt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from harness.records.atomic import write_atomically

LARGEST = 64 << 30  # bytes of a worker's state
Curve = tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class State:
    """A run as it stood between two updates."""

    served: int  # tokens
    seconds: float  # on the clock
    curve: Curve
    raw: bytes  # everything else, as the worker gave it


@dataclass(frozen=True)
class Saves:
    """Where the latest state of one run is, and how often there is a new one."""

    path: Path
    every_s: float

    def put(self, state: State) -> None:
        head = {"served": state.served, "seconds": state.seconds, "curve": state.curve}
        write_atomically(self.path, json.dumps(head).encode() + b"\n" + state.raw)

    def latest(self) -> State | None:
        if not self.path.exists():
            return None
        with open(self.path, "rb") as file:
            head = json.loads(file.readline())
            points = tuple((int(tokens), float(loss), float(seconds)) for tokens, loss, seconds in head["curve"])
            return State(head["served"], head["seconds"], points, file.read())

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
