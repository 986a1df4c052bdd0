"""Pairs until a verdict: opens an evaluation, runs what is missing, decides after every pair, confirms, closes.

Everything that is known is in files, so starting again after any interruption resumes at the first missing run, and a
closed evaluation is a no-op.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.confine.scratch import removed
from harness.decide import cells
from harness.decide.bank import Banks
from harness.decide.debts import Debts, debts
from harness.decide.decision import exchange_rate, first_look
from harness.decide.explain import explain
from harness.errors import MachineError, UsageError
from harness.records import ledger
from harness.records.record import ContestKey, EvaluationRecord, Metric, Round, RunRecord, RunSpec
from harness.records.store import Store
from harness.run import arms, sandbox, seeds
from harness.run.attempts import settled
from harness.run.known import banks_here, known_evaluations
from harness.run.measure import Prepared, measure_of
from harness.run.race import Bench, Reporter, race
from harness.run.tries import Idea, Rate, begun, rate_of
from harness.submission.manifest import Manifest
from harness.submission.patch import PatchedCore
from harness.tracks import Budget, Track


@dataclass(frozen=True)
class Contest:
    """A submission at one track and budget."""

    root: Path
    store: Store
    slug: str
    manifest: Manifest
    patched: PatchedCore
    base: PatchedCore  # what the submission races
    track: Track
    budget: Budget
    metrics: tuple[Metric, ...]
    claimed: bool  # False: a cell that the manifest does not claim
    idea: Idea  # by which it is known when it comes again
    data: Prepared
    official: bool
    systems_only: bool  # a maintainer's label
    max_pairs: int
    micro_batch: int | None
    epochs: int

    @functools.cached_property
    def core_id(self) -> str:
        """Of the track's part of the core; an evaluation ends on the core that it began on."""
        return arms.track_core_id(self.root, self.track)

    @property
    def key(self) -> ContestKey:
        return ContestKey(
            slug=self.slug,
            patch_sha=self.patched.patch_sha,
            builds_on=self.manifest.builds_on,
            track=self.track.name,
            budget=self.budget.name,
            metrics=self.metrics,
            claimed=self.claimed,
            core_id=self.core_id,
            data_id=self.data.data_id,
        )


@dataclass(frozen=True)
class Outcome:
    """An evaluation as it stands: its file, its runs and what they decide."""

    evaluation: EvaluationRecord
    runs: tuple[RunRecord, ...]
    cells: tuple[cells.Cell, ...]

    @property
    def paths(self) -> list[Path]:
        """The run files, from the root of the repository."""
        folder = Path("leaderboard" if self.evaluation.official else ".blueberry") / "runs" / self.evaluation.id
        return [folder / f"{run.spec.stem}.json" for run in self.runs]


def outcome_of(store: Store, evaluation: EvaluationRecord) -> Outcome:
    """Decides again from the files alone."""
    runs = tuple(store.runs(evaluation.id))
    decided = tuple(cells.judge_cell(evaluation, runs, metric) for metric in evaluation.metrics)
    return Outcome(evaluation, runs, decided)


def evaluate(contest: Contest, reporter: Reporter) -> Outcome:
    """Runs pairs until every claim of the cell has a verdict and every acceptance is confirmed or revoked."""
    evaluation = find(contest) or _open(contest)
    if evaluation.closed:
        reporter.note(f"{evaluation.id} is closed: nothing to run")
        settle(contest.root, contest.store, evaluation)
        return outcome_of(contest.store, evaluation)
    salt = seeds.recall(contest.root, evaluation.id, evaluation.salt_sha256)
    cores = {contest.slug: contest.patched, "core": contest.base}
    with Bench.set_up(contest, evaluation.id, salt, cores, reporter) as bench:
        decided = _run_until_decided(bench, evaluation, salt)
    return outcome_of(contest.store, close(contest.root, contest.store, decided.evaluation, salt))


def find(contest: Contest) -> EvaluationRecord | None:
    """This very contest, open or closed, if it was begun before."""
    evaluation = begun(contest.store.evaluations(), contest.key)
    if evaluation is not None:
        _hold_to_what_was_frozen(evaluation, contest)
    return evaluation


def _hold_to_what_was_frozen(evaluation: EvaluationRecord, contest: Contest) -> None:
    """Raises UsageError for options that would make it another evaluation: a patch is decided once."""
    for option, frozen, asked in (
        ("--pairs", evaluation.max_pairs, contest.max_pairs),
        ("--epochs", evaluation.epochs, contest.epochs),
        ("--systems-only", evaluation.systems_only, contest.systems_only),
    ):
        if frozen != asked:
            what = f"this patch is already evaluated with {frozen}, not {asked} ({evaluation.id})"
            raise UsageError(option, what, "leave the option as it was; another patch is another evaluation")


def _open(contest: Contest) -> EvaluationRecord:
    """Freezes every number that the verdict will depend on, before any seed is drawn."""
    measure_of(contest.track).check_budget(contest.data, contest.track, contest.budget.tokens, contest.epochs)
    known = known_evaluations(contest.root, contest.track, contest.official)
    banks = banks_here(known, contest.track, contest.budget, contest.core_id, contest.data.data_id)
    first = first_look(min(banks.loss.d0, banks.time.d0) if "speed" in contest.metrics else banks.loss.d0)
    if contest.max_pairs < first:
        where, fix = (
            f"--pairs {contest.max_pairs}",
            f"use --pairs {first} or more, or fill it with `blueberry baseline`",
        )
        raise UsageError(where, f"without a filled noise bank the first look is after {first} pairs", fix)
    if contest.systems_only and banks.early_rms is None:
        fix = "`blueberry baseline` measures it; or leave the label out"
        raise UsageError("--systems-only", "how far the core's early losses lie apart was not measured", fix)
    _check_official(contest, banks)
    if "speed" in contest.metrics:
        exchange_rate(banks.kappa, f"{contest.track.name} at {contest.budget.name}")  # refused before anything is spent
    pairs = 2 * (contest.max_pairs + contest.budget.confirm_pairs)
    salt = seeds.new_salt(contest.track.name, contest.budget.name, contest.patched.patch_sha or "", pairs)
    owed = debts(known, contest.track.name, contest.budget.name)
    past, cell = contest.store.evaluations(), (contest.track.name, contest.budget.name)
    rate = rate_of(
        contest.root, past, contest.idea, *cell, contest.metrics, contest.claimed, data_id=contest.data.data_id
    )
    record = _promise(contest, banks, owed, rate, seeds.digest(salt))
    seeds.keep(contest.root, record.id, salt)
    contest.store.put_evaluation(record)
    return record


def _check_official(contest: Contest, banks: Banks) -> None:
    """What an official row needs beyond a local one; raises MachineError or UsageError."""
    if not contest.official:
        return
    cell = f"{contest.track.name} at {contest.budget.name}"
    if banks.kappa is None and contest.budget.listed:
        fix = f"blueberry baseline --track {contest.track.name} --budget {contest.budget.name} --official"
        raise MachineError(cell, "no exchange rate, so nobody could tell a gain that is too good to be true", fix)
    known, parents = contest.store.evaluations(), contest.manifest.builds_on
    for number, parent in enumerate(parents):
        if not any(_confirms(parent, parents[:number], evaluation, contest) for evaluation in known):
            what = f"builds on {parent[:60]}, which is no confirmed record of {contest.track.name} on today's core"
            fix = "have that one confirmed first, given no other patch than those before it in `builds_on`"
            raise UsageError(contest.slug, what, fix)


def _confirms(patch: str, below: Collection[str], evaluation: EvaluationRecord, contest: Contest) -> bool:
    """Whether it made a record of this slug@sha256 on the track, core and data of a contest, given no patch but those
    `below` it there: what is good given another may do harm without it, and undoing that would pass for a gain."""
    here = (contest.track.name, contest.core_id, contest.data.data_id)
    if (evaluation.track, evaluation.core_id, evaluation.data_id) != here or not set(evaluation.builds_on) <= {*below}:
        return False
    if not evaluation.closed or patch != f"{evaluation.slug}@{evaluation.patch_sha}":
        return False
    return cells.overall_verdict(outcome_of(contest.store, evaluation).cells) == "CONFIRMED"


def _promise(contest: Contest, banks: Banks, owed: Debts, rate: Rate, salt_sha256: str) -> EvaluationRecord:
    return EvaluationRecord(
        id=f"{contest.slug}-{contest.track.name}-{contest.budget.name}-{salt_sha256[:10]}",
        slug=contest.slug,
        title=contest.manifest.title,
        authors=tuple(author.name for author in contest.manifest.authors),
        patch_sha=contest.patched.patch_sha,
        program=contest.idea.program,
        added=contest.patched.added,
        removed=contest.patched.removed,
        supersedes=contest.manifest.supersedes,
        builds_on=contest.manifest.builds_on,
        track=contest.track.name,
        budget=contest.budget.name,
        metrics=contest.metrics,
        claimed=contest.claimed,
        k=rate.k,
        alpha=rate.alpha,
        max_pairs=contest.max_pairs,
        confirm_pairs=contest.budget.confirm_pairs,
        **_noise(banks),
        epochs=contest.epochs,
        systems_only=contest.systems_only,
        loss_debt=owed.loss,
        time_debt=owed.time,
        core_id=contest.core_id,
        core_digest=arms.core_digest_of(contest.root),
        data_id=contest.data.data_id,
        salt_sha256=salt_sha256,
        official=contest.official,
        sandbox=sandbox.name(),
        provisional=contest.official and sandbox.name() == "none",
        opened=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _noise(banks: Banks) -> dict[str, Any]:
    return {
        "s0": banks.loss.s0,
        "s0_time": banks.time.s0,
        "s0_df": banks.loss.df,
        "s0_time_df": banks.time.df,
        "d0": banks.loss.d0,
        "d0_time": banks.time.d0,
        "bank": banks.source,
        "kappa": banks.kappa,
        "early_rms": banks.early_rms,
    }


def _run_until_decided(bench: Bench, evaluation: EvaluationRecord, salt: str) -> Outcome:
    while True:
        outcome = outcome_of(bench.store, evaluation)
        round_ = next_round(outcome.cells)
        if round_ is None:
            return outcome
        limit = 2 * (evaluation.max_pairs if round_ == "decide" else evaluation.confirm_pairs)
        limit += len({run.spec.pair for run in outcome.runs if run.spec.stem in bench.before})  # a fresh start
        specs = next_runs(bench, evaluation, outcome.runs, salt, round_, limit)
        if not specs:
            what = f"{limit} pairs of the {round_} round were run, and too few of them have comparable times"
            raise MachineError(evaluation.id, what, "run the evaluation without interruptions on one machine")
        for record in race(bench, specs):
            bench.reporter.finished(record)
        outcome = outcome_of(bench.store, evaluation)
        for cell in outcome.cells:
            bench.reporter.note("    " + explain(cell))


def next_round(judged: Sequence[cells.Cell]) -> Round | None:
    """The round that still needs pairs; None when every claim has its verdict, acceptances confirmed or revoked."""
    verdicts = {cell.verdict for cell in judged}
    if "INVALID" in verdicts:
        return None
    if "CONTINUE" in verdicts:
        return "decide"
    waiting = [cell for cell in judged if cell.confirm is not None and cell.confirm.confirmed is None]
    return "confirm" if waiting else None


def next_runs(
    bench: Bench, evaluation: EvaluationRecord, runs: Sequence[RunRecord], salt: str, round_: Round, pairs: int
) -> list[RunSpec]:
    """The missing arms of the first unfinished pair, in running order; empty when the round is complete.

    A submission whose core is done needs that one's scores for its audit: where they are lost the core runs again too.
    """
    for pair in range(pairs):
        order: tuple[str, ...] = ("core", evaluation.slug)
        if not seeds.core_first(salt, round_, pair):
            order = (evaluation.slug, "core")
        here = [run for run in runs if (run.spec.round, run.spec.pair) == (round_, pair)]
        past = {arm: [run for run in here if run.spec.arm == arm] for arm in order}
        missing = {arm for arm in order if not settled(arm == "core", past[arm], bench.before)}
        if missing == {evaluation.slug} and not bench.reference_path(round_, pair).exists():
            settled(True, [run for run in past["core"] if run.status != "completed"], bench.before)  # asks a person?
            missing.add("core")
        if missing:
            return [
                _spec(bench, evaluation, salt, round_, pair, arm, position, len(past[arm]) + 1)
                for position, arm in enumerate(order)
                if arm in missing
            ]
    return []


def _spec(
    bench: Bench,
    evaluation: EvaluationRecord,
    salt: str,
    round_: Literal["decide", "confirm", "calibrate", "repeat", "ladder"],
    pair: int,
    arm: str,
    position: int,
    attempt: int,
) -> RunSpec:
    return RunSpec(
        arm=arm,
        patch_sha=None if arm == "core" else evaluation.patch_sha,
        core_id=evaluation.core_id,
        track=evaluation.track,
        budget=evaluation.budget,
        tokens=bench.budget.tokens,
        seed=seeds.seed(salt, evaluation.track, evaluation.budget, evaluation.patch_sha or "", round_, pair),
        round=round_,
        pair=pair,
        order=position,
        attempt=attempt,
        data_id=evaluation.data_id,
    )


def close(root: Path, store: Store, evaluation: EvaluationRecord, salt: str) -> EvaluationRecord:
    """Publishes the salt and the digests, and chains the evaluation into the ledger."""
    closed = evaluation.model_copy(
        update={
            "closed": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "salt": salt,
            "runs": store.run_digests(evaluation.id),
        }
    )
    store.put_evaluation(closed)
    settle(root, store, closed)
    return closed


def settle(root: Path, store: Store, closed: EvaluationRecord) -> None:
    """What follows closing, and is made up for on the next call if the harness died in between."""
    ledger.append(store, closed.id)
    seeds.forget(root, closed.id)
    removed(root / ".blueberry" / "work" / closed.id)
