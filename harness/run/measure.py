"""What a measure is: how the data of a track is served, and how a checkpoint is scored and audited.

The judge knows no more of text or images than this. A new kind of track is a module with these functions and an entry
in `MEASURES`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.data.prepare import Progress
from harness.records.record import AuditResult, Metrics
from harness.run import captions, nll, reconstruction, velocity
from harness.run.judge import Feed
from harness.run.stage import Arm
from harness.tracks import Budget, Track


class Prepared(Protocol):
    """A prepared data set of any kind."""

    @property
    def data_id(self) -> str:
        """Digest of everything that is served or scored."""


class Scored(Protocol):
    """What the score stage committed to."""

    @property
    def loss(self) -> float:
        """In the unit of the track."""

    @property
    def metrics(self) -> Metrics:
        """Beside the loss, for orientation."""

    @property
    def checks(self) -> tuple[AuditResult, ...]:
        """What can be said of the commitment by itself."""

    @property
    def by_item(self) -> NDArray[np.float32]:
        """The score of every scored item, higher is better: where the other arm of the pair looks for cheats."""


class Measure(Protocol):
    """A module with these functions."""

    def prepare(self, track: Any, data: str | None, progress: Progress) -> Any:
        """The track's data, from the cache or made now; `data` as in `--data`."""

    def describe(self, prepared: Any) -> dict[str, Any]:
        """What `blueberry data show` shows."""

    def check_budget(self, prepared: Any, track: Any, budget_tokens: int, epochs: int) -> None:
        """Raises UsageError when the budget needs more passes than `epochs`."""

    def feed(self, prepared: Any, track: Any, seed: int, budget_tokens: int, epochs: int) -> Feed:
        """The training data in the order of a seed."""

    def held_out(self, prepared: Any, track: Any, budget: Budget, split: str, secret: str) -> Any:
        """What is scored; whatever is drawn for it comes from the evaluation's secret."""

    def score(self, arm: Arm, track: Any, fd: int, held_out: Any, threads: int) -> Scored:
        """The commitment of a checkpoint; the worker is dead when this returns."""

    def audit(
        self,
        arm: Arm,
        track: Any,
        fd: int,
        held_out: Any,
        scored: Any,
        reference: NDArray[np.float32] | None,
        count: int,
        threads: int,
    ) -> tuple[AuditResult, ...]:
        """Asks a fresh worker for `count` of the committed predictions again, in a way that only honest ones survive.

        `reference` is `by_item` of the other arm.
        """


# by the track's metric
MEASURES: dict[str, Measure] = {
    "nll": nll,
    "velocity": velocity,
    "reconstruction": reconstruction,
    "captions": captions,
}


def measure_of(track: Track) -> Measure:
    return MEASURES[track.metric]
