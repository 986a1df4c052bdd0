"""Is it a race between models of one size? A larger one learns more from each token, and is another race."""

from __future__ import annotations

from harness.records.record import AuditResult

WIDTH = 0.05  # of the core's parameters, its embedding left out


def size(parameters: int, core: int, embedding: int) -> AuditResult:
    """Parameters of a submission's checkpoint beside the core's, without the `embedding` that the core has.

    The same number is taken off both: what a submission calls an embedding is its own word.
    """
    away = (parameters - core) / (core - embedding)
    return AuditResult(id="band", ok=abs(away) <= WIDTH, value=abs(away), limit=WIDTH)
