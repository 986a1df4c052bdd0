"""What happens between the arms of a pair; whole pairs are raced in test_end_to_end.py."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import MachineError
from harness.records.record import AuditResult, Metrics, RunRecord
from harness.records.store import Store
from harness.run import host, judge, kept, race
from harness.run.race import Bench, _earlier_reference, _keep_reference, _raced, _Run, _side_by_side
from harness.run.stage import StageError
from harness.tracks import budget_named, track_named
from tests.decide.conftest import FACTS, make_run


def runs() -> list[_Run]:
    return [_Run(make_run(sub=sub, pair=0).spec, "") for sub in (False, True)]


def test_a_failure_of_one_arm_spares_the_other() -> None:
    core, idea = runs()

    def stage(run: _Run, threads: int) -> None:
        if run is idea:
            raise StageError("crashed", "its own fault")

    _side_by_side([core, idea], stage)
    assert core.alive and not idea.alive


def test_strangers_are_scored_and_audited_by_themselves_and_the_core_last() -> None:
    busy, seen = threading.Lock(), []

    def stage(run: _Run, threads: int) -> None:
        assert busy.acquire(blocking=False), "another arm is at work"
        time.sleep(0.05)
        seen.append((run.spec.arm, threads))
        busy.release()

    for order in (runs(), runs()[::-1]):
        seen.clear()
        _side_by_side(order, stage, apart=True)
        assert seen == [("idea", host.threads()), ("core", host.threads())]


def test_a_defect_in_one_arm_waits_for_the_other() -> None:
    core, idea = runs()
    done = []

    def stage(run: _Run, threads: int) -> None:
        if run is idea:
            raise ValueError("a defect")
        time.sleep(0.2)
        done.append(run)

    with pytest.raises(ValueError, match="a defect"):
        _side_by_side([core, idea], stage)
    assert done == [core]


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of every item; the rest of what a measure gives is not looked at here."""

    by_item: NDArray[np.float32]
    loss: float = 4.0
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    checks: tuple[AuditResult, ...] = ()


def bench_at(folder: Path, **changes: Any) -> Bench:
    nothing: Any = None
    reporter: Any = SimpleNamespace(stage=lambda *told: None, tick=lambda *told: None)
    places = {"work": folder, "kept": folder, "store": Store(folder), "data": nothing, "reporter": reporter}
    told = {"evaluation": "e", "secret": "", "before": frozenset(), "micro_batch": None, "epochs": 1}
    arms = {"core": "core", "idea": "idea"}
    fields = {"track": track_named("llm-tiny"), "budget": budget_named("smoke"), "arms": arms, **told, **places}
    return Bench(**(fields | changes))


@dataclasses.dataclass
class Stage:
    """A pair whose stages are played. A stage of an arm may raise something instead."""

    raises: dict[tuple[str, str], Exception]
    references: dict[str, Any] = dataclasses.field(default_factory=dict)
    parameters: int = 1_000_000

    def train(self, arm: Any, *rest: Any) -> judge.Trained:
        self._maybe("train", arm)
        checkpoint: Any = SimpleNamespace(close=lambda: None, fd=-1, sha256="a" * 64)
        model = FACTS.model_copy(update={"parameters": self.parameters, "active_parameters": self.parameters})
        warm_up = AuditResult(id="warm-up", ok=True, value=0.0, limit=0.0)
        return judge.Trained(checkpoint, 1, 1, 1.0, 1.0, (), model, host.describe(), warm_up)

    def score(self, arm: Any, *rest: Any) -> Scores:
        self._maybe("score", arm)
        return Scores(np.zeros((4, 10), np.float32))

    def audit(self, arm: Any, track: Any, fd: int, held_out: Any, scored: Any, reference: Any, *rest: Any) -> tuple[()]:
        self._maybe("audit", arm)
        self.references[arm] = reference
        return ()

    def _maybe(self, stage: str, arm: str) -> None:
        if (stage, arm) in self.raises:
            raise self.raises[stage, arm]


def played(monkeypatch: pytest.MonkeyPatch, raises: dict[tuple[str, str], Exception]) -> Stage:
    stage = Stage(raises)
    nothing = lambda *told: None  # noqa: E731
    measure = SimpleNamespace(feed=nothing, held_out=nothing, score=stage.score, audit=stage.audit)
    monkeypatch.setattr(race, "measure_of", lambda track: measure)
    monkeypatch.setattr(judge, "train", stage.train)
    monkeypatch.setattr(kept, "keep", nothing)
    monkeypatch.setattr(kept.TrainedOn, "of", nothing)
    return stage


def filed(bench: Bench) -> dict[str, RunRecord]:
    assert not list(bench.store.folder.rglob("*.started"))
    return {run.spec.arm: run for run in bench.store.runs("e")}


PAIR = [make_run(sub=sub, pair=0).spec for sub in (False, True)]


@pytest.mark.parametrize("stage", ["train", "score", "audit"])
def test_what_stops_the_judge_leaves_a_run_file_with_a_host_for_every_run_that_had_begun(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission that can stop the judge would draw again at will if nobody saw it."""
    played(monkeypatch, {(stage, "idea"): ValueError("probabilities contain NaN")})
    bench = bench_at(tmp_path)
    with pytest.raises(ValueError, match="NaN"):
        _raced(bench, PAIR)
    runs = filed(bench)
    assert {run.status for run in runs.values()} == {"infrastructure"} and set(runs) == {"core", "idea"}
    assert all(run.host == host.describe() for run in runs.values()), "so that it counts as lost"
    assert "ValueError: probabilities contain NaN" in (runs["idea"].error or "")


def test_a_run_that_had_failed_by_itself_before_the_judge_stopped_keeps_its_own_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raises = {("score", "idea"): StageError("refused", "audit-score: 1"), ("audit", "core"): ValueError("a defect")}
    played(monkeypatch, raises)
    bench = bench_at(tmp_path)
    with pytest.raises(ValueError, match="a defect"):
        _raced(bench, PAIR)
    assert {arm: run.status for arm, run in filed(bench).items()} == {"core": "infrastructure", "idea": "refused"}


@pytest.mark.parametrize("stage", ["train", "score"])
def test_a_submission_whose_core_failed_is_run_again_with_it_and_never_audited_everywhere_alike(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = played(monkeypatch, {(stage, "core"): StageError("crashed", "starved")})
    bench = bench_at(tmp_path)
    _raced(bench, PAIR[::-1])
    assert {arm: run.status for arm, run in filed(bench).items()} == {"core": "crashed", "idea": "infrastructure"}
    assert stages.references == {}


def test_a_submission_that_runs_alone_is_audited_against_what_its_core_scored_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_at(tmp_path)
    stages = played(monkeypatch, {("score", "idea"): StageError("crashed", "by chance")})
    _raced(bench, PAIR)
    stages.raises.clear()
    (again,) = _raced(bench, [PAIR[1].model_copy(update={"attempt": 2})])
    assert again.status == "completed" and stages.references["idea"] is not None


def test_a_submission_is_held_to_the_core_s_word_on_its_size_where_the_core_has_never_been_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, {("train", "core"): StageError("crashed", "starved")}).parameters = 2_000_000
    bench = bench_at(tmp_path, core_parameters=1_000_000)
    _raced(bench, PAIR[::-1])
    idea = filed(bench)["idea"]
    assert idea.status == "refused" and (idea.error or "").startswith("band: ")


@pytest.mark.parametrize("official", [True, False])
def test_only_where_the_patch_is_a_stranger_s_the_arms_go_one_after_the_other(
    official: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, {})
    asked = []

    def side_by_side(runs: list[_Run], work: Any, apart: bool = False) -> None:
        asked.append(apart)
        for run in runs:
            work(run, 1)

    monkeypatch.setattr(race, "_side_by_side", side_by_side)
    _raced(bench_at(tmp_path, official=official), PAIR)
    assert asked == [official, official]


def test_scores_of_the_core_that_were_cut_short_or_have_changed_are_named(tmp_path: Path) -> None:
    run, _ = runs()
    run.scored = Scores(np.linspace(-9, 0, 40, dtype=np.float32).reshape(4, 10))
    bench = bench_at(tmp_path)
    assert _earlier_reference(bench, run.spec) is None
    _keep_reference(bench, run)
    found = _earlier_reference(bench, run.spec)
    assert found is not None and (found == run.scored.by_item).all()
    path = next((tmp_path / "reference").iterdir())
    whole = path.read_bytes()
    flipped = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole)))
    for damaged in (*(whole[:length] for length in range(len(whole))), *flipped):
        path.write_bytes(damaged)
        with pytest.raises(MachineError, match="is damaged"):
            _earlier_reference(bench, run.spec)


def test_a_person_who_interrupts_the_scoring_does_not_wait_for_it() -> None:
    end = threading.Event()

    core, idea = runs()

    def stage(run: _Run, threads: int) -> None:
        if run is core:
            time.sleep(0.2)  # until the main thread waits for both
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        end.wait(20)

    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            _side_by_side([core, idea], stage)
        assert time.monotonic() - started < 10
    finally:
        end.set()
