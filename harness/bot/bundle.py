"""Jobs and results that travel between a machine with a token and a rented one without: zips, read as hostile."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.bot.head import LIMITS, Head
from harness.bot.page import first_of
from harness.bot.queue import Job
from harness.bot.zipped import is_zip, read_bounded, unzip, zipped
from harness.decide.cells import judge_cell
from harness.errors import HarnessError, SubmissionError
from harness.records import ledger
from harness.records.atomic import write_atomically
from harness.records.record import ContestKey, EvaluationRecord, RunRecord
from harness.records.store import Store, sha256
from harness.rules import fault
from harness.run.leniency import lenient
from harness.run.promises import broken_promise
from harness.submission.root import is_slug

ENTRY = "bundle.json"
BOARD = "leaderboard"


class _Contents(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = Field(1, alias="schema")
    kind: Literal["jobs", "results"]
    repository: str = Field(max_length=140)
    jobs: tuple[Job, ...] = Field(max_length=10_000)


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds, all of it looked at."""

    kind: Literal["jobs", "results"]
    repository: str
    jobs: tuple[Job, ...]
    heads: Mapping[str, Head]  # by the key of the job
    records: Mapping[str, bytes]  # by path from the root


@dataclass(frozen=True)
class Asked:
    """What somebody ordered: the only thing that another machine can answer."""

    slug: str
    patch_sha: str | None
    track: str
    budget: str
    baseline: bool = True  # that machine may have calibrated the cell as well

    def is_answered_by(self, record: EvaluationRecord) -> bool:
        """By an evaluation of that patch in that cell, or by the calibration that it stands on."""
        if (record.track, record.budget) != (self.track, self.budget):
            return False
        if record.kind == "calibration":
            return self.baseline and record.slug == "core" and record.patch_sha is None
        return self.patch_sha is not None and (record.slug, record.patch_sha) == (self.slug, self.patch_sha)


def asked_of(jobs: Iterable[Job]) -> list[Asked]:
    return [Asked(job.slug, job.patch_sha, job.track, job.budget) for job in jobs]


def jobs_bundle(repository: str, heads: Sequence[tuple[Job, Head]], beside: Sequence[Job] = ()) -> bytes:
    """Jobs to be measured, with their files, and jobs on which was spent what counts for the same caps."""
    files = {f"heads/{job.key}/{name}": content for job, head in heads for name, content in head.files.items()}
    return zipped({ENTRY: _contents("jobs", repository, [*(job for job, _ in heads), *beside]), **files})


def results_bundle(repository: str, jobs: Sequence[Job], root: Path) -> bytes:
    return zipped({ENTRY: _contents("results", repository, jobs), **records(root, asked_of(jobs))})


def records(root: Path, asked: Collection[Asked]) -> dict[str, bytes]:
    """The official closed evaluations that answer an order, by path from the root."""
    return files_of(root, [one for one in finished(root) if any(order.is_answered_by(one) for order in asked)])


def finished(root: Path) -> list[EvaluationRecord]:
    """The closed official evaluations of this clone: only these are anybody else's business."""
    return [one for one in Store(root / BOARD).evaluations() if one.official and one.closed is not None]


def files_of(root: Path, evaluations: Iterable[EvaluationRecord]) -> dict[str, bytes]:
    """The files of evaluations with their runs, by path from the root."""
    store = Store(root / BOARD)
    paths: list[Path] = []
    for one in evaluations:
        paths += [store.evaluation_path(one.id), *sorted((store.folder / "runs" / one.id).glob("*.json"))]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def opened(path: Path) -> dict[str, bytes]:
    """The files of a zip from another machine; raises SubmissionError."""
    content = read_bounded(path)
    if not is_zip(content):
        raise SubmissionError(fault("pull-artifact", path.name, "is no zip"))
    return unzip(content, path.name)


def read_bundle(path: Path) -> Bundle:
    """A bundle from another machine; raises SubmissionError."""
    files = opened(path)
    try:
        told = _Contents.model_validate_json(files.pop(ENTRY, b""))
    except ValidationError as error:
        raise SubmissionError(fault("pull-artifact", path.name, f"{ENTRY}: {first_of(error)}")) from None
    heads = {job.key: _head(job, files, path.name) for job in told.jobs} if told.kind == "jobs" else {}
    known = {name for name in files if name.startswith(("heads/", f"{BOARD}/"))}
    if set(files) - known:
        what = f"holds {sorted(set(files) - known)[0][:80]!a}, which no bundle has"
        raise SubmissionError(fault("pull-artifact", path.name, what))
    board = {name: content for name, content in files.items() if name.startswith(f"{BOARD}/")}
    return Bundle(told.kind, told.repository, told.jobs, heads, board)


@dataclass(frozen=True)
class Taken:
    """What became of the evaluations of a bundle that were not here."""

    new: tuple[str, ...]  # ids
    left: tuple[tuple[EvaluationRecord, str], ...]  # what was left out, and why in words

    @property
    def said(self) -> str:
        return "".join(f"; NOT taken: {one.id} {why}" for one, why in self.left)


def take_records(root: Path, files: Mapping[str, bytes], asked: Collection[Asked] | None, where: str) -> Taken:
    """Puts evaluations on the board, each whole, if all of them answer orders; None: they are nobody else's.

    Nothing is overwritten, what was measured here as well is not measured a second time there, and no gain comes in
    that was held to less than the tries which are known here ask for.
    """
    store = Store(root / BOARD)
    with store.lock():
        ledger.verify(store)
        known = {one.contest: one for one in finished(root) if _stands(one)}
        past = [one for one in store.evaluations() if one.official]
        new: list[str] = []
        left: list[tuple[EvaluationRecord, str]] = []
        for evaluation in _evaluations(files, asked, where):
            if _is_here(store, files, evaluation, where):
                continue
            why = _objection(root, evaluation, known, past, files) if evaluation.kind == "submission" else ""
            if why:
                left.append((evaluation, why))
                continue
            if _stands(evaluation):
                known[evaluation.contest] = evaluation
            past.append(evaluation)
            new.append(evaluation.id)
        for evaluation_id in new:
            folders = (f"{BOARD}/runs/{evaluation_id}/", f"{BOARD}/evaluations/{evaluation_id}.json")
            put_files(root, {name: content for name, content in files.items() if name.startswith(folders)})
            ledger.append(store, evaluation_id)
        ledger.verify(store)
    return Taken(tuple(new), tuple(left))


def _objection(
    root: Path,
    evaluation: EvaluationRecord,
    known: Mapping[ContestKey, EvaluationRecord],
    past: Sequence[EvaluationRecord],
    files: Mapping[str, bytes],
) -> str:
    """Why a submission's evaluation does not come in, in words; empty where it does."""
    other = known.get(evaluation.contest)
    if other is not None:  # of two draws the first to be begun counts, whichever way it went
        first = ", and was begun BEFORE it: `blueberry invalidate` the later one under `drawn-twice`, then take this"
        return f"measures what {other.id} has measured{first if evaluation.opened < other.opened else ''}"
    prefix = f"{BOARD}/runs/{evaluation.id}/"
    runs = (RunRecord.model_validate_json(content) for name, content in files.items() if name.startswith(prefix))
    why = lenient(root, evaluation, runs, past)  # what was rejected counts as a try however lenient its test was
    return f"{why}: `blueberry run {evaluation.slug} --official` on this board" if why else ""


def put_files(root: Path, files: Mapping[str, bytes]) -> None:
    """Runs before the evaluations that name them."""
    for name in sorted(files, reverse=True):
        write_atomically(root / name, files[name])


def _stands(record: EvaluationRecord) -> bool:
    """False for one that is to be measured again."""
    return record.invalidated is None and not record.provisional


def _evaluations(files: Mapping[str, bytes], asked: Collection[Asked] | None, where: str) -> list[EvaluationRecord]:
    """All of a bundle, calibrations first; raises SubmissionError before any of it is used."""
    found = []
    for name in sorted(files):
        parts = name.split("/")
        if len(parts) == 3 and parts[1] == "evaluations":
            found.append(_evaluation(files, name, where))
            if asked is not None and not any(order.is_answered_by(found[-1]) for order in asked):
                raise SubmissionError(fault("pull-artifact", f"{where}: {name[:80]!a}", "is what nobody asked for"))
        elif not (len(parts) == 4 and parts[1] == "runs"):
            raise SubmissionError(fault("pull-artifact", where, f"holds {name[:80]!a}, which no board has"))
    known = {record.id for record in found}
    stray = [name for name in sorted(files) if name.split("/")[1] == "runs" and name.split("/")[2] not in known]
    if stray:
        raise SubmissionError(fault("pull-artifact", where, f"holds {stray[0][:80]!a}, a run of no evaluation"))
    return sorted(found, key=lambda one: (one.kind != "calibration", one.opened, one.id))


def _contents(kind: Literal["jobs", "results"], repository: str, jobs: Sequence[Job]) -> bytes:
    told = _Contents(kind=kind, repository=repository, jobs=tuple(jobs))
    return (json.dumps(told.model_dump(mode="json", by_alias=True), indent=1) + "\n").encode()


def _head(job: Job, files: Mapping[str, bytes], where: str) -> Head:
    prefix = f"heads/{job.key}/"
    own = {name.removeprefix(prefix): content for name, content in files.items() if name.startswith(prefix)}
    wrong = [name for name, content in own.items() if name not in LIMITS or len(content) > LIMITS[name]]
    if wrong or not is_slug(job.slug):
        raise SubmissionError(
            fault("pull-artifact", where, f"{(wrong or [job.slug])[0][:80]!a} is no part of a submission")
        )
    return Head(job.sha, job.slug, own)


def _evaluation(files: Mapping[str, bytes], name: str, where: str) -> EvaluationRecord:
    """An evaluation of a bundle, with every run that it names and no other."""
    try:
        record = EvaluationRecord.model_validate_json(files[name])
        own = {
            path.split("/")[3]: content
            for path, content in files.items()
            if path.startswith(f"{BOARD}/runs/{record.id}/")
        }
        runs = {stem: RunRecord.model_validate_json(content) for stem, content in own.items()}
    except ValidationError as error:
        raise SubmissionError(
            fault("pull-artifact", f"{where}: {name[:80]!a}", f"{error.errors()[0]['msg'][:100]!a}")
        ) from None
    fits = name == f"{BOARD}/evaluations/{record.id}.json" and record.official and record.closed is not None
    digests = {stem: sha256(content) for stem, content in own.items()}
    named = all(stem == f"{run.spec.stem}.json" and run.evaluation == record.id for stem, run in runs.items())
    spot = f"{where}: {name[:80]!a}"
    if not fits or not named or digests != record.runs:
        raise SubmissionError(fault("pull-artifact", spot, "is no closed official evaluation with all its runs"))
    if broken_promise(record, runs.values()) is not None:
        raise SubmissionError(fault("pull-artifact", spot, "has a salt, a seed or a run that was not promised"))
    try:
        for metric in record.metrics if record.kind == "submission" else ():
            judge_cell(record, runs.values(), metric)
    except (HarnessError, ValueError, ArithmeticError) as error:
        raise SubmissionError(fault("pull-artifact", spot, f"cannot be decided: {str(error)[:100]!a}")) from None
    return record


def _is_here(store: Store, files: Mapping[str, bytes], record: EvaluationRecord, where: str) -> bool:
    """Raises SubmissionError where another evaluation has that id; one that was invalidated here stays so."""
    path = store.evaluation_path(record.id)
    if not path.exists():
        return False
    same = path.read_bytes() == files[f"{BOARD}/evaluations/{record.id}.json"]
    if not same and not store.evaluation(record.id).invalidated:
        raise SubmissionError(fault("pull-artifact", where, f"{record.id} is another evaluation than the one here"))
    return True
