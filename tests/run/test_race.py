"""What happens between the arms of a pair; whole pairs are raced in test_end_to_end.py."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from harness.run.race import _Run, _side_by_side
from harness.run.stage import StageError
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
