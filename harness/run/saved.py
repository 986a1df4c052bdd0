"""What a long run leaves behind now and then, so that an interruption costs minutes and not the whole of it.

Kept in the scratch of the evaluation, outside git. What the worker gives is its own word and goes back to nobody but a
worker of the same run. A resumed run has no comparable time: it is a further attempt.

A file is one line of JSON, the worker's bytes as they came, and a sha256 over both: a state that was cut short or has
changed on the disk is named, and no worker gets it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError
from harness.records.atomic import write_atomically

# bytes of a worker's state: weights, their average and what an optimizer keeps, with room for a richer optimizer
LARGEST_PER_PARAMETER, LARGEST_REST = 64, 64 << 20
LARGEST = 64 << 30  # where the size of the core is not known
_DIGEST = hashlib.sha256().digest_size
Curve = tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class State:
    """A run as it stood between two updates."""

    served: int  # tokens
    seconds: float  # on the clock
    curve: Curve
    raw: memoryview  # everything else, as the worker gave it; mapped, not read


def largest(core_parameters: int | None) -> int:
    """Bytes that the state of a worker may have."""
    return LARGEST if core_parameters is None else LARGEST_PER_PARAMETER * core_parameters + LARGEST_REST


@dataclass(frozen=True)
class Saves:
    """Where the latest state of one run is, how often there is a new one, and how large it may be."""

    path: Path
    every_s: float
    largest: int = LARGEST  # bytes that come from the worker

    def put(self, served: int, seconds: float, curve: Curve, raw: Iterable[bytes]) -> None:
        """Writes a state while its bytes come in."""
        head = json.dumps({"served": served, "seconds": seconds, "curve": curve}).encode() + b"\n"
        write_atomically(self.path, _with_digest(head, raw))

    def latest(self) -> State | None:
        """The latest state, None before the first; raises MachineError for one that is damaged."""
        if not self.path.exists():
            return None
        with open(self.path, "rb") as file:
            size = file.seek(0, 2)
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size > _DIGEST else None
        if whole is None or hashlib.sha256(whole[:-_DIGEST]).digest() != whole[-_DIGEST:]:
            fix = "remove this file and run the same command again: this run begins anew"
            raise MachineError(str(self.path), "is damaged: the state of a run that was cut off", fix)
        line = bytes(whole[: 1 << 20]).split(b"\n", 1)[0]
        head = json.loads(line)
        points = tuple((int(tokens), float(loss), float(seconds)) for tokens, loss, seconds in head["curve"])
        return State(head["served"], head["seconds"], points, whole[len(line) + 1 : -_DIGEST])

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


def _with_digest(head: bytes, raw: Iterable[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256(head)
    yield head
    for piece in raw:
        digest.update(piece)
        yield piece
    yield digest.digest()
