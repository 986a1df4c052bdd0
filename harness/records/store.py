"""The store: one JSON file a run, one an evaluation, in folders that git can merge. Nothing is ever half-written.

Layout under the store's folder (`.blueberry/` for local work, `leaderboard/` for official rows):

    runs/<evaluation id>/<stem>.json       a finished run, written once and never changed
    runs/<evaluation id>/<stem>.started    a run that has begun; the marker that outlives a crash
    evaluations/<id>.json                  what was promised before any seed was drawn, closed with the digests
    ledger.jsonl                           the chain of closed evaluations

Resuming is by existence, not by state: a run is missing, or it is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import MachineError
from harness.records.atomic import disk_trouble, write_atomically
from harness.records.record import SCHEMA, EvaluationRecord, RunRecord, RunSpec, write_json
from harness.tracks import BUDGETS, TRACKS


def sha256(data: bytes) -> str:
    """Hex digest, as it stands in the records."""
    return hashlib.sha256(data).hexdigest()


Record = TypeVar("Record", bound=BaseModel)


def _parse(kind: type[Record], path: Path) -> Record:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        fix = "restore the file from git or its backup, or move away what stands there in its place"
        raise MachineError(str(path), f"cannot be read: {error.strerror}", fix) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        newer = first["loc"] == ("schema",)
        what = f"written by a newer harness (schema above {SCHEMA})" if newer else f"{place}: {first['msg']}"
        fix = "restore the file from git or its backup, or move it away; the other runs are untouched"
        raise MachineError(str(path), f"is not a valid {kind.__name__}: {what}", fix) from error


@dataclass(frozen=True)
class Store:
    """Run and evaluation records under one folder."""

    folder: Path

    def evaluation_path(self, evaluation_id: str) -> Path:
        return self.folder / "evaluations" / f"{evaluation_id}.json"

    def run_path(self, evaluation_id: str, spec: RunSpec) -> Path:
        return self.folder / "runs" / evaluation_id / f"{spec.stem}.json"

    def _marker(self, evaluation_id: str, spec: RunSpec) -> Path:
        return self.run_path(evaluation_id, spec).with_suffix(".started")

    def put_evaluation(self, record: EvaluationRecord) -> Path:
        path = self.evaluation_path(record.id)
        write_atomically(path, write_json(record))
        return path

    def evaluation(self, evaluation_id: str) -> EvaluationRecord:
        """Raises MachineError where the file holds another one: it would stand on that one's runs; and where its track
        or budget is none of this harness."""
        path = self.evaluation_path(evaluation_id)
        record = _parse(EvaluationRecord, path)
        if record.id != evaluation_id:
            what = f"holds evaluation {record.id}, which has a file of its own name"
            raise MachineError(str(path), what, "restore the file from git or its backup, or move it away")
        if record.track not in TRACKS or record.budget not in BUDGETS:
            cell = f"{record.track[:80]!r} at {record.budget[:80]!r}"
            what = f"was written by another harness: {cell} is unknown to this one"
            raise MachineError(str(path), what, "check out the branch that wrote it, or move the file away")
        return record

    def evaluations(self) -> list[EvaluationRecord]:
        """All evaluations, oldest first."""
        paths = sorted((self.folder / "evaluations").glob("*.json"))
        return sorted((self.evaluation(path.stem) for path in paths), key=lambda e: (e.opened, e.id))

    def runs(self, evaluation_id: str) -> list[RunRecord]:
        """The finished runs of one evaluation, in the order of their file names."""
        folder = self.folder / "runs" / evaluation_id
        return [_parse(RunRecord, path) for path in sorted(folder.glob("*.json"))]

    def begin(self, evaluation_id: str, spec: RunSpec) -> None:
        """Leaves the start marker; a started run is never forgotten, whatever happens to this process."""
        write_atomically(self._marker(evaluation_id, spec), write_json(spec))

    def put_run(self, record: RunRecord) -> Path:
        """Writes a run file for good and removes its start marker."""
        path = self.run_path(record.evaluation, record.spec)
        try:
            write_atomically(path, write_json(record), replace=False)
        except MachineError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
            raise AssertionError(f"run file written twice: {path}") from error
        self._marker(record.evaluation, record.spec).unlink(missing_ok=True)
        return path

    def bury_orphans(self, evaluation_id: str, sandbox: str) -> list[RunRecord]:
        """Turns the markers of runs that died with their harness into run files with status `killed`."""
        buried = []
        for marker in sorted((self.folder / "runs" / evaluation_id).glob("*.started")):
            if marker.with_suffix(".json").exists():  # died between writing the record and removing the marker
                marker.unlink()
                continue
            spec = _parse(RunSpec, marker)
            record = RunRecord(
                evaluation=evaluation_id,
                spec=spec,
                status="killed",
                sandbox=sandbox,
                error="the harness stopped before this run was finished",
            )
            self.put_run(record)
            buried.append(record)
        return buried

    def run_digests(self, evaluation_id: str) -> dict[str, str]:
        """File name -> sha256, for closing an evaluation and for checking a closed one."""
        folder = self.folder / "runs" / evaluation_id
        return {path.name: sha256(path.read_bytes()) for path in sorted(folder.glob("*.json"))}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the store for one harness; a second one is told so at once instead of racing for the same runs."""
        path = self.folder / ".lock"
        with disk_trouble(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held until the block ends
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                what = f"another harness (process {holder}) is running in this store"
                raise MachineError(str(self.folder), what, "wait for it, or stop it and try again") from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
