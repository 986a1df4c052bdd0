"""Which evaluations were run again: provisional ones, once a sandbox was there to run them in."""

from __future__ import annotations

from collections.abc import Iterable

from harness.records.record import EvaluationRecord


def replaced(evaluations: Iterable[EvaluationRecord]) -> set[str]:
    """Ids of the provisional evaluations of which the same patch has a closed one in a sandbox.

    Their files and their place in the ledger stay; what is rendered and counted is the later one.
    """
    known = list(evaluations)
    again = {_what(one) for one in known if not one.provisional and one.official and one.closed}
    return {one.id for one in known if one.provisional and _what(one) in again}


def _what(evaluation: EvaluationRecord) -> tuple[object, ...]:
    cell = (evaluation.track, evaluation.budget, evaluation.core_id, evaluation.data_id)
    return (*cell, evaluation.kind, evaluation.slug, evaluation.patch_sha, evaluation.builds_on)
