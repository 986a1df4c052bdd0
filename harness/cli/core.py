"""Verbs that follow the core: promote, status."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.surface import Json, Said, app, root
from harness.errors import UsageError

Slugs = Annotated[list[str], typer.Argument(help="Folders in submissions/, in this order.", show_default=False)]
By = Annotated[str | None, typer.Option("--by", help="Your name, for the history; default: git's user.name.")]
Reviewed = Annotated[str | None, typer.Option("--reviewed", help="Why those under review are taken, in one line.")]


@app.command()
def promote(slugs: Slugs, by: By = None, reviewed: Reviewed = None, as_json: Json = False) -> Said:
    """For maintainers: confirmed winners become part of model_core/, all of them or none."""
    from harness.board import promotion as board
    from harness.records.store import Store
    from harness.words import promotion_text

    here = root()
    name = _line("--by", by if by is not None else _git_name(here), 80)
    word = None if reviewed is None else _line("--reviewed", reviewed, 300)
    with Store(here / "leaderboard").lock():
        done = board.promote(here, slugs, name, word)
    data = {
        "ok": True,
        "promotion": done.promotion.model_dump(mode="json"),
        "tracks": list(done.tracks),
        "unproven": list(done.unproven),
        "refills": [asdict(one) for one in done.refills],
        "open": [asdict(one) for one in done.standings],
        "cut_off": list(done.cut_off),
    }
    return Said(promotion_text(done), data)


@app.command()
def status(as_json: Json = False) -> Said:
    """All submissions against today's core: where each stands, and whether its patch still applies."""
    from harness.board.status import statuses
    from harness.submission.patch import core_digest
    from harness.words import status_text

    here = root()
    found = statuses(here)
    core_id = core_digest(here / "model_core")
    data = {"ok": True, "core_id": core_id, "submissions": [one.to_json() for one in found]}
    return Said(status_text(core_id, found), data)


def _line(option: str, text: str, limit: int) -> str:
    """One printable line; raises UsageError."""
    if not text.strip() or len(text) > limit or not text.isprintable():
        raise UsageError(option, f"is not one line of 1 to {limit} characters", f'write {option} "..."')
    return text.strip()


def _git_name(here: Path) -> str:
    from harness.submission.git import git

    name = git("config", "user.name", cwd=here, repository=True).stdout.decode(errors="replace").strip()
    if not name:
        raise UsageError("promote", "the history of the core says who promoted", 'name yourself: --by "..."')
    return name
