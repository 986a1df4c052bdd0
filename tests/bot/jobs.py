"""Jobs and pull requests to try things on."""

from __future__ import annotations

from typing import Any

from harness.bot.page import CheckPart, PlanPart
from harness.bot.queue import Job, Known
from tests.bot.pages import PATCH, SHA

PLAN = {"track": "llm-tiny", "metric": "loss", "pairs_at_most": 14, "seconds_at_most": 600.0, "cost_at_most": 1.0}


def job(**changed: Any) -> Job:
    values = {
        "pr": 7,
        "sha": SHA,
        "slug": "an-idea",
        "track": "llm-tiny",
        "budget": "8M",
        "author": "contributor",
        "asked_by": "maintainer",
        "asked": "2026-01-01T00:00:00Z",
    }
    return Job.model_validate({**values, **changed})


def known(*budgets: str, **changed: Any) -> Known:
    """A pull request that claims llm-tiny at these budgets."""
    plans = tuple(PlanPart.model_validate({**PLAN, "budget": budget}) for budget in budgets or ("8M",))
    check = CheckPart(ok=True, added=1, removed=1, patch_sha="a" * 64)
    values = {"pr": 7, "sha": SHA, "author": "contributor", "ours": True, "slug": "an-idea", "check": check}
    return Known.model_validate({**values, "patch": PATCH, "plans": plans, **changed})
