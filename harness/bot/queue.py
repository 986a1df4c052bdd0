"""What the bot knows, as files: one a job, one a pull request. They survive a restart, and nothing is in memory alone.

.blueberry/bot/jobs/<key>.json     a job, from the order to its verdict; the key is what makes it never run twice
.blueberry/bot/pulls/<number>.json a pull request as it was last seen, and what it was last told
.blueberry/bot/heads/<key>/        the files of a job that came in a bundle
.blueberry/bot/heard.json          up to when comments were read, and of which pull requests they have to be read again
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from harness.bot.head import LIMITS, Head
from harness.bot.page import (
    Amount,
    CellPart,
    CheckPart,
    Count,
    Digest,
    FaultPart,
    JobPart,
    JobState,
    Line,
    PlanPart,
    Sha,
    Slug,
)
from harness.decide.cells import TopVerdict
from harness.errors import MachineError
from harness.records.atomic import write_atomically
from harness.records.store import Store
from harness.tracks import BUDGETS, TRACKS

Read = TypeVar("Read", bound=BaseModel)
OPEN: frozenset[JobState] = frozenset({"waiting", "paused", "needs word", "running"})
STAMP = "%Y-%m-%dT%H:%M:%SZ"  # as GitHub writes a moment
CUT_SHORT: frozenset[JobState] = frozenset({"refused", "failed"})  # ended without having been decided
ENDED: frozenset[JobState] = CUT_SHORT | {"done"}


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _one_of(known: Container[str]) -> AfterValidator:
    def held(name: str) -> str:
        if name not in known:
            raise ValueError("is not known here")
        return name

    return AfterValidator(held)


class Job(_Closed):
    """One measurement: of one commit of one pull request, at one track and budget."""

    pr: Annotated[int, Field(ge=1, le=10**9)]
    sha: Sha
    slug: Slug
    track: Annotated[str, _one_of(TRACKS)]
    budget: Annotated[str, _one_of(BUDGETS)]
    author: Line  # of the pull request
    asked_by: Line
    asked: Line  # ISO 8601: order of the queue
    ordered: Line = ""  # ISO 8601: the latest comment that gave this order
    patch_sha: Digest | None = None  # of the patch that was reviewed
    state: JobState = "waiting"
    shown: Line = ""  # when the pull request was told what this would cost
    approved_by: Line = ""
    seconds_expected: Amount | None = None
    cost_expected: Amount | None = None
    spent: dict[Line, Amount] = {}  # seconds by calendar month
    attempts: Count = 0  # that ended by the machine's fault
    again: Line = ""  # ISO 8601: no attempt before that
    live: Line = ""
    reason: Line = ""
    verdict: TopVerdict | None = None
    cells: tuple[CellPart, ...] = Field((), max_length=64)
    faults: tuple[FaultPart, ...] = Field((), max_length=64)

    @property
    def key(self) -> str:
        return f"{self.pr}-{self.sha}-{self.track}-{self.budget}"

    @property
    def seconds(self) -> float:
        return sum(self.spent.values())

    def renewed_by(self, order: str) -> bool:
        """Whether an order of that moment begins anew what has ended without a verdict."""
        return self.state in CUT_SHORT and self.verdict is None and order > max(self.asked, self.ordered)

    def charged(self, seconds: float, month: str) -> Job:
        return self.model_copy(update={"spent": {**self.spent, month: self.spent.get(month, 0.0) + seconds}})

    def part(self, position: int | None, cost: float | None) -> JobPart:
        """As a comment shows it."""
        return JobPart(
            sha=self.sha,
            track=self.track,
            budget=self.budget,
            state=self.state,
            position=position,
            seconds_expected=self.seconds_expected,
            cost_expected=self.cost_expected,
            seconds=self.seconds,
            cost=cost,
            live=self.live if self.state == "running" else "",
            reason=self.reason,
            verdict=self.verdict,
            cells=self.cells,
            faults=self.faults,
        )


class Known(_Closed):
    """A pull request as it was last seen."""

    pr: int
    sha: str
    author: str
    ours: bool  # has to do with submissions at all; the others are left alone
    slug: str | None = None
    check: CheckPart
    patch: str = ""
    plans: tuple[PlanPart, ...] = ()
    notes: dict[str, str] = {}  # by the comment that they answer
    posted: str = ""  # digest of what its comment says
    stated: str = ""  # digest of the state that was last set on its commit


class Heard(_Closed):
    """Up to where comments were read."""

    until: str | None = None
    behind: dict[int, str] = {}
    lately: tuple[str, ...] = ()


class Queue:
    """The folder of one bot. One process holds its lock."""

    def __init__(self, root: Path) -> None:
        self.folder = root / ".blueberry" / "bot"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        with Store(self.folder).lock():
            for job in self.jobs():
                if job.state == "running":  # of a bot that is gone; the harness resumes what it had begun
                    self.put(job.model_copy(update={"state": "waiting"}))
            yield

    def jobs(self) -> list[Job]:
        """All jobs, in the order in which they were asked for."""
        paths = sorted((self.folder / "jobs").glob("*.json"))
        return sorted((_read(Job, path) for path in paths), key=lambda job: (job.asked, job.key))

    def find(self, key: str) -> Job | None:
        path = self.folder / "jobs" / f"{key}.json"
        return _read(Job, path) if path.exists() else None

    def put(self, job: Job) -> None:
        write_atomically(self.folder / "jobs" / f"{job.key}.json", job.model_dump_json(indent=1) + "\n")

    def pulls(self) -> list[Known]:
        paths = sorted((self.folder / "pulls").glob("*.json"), key=lambda path: int(path.stem))
        return [_read(Known, path) for path in paths]

    def pull(self, number: int) -> Known | None:
        path = self.folder / "pulls" / f"{number}.json"
        return _read(Known, path) if path.exists() else None

    def put_pull(self, known: Known) -> None:
        write_atomically(self.folder / "pulls" / f"{known.pr}.json", known.model_dump_json(indent=1) + "\n")

    def head(self, job: Job) -> Head | None:
        """The files with which a job came here in a bundle; None for one that came otherwise."""
        folder = self.folder / "heads" / job.key
        files = {name: (folder / name).read_bytes() for name in LIMITS if (folder / name).exists()}
        return Head(job.sha, job.slug, files) if files else None

    def put_head(self, job: Job, head: Head) -> None:
        for name, content in head.files.items():
            write_atomically(self.folder / "heads" / job.key / name, content)

    @property
    def heard(self) -> str | None:
        """Up to when the comments of all pull requests were read."""
        return self._heard().until or None

    @property
    def behind(self) -> dict[int, str]:
        """Pull requests whose comments have to be read again from an earlier moment on."""
        return self._heard().behind

    @property
    def lately(self) -> set[str]:
        """Which of the latest comments were read: they are read again for a while, and answered once."""
        return set(self._heard().lately)

    def hear(self, until: str | None, behind: Mapping[int, str] | None = None, lately: Iterable[str] = ()) -> None:
        told = Heard(until=until, behind=dict(behind or {}), lately=tuple(sorted(lately)))
        write_atomically(self.folder / "heard.json", told.model_dump_json() + "\n")

    def _heard(self) -> Heard:
        path = self.folder / "heard.json"
        return _read(Heard, path) if path.exists() else Heard()


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def stamp(later_s: float = 0.0) -> str:
    """This moment, or one so much later, as GitHub writes it."""
    return (now() + datetime.timedelta(seconds=later_s)).strftime(STAMP)


def earlier(moment: str, seconds: float) -> str:
    """So long before a moment as GitHub writes it."""
    return (datetime.datetime.fromisoformat(moment) - datetime.timedelta(seconds=seconds)).strftime(STAMP)


def _read(kind: type[Read], path: Path) -> Read:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fix = "move the file away: the bot asks GitHub again for what it held"
        raise MachineError(str(path), f"is not a valid {kind.__name__}: {error.errors()[0]['msg']}", fix) from error
