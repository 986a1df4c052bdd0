"""Fills the noise bank and measures the exchange rate: the core against itself, before any submission is judged.

Eight pairs of core against core under another initialisation on the same data order (the noise that a real patch has),
three repeats of one seed (what the machine itself adds), and three seeds at half the budget (what a token is worth).
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records.record import EvaluationRecord, Round, RunRecord, RunSpec
from harness.records.store import Store
from harness.run import arms, host, sandbox, seeds
from harness.run.attempts import settled
from harness.run.evaluate import close, settle
from harness.run.measure import Prepared, measure_of
from harness.run.race import Bench, Reporter, race
from harness.run.tries import to_be_run_again
from harness.submission.patch import unpatched
from harness.tracks import Budget, Track

REPEATS = 3
LADDER = 3


@dataclass(frozen=True)
class Calibration:
    """What is calibrated, where it is kept and how many pairs it takes."""

    root: Path
    store: Store
    track: Track
    budget: Budget
    data: Prepared
    pairs: int
    official: bool
    micro_batch: int | None
    epochs: int


def calibrate(calibration: Calibration, reporter: Reporter) -> EvaluationRecord:
    """Runs what is missing of the calibration and closes it; a closed one on this core and data is a no-op."""
    evaluation = _find(calibration) or _open(calibration)
    if evaluation.closed:
        reporter.note(f"{evaluation.id} is closed: nothing to run")
        settle(calibration.root, calibration.store, evaluation)
        return evaluation
    salt = seeds.recall(calibration.root, evaluation.id, evaluation.salt_sha256)
    with arms.fresh_folder(calibration.root / ".blueberry" / "work" / f"{evaluation.id}-core") as fresh:
        cores = {"core": unpatched(calibration.root, None, fresh / "core")}
        with Bench.set_up(calibration, evaluation.id, salt, cores, reporter) as bench:
            _run_all(calibration, bench, evaluation, salt)
    return close(calibration.root, calibration.store, evaluation, salt)


def _run_all(calibration: Calibration, bench: Bench, evaluation: EvaluationRecord, salt: str) -> None:
    for group in _groups(calibration, evaluation, salt):
        while specs := _missing(group, bench.store.runs(evaluation.id), bench.before):
            for record in race(bench, specs):
                bench.reporter.finished(record)


def _find(calibration: Calibration) -> EvaluationRecord | None:
    core_id = arms.track_core_id(calibration.root, calibration.track)
    wanted = (calibration.track.name, calibration.budget.name, core_id, calibration.data.data_id)
    asked = (calibration.pairs, calibration.epochs)
    for evaluation in reversed(calibration.store.evaluations()):
        found = (evaluation.track, evaluation.budget, evaluation.core_id, evaluation.data_id)
        same = (
            evaluation.kind == "calibration"
            and found == wanted
            and (evaluation.max_pairs, evaluation.epochs) == asked
            and evaluation.invalidated is None
            and not to_be_run_again(evaluation)
        )
        if same and _is_from_here(calibration.store.runs(evaluation.id)):
            return evaluation
    return None


def _is_from_here(runs: Sequence[RunRecord]) -> bool:
    """Noise belongs to a host class and a precision: what another kind of machine measured is not repeated here."""
    here = (host.describe().host_class, host.precision())
    return all((r.host.host_class, r.model.precision) == here for r in runs if r.host is not None and r.model)


def _open(calibration: Calibration) -> EvaluationRecord:
    measure_of(calibration.track).check_budget(
        calibration.data, calibration.track, calibration.budget.tokens, calibration.epochs
    )
    salt = seeds.new_salt(calibration.track.name, calibration.budget.name, "", calibration.pairs)
    record = EvaluationRecord(
        id=f"core-{calibration.track.name}-{calibration.budget.name}-{seeds.digest(salt)[:10]}",
        kind="calibration",
        slug="core",
        title="the core against itself",
        patch_sha=None,
        track=calibration.track.name,
        budget=calibration.budget.name,
        metrics=("loss", "speed"),
        claimed=False,
        max_pairs=calibration.pairs,
        epochs=calibration.epochs,
        confirm_pairs=0,
        core_id=arms.track_core_id(calibration.root, calibration.track),
        core_digest=arms.core_digest_of(calibration.root),
        data_id=calibration.data.data_id,
        salt_sha256=seeds.digest(salt),
        official=calibration.official,
        sandbox=sandbox.name(),
        provisional=calibration.official and sandbox.name() == "none",
        opened=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    seeds.keep(calibration.root, record.id, salt)
    calibration.store.put_evaluation(record)
    return record


def _groups(calibration: Calibration, evaluation: EvaluationRecord, salt: str) -> Iterator[list[RunSpec]]:
    """Runs that belong together, in running order: the two arms of a pair, or a single run."""

    def spec(round_: Round, pair: int, seed_pair: int, tokens: int, init_key: int = 0, order: int = 0) -> RunSpec:
        return RunSpec(
            arm="core",
            patch_sha=None,
            core_id=evaluation.core_id,
            track=evaluation.track,
            budget=evaluation.budget,
            tokens=tokens,
            seed=seeds.seed(salt, evaluation.track, evaluation.budget, "", "calibrate", seed_pair),
            round=round_,
            pair=pair,
            order=order,
            attempt=1,
            data_id=evaluation.data_id,
            init_key=init_key,
        )

    tokens = calibration.budget.tokens
    for pair in range(calibration.pairs):
        keys = (0, 1) if seeds.core_first(salt, "calibrate", pair) else (1, 0)
        yield [spec("calibrate", pair, pair, tokens, key, position) for position, key in enumerate(keys)]
    for pair in range(REPEATS):
        yield [spec("repeat", pair, 0, tokens)]
    for pair in range(min(LADDER, calibration.pairs)):
        yield [spec("ladder", pair, pair, tokens // 2)]


def _missing(group: Sequence[RunSpec], runs: Sequence[RunRecord], before: Collection[str]) -> list[RunSpec]:
    """What of a group is still to run, with its next attempt; raises MachineError when the core cannot be trained."""
    missing = []
    for spec in group:
        past = [r for r in runs if r.spec.model_copy(update={"attempt": 1}) == spec]
        if not settled(True, past, before):
            missing.append(spec.model_copy(update={"attempt": len(past) + 1}))
    return missing
