"""The ledger: a chain over closed evaluations, so that a row cannot be changed or dropped without a trace.

Each line of `ledger.jsonl` holds the sha256 of the line before it, an evaluation's id and the sha256 of its closed
file; that file holds the digests of its run files. `verify` walks the chain down to the bytes of every run.
"""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import MachineError
from harness.records.atomic import write_atomically
from harness.records.store import Store, sha256

GENESIS = "0" * 64


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def append(store: Store, evaluation_id: str) -> None:
    """Adds a closed evaluation to the chain; the caller holds the store's lock. A second time is a no-op."""
    path = store.folder / "ledger.jsonl"
    lines = _lines(path)
    if any(json.loads(line)["evaluation"] == evaluation_id for line in lines):
        return
    entry = {
        "evaluation": evaluation_id,
        "previous": sha256(lines[-1].encode()) if lines else GENESIS,
        "sha256": sha256(store.evaluation_path(evaluation_id).read_bytes()),
    }
    text = "".join(line + "\n" for line in [*lines, json.dumps(entry, sort_keys=True)])
    write_atomically(path, text)


def verify(store: Store) -> None:
    """Raises MachineError that names the first line, evaluation or run file that is not what the chain says."""
    previous = GENESIS
    listed = set()
    path = store.folder / "ledger.jsonl"
    fix = "restore the file from git; closed evaluations are never edited by hand"
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        try:
            entry = json.loads(line)
            evaluation_id, digest, chained = entry["evaluation"], entry["sha256"], entry["previous"]
        except (ValueError, KeyError, TypeError) as error:
            raise MachineError(where, "is not a ledger line", fix) from error
        if chained != previous:
            raise MachineError(where, "does not follow from the line before it", fix)
        _verify_evaluation(store, evaluation_id, digest, where, fix)
        listed.add(evaluation_id)
        previous = sha256(line.encode())
    for evaluation in store.evaluations():
        if evaluation.closed is not None and evaluation.id not in listed:
            where = str(store.evaluation_path(evaluation.id))
            raise MachineError(where, "is closed, but the ledger does not list it", fix)


def _verify_evaluation(store: Store, evaluation_id: str, digest: str, where: str, fix: str) -> None:
    path = store.evaluation_path(evaluation_id)
    if not path.exists():
        raise MachineError(where, f"evaluation {evaluation_id} is missing", fix)
    if sha256(path.read_bytes()) != digest:
        raise MachineError(str(path), "was changed after it was closed", fix)
    record = store.evaluation(evaluation_id)
    found = store.run_digests(evaluation_id)
    for name in sorted(set(record.runs) | set(found)):
        if record.runs.get(name) != found.get(name):
            folder = store.folder / "runs" / evaluation_id
            state = "is missing" if name not in found else "is not what the evaluation closed with"
            raise MachineError(str(folder / name), state, fix)
