"""Verbs that render what was measured: report, leaderboard."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.surface import Json, Said, Slug, app, root


@app.command()
def report(slug: Slug, as_json: Json = False) -> Said:
    """Write the report of a submission: markdown, HTML and figures."""
    from harness.board import report as board
    from harness.errors import UsageError
    from harness.records.store import Store

    here = root()
    stores = [Store(here / ".blueberry"), Store(here / "leaderboard")]
    store = next((one for one in stores if any(e.slug == slug for e in one.evaluations())), None)
    if store is None:
        raise UsageError(slug, "has no run files to report on", f"blueberry run {slug}")
    written = [str(path) for path in board.write(store, slug, here / ".blueberry" / "reports" / slug)]
    return Said("\n".join(written), {"ok": True, "slug": slug, "files": written})


@app.command()
def leaderboard(
    check_only: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is stale.")] = False,
    local: Annotated[bool, typer.Option("--local", help="The board of your own runs in .blueberry/.")] = False,
    as_json: Json = False,
) -> Said:
    """Render the board from the run files; --check verifies the ledger and fails when it is stale."""
    from harness.board import leaderboard as board
    from harness.board.report import refresh
    from harness.records import ledger
    from harness.records.store import Store

    here = root()
    store = Store(here / (".blueberry" if local else "leaderboard"))
    ledger.verify(store)
    if not check_only:
        path = board.write(store, here)
        reports = [] if local else [str(one) for one in refresh(store)]
        return Said("\n".join([str(path), *reports]), {"ok": True, "board": str(path), "reports": reports})
    stale = [str(path) for path in board.check(store, here)]
    text = "\n".join(f"stale: {path}; run `blueberry leaderboard`" for path in stale) or "the board is current"
    return Said(text, {"ok": not stale, "stale": stale}, 1 if stale else 0)
