"""Pages to try things on: the values of one comment."""

from __future__ import annotations

import hashlib
from typing import Any

from harness.bot.page import Page

SHA = "0123456789abcdef0123456789abcdef01234567"
PATCH = "--- a/model_core/lm.py\n+++ b/model_core/lm.py\n@@ -1 +1 @@\n-old\n+new\n"
CELL = {
    "track": "llm-tiny",
    "budget": "8M",
    "metric": "loss",
    "verdict": "ACCEPT_LOSS",
    "pairs": 4,
    "max_pairs": 10,
    "gain": 0.0123,
    "interval": [0.002, 0.022],
    "p": 0.001,
    "alpha": 0.02,
    "time_ratio": 0.99,
    "time_interval": [0.98, 1.0],
    "net_gain": 0.1,
    "confirm": {"needed": 4, "done": 4, "gain": 0.0101, "confirmed": True},
}
JOB = {"sha": SHA, "track": "llm-tiny", "budget": "8M", "state": "waiting"}


def values(patch: str = PATCH, **changed: Any) -> dict[str, Any]:
    """A page as JSON has it."""
    check = {
        "ok": True,
        "added": 1,
        "removed": 1,
        "patch_sha": hashlib.sha256(patch.encode("utf-8", "replace")).hexdigest(),
        "warnings": [],
        "faults": [],
    }
    return {"schema": 1, "pr": 7, "sha": SHA, "slug": "an-idea", "check": check, "patch": patch, **changed}


def page(patch: str = PATCH, **changed: Any) -> Page:
    return Page.model_validate(values(patch, **changed))


def done(**changed: Any) -> dict[str, Any]:
    """A job that has its verdict."""
    return {**JOB, "state": "done", "seconds": 120.0, "verdict": "CONFIRMED", "cells": [CELL], **changed}
