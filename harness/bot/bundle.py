"""Jobs and results that travel between a machine with a token and a rented one without: zips, read as hostile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.bot.head import LIMITS, Head
from harness.bot.queue import Job
from harness.bot.zipped import is_zip, read_bounded, unzip, zipped
from harness.errors import SubmissionError
from harness.records import ledger
from harness.records.atomic import write_atomically
from harness.records.record import EvaluationRecord, RunRecord
from harness.records.store import Store, sha256
from harness.rules import fault
from harness.submission.root import is_slug

ENTRY = "bundle.json"
BOARD = "leaderboard"


class _Contents(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = Field(1, alias="schema")
    kind: Literal["jobs", "results"]
    repository: str = Field(max_length=140)
    jobs: tuple[Job, ...] = Field(max_length=1_000)


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds, all of it looked at."""

    kind: Literal["jobs", "results"]
    repository: str
    jobs: tuple[Job, ...]
    heads: Mapping[str, Head]  # by the key of the job
    records: Mapping[str, bytes]  # by path from leaderboard/


def jobs_bundle(repository: str, heads: Sequence[tuple[Job, Head]]) -> bytes:
    files = {f"heads/{job.key}/{name}": content for job, head in heads for name, content in head.files.items()}
    return zipped({ENTRY: _contents("jobs", repository, [job for job, _ in heads]), **files})


def results_bundle(repository: str, jobs: Sequence[Job], root: Path) -> bytes:
    files = {path: content for slug in {job.slug for job in jobs} for path, content in records(root, slug).items()}
    return zipped({ENTRY: _contents("results", repository, jobs), **files})


def records(root: Path, slug: str) -> dict[str, bytes]:
    """The official closed evaluations of a submission with their runs, by path from the root."""
    store = Store(root / BOARD)
    paths: list[Path] = []
    for one in store.evaluations():
        if one.slug == slug and one.closed is not None:
            paths += [store.evaluation_path(one.id), *sorted((store.folder / "runs" / one.id).glob("*.json"))]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def read_bundle(path: Path) -> Bundle:
    """A bundle from another machine; raises SubmissionError."""
    content = read_bounded(path)
    if not is_zip(content):
        raise SubmissionError(fault("pull-artifact", path.name, "is no zip"))
    files = unzip(content, path.name)
    try:
        told = _Contents.model_validate_json(files.pop(ENTRY, b""))
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        what = f"{ENTRY}: {'.'.join(map(str, detail['loc']))[:80]!a}: {detail['msg'][:100]!a}"
        raise SubmissionError(fault("pull-artifact", path.name, what)) from None
    heads = {job.key: _head(job, files, path.name) for job in told.jobs} if told.kind == "jobs" else {}
    known = {name for name in files if name.startswith(("heads/", f"{BOARD}/"))}
    if set(files) - known:
        what = f"holds {sorted(set(files) - known)[0][:80]!a}, which no bundle has"
        raise SubmissionError(fault("pull-artifact", path.name, what))
    board = {name: content for name, content in files.items() if name.startswith(f"{BOARD}/")}
    return Bundle(told.kind, told.repository, told.jobs, heads, board)


def take_records(root: Path, bundle: Bundle, where: str) -> list[str]:
    """Puts the evaluations of a bundle on the board, each whole; answers the new ones. Nothing is overwritten."""
    store = Store(root / BOARD)
    new = []
    with store.lock():
        ledger.verify(store)
        for name in sorted(bundle.records):
            parts = name.split("/")
            if len(parts) == 3 and parts[1] == "evaluations":
                evaluation = _evaluation(bundle.records, name, where)
                new += _put(store, bundle.records, evaluation, where)
            elif not (len(parts) == 4 and parts[1] == "runs"):
                raise SubmissionError(fault("pull-artifact", where, f"holds {name[:80]!a}, which no board has"))
        for evaluation_id in new:
            ledger.append(store, evaluation_id)
        ledger.verify(store)
    return new


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
    if not fits or not named or digests != record.runs:
        raise SubmissionError(
            fault("pull-artifact", f"{where}: {name[:80]!a}", "is no closed official evaluation with all its runs")
        )
    return record


def _put(store: Store, files: Mapping[str, bytes], record: EvaluationRecord, where: str) -> list[str]:
    """Answers the id where it is new; raises SubmissionError where another evaluation has that id."""
    path = store.evaluation_path(record.id)
    name = f"{BOARD}/evaluations/{record.id}.json"
    if path.exists():
        if path.read_bytes() != files[name]:
            raise SubmissionError(fault("pull-artifact", where, f"{record.id} is another evaluation than the one here"))
        return []
    for run in record.runs:
        write_atomically(store.folder / "runs" / record.id / run, files[f"{BOARD}/runs/{record.id}/{run}"])
    write_atomically(path, files[name])
    return [record.id]
