"""Verbs that train: try, plan, run, verdict, baseline, demo."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.surface import (
    BudgetOption,
    DataOption,
    EpochsOption,
    FitOption,
    Json,
    LogOption,
    Official,
    PairsOption,
    Said,
    Slug,
    SystemsOnly,
    TrackOption,
    app,
    finite,
    micro_batch,
    root,
    say,
)

PriceOption = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour",
        min=0.0,
        max=1e9,
        callback=finite,
        envvar="BLUEBERRY_PRICE_PER_HOUR",
        help="Of this machine.",
    ),
]
EXAMPLES = ("wide-smear", "token-smear", "three-polar-steps")  # `make demo` races the first that fits today's core


@app.command(name="try")
def try_(slug: Slug, data: DataOption = None, log: LogOption = None, as_json: Json = False) -> Said:
    """Pack, check, run at the smoke budget, and explain what came out of it in plain words."""
    from harness.run.contests import Options
    from harness.submission import scratch
    from harness.submission.root import find_folder

    here = root()
    folder = find_folder(here, slug)
    if (folder / "core").is_dir():
        packed = scratch.pack(here, slug)
        say(f"packed: +{packed.added} -{packed.removed} lines")
    return _run(here, slug, Options(budget="smoke", data=data), log)


@app.command()
def plan(
    slug: Slug,
    track: TrackOption = None,
    budget: BudgetOption = None,
    pairs: PairsOption = None,
    price: PriceOption = None,
    gain: Annotated[
        float | None, typer.Option("--gain", callback=finite, help="The gain that you expect, in nats.")
    ] = None,
    as_json: Json = False,
) -> Said:
    """Time, money, pairs, memory and the least gain that can be seen, before anything is spent."""
    from harness.run.contests import Options
    from harness.run.plan import plan_submission
    from harness.submission.root import find_folder
    from harness.words import plan_text

    here = root()
    options = Options(track=track, budget=budget, pairs=pairs)
    plans = plan_submission(here, find_folder(here, slug), options, price)
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
    log: LogOption = None,
    as_json: Json = False,
) -> Said:
    """Train patched and unpatched core in pairs until there is a verdict, and render the local board. Run it again to
    resume."""
    from harness.run.contests import Options

    options = Options(track, budget, pairs, data, micro_batch(fit), epochs, official, systems_only)
    return _run(root(), slug, options, log)


def _run(here: Path, slug: str, options: Any, log: list[str] | None = None) -> Said:
    from harness.board import leaderboard as board
    from harness.progress import ProgressReporter
    from harness.records.store import Store
    from harness.run import sandbox
    from harness.run.contests import Answer, contests
    from harness.run.evaluate import evaluate
    from harness.run.trackers import TrackedReporter, chosen
    from harness.words import answer_text

    trackers = chosen(log or [], here)
    if options.official or os.environ.get("CI") == "true":
        sandbox.require()
    if sandbox.name() == "none":
        say("no sandbox: the patch runs with your own rights, so run only what you have read")
    outcomes = []
    sha = None
    store = Store(here / ("leaderboard" if options.official else ".blueberry"))
    with store.lock(), contests(here, slug, options, say) as to_run:
        for contest in to_run:
            sha = contest.patched.patch_sha
            say(f"{contest.slug}: {contest.track.name} at {contest.budget.name}")
            with ProgressReporter(contest.max_pairs) as progress, TrackedReporter(progress, trackers) as reporter:
                outcomes.append(evaluate(contest, reporter))
                reporter.decided(outcomes[-1])
    answer = Answer(slug, sha, tuple(outcomes))
    text = answer_text(answer)
    if not options.official:  # the official board is a maintainer's to render, and to commit
        text += f"\nthe local board: {board.write(store, here)}"
    return Said(text, answer.to_json(), 1 if answer.faults else 0)


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
    log: LogOption = None,
    as_json: Json = False,
) -> Said:
    """Fill the noise bank and measure the exchange rate: the core against itself."""
    from harness.progress import ProgressReporter
    from harness.records.store import Store
    from harness.run import sandbox
    from harness.run.calibrate import Calibration, calibrate
    from harness.run.known import banks_here, known_evaluations
    from harness.run.measure import measure_of
    from harness.run.trackers import TrackedReporter, chosen
    from harness.tracks import budget_named, track_named

    here, race, size = root(), track_named(track), budget_named(budget)
    trackers = chosen(log or [], here)
    if official:
        sandbox.require()
    store = Store(here / ("leaderboard" if official else ".blueberry"))
    with store.lock(), ProgressReporter(pairs) as progress, TrackedReporter(progress, trackers) as reporter:
        prepared = measure_of(race).prepare(race, data, say)
        calibration = Calibration(here, store, race, size, prepared, pairs, official, micro_batch(fit), epochs)
        closed = calibrate(calibration, reporter)
    banks = banks_here(known_evaluations(here, race), race, size)
    values = {"s0": banks.loss.s0, "s0_time": banks.time.s0, "df": banks.loss.df, "kappa": banks.kappa}
    return Said(banks.source, {"ok": True, "evaluation": closed.id, **values})


@app.command()
def demo(as_json: Json = False) -> Said:
    """The whole way on an example: prepare, race it against the core, confirm, explain, render the local board."""
    from harness.run.contests import Options

    here = root()
    return _run(here, _example(here), Options(track="llm-tiny", budget="smoke"))


def _example(here: Path) -> str:
    """One that has become core, or waits for its author to follow it, cannot be raced."""
    from harness.errors import UsageError
    from harness.submission.patch import check
    from harness.submission.root import find_folder

    for slug in EXAMPLES:
        if check(here, find_folder(here, slug)).ok:
            return slug
    fix = "name others in harness/cli/runs.py; `blueberry status` lists what fits"
    raise UsageError("demo", f"none of {', '.join(EXAMPLES)} fits today's core", fix)
