"""What happens between the arms of a pair; whole pairs are raced in test_end_to_end.py."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import MachineError
from harness.run.race import Bench, _earlier_reference, _keep_reference, _Run, _side_by_side
from harness.run.stage import StageError
from harness.tracks import budget_named, track_named
from tests.decide.conftest import make_run


def runs() -> list[_Run]:
    return [_Run(make_run(sub=sub, pair=0).spec, "") for sub in (False, True)]


def test_a_failure_of_one_arm_spares_the_other() -> None:
    core, idea = runs()

    def stage(run: _Run, threads: int) -> None:
        if run is idea:
            raise StageError("crashed", "its own fault")

    _side_by_side([core, idea], stage)
    assert core.alive and not idea.alive


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of every item; the rest of what a measure gives is not looked at here."""

    by_item: NDArray[np.float32]


def test_scores_of_the_core_that_were_cut_short_or_have_changed_are_named(tmp_path: Path) -> None:
    run, _ = runs()
    nothing: Any = None
    run.scored = Scores(np.linspace(-9, 0, 40, dtype=np.float32).reshape(4, 10))
    places = {"work": tmp_path, "kept": tmp_path, "store": nothing, "data": nothing, "reporter": nothing}
    told = {"evaluation": "e", "secret": "", "arms": {}, "before": frozenset(), "micro_batch": None, "epochs": 1}
    bench = Bench(track=track_named("llm-tiny"), budget=budget_named("smoke"), **told, **places)
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
