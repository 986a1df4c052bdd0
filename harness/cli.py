"""The command line: one verb, one function. `--help` and `check` start fast because every verb imports what it needs.

People's text goes to stderr; `--json` prints one JSON object on stdout and nothing else, also on failure. Exit codes:
0 done, whatever the verdict; 1 the submission is at fault; 2 wrong usage; 3 the machine is at fault.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import Fault, HarnessError

# newer versions of typer carry a click of their own, so its base class is taken from what typer itself raises
ClickException: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Decides, without a human at the stopwatch, whether a change to the training core is a gain.",
)
data_app = typer.Typer(no_args_is_help=True, help="Prepare or show the data of a track.", rich_markup_mode=None)
app.add_typer(data_app, name="data")

DEMO = "wide-smear"  # the submission that `make demo` races

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Slug = Annotated[str, typer.Argument(help="Folder in submissions/ (or baselines/).", show_default=False)]
TrackOption = Annotated[str | None, typer.Option("--track", help="Track; see `blueberry tracks`.")]
BudgetOption = Annotated[str | None, typer.Option("--budget", help="smoke, 1M, 8M, 20M, 100M or 1B.")]
PairsOption = Annotated[int | None, typer.Option("--pairs", min=2, max=100, help="Most pairs before a verdict.")]
DataOption = Annotated[str | None, typer.Option("--data", help="embedded, hub:NAME@REVISION or files:PATH.")]
FitOption = Annotated[str, typer.Option("--fit", help="auto, or rows of a micro-batch; updates stay as large.")]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, help="Passes over the data that are allowed.")]
SystemsOnly = Annotated[bool, typer.Option("--systems-only", help="A maintainer's label: it changes speed alone.")]
Official = Annotated[bool, typer.Option("--official", help="Into leaderboard/: for maintainers and the bot.")]


@dataclass(frozen=True)
class Said:
    """What a verb has to say: lines for people, an object for programs, and the exit code."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0


def root() -> Path:
    from harness.submission.root import find_root

    return find_root(Path.cwd())


def say(line: str) -> None:
    """One line of progress for people."""
    print(line, file=sys.stderr, flush=True)


def micro_batch(fit: str) -> int | None:
    """The --fit option: None for auto."""
    from harness.errors import UsageError

    if fit == "auto":
        return None
    if not fit.isdecimal() or not 1 <= int(fit[:9]) <= 1 << 20:
        raise UsageError("--fit", f"{fit!r} is neither auto nor a number of rows", "use --fit auto, or --fit 4")
    return int(fit)


@app.command()
def new(slug: Slug, as_json: Json = False) -> Said:
    """Start a submission: a valid folder and a scratch copy of the core to edit."""
    from harness.submission import scratch

    made = scratch.new(root(), slug)
    text = (
        f"made {made.folder}\n"
        f"  1. edit {made.scratch}/ (your own copy of the core)\n"
        f"  2. blueberry try {slug}     packs your change, checks it, trains it against the core and explains"
    )
    return Said(text, {"ok": True, "slug": slug, "folder": str(made.folder), "scratch": str(made.scratch)})


@app.command()
def edit(slug: Slug, as_json: Json = False) -> Said:
    """Rebuild the scratch copy of the core from the patch."""
    from harness.submission import scratch

    made = scratch.edit(root(), slug)
    data = {"ok": True, "slug": slug, "scratch": str(made.scratch)}
    return Said(f"edit {made.scratch}/, then: blueberry pack {slug}", data)


@app.command()
def pack(slug: Slug, as_json: Json = False) -> Said:
    """Turn the scratch copy into patch.diff."""
    from harness.submission import scratch

    packed = scratch.pack(root(), slug)
    data = {"ok": True, "slug": slug, "patch_sha": packed.patch_sha, "added": packed.added, "removed": packed.removed}
    return Said(f"{packed.patch}  +{packed.added} -{packed.removed}", data)


@app.command()
def check(slug: Slug, as_json: Json = False) -> Said:
    """Hold a submission to every rule, in a second, without running any of it."""
    from harness.submission.patch import check as check_folder
    from harness.submission.root import find_folder

    here = root()
    result = check_folder(here, find_folder(here, slug))
    lines = [str(fault) for fault in result.faults] + [f"warning: {warning}" for warning in result.warnings]
    if result.ok:
        lines.append(f"{result.slug}: every rule holds, +{result.added} -{result.removed} lines")
    return Said("\n".join(lines), result.to_json(), 0 if result.ok else 1)


@app.command()
def rebase(slug: Slug, as_json: Json = False) -> Said:
    """Move a stale patch to today's core by a 3-way merge in the scratch copy."""
    from harness.submission import scratch

    moved = scratch.rebase(root(), slug)
    data = {"ok": not moved.conflicts, "slug": slug, "moved": moved.moved, "conflicts": list(moved.conflicts)}
    if moved.conflicts:
        listed = "\n".join(f"  {name}" for name in moved.conflicts)
        return Said(f"resolve the conflict markers in\n{listed}\nthen: blueberry pack {slug}", data, 1)
    return Said(f"{slug} is on today's core" + ("" if moved.moved else " already"), data)


@app.command(name="try")
def try_(slug: Slug, data: DataOption = None, as_json: Json = False) -> Said:
    """Pack, check, run at the smoke budget, and explain what came out of it in plain words."""
    from harness.run.contests import Options
    from harness.submission import scratch
    from harness.submission.root import find_folder

    here = root()
    folder = find_folder(here, slug)
    if (folder / "core").is_dir():
        packed = scratch.pack(here, slug)
        say(f"packed: +{packed.added} -{packed.removed} lines")
    return _run(here, slug, Options(budget="smoke", data=data))


@app.command()
def plan(
    slug: Slug,
    track: TrackOption = None,
    budget: BudgetOption = None,
    pairs: PairsOption = None,
    price: Annotated[
        float | None, typer.Option("--price-per-hour", envvar="BLUEBERRY_PRICE_PER_HOUR", help="Of this machine.")
    ] = None,
    gain: Annotated[float | None, typer.Option("--gain", help="The gain that you expect, in nats.")] = None,
    as_json: Json = False,
) -> Said:
    """Time, money, pairs, memory and the least gain that can be seen, before anything is spent."""
    from harness.run.contests import Options, chosen_cells
    from harness.run.plan import plan_cell
    from harness.submission.manifest import load_manifest
    from harness.submission.root import find_folder
    from harness.words import plan_text

    here = root()
    manifest = load_manifest(find_folder(here, slug))
    cells = chosen_cells(manifest, Options(track=track, budget=budget))
    plans = [
        plan_cell(here, c.track, c.budget, metric, c.k, pairs or c.budget.max_pairs, price)
        for c in cells
        for metric in c.metrics
    ]
    return Said(plan_text(plans, gain), {"ok": True, "slug": slug, "cells": [asdict(one) for one in plans]})


@app.command()
def run(
    slug: Slug,
    track: TrackOption = None,
    budget: BudgetOption = None,
    pairs: PairsOption = None,
    data: DataOption = None,
    fit: FitOption = "auto",
    epochs: EpochsOption = 1,
    official: Official = False,
    systems_only: SystemsOnly = False,
    as_json: Json = False,
) -> Said:
    """Train patched and unpatched core in pairs until there is a verdict. Run it again to resume."""
    from harness.run.contests import Options

    return _run(root(), slug, Options(track, budget, pairs, data, micro_batch(fit), epochs, official, systems_only))


def _run(here: Path, slug: str, options: Any) -> Said:
    from harness.progress import ProgressReporter
    from harness.records.store import Store
    from harness.run import sandbox
    from harness.run.contests import Answer, contests
    from harness.run.evaluate import evaluate
    from harness.words import answer_text

    if sandbox.NAME == "none":
        say("no sandbox: the patch runs with your own rights, so run only what you have read")
    outcomes = []
    sha = None
    store = Store(here / ("leaderboard" if options.official else ".blueberry"))
    with store.lock(), contests(here, slug, options, say) as to_run:
        for contest in to_run:
            sha = contest.patched.patch_sha
            say(f"{contest.slug}: {contest.track.name} at {contest.budget.name}")
            with ProgressReporter(contest.max_pairs) as reporter:
                outcomes.append(evaluate(contest, reporter))
    answer = Answer(slug, sha, tuple(outcomes))
    return Said(answer_text(answer), answer.to_json(), 1 if answer.faults else 0)


@app.command()
def verdict(slug: Slug, as_json: Json = False) -> Said:
    """Decide again from the files alone."""
    from harness.errors import UsageError
    from harness.run.contests import Answer, outcomes_on_file
    from harness.words import answer_text

    sha, outcomes = outcomes_on_file(root(), slug)
    if not outcomes:
        raise UsageError(slug, "this patch has no run files yet", f"blueberry run {slug}")
    answer = Answer(slug, sha, tuple(outcomes))
    return Said(answer_text(answer), answer.to_json(), 1 if answer.faults else 0)


@app.command()
def baseline(
    track: Annotated[str, typer.Option("--track", help="Track; see `blueberry tracks`.")] = "llm-tiny",
    budget: Annotated[str, typer.Option("--budget", help="smoke, 1M, 8M, 20M, 100M or 1B.")] = "smoke",
    pairs: Annotated[int, typer.Option("--pairs", min=2, max=100, help="Pairs of the core against itself.")] = 8,
    data: DataOption = None,
    fit: FitOption = "auto",
    epochs: EpochsOption = 1,
    official: Official = False,
    as_json: Json = False,
) -> Said:
    """Fill the noise bank and measure the exchange rate: the core against itself."""
    from harness.progress import ProgressReporter
    from harness.records.store import Store
    from harness.run.calibrate import Calibration, calibrate
    from harness.run.known import banks_here, known_evaluations
    from harness.run.measure import measure_of
    from harness.tracks import budget_named, track_named

    here, chosen, size = root(), track_named(track), budget_named(budget)
    store = Store(here / ("leaderboard" if official else ".blueberry"))
    with store.lock(), ProgressReporter(pairs) as reporter:
        prepared = measure_of(chosen).prepare(chosen, data, say)
        calibration = Calibration(here, store, chosen, size, prepared, pairs, official, micro_batch(fit), epochs)
        closed = calibrate(calibration, reporter)
    banks = banks_here(known_evaluations(here, chosen), chosen, size)
    values = {"s0": banks.loss.s0, "s0_time": banks.time.s0, "df": banks.loss.df, "kappa": banks.kappa}
    return Said(banks.source, {"ok": True, "evaluation": closed.id, **values})


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


@app.command()
def tracks(as_json: Json = False) -> Said:
    """The tracks and budgets that can be raced."""
    from harness.tracks import BUDGETS, TRACKS

    listed = [budget for budget in BUDGETS.values() if budget.listed]
    lines = [f"{track.name:<10}  {track.summary}; scored in {track.unit}" for track in TRACKS.values()]
    lines += ["", "budget     tokens          pairs at most   to confirm"]
    lines += [f"{b.name:<8}   {b.tokens:>13,}   {b.max_pairs:>13}   {b.confirm_pairs:>10}" for b in listed]
    data = {"tracks": [asdict(track) for track in TRACKS.values()], "budgets": [asdict(budget) for budget in listed]}
    return Said("\n".join(lines), {"ok": True, **data})


@app.command()
def doctor(as_json: Json = False) -> Said:
    """What this machine can do: devices, precision, memory, sandbox, data, and what to install."""
    from harness.data.cache import cache_root
    from harness.run.doctor import examine

    findings = examine(root(), cache_root())
    lines = [
        f"{'ok ' if f.ok else 'NO '} {f.subject:<10}  {f.found}" + (f"\n     mend: {f.fix}" if f.fix else "")
        for f in findings
    ]
    ok = all(finding.ok for finding in findings)
    return Said("\n".join(lines), {"ok": ok, "findings": [asdict(f) for f in findings]}, 0 if ok else 3)


@data_app.command("prepare")
def data_prepare(
    track: Annotated[str, typer.Option("--track")] = "llm-tiny", data: DataOption = None, as_json: Json = False
) -> Said:
    """Prepare the data of a track, or find it in the cache."""
    from harness.run.measure import measure_of
    from harness.tracks import track_named

    chosen = track_named(track)
    measure = measure_of(chosen)
    described = measure.describe(measure.prepare(chosen, data, say))
    return Said("\n".join(f"{key}: {value}" for key, value in described.items()), {"ok": True, **described})


@data_app.command("show")
def data_show(
    track: Annotated[str, typer.Option("--track")] = "llm-tiny", data: DataOption = None, as_json: Json = False
) -> Said:
    """Show what was prepared: tokens, documents, overlap, digest."""
    return data_prepare(track, data, as_json)


@app.command()
def demo(as_json: Json = False) -> Said:
    """The whole way on an example: prepare, race it against the core, confirm, explain, render the local board."""
    from harness.board import leaderboard as board
    from harness.records.store import Store
    from harness.run.contests import Options

    here = root()
    said = _run(here, DEMO, Options(track="llm-tiny", budget="smoke"))
    path = board.write(Store(here / ".blueberry"), here)
    return Said(f"{said.text}\nthe local board: {path}", said.data, said.exit_code)


def _faulted(faults: tuple[Fault, ...], exit_code: int) -> Said:
    text = "\n".join(str(fault) for fault in faults)
    return Said(text, {"ok": False, "faults": [fault.to_json() for fault in faults]}, exit_code)


def _called(arguments: list[str]) -> Said:
    """Runs one verb; every failure that a person can be told about becomes a Said."""
    try:
        said = app(arguments, standalone_mode=False, prog_name="blueberry")
    except HarnessError as error:
        return _faulted(error.faults, error.exit_code)
    except ClickException as error:
        what = str(error.format_message())  # type: ignore[attr-defined]
        if type(error).__name__ == "NoArgsIsHelpError":
            return Said(what, {"ok": False, "faults": []}, 2)
        return _faulted((Fault("usage", "blueberry " + " ".join(arguments), what, "see `blueberry --help`"),), 2)
    except MemoryError:
        fault = Fault("machine", "blueberry " + arguments[0], "out of memory", "close other programs, or use --fit 1")
        return _faulted((fault,), 3)
    if said == 130:  # typer turns an interrupt into this code, and would have it pass for an answer
        raise KeyboardInterrupt
    return said if isinstance(said, Said) else Said("")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Console script."""
    signal.signal(signal.SIGTERM, _stop)
    arguments = sys.argv[1:]
    try:
        said = _called(arguments)
    except (KeyboardInterrupt, typer.Abort):
        where, fix = "blueberry " + " ".join(arguments), "run the same command again to resume"
        stopped = _faulted((Fault("interrupted", where, "was stopped", fix),), 130)
        if "--json" in arguments:
            print(json.dumps(stopped.data), flush=True)
        say("\n" + stopped.text)
        os._exit(130)  # the workers die with this process; waiting for their threads would keep a person waiting
    if "--json" in arguments:
        print(json.dumps(said.data, allow_nan=False, default=str))
    elif said.text:
        say(said.text)
    sys.exit(said.exit_code)
