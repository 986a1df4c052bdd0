"""The ledger: closed evaluations, chained, so that a row cannot be changed or dropped without a trace.

Each line of `ledger.jsonl` holds the sha256 of the lines that it follows, an evaluation's id and the sha256 of its
file; that file holds the digests of its run files. A line follows all lines that nothing else followed when it was
written: one, or two where two machines had gone on from the same line and git has put both parts together
(.gitattributes says that it may). `verify` walks all of it down to the bytes of every run. An evaluation that is
invalidated gets a second line; its file says why and is otherwise what it was.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from harness.errors import MachineError, UsageError
from harness.records.atomic import write_atomically
from harness.records.record import EvaluationRecord, canonical
from harness.records.store import Store, sha256

NAME = "ledger.jsonl"
GENESIS = "0" * 64
FIX = "restore the file from git; closed evaluations are never edited by hand"


class Line(BaseModel):
    """One line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation: str
    previous: tuple[str, ...]  # sha256 of the lines that it follows
    sha256: str  # of the evaluation's file

    @field_validator("previous", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value  # lines used to follow one other


def append(store: Store, evaluation_id: str) -> None:
    """Adds a closed evaluation to the ledger; the caller holds the store's lock. A second time is a no-op."""
    if all(line.evaluation != evaluation_id for line in _read(store)):
        _add(store, evaluation_id)


def invalidate(store: Store, evaluation_id: str, reason: str) -> EvaluationRecord:
    """Marks a closed evaluation as broken; its row stays, with the reason. The caller holds the store's lock.

    Raises UsageError when there is no such closed evaluation, or when it is invalidated already.
    """
    found = {record.id: record for record in store.evaluations()}.get(evaluation_id)
    if found is None or found.closed is None:
        raise UsageError(evaluation_id, "there is no closed evaluation of that id", "see leaderboard/evaluations/")
    if found.invalidated is not None:
        raise UsageError(evaluation_id, f"is invalidated already: {found.invalidated}", "nothing is left to do")
    path = store.evaluation_path(evaluation_id)
    write_atomically(path, _with_reason(path, reason))
    _add(store, evaluation_id)
    return store.evaluation(evaluation_id)


def verify(store: Store) -> None:
    """Raises MachineError that names the first line, evaluation or run file that is not what the ledger says."""
    path = _path(store)
    known = {GENESIS}
    said: dict[str, list[str]] = {}
    for number, (text, line) in enumerate(zip(_texts(store), _read(store), strict=True), 1):
        if not known.issuperset(line.previous):
            raise MachineError(f"{path}:{number}", "does not follow from a line before it", FIX)
        known.add(sha256(text.encode()))
        said.setdefault(line.evaluation, []).append(line.sha256)
    for evaluation_id, digests in said.items():
        _verify_evaluation(store, evaluation_id, digests)
    for evaluation in store.evaluations():
        if evaluation.closed is not None and evaluation.id not in said:
            where = str(store.evaluation_path(evaluation.id))
            raise MachineError(where, "is closed, but the ledger does not list it", FIX)


def verify_grown(store: Store, name: str, before: bytes, commit: str) -> None:
    """Raises MachineError where a line that a commit's ledger or promotions have is gone: what lies at the end could be
    cut off with its files, and the rest would still be a chain."""
    path = store.folder / name
    present = set(path.read_bytes().split(b"\n")) if path.exists() else set()
    gone = [number for number, line in enumerate(before.split(b"\n"), 1) if line and line not in present]
    if gone:
        raise MachineError(str(path), f"lacks line {gone[0]} of what it was at {commit[:12]}", FIX)


def _with_reason(path: Path, reason: str | None) -> str:
    """The file with another reason and nothing else: it may be older than fields that records have today."""
    return canonical(json.loads(path.read_text(encoding="utf-8")) | {"invalidated": reason})


def _path(store: Store) -> Path:
    return store.folder / NAME


def _texts(store: Store) -> list[str]:
    path = _path(store)
    if not path.exists():
        return []
    *lines, rest = path.read_bytes().split(b"\n")  # and at nothing else that might pass for the end of a line
    if rest:
        raise MachineError(f"{path}:{len(lines) + 1}", "ends in the middle of a line", FIX)
    try:
        return [line.decode() for line in lines]
    except UnicodeDecodeError as error:
        raise MachineError(str(path), "is not UTF-8 text", FIX) from error


def _read(store: Store) -> list[Line]:
    lines = []
    for number, text in enumerate(_texts(store), 1):
        try:
            lines.append(Line.model_validate_json(text))
        except ValidationError as error:
            raise MachineError(f"{_path(store)}:{number}", "is not a ledger line", FIX) from error
    return lines


def _add(store: Store, evaluation_id: str) -> None:
    """A line for an evaluation as its file is now, after every line that nothing follows yet."""
    texts = _texts(store)
    followed = {digest for line in _read(store) for digest in line.previous}
    heads = [digest for digest in (sha256(text.encode()) for text in texts) if digest not in followed]
    content = store.evaluation_path(evaluation_id).read_bytes()
    line = Line(evaluation=evaluation_id, previous=tuple(heads or [GENESIS]), sha256=sha256(content))
    written = json.dumps(line.model_dump(mode="json"), sort_keys=True)
    write_atomically(_path(store), "".join(text + "\n" for text in [*texts, written]))


def _verify_evaluation(store: Store, evaluation_id: str, digests: list[str]) -> None:
    path = store.evaluation_path(evaluation_id)
    if not path.exists():
        raise MachineError(str(path), f"evaluation {evaluation_id} is missing", FIX)
    record = store.evaluation(evaluation_id)
    valid = sha256(_with_reason(path, None).encode())
    states = [valid, sha256(path.read_bytes())] if record.invalidated is not None else [sha256(path.read_bytes())]
    if list(dict.fromkeys(digests)) != states:
        raise MachineError(str(path), "was changed after it was closed", FIX)
    found = store.run_digests(evaluation_id)
    for name in sorted(set(record.runs) | set(found)):
        if record.runs.get(name) != found.get(name):
            folder = store.folder / "runs" / evaluation_id
            state = "is missing" if name not in found else "is not what the evaluation closed with"
            raise MachineError(str(folder / name), state, FIX)
