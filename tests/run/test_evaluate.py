"""Which run is next, and what counts as another try: read off records alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.decide.cells import judge_cell
from harness.errors import MachineError, UsageError
from harness.records.record import EvaluationRecord, RunRecord, RunSpec
from harness.records.store import Store
from harness.run import host
from harness.run.attempts import MACHINE_FAULTS, settled
from harness.run.evaluate import _check_official, next_round, next_runs
from harness.run.race import Bench
from harness.run.seeds import core_first
from harness.tracks import budget_named, track_named
from tests.decide.conftest import make_evaluation, make_runs

SALT = "7" * 64


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench that nothing is trained on."""
    nothing: Any = None
    return Bench(
        store=Store(tmp_path),
        evaluation="e",
        track=track_named("llm-tiny"),
        budget=budget_named("smoke"),
        data=nothing,
        secret="",
        arms={},
        work=tmp_path,
        kept=tmp_path,
        before=frozenset(),
        micro_batch=None,
        epochs=1,
        reporter=nothing,
    )


def evaluation(**changes: Any) -> EvaluationRecord:
    return make_evaluation(**(dict(budget="smoke", metrics=("speed",), kappa=0.5) | changes))


def record(spec: RunSpec, status: str = "completed", loss: float = 4.0, seconds: float = 10.0) -> RunRecord:
    done = status == "completed"
    return RunRecord(
        evaluation="e", spec=spec, status=status, loss=loss if done else None, train_seconds=seconds if done else None
    )


@pytest.fixture
def run_on(bench: Bench) -> Callable[..., list[RunRecord]]:
    """The runs of whole pairs: what `next_runs` asks for, finished in these times."""

    def made(runs: list[RunRecord], round_: str, pairs: int, sub_seconds: float = 9.0) -> list[RunRecord]:
        runs = list(runs)
        while specs := next_runs(bench, evaluation(), runs, SALT, round_, pairs):
            runs += [record(spec, seconds=10.0 if spec.arm == "core" else sub_seconds) for spec in specs]
        return runs

    return made


def test_pairs_alternate_from_a_coin_and_both_arms_share_a_seed(run_on: Callable[..., list[RunRecord]]) -> None:
    runs = run_on([], "decide", 4)
    assert len(runs) == 8
    for pair in range(4):
        first, second = [run.spec for run in runs if run.spec.pair == pair]
        assert first.seed == second.seed and (first.order, second.order) == (0, 1)
        assert (
            (first.arm == "core")
            == core_first(SALT, "decide", pair)
            == (core_first(SALT, "decide", 0) ^ bool(pair % 2))
        )


def test_only_what_is_missing_runs_again_and_takes_the_next_attempt(bench: Bench) -> None:
    specs = next_runs(bench, evaluation(), [], SALT, "decide", 2)
    keep_reference(bench)
    for done, killed in (specs, reversed(specs)):
        (again,) = next_runs(bench, evaluation(), [record(done), record(killed, "killed")], SALT, "decide", 2)
        assert again == killed.model_copy(update={"attempt": 2})


def keep_reference(bench: Bench) -> None:
    """As if the core of the first pair had been scored."""
    path = bench.reference_path("decide", 0)
    path.parent.mkdir()
    path.touch()


def test_where_the_core_s_scores_are_lost_it_runs_again_with_the_submission_that_is_audited_against_them(
    bench: Bench,
) -> None:
    specs = next_runs(bench, evaluation(), [], SALT, "decide", 2)
    idea, core = sorted(specs, key=lambda spec: spec.arm == "core")
    runs = [record(core), record(idea, "killed")]
    again = next_runs(bench, evaluation(), runs, SALT, "decide", 2)
    assert again == [spec.model_copy(update={"attempt": 2}) for spec in specs]
    runs += [record(core.model_copy(update={"attempt": attempt}), "crashed") for attempt in (2, 3)]
    with pytest.raises(MachineError, match="cannot be trained here"):
        next_runs(bench, evaluation(), runs, SALT, "decide", 2)
    keep_reference(bench)
    assert [spec.arm for spec in next_runs(bench, evaluation(), runs, SALT, "decide", 2)] == [idea.arm]


def test_a_refused_core_stops_the_evaluation_for_a_person(bench: Bench) -> None:
    specs = next_runs(bench, evaluation(), [], SALT, "decide", 2)
    core = next(spec for spec in specs if spec.arm == "core")
    with pytest.raises(MachineError, match="cannot be trained here"):
        next_runs(bench, evaluation(), [record(core, "refused")], SALT, "decide", 2)


def test_after_a_person_has_looked_a_core_that_failed_is_tried_again(bench: Bench) -> None:
    specs = next_runs(bench, evaluation(), [], SALT, "decide", 2)
    core = next(spec for spec in specs if spec.arm == "core")
    failed = [record(core, "crashed"), record(core.model_copy(update={"attempt": 2}), "crashed")]
    with pytest.raises(MachineError, match="cannot be trained here"):
        next_runs(bench, evaluation(), failed, SALT, "decide", 2)
    later = replace(bench, before=frozenset(run.spec.stem for run in failed))
    again = [spec for spec in next_runs(later, evaluation(), failed, SALT, "decide", 2) if spec.arm == "core"]
    assert [spec.attempt for spec in again] == [3]


def test_a_core_that_is_killed_again_and_again_is_not_tried_for_ever(bench: Bench) -> None:
    core = next(spec for spec in next_runs(bench, evaluation(), [], SALT, "decide", 2) if spec.arm == "core")
    killed = [
        record(core.model_copy(update={"attempt": attempt}), "killed").model_copy(update={"host": host.describe()})
        for attempt in range(1, MACHINE_FAULTS + 1)
    ]
    assert not settled(True, killed[:-1], frozenset())
    with pytest.raises(MachineError, match="cannot be trained here"):
        settled(True, killed, frozenset())


def test_a_speed_claim_that_was_interrupted_while_being_confirmed_gets_another_pair(
    bench: Bench, run_on: Callable[..., list[RunRecord]]
) -> None:
    decided = run_on([], "decide", 4)
    assert next_round([judge_cell(evaluation(), decided, "speed")]) == "confirm"
    runs = run_on(decided, "confirm", 3)
    cut = next_runs(bench, evaluation(), runs, SALT, "confirm", 8)
    runs = run_on([*runs, record(cut[0], "killed")], "confirm", 4)  # its second attempt has no comparable time
    assert next_round([judge_cell(evaluation(), runs, "speed")]) == "confirm"
    runs = run_on(runs, "confirm", 5)
    cell = judge_cell(evaluation(), runs, "speed")
    assert cell.confirm is not None and cell.confirm.confirmed is True
    assert next_round([cell]) is None


def official(store: Store, like: EvaluationRecord, *builds_on: str) -> Any:
    """As much of a contest as is looked at before an official row is opened."""
    return SimpleNamespace(
        official=True,
        slug="idea",
        store=store,
        track=track_named("llm-tiny"),
        budget=budget_named("smoke"),
        core_id=like.core_id,
        data=SimpleNamespace(data_id=like.data_id),
        manifest=SimpleNamespace(builds_on=builds_on),
    )


def test_an_official_row_needs_an_exchange_rate_and_confirmed_patches_below_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    below = make_evaluation(id="w", slug="wide", closed="1", budget="smoke")
    contest = official(store, below, f"wide@{below.patch_sha}")
    with pytest.raises(MachineError, match="baseline --track llm-tiny --budget smoke --official"):
        _check_official(contest, SimpleNamespace(kappa=None))  # type: ignore[arg-type]
    known: Any = SimpleNamespace(kappa=0.5)
    with pytest.raises(UsageError, match="no confirmed record"):
        _check_official(contest, known)
    store.put_evaluation(
        make_evaluation(id="c", kind="calibration", slug="core", metrics=("loss", "speed"), kappa=None)
    )
    store.put_evaluation(below)
    for run in (*make_runs([0.03] * 4), *make_runs([0.03] * 4, round="confirm")):
        store.put_run(run.model_copy(update={"evaluation": "w"}))
    _check_official(contest, known)
    for changed in ({"core_id": "another"}, {"data": SimpleNamespace(data_id="other text")}):
        with pytest.raises(UsageError, match="no confirmed record"):
            _check_official(SimpleNamespace(**{**vars(contest), **changed}), known)  # type: ignore[arg-type]
    store.put_evaluation(below.model_copy(update={"invalidated": "audit-causality: it leaks"}))
    with pytest.raises(UsageError, match="no confirmed record"):
        _check_official(contest, known)


def test_a_record_given_another_patch_carries_nothing_without_that_one(tmp_path: Path) -> None:
    """What is good given another may do harm alone, and undoing the harm would pass for a gain."""
    store, gate = Store(tmp_path), f"gate@{'9' * 64}"
    alone = make_evaluation(id="g", slug="gate", patch_sha="9" * 64, closed="1", budget="smoke")
    given = make_evaluation(id="w", slug="wide", closed="1", budget="smoke", builds_on=(gate,))
    kappa = make_evaluation(id="c", kind="calibration", slug="core", metrics=("loss", "speed"), kappa=None)
    for evaluation in (alone, given, kappa):
        store.put_evaluation(evaluation)
    for name in ("g", "w"):
        for run in (*make_runs([0.03] * 4), *make_runs([0.03] * 4, round="confirm")):
            store.put_run(run.model_copy(update={"evaluation": name}))

    def check(*builds_on: str) -> None:
        _check_official(official(store, given, *builds_on), SimpleNamespace(kappa=0.5))  # type: ignore[arg-type]

    wide = f"wide@{given.patch_sha}"
    check(gate)
    check(gate, wide)
    for builds_on in ((wide,), (wide, gate)):
        with pytest.raises(UsageError, match="builds on wide@"):
            check(*builds_on)
