"""A long run that is cut off goes on from its latest state, and ends where an undisturbed one does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import tracks
from harness.decide.pairs import pairs_of
from harness.errors import MachineError
from harness.records.record import RunRecord, RunSpec
from harness.records.store import Store
from harness.run import arms, judge
from harness.run.contests import Options, contests
from harness.run.evaluate import evaluate
from harness.run.measure import measure_of
from harness.run.saved import Saves, State
from harness.submission.patch import unpatched
from harness.tracks import budget_named, track_named
from tests.conftest import Project, thin

BUDGET = budget_named("test")


class PowerCutError(Exception):
    """The power fails."""


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    saves = Saves(tmp_path / "run", 600.0)
    assert saves.latest() is None
    for state in (State(4_096, 1.5, (), b"\n{}\n"), State(8_192, 2.5, ((4_096, 5.25, 1.25),), b"\x80\n" * 99)):
        saves.put(state.served, state.seconds, state.curve, [state.raw[:7], state.raw[7:]])
        assert saves.latest() == state
    saves.forget()
    assert saves.latest() is None


def test_a_state_that_is_cut_short_or_has_changed_is_named_and_goes_to_no_worker(tmp_path: Path) -> None:
    saves = Saves(tmp_path / "run", 600.0)
    saves.put(4_096, 1.5, ((1, 8.0, 0.5),), [b"weights" * 100])
    whole = saves.path.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in range(0, len(whole), 37)]
    for damaged in (*flipped, *(whole[:length] for length in range(0, len(whole), 41))):
        saves.path.write_bytes(damaged)
        with pytest.raises(MachineError, match="is damaged") as caught:
            saves.latest()
        assert str(saves.path) in str(caught.value)
    saves.path.write_bytes(whole)
    assert saves.latest() is not None


def test_a_state_whose_worker_dies_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    saves = Saves(tmp_path / "run", 600.0)
    saves.put(4_096, 1.5, (), [b"first"])

    def half() -> Iterator[bytes]:
        yield b"sec"
        raise PowerCutError

    with pytest.raises(PowerCutError):
        saves.put(8_192, 3.0, (), half())
    state = saves.latest()
    assert state is not None and bytes(state.raw) == b"first"
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["llm-tiny", "flow-tiny", "vqvae-tiny", "multimodal-tiny"])
def test_a_run_that_was_cut_off_ends_where_an_undisturbed_one_does(
    make_project: Callable[[str], Project], tmp_path: Path, name: str
) -> None:
    root, track = thin(make_project(f"saved-{name}")).root, track_named(name)
    measure = measure_of(track)
    prepared = measure.prepare(track, None, lambda line: None)
    work = root / ".blueberry" / "work" / "saved"
    with arms.built(work, {"core": unpatched(root, None, tmp_path / "core")}) as built:

        def trained(tick: judge.Tick, saves: Saves | None) -> judge.Trained:
            feed = measure.feed(prepared, track, 7, BUDGET.tokens, 1)
            return judge.train(built["core"], track, BUDGET.tokens, 0, feed, None, tick, saves)

        def cut(tokens: int, loss: float | None, seconds: float) -> None:
            if tokens >= BUDGET.tokens * 3 // 4:
                raise PowerCutError

        undisturbed = trained(lambda *told: None, None)
        saves = Saves(work / "state", 0.0)
        with pytest.raises(PowerCutError):
            trained(cut, saves)
        state = saves.latest()
        assert state is not None and 0 < state.served < BUDGET.tokens
        seen: list[int] = []
        resumed = trained(lambda tokens, loss, seconds: seen.append(tokens), saves)
    assert seen[0] == state.served, "nothing is trained on twice"
    assert resumed.tokens_served == undisturbed.tokens_served
    assert resumed.checkpoint.sha256 == undisturbed.checkpoint.sha256, "to the last bit"
    assert [point[0] for point in resumed.curve] == [point[0] for point in undisturbed.curve]
    for one in (undisturbed, resumed):
        one.checkpoint.close()


class Reporter:
    """Hears everything; the power fails when the first run has been served three quarters."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def note(self, text: str) -> None: ...

    def opened(self, evaluation: str) -> None: ...

    def stage(self, spec: RunSpec, stage: str) -> None: ...

    def finished(self, record: RunRecord) -> None: ...

    def tick(self, spec: RunSpec, tokens: int, loss: float | None, seconds: float) -> None:
        if self.fails and tokens >= BUDGET.tokens * 3 // 4:
            raise PowerCutError


def test_budgets_from_20_million_tokens_on_save_what_they_have_and_the_others_begin_again() -> None:
    saving = {budget.name for budget in tracks.BUDGETS.values() if budget.save_every_s is not None}
    assert saving == {budget.name for budget in tracks.BUDGETS.values() if budget.tokens >= 20_000_000}


@pytest.mark.long
def test_an_evaluation_that_is_cut_off_goes_on_from_the_state_and_that_run_has_no_time(
    make_project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The idea is a comment: what was resumed has to end, to the last bit, where the other arm of its pair does."""
    project = thin(make_project("resumed"))
    project.submit("idea", ("lm.py", "import math\n", "import math  # an idea\n"))
    monkeypatch.setitem(tracks.BUDGETS, "test", replace(BUDGET, save_every_s=0.0))
    store = Store(project.root / ".blueberry")
    options = Options("llm-tiny", "test", 3)
    with store.lock(), contests(project.root, "idea", options, lambda line: None) as to_run:
        (contest,) = to_run
        with pytest.raises(PowerCutError):
            evaluate(contest, Reporter(fails=True))
        (state,) = (project.root / ".blueberry").rglob("saved/*")
        assert Saves(state, 0.0).latest() is not None
        outcome = evaluate(contest, Reporter(fails=False))
    (again,) = (run for run in outcome.runs if run.spec.attempt == 2)
    (twin,) = (
        run
        for run in outcome.runs
        if run.spec.pair == again.spec.pair and run.spec.arm != again.spec.arm and run.status == "completed"
    )
    assert (again.status, again.tokens_served) == ("completed", BUDGET.tokens)
    assert (again.loss, again.checkpoint_sha256) == (twin.loss, twin.checkpoint_sha256)
    timed = {pair.index: pair.R is not None for pair in pairs_of(outcome.runs, "decide")}
    assert timed == {index: index != again.spec.pair for index in range(3)}
    assert outcome.cells[0].gain == 0.0 and outcome.evaluation.closed
    assert not list((project.root / ".blueberry").rglob("saved/*")), "nothing is left of it"
