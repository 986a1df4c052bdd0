"""What a maintainer writes to the bot: one line, the first of a comment.

/bench BUDGET [TRACK] FULL_SHA            measure this commit at this budget
/bench-approve BUDGET [TRACK] FULL_SHA    the word that 1B needs, after its cost has been shown
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.bot.head import SHA
from harness.tracks import BUDGETS, TRACKS

FORM = "/bench BUDGET [TRACK] FULL_SHA"
_VERBS: dict[str, Literal["bench", "approve"]] = {"/bench": "bench", "/bench-approve": "approve"}


@dataclass(frozen=True)
class Command:
    """An order, not yet one that anybody may give."""

    verb: Literal["bench", "approve"]
    budget: str
    track: str | None  # None: the one that the submission claims at this budget
    sha: str


@dataclass(frozen=True)
class Malformed:
    """Meant for the bot, and not understood."""

    what: str


def parse(body: str) -> Command | Malformed | None:
    """The command of a comment; None where it has none. Nothing but the first line is read."""
    words = body[:400].split("\n")[0].split()
    if not words or words[0] not in _VERBS:
        return None
    verb, rest = _VERBS[words[0]], words[1:]
    if len(rest) not in (2, 3):
        return Malformed(f"the form is `{FORM}`")
    budget, track, sha = rest[0], rest[1] if len(rest) == 3 else None, rest[-1]
    if budget not in BUDGETS:
        listed = ", ".join(name for name, known in BUDGETS.items() if known.listed)
        return Malformed(f"the budget is one of {listed}")
    if track is not None and track not in TRACKS:
        return Malformed(f"the track is one of {', '.join(TRACKS)}")
    if not SHA.fullmatch(sha):
        return Malformed("the commit has to be named by all 40 characters of its id, as it was reviewed")
    return Command(verb, budget, track, sha)
