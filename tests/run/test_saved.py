"""A long run that is cut off goes on from its latest state, and ends where an undisturbed one does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.run import arms, judge
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
