"""Runs that failed: when the submission is to blame, and what that makes of its claim."""

from __future__ import annotations

from collections.abc import Sequence

from harness.decide.pairs import Pair, is_base
from harness.records.record import EvaluationRecord, Round, RunRecord

FAILED = ("crashed", "timed_out", "diverged")  # the arm's own fault
ENDED = ("killed", "infrastructure")  # the machine's, as it seems
RETRIES = 2  # attempts of one run that may fail before the submission is blamed
FAILED_PAIRS = 2  # pairs in which its first attempt may fail: a failure draws a run again, and could be chosen


def invalid_reason(evaluation: EvaluationRecord, runs: Sequence[RunRecord]) -> str | None:
    """Why no number of this evaluation counts; None if they do."""
    if evaluation.invalidated is not None:
        return evaluation.invalidated
    for run in runs:
        if run.status == "refused" and not is_base(run.spec):
            return (
                f"refused in the {run.spec.round} round, pair {run.spec.pair + 1}: {run.error or 'a rule was broken'}"
            )
    repeated = _repeated_failures(runs)
    for failures in repeated:
        if any(run.status != "diverged" for run in failures):
            said = " and ".join(sorted({run.status.replace("_", " ") for run in failures}))
            spec = failures[-1].spec
            return f"{said} in {len(failures)} attempts of the {spec.round} round, pair {spec.pair + 1}"
    unstable = {(failures[0].spec.round, failures[0].spec.pair) for failures in repeated}  # nothing was drawn again
    drawn = {(run.spec.round, run.spec.pair) for run in _failed(runs)} - unstable
    if len(drawn) > FAILED_PAIRS:
        return f"failed at first in {len(drawn)} pairs, and a run that may be drawn again at will is no measurement"
    return None


def timeless_by_own_doing(pair: Pair, runs: Sequence[RunRecord]) -> bool:
    """The submission itself, not an interruption, made the times of this pair incomparable."""
    if pair.R is not None:
        return False
    retried = any(r.spec.pair == pair.index and r.spec.round == pair.sub.spec.round for r in _failed(runs))
    cut = pair.sub.model is not None and pair.sub.model.fitted
    return retried or (cut and not (pair.base.model is not None and pair.base.model.fitted))


def lost(runs: Sequence[RunRecord]) -> int:
    """Runs of the submission that look as if the machine had ended them. A worker can do that to itself as well."""
    return sum(not is_base(run.spec) and ended_by_machine(run) for run in runs)


def ended_by_machine(run: RunRecord) -> bool:
    """A run that its harness left behind has no host: it was interrupted from outside."""
    return run.status in ENDED and run.host is not None


def _failed(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The submission's runs that ended by its own fault."""
    return [run for run in runs if not is_base(run.spec) and run.status in FAILED]


def unstable_reason(runs: Sequence[RunRecord], round: Round) -> str | None:
    """Why the submission counts as unstable: twice no finite loss on a seed on which the core has one."""
    completed = {(run.spec.round, run.spec.pair, run.spec.seed) for run in runs if run.usable and is_base(run.spec)}
    for failures in _repeated_failures(runs):
        spec = failures[0].spec
        if spec.round == round and (round, spec.pair, spec.seed) in completed:
            return f"unstable: diverged in {len(failures)} attempts at pair {spec.pair + 1}, where the core did not"
    return None


def _repeated_failures(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """The submission's runs that failed as often as is allowed and never completed, grouped by what was to be run."""
    attempts: dict[tuple[Round, int, int], list[RunRecord]] = {}
    for run in sorted(runs, key=lambda run: run.spec.attempt):
        if not is_base(run.spec) and run.status in ("completed", *FAILED):
            attempts.setdefault((run.spec.round, run.spec.pair, run.spec.seed), []).append(run)
    return [
        tried
        for _, tried in sorted(attempts.items())
        if len(tried) >= RETRIES and not any(run.status == "completed" for run in tried)
    ]
