"""Is it a race between models of one size? A larger one learns more from each token, and is another race."""

from __future__ import annotations

from harness.records.record import AuditResult, ModelFacts

WIDTH = 0.05  # of the core's parameters, its embedding left out


def size(own: ModelFacts, core: ModelFacts, embedding: int) -> tuple[AuditResult, AuditResult]:
    """A submission's model beside the core's: all parameters, which the judge counted in both checkpoints, and those
    that one token goes through, which both models say of themselves.

    Both without the `embedding` that the core has: what a submission calls an embedding is its own word.
    """
    return (
        _held("band", own.parameters, core.parameters, embedding),
        _held("band-active", own.active_parameters, core.active_parameters, embedding),
    )


def total(own: ModelFacts, core: int, embedding: int) -> AuditResult:
    """All parameters alone, beside a core of which nothing else is known."""
    return _held("band", own.parameters, core, embedding)


def _held(rule: str, own: int, core: int, embedding: int) -> AuditResult:
    away = abs(own - core) / (core - embedding if core > embedding else core)  # a core may have become that narrow
    return AuditResult(id=rule, ok=away <= WIDTH, value=away, limit=WIDTH)
