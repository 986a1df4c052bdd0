"""Progress for people, on stderr: a live line with a bar on a terminal, one line an event elsewhere."""

from __future__ import annotations

import sys
import threading
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from harness.records.record import RunRecord, RunSpec

LINE_EVERY_S = 10.0  # on something that is not a terminal


def short_time(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 51 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def said(record: RunRecord) -> str:
    """One line about a finished run."""
    spec = record.spec
    head = f"{spec.round} pair {spec.pair + 1} {spec.arm}: {record.status}"
    if record.loss is None:
        return f"{head}: {record.error}"
    return f"{head}, loss {record.loss:.4f}, trained in {record.train_seconds:.1f} s"


class ProgressReporter:
    """The Reporter of the command line (see harness/run/race.py). Use as a context manager."""

    def __init__(self, max_pairs: int, *, live: bool | None = None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._max_pairs = max_pairs
        self._live = self._console.is_terminal if live is None else live
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._replacing = threading.Lock()
        self._printed = time.monotonic()

    def __enter__(self) -> ProgressReporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)

    def opened(self, evaluation: str) -> None:
        self.note(f"evaluation {evaluation}")

    def finished(self, record: RunRecord) -> None:
        self.note(said(record))

    def _name(self, spec: RunSpec) -> str:
        most = f" of at most {self._max_pairs}" if spec.round == "decide" else ""
        return f"{spec.round} pair {spec.pair + 1}{most}  {spec.arm}"

    def stage(self, spec: RunSpec, stage: str) -> None:
        if not self._live:
            return
        text = f"{self._name(spec)}  {stage}"
        with self._replacing:  # both arms of a pair are scored at the same time, and each says so
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(escape(text), total=spec.tokens if stage == "train" else None, facts="")

    def tick(self, spec: RunSpec, tokens: int, loss: float | None, seconds: float) -> None:
        left = seconds * (spec.tokens - tokens) / tokens if tokens else 0.0
        shown = f"loss {loss:.3f}" if loss is not None else ""
        facts = f"{tokens:>10,} tokens  {shown}  {short_time(left)} left"
        if self._live and self._task is not None:
            self._bar.update(self._task, completed=tokens, facts=facts)
        elif not self._live and time.monotonic() - self._printed > LINE_EVERY_S:
            self._printed = time.monotonic()
            print(f"{self._name(spec)}  {100 * tokens / spec.tokens:3.0f} %  {facts}", file=sys.stderr, flush=True)
