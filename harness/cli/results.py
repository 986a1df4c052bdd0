"""Verbs on what was measured: report, leaderboard, invalidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.surface import Json, Said, Slug, app, root, say

if TYPE_CHECKING:
    from harness.records.store import Store


@app.command()
def report(slug: Slug, as_json: Json = False) -> Said:
    """Write the report of a submission: markdown, HTML and figures; that of `core` is the noise page."""
    from harness.board import noise_report
    from harness.board import report as board
    from harness.errors import UsageError
    from harness.records.store import Store
    from harness.submission.root import find_folder, slug_of

    here, named = root(), slug
    slug = slug_of(named)
    folder = here / ".blueberry" / "reports" / slug
    if slug == noise_report.NAME:
        written = [str(path) for path in noise_report.write(Store(here / "leaderboard"), folder)]
        return Said("\n".join(written), {"ok": True, "slug": slug, "files": written})
    stores = [Store(here / ".blueberry"), Store(here / "leaderboard")]
    opened = {max(e.opened for e in one.evaluations() if e.slug == slug): one for one in stores if _knows(one, slug)}
    if not opened:
        find_folder(here, named)  # what was measured has a report also where its folder is gone
        raise UsageError(slug, "has no run files to report on", f"blueberry run {slug}")
    store = opened[max(opened)]
    written = [str(path) for path in board.write(store, slug, folder)]
    return Said("\n".join(written), {"ok": True, "slug": slug, "files": written})


def _knows(store: Store, slug: str) -> bool:
    return any(evaluation.slug == slug for evaluation in store.evaluations())


@app.command()
def leaderboard(
    check_only: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is stale.")] = False,
    local: Annotated[bool, typer.Option("--local", help="The board of your own runs in .blueberry/.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", help="With --check: fail where the ledger lacks a line that this commit has."),
    ] = None,
    as_json: Json = False,
) -> Said:
    """Render board, reports and site from the run files; --check verifies the ledger and that no file is stale."""
    from harness.board import leaderboard as board
    from harness.board import site
    from harness.board.report import refresh
    from harness.errors import UsageError
    from harness.records import ledger, promotions
    from harness.records.store import Store
    from harness.run import promises
    from harness.run.leniency import lenient_gains
    from harness.submission.history import file_at

    here = root()
    store = Store(here / (".blueberry" if local else "leaderboard"))
    if since and (local or not check_only):
        raise UsageError("--since", "compares the committed ledger", "give it with --check, and without --local")
    ledger.verify(store)
    promises.verify(store)
    if since:
        for name in (ledger.NAME, promotions.NAME):
            ledger.verify_grown(store, name, file_at(here, since, f"leaderboard/{name}"), since)
    mild = [] if local else lenient_gains(here, store)
    doubted = [f"{one}: `blueberry invalidate` it under `drawn-twice`, and run it again" for one in mild]
    if not check_only:
        path = board.write(store, here)
        reports = [] if local else [str(one) for one in refresh(store)]
        pages = site.write(store, here, say)
        drawn = f"{pages.index} ({pages.drawn} of {pages.submissions} pages drawn)"
        written = {"board": str(path), "reports": reports, "site": str(pages.index)}
        return Said("\n".join([str(path), *reports, drawn, *doubted]), {"ok": True, **written, "lenient": mild})
    stale = [str(path) for path in board.check(store, here)]
    wrong = [*(f"stale: {path}; run `blueberry leaderboard`" for path in stale), *doubted]
    text = "\n".join(wrong) or "the board is current"
    return Said(text, {"ok": not wrong, "stale": stale, "lenient": mild}, int(bool(wrong)))


@app.command()
def invalidate(
    evaluation: Annotated[str, typer.Argument(help="Its id, as in leaderboard/evaluations/.", show_default=False)],
    rule: Annotated[str, typer.Option("--rule", help="The rule that was broken; CONTRIBUTING.md has them.")],
    why: Annotated[str, typer.Option("--why", help="One line for everybody.")],
    local: Annotated[bool, typer.Option("--local", help="An evaluation of your own in .blueberry/.")] = False,
    as_json: Json = False,
) -> Said:
    """For maintainers: a closed evaluation broke a rule. Its row stays, with the reason; it is no record any more."""
    from harness.errors import UsageError
    from harness.records import ledger
    from harness.records.store import Store
    from harness.rules import RULES

    if rule not in RULES:
        raise UsageError("--rule", f"there is no rule {rule!r}", f"name one of {', '.join(RULES)}")
    if not why.strip() or len(why) > 300 or not why.isprintable():
        raise UsageError("--why", "is not one line of 1 to 300 characters", "say in one line what was found")
    store = Store(root() / (".blueberry" if local else "leaderboard"))
    with store.lock():
        ledger.verify(store)
        marked = ledger.invalidate(store, evaluation, f"{rule}: {why.strip()}")
    return Said(f"{marked.id} is invalidated; run `blueberry leaderboard`", {"ok": True, "evaluation": marked.id})
