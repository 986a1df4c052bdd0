"""Whether what was run is what had been promised: the digest of the salt is public before any seed, the salt after."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import MachineError
from harness.records.ledger import FIX
from harness.records.record import EvaluationRecord, RunRecord
from harness.records.store import Store
from harness.run.seeds import digest, seed


def verify(store: Store) -> None:
    """Raises MachineError that names the first closed evaluation, or run of it, that breaks its promise."""
    for record in store.evaluations():
        if record.closed is not None and (what := broken_promise(record, store.runs(record.id))) is not None:
            raise MachineError(str(store.evaluation_path(record.id)), what, FIX)


def broken_promise(record: EvaluationRecord, runs: Iterable[RunRecord]) -> str | None:
    """What of a closed evaluation is not as it was promised, in words; None where all is."""
    if digest(record.salt or "") != record.salt_sha256:
        return "has a salt whose digest is not the one that was frozen before the runs"
    for run in runs:
        if run.evaluation != record.id or not _is_drawn(record, run):
            return f"has a run, {run.spec.stem}, that is not of its patch, its cell and the seeds of its salt"
    return None


def _is_drawn(record: EvaluationRecord, run: RunRecord) -> bool:
    spec = run.spec
    promised = (record.track, record.budget, record.core_id, record.data_id)
    if (spec.track, spec.budget, spec.core_id, spec.data_id) != promised:
        return False
    if record.kind == "calibration":  # repeats of one seed are among its runs
        return spec.arm == "core" and spec.patch_sha is None
    arms = {"core": None, record.slug: record.patch_sha}
    drawn = seed(record.salt or "", record.track, record.budget, record.patch_sha or "", spec.round, spec.pair)
    return spec.arm in arms and arms[spec.arm] == spec.patch_sha and spec.seed == drawn
