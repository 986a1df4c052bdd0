"""Trackers that people already use, told what the Reporter is told: `--log tensorboard`, `--log wandb`.

They learn a pair's number and never its seed, which stays unknown until its evaluation closes. All of them work on one
thread of their own: what is told while a run trains is told inside its clock. One that fails is left out from there on.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import UsageError
from harness.records.record import RunRecord, RunSpec
from harness.run.evaluate import Outcome
from harness.run.race import Reporter

ENDING_S = 60.0  # for what trackers still have to write when everything has been run
INTERRUPTED_S = 2.0  # a person who interrupts does not wait for them
FLUSH_S = 10


@dataclass(frozen=True)
class Place:
    """What a value belongs to."""

    evaluation: str
    arm: str
    run: str  # decide-pair-01, or verdict

    @staticmethod
    def of(evaluation: str, spec: RunSpec) -> Place:
        again = f"-attempt-{spec.attempt}" if spec.attempt > 1 else ""
        key = "-rekeyed" if spec.init_key else ""
        return Place(evaluation, spec.arm, f"{spec.round}-pair-{spec.pair + 1:02d}{key}{again}")


class Tracker(Protocol):
    """Where values go. A place that was ended may be written to again."""

    def write(self, place: Place, step: int, values: Mapping[str, float], words: Mapping[str, str]) -> None:
        """`step` counts tokens."""

    def end(self, place: Place) -> None:
        """Nothing more is expected there."""


class TensorBoard:
    """Event files in EVALUATION/ARM/RUN below a folder."""

    def __init__(self, root: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary, self._text, self._writer = Event, Summary, text_pb, EventFileWriter
        self._folder = root / ".blueberry" / "tensorboard"
        self._writers: dict[Place, Any] = {}

    def write(self, place: Place, step: int, values: Mapping[str, float], words: Mapping[str, str]) -> None:
        if place not in self._writers:
            folder = self._folder / place.evaluation / place.arm / place.run
            self._writers[place] = self._writer(str(folder), flush_secs=FLUSH_S)
        points = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        for summary in (self._summary(value=points), *(self._text(name, word) for name, word in words.items())):
            self._writers[place].add_event(self._event(wall_time=time.time(), step=step, summary=summary))

    def end(self, place: Place) -> None:
        self._writers.pop(place).close()


class WandB:
    """Runs of one group for each evaluation. Offline unless WANDB_MODE says otherwise; `wandb sync` uploads them."""

    def __init__(self, root: Path) -> None:
        import wandb

        self._wandb = wandb
        self._root = root / ".blueberry"
        self._runs: dict[Place, Any] = {}

    def write(self, place: Place, step: int, values: Mapping[str, float], words: Mapping[str, str]) -> None:
        if place not in self._runs:
            self._runs[place] = self._begun(place)
        self._runs[place].log(dict(values), step=step)
        self._runs[place].summary.update(dict(words))

    def _begun(self, place: Place) -> Any:
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "blueberry"),
            group=place.evaluation,
            job_type=place.arm,
            name=f"{place.arm} {place.run}",
            config=asdict(place),
            dir=self._root,
            mode=os.environ.get("WANDB_MODE", "offline"),
            reinit="create_new",  # both arms of a pair stay open until the pair is done
            settings=self._wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True
            ),  # nothing of this process or of the machine: reading it would take time from the run
        )

    def end(self, place: Place) -> None:
        self._runs.pop(place).finish()


TRACKERS: dict[str, Callable[[Path], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB}


def chosen(names: Sequence[str], root: Path) -> dict[str, Tracker]:
    """The trackers of these names; raises UsageError for one that there is not, or whose package is missing.

    Imported here and not when the first value comes: that is inside the clock of a run.
    """
    made: dict[str, Tracker] = {}
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"--log {name[:40]}", "no tracker of that name", f"choose one of {', '.join(TRACKERS)}")
        try:
            made[name] = TRACKERS[name](root)
        except ImportError as error:
            fix = f"install the extra of that name, in this environment: pip install -e '.[{name}]'"
            raise UsageError(f"--log {name}", f"the package cannot be imported: {error}", fix) from error
    return made


class TrackedReporter:
    """A Reporter that also tells trackers. Use as a context manager."""

    def __init__(self, reporter: Reporter, trackers: Mapping[str, Tracker]) -> None:
        self._reporter = reporter
        self._trackers = dict(trackers)
        self._evaluation = ""
        self._told: dict[Place, float] = {}  # the latest train loss of each run
        self._queue: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)

    def __enter__(self) -> TrackedReporter:
        self._thread.start()
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        for place in self._told:  # runs that were cut off
            self._end(place)
        self._queue.put(None)
        self._thread.join(ENDING_S if failure is None else INTERRUPTED_S)
        if self._thread.is_alive() and failure is None:
            self.note(f"{' and '.join(self._trackers)} did not finish within {ENDING_S:.0f} s and may lack the end")

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            for name, tracker in list(self._trackers.items()):
                try:
                    job(tracker)
                except Exception as error:  # whatever it is: a run is worth more than its picture
                    del self._trackers[name]
                    self.note(f"{name} failed and is left out from here on: {type(error).__name__}: {error}")

    def _write(self, place: Place, step: int, values: Mapping[str, float | None], **words: str) -> None:
        known = {name: float(value) for name, value in values.items() if value is not None}
        self._queue.put(lambda tracker: tracker.write(place, step, known, words))

    def _end(self, place: Place) -> None:
        self._queue.put(lambda tracker: tracker.end(place))

    def note(self, text: str) -> None:
        self._reporter.note(text)

    def opened(self, evaluation: str) -> None:
        self._evaluation = evaluation
        self._reporter.opened(evaluation)

    def stage(self, spec: RunSpec, stage: str) -> None:
        self._reporter.stage(spec, stage)

    def tick(self, spec: RunSpec, tokens: int, loss: float | None, seconds: float) -> None:
        self._reporter.tick(spec, tokens, loss, seconds)
        place = Place.of(self._evaluation, spec)
        if loss is not None and self._told.get(place) != loss:  # a new point of the curve
            self._told[place] = loss
            self._write(place, tokens, {"train/loss": loss, "train/seconds": seconds})

    def finished(self, record: RunRecord) -> None:
        self._reporter.finished(record)
        place, metrics = Place.of(record.evaluation, record.spec), record.metrics
        values = {"loss": record.loss, "accuracy": metrics.accuracy, "perplexity": metrics.perplexity}
        values |= {**metrics.details, "train_seconds": record.train_seconds}
        last = record.curve[-1:]  # the point that came with the last batch may not have been told
        curve = {"train/loss": last[0][1], "train/seconds": last[0][2]} if last else {}
        final = {f"final/{name}": value for name, value in values.items()}
        self._write(place, record.tokens_served, {**curve, **final}, status=record.status)
        self._told.pop(place, None)
        self._end(place)

    def decided(self, outcome: Outcome) -> None:
        """The verdict on each claim of an evaluation; what was decided by an earlier command is not told again."""
        evaluation = outcome.evaluation
        if evaluation.id != self._evaluation:
            return
        place = Place(evaluation.id, evaluation.slug, "verdict")
        tokens = sum(run.tokens_served for run in outcome.runs)
        for cell in outcome.cells:
            interval = cell.interval or (None, None)
            values = {"gain": cell.gain, "p": cell.p, "pairs": cell.pairs, "time_ratio": cell.time_ratio}
            values |= {"gain_low": interval[0], "gain_high": interval[1], "net_gain": cell.net_gain}
            values |= {"accepted": float(cell.verdict.startswith("ACCEPT"))}
            named = {f"verdict/{cell.metric}/{name}": value for name, value in values.items()}
            self._write(place, tokens, named, **{f"verdict/{cell.metric}": cell.verdict})
        self._end(place)
