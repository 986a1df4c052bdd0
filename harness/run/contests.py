"""From a submission's folder to its contests, one for each (track, budget), and from their outcomes to one answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.decide.cells import Cell, overall_verdict
from harness.errors import Fault, SubmissionError, UsageError
from harness.records.record import Metric, RunRecord
from harness.records.store import Store
from harness.rules import RULES
from harness.run.arms import fresh_folder, track_core_id
from harness.run.evaluate import Contest, Outcome, outcome_of
from harness.run.measure import measure_of
from harness.run.tries import Idea
from harness.submission.manifest import Manifest, load_manifest
from harness.submission.patch import apply, check, unpatched
from harness.submission.root import find_folder
from harness.tracks import Budget, Track, budget_named, track_named


@dataclass(frozen=True)
class Options:
    """What a person may choose for a run. Hyperparameters are not among them: a hyperparameter is a patch."""

    track: str | None = None
    budget: str | None = None
    pairs: int | None = None
    data: str | None = None
    micro_batch: int | None = None  # None: fitted to the memory
    epochs: int = 1
    official: bool = False
    systems_only: bool = False


@dataclass(frozen=True)
class ChosenCell:
    """One (track, budget) of a submission, and what is claimed there."""

    track: Track
    budget: Budget
    metrics: tuple[Metric, ...]
    claimed: bool


def chosen_cells(manifest: Manifest, options: Options) -> list[ChosenCell]:
    """The manifest's cells that the options leave, cheapest budget first; or the one that they name beside those."""
    wanted = (options.track, options.budget)
    pairs = {
        (claim.track, claim.budget)
        for claim in manifest.claims
        if wanted[0] in (None, claim.track) and wanted[1] in (None, claim.budget)
    }
    if not pairs:
        return [_unclaimed_cell(manifest, options)]
    cells = [_claimed_cell(manifest, track, budget) for track, budget in pairs]
    return sorted(cells, key=lambda cell: (cell.budget.tokens, cell.track.name))


def _claimed_cell(manifest: Manifest, track: str, budget: str) -> ChosenCell:
    metrics: list[Metric] = [c.metric for c in manifest.claims if (c.track, c.budget) == (track, budget)]
    return ChosenCell(track_named(track), budget_named(budget), tuple(sorted(set(metrics))), True)


def _unclaimed_cell(manifest: Manifest, options: Options) -> ChosenCell:
    first = manifest.claims[0]
    track, budget = track_named(options.track or first.track), budget_named(options.budget or first.budget)
    if options.official:
        where = f"--track {track.name} --budget {budget.name}"
        raise UsageError(where, "is not a cell that the manifest claims", "add it to [[claims]], or leave --official")
    return ChosenCell(track, budget, ("loss",), claimed=False)


@contextlib.contextmanager
def contests(root: Path, slug: str, options: Options, progress: Callable[[str], None]) -> Iterator[list[Contest]]:
    """Checks the submission, applies its patch to a fresh copy of the core and prepares the data of every cell."""
    folder = find_folder(root, slug)
    checked = check(root, folder)
    if not checked.ok:
        raise SubmissionError(*checked.faults)
    manifest = load_manifest(folder)
    store = Store(root / ("leaderboard" if options.official else ".blueberry"))
    cells, idea = chosen_cells(manifest, options), Idea.of(root, folder, manifest)
    with fresh_folder(root / ".blueberry" / "work" / f"{folder.name}-{store.folder.name}") as fresh:
        patched = apply(root, folder, fresh / "patched")
        base = unpatched(root, folder, fresh / "base")  # the core, and the patches that this one builds on
        yield [
            Contest(
                root=root,
                store=store,
                slug=folder.name,
                manifest=manifest,
                patched=patched,
                base=base,
                track=cell.track,
                budget=cell.budget,
                metrics=cell.metrics,
                claimed=cell.claimed,
                idea=idea,
                data=measure_of(cell.track).prepare(cell.track, options.data, progress),
                official=options.official,
                systems_only=options.systems_only,
                max_pairs=options.pairs or cell.budget.max_pairs,
                micro_batch=options.micro_batch,
                epochs=options.epochs,
            )
            for cell in cells
        ]


def outcomes_on_file(root: Path, slug: str) -> tuple[str | None, list[Outcome]]:
    """The patch's digest, and the latest evaluation of this very patch, on the parents that its manifest names, in
    each cell, decided again from its files.

    What was measured on today's core goes before what is older, then what is official before what is local.
    """
    folder = find_folder(root, slug)
    sha, builds_on = check(root, folder).patch_sha, load_manifest(folder).builds_on
    found = [
        (
            evaluation.core_id == track_core_id(root, track_named(evaluation.track)),
            evaluation.official,
            store,
            evaluation,
        )
        for store in (Store(root / ".blueberry"), Store(root / "leaderboard"))
        for evaluation in store.evaluations()
        if (evaluation.slug, evaluation.patch_sha, evaluation.builds_on) == (folder.name, sha, builds_on)
    ]
    latest: dict[tuple[str, str], Outcome] = {}
    for _, _, store, evaluation in sorted(found, key=lambda one: one[:2]):
        latest[evaluation.track, evaluation.budget] = outcome_of(store, evaluation)
    return sha, list(latest.values())


@dataclass(frozen=True)
class Answer:
    """What `run` and `verdict` say of a submission."""

    slug: str
    patch_sha: str | None
    outcomes: tuple[Outcome, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for outcome in self.outcomes for cell in outcome.cells)

    @property
    def parents(self) -> tuple[str, ...]:
        """Slugs of the patches that both arms carry: the verdict is one on this patch given those."""
        return self.outcomes[0].evaluation.parents if self.outcomes else ()

    @property
    def verdict(self) -> str:
        return overall_verdict(self.cells)

    @property
    def confirmed(self) -> bool | None:
        return {"CONFIRMED": True, "REVOKED": False}.get(self.verdict)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What the submission itself did wrong in a run: refused by an audit, or failed twice."""
        return tuple(
            _fault(outcome, cell) for outcome in self.outcomes for cell in outcome.cells if cell.verdict == "INVALID"
        )

    def to_json(self) -> dict[str, Any]:
        runs = [str(place) for outcome in self.outcomes for place in outcome.paths]
        return {
            "ok": not self.faults,
            "slug": self.slug,
            "patch_sha": self.patch_sha,
            "given": list(self.parents),
            "verdict": self.verdict,
            "confirmed": self.confirmed,
            "cells": [cell.to_json() for cell in self.cells],
            "runs": runs,
            "faults": [fault.to_json() for fault in self.faults],
        }


def _fault(outcome: Outcome, cell: Cell) -> Fault:
    guilty = _guilty_run(outcome.runs)
    if guilty is None:
        fix = "see the reason; an evaluation that was invalidated is not run again"
        return Fault("invalidated", outcome.evaluation.id, cell.reason, fix)
    rule = RULES[_rule_of(guilty)]
    where = f"{guilty.spec.track} {guilty.spec.budget}, {guilty.spec.round} pair {guilty.spec.pair + 1}"
    return Fault(rule.id, where, guilty.error or cell.reason, rule.fix)


def _guilty_run(runs: Sequence[RunRecord]) -> RunRecord | None:
    bad = [run for run in runs if run.spec.arm != "core" and run.status in ("refused", "crashed", "timed_out")]
    return bad[-1] if bad else None


def _rule_of(run: RunRecord) -> str:
    """The rule that a failed run broke: the failed audit's, or the way in which it stopped."""
    if run.status == "refused":
        broken = next((audit.id for audit in run.audits if not audit.ok), "audit-causality")
        return broken if broken in RULES else "audit-causality"
    return run.status.replace("_", "-")
