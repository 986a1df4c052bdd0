"""Works through the queue, one job at a time, within the caps. Who asks and who is told is not its business."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.bot import caps
from harness.bot.caps import Settings
from harness.bot.connection import UnreachableError
from harness.bot.head import Head
from harness.bot.page import FaultPart, cell_parts, cut, fault_parts
from harness.bot.queue import Job, Queue, now, stamp
from harness.bot.tree import planted
from harness.bot.work import Ending, Work, run_arguments, start
from harness.errors import MachineError, SubmissionError

PAUSES_S = (600.0, 3_600.0)  # before the second and the third attempt of a job that the machine could not finish
MAX_ATTEMPTS = len(PAUSES_S) + 1
STOPPED = 130


class Engine:
    """One bot's machine. Use as a context manager: a job at work is stopped at its end, and resumes with the next."""

    def __init__(
        self,
        root: Path,
        queue: Queue,
        settings: Settings,
        head_of: Callable[[Job], Head],
        objection: Callable[[Job], str] = lambda job: "",
    ) -> None:
        self.root = root
        self.queue = queue
        self.settings = settings
        self._head_of = head_of
        self._objection = objection  # why a job must not start now and never again; empty: it may
        self._job: Job | None = None
        self._work: Work | None = None
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._work is not None:
            self._work.stop()
            self._charge()
            self._end({"state": "waiting"})

    def advance(self, wait_s: float, limit_s: float = float("inf")) -> bool:
        """Starts the next job or watches the present one for that long; answers whether there was anything to do.

        `limit_s` is what the caller can still give to this job, beside the caps.
        """
        if self._work is None and not self._start_next():
            return False
        self._watch(wait_s, limit_s)
        return True

    def waiting(self) -> list[Job]:
        """What would run, in order, once the budget has been asked."""
        return [self._weighed(job) for job in self.queue.jobs() if job.state in ("waiting", "paused")]

    def _weighed(self, job: Job) -> Job:
        """The job as waiting or paused, by what is left of the budget now."""
        left, name = caps.room(self.settings, self.queue.jobs(), job, caps.month_of(now()))
        short = left <= 0 or (job.seconds_expected or 0.0) - job.seconds > left
        state = "paused" if short else "waiting"
        if state != job.state:
            job = job.model_copy(update={"state": state, "reason": f"{name} is reached" if short else ""})
            self.queue.put(job)
        return job

    def _start_next(self) -> bool:
        """Whether one was started. A job that cannot be asked about (its pull request may be gone) stays in the queue
        and holds nobody up; raises its MachineError where nothing else was to be done."""
        trouble: MachineError | None = None
        for job in self.waiting():
            if job.state == "paused" or job.again > stamp():
                continue
            try:
                if said := self._objection(job):
                    self.queue.put(job.model_copy(update={"state": "refused", "reason": cut(said)}))
                    continue
                self._start(job)
            except SubmissionError as error:
                self.queue.put(job.model_copy(update={"state": "refused", "reason": cut(error.faults[0].what)}))
                continue
            except UnreachableError:
                raise  # the others would fare no better
            except MachineError as error:
                trouble = trouble or error
                continue
            return True
        if trouble is not None:
            raise trouble
        return False

    def _start(self, job: Job) -> None:
        with contextlib.ExitStack() as planting:
            tree = planting.enter_context(planted(self.root, self._head_of(job)))
            self._work = start(tree, self.queue.folder / "work" / job.key, run_arguments(job))
            self._closing = planting.pop_all()
        self._job = job.model_copy(update={"state": "running", "reason": "", "live": "", "again": "", "faults": ()})
        self.queue.put(self._job)

    def _watch(self, wait_s: float, limit_s: float) -> None:
        assert self._work and self._job
        left = min(caps.room(self.settings, self.queue.jobs(), self._job, caps.month_of(now()))[0], limit_s)
        ending = self._work.wait(min(wait_s, max(0.0, left)))
        self._charge()
        if ending is not None:
            self._end(_result(self._job, ending))
        elif left <= wait_s:
            self._work.stop()
            self._charge()
            self._end({"state": "paused", "reason": "the budget is used up; it goes on where it stopped"})

    def _charge(self) -> None:
        """Writes down what was spent, while it is being spent."""
        assert self._work and self._job
        self._job = self._job.charged(self._work.charge(), caps.month_of(now()))
        self._job = self._job.model_copy(update={"live": self._work.live()})
        self.queue.put(self._job)

    def _end(self, update: dict[str, Any]) -> None:
        assert self._job
        self.queue.put(self._job.model_copy(update={"live": "", **update}))
        self._job = self._work = None
        self._closing.close()


def _result(job: Job, ending: Ending) -> dict[str, Any]:
    """What the harness's ending makes of a job."""
    answer = ending.answer or {}
    if ending.exit_code in (0, 1) and "cells" in answer:
        faults = fault_parts(answer.get("faults", ()), 64)
        return {"state": "done", "verdict": answer["verdict"], "cells": cell_parts(answer), "faults": faults}
    faults = fault_parts(answer.get("faults", ()), 64)
    said = f"{faults[0].where}: {faults[0].what}" if faults else ending.said or f"exit code {ending.exit_code}"
    if ending.exit_code in (1, 2) and faults:
        return {"state": "refused", "reason": cut(said), "faults": faults}
    if ending.exit_code in (STOPPED, -15, -2):
        return {"state": "waiting"}
    return _machine_fault(job, said, faults)  # what ends without a word on the submission crashed, and is nobody's else


def _machine_fault(job: Job, said: str, faults: tuple[FaultPart, ...]) -> dict[str, Any]:
    """Another attempt after a pause in which somebody may mend the machine; in the end the job waits for an order."""
    attempts = job.attempts + 1
    if attempts < MAX_ATTEMPTS:
        state, again = "waiting", stamp(PAUSES_S[attempts - 1])
        then = f"tried again after {again}"
    else:
        state, again = "failed", ""
        then = f"once that is mended: /bench {job.budget} {job.track} {job.sha}"
    reason = cut(f"attempt {attempts} of {MAX_ATTEMPTS}: {cut(said, 240)}; {then}")
    return {"state": state, "attempts": attempts, "again": again, "reason": reason, "faults": faults}
