"""One job at a time, within the caps, and never lost: real processes that stand in for the harness's `run`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bot import engine as module
from harness.bot import work
from harness.bot.caps import Settings
from harness.bot.engine import MAX_ATTEMPTS, Engine
from harness.bot.head import Head
from harness.bot.queue import Job, Queue
from harness.errors import MachineError
from tests.bot.jobs import job
from tests.bot.pages import CELL

ANSWER = {"ok": True, "verdict": "CONFIRMED", "cells": [{**CELL, "rho": 0.9, "round": "confirm"}], "faults": []}
SAYS = "import json, os, sys\nanswer, code = sys.argv[2], int(sys.argv[3])\nprint('pair 1', file=sys.stderr)\n"
ENDS = SAYS + "print(answer)\nsys.exit(code)"
STAYS = (
    SAYS + "sys.stderr.flush()\nimport signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\nsignal.pause()"
)
Make = Callable[..., Engine]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """An engine in a root of its own, whose harness is a script that answers so."""
    for name in ("submissions", *("model_core", "baselines", "leaderboard")):
        (tmp_path / name).mkdir()

    def made(answer: object = ANSWER, code: int = 0, script: str = ENDS, objection: str = "", **caps: float) -> Engine:
        said = answer if isinstance(answer, str) else json.dumps(answer)
        monkeypatch.setattr(work, "_START", script)
        monkeypatch.setattr(module, "run_arguments", lambda _: [said, str(code)])
        settings = Settings.model_validate({"price_per_hour": 2.0, "caps": caps or {"month_gpu_s": 1e9}})
        head = Head("0" * 40, "an-idea", {"patch.diff": b"x\n"})
        return Engine(tmp_path, Queue(tmp_path), settings, lambda _: head, lambda _: objection)

    return made


def drain(engine: Engine) -> list[Job]:
    with engine:
        while engine.advance(60):
            pass
    return engine.queue.jobs()


def test_a_verdict_is_taken_from_what_the_harness_printed(make: Make) -> None:
    engine = make()
    engine.queue.put(job())
    (ended,) = drain(engine)
    assert (ended.state, ended.verdict, ended.cells[0].gain, ended.live) == ("done", "CONFIRMED", 0.0123, "")
    assert ended.seconds > 0


def test_a_job_that_has_ended_is_never_run_again(make: Make) -> None:
    engine = make()
    for number, state in enumerate(("done", "refused", "failed", "needs word", "away"), 1):
        engine.queue.put(job(pr=number, state=state))
    with engine:
        assert not engine.advance(60)
    assert not (engine.queue.folder / "work").exists()


def test_jobs_run_one_after_the_other_in_the_order_of_asking(make: Make) -> None:
    engine = make(script=STAYS)
    engine.queue.put(job(pr=2, asked="2026-01-02"))
    engine.queue.put(job(pr=1, asked="2026-01-01"))
    with engine:
        assert engine.advance(0) and engine.advance(0)
        assert [(one.pr, one.state) for one in engine.queue.jobs()] == [(1, "running"), (2, "waiting")]


def test_a_bot_that_stops_leaves_a_job_that_waits_and_its_account(make: Make) -> None:
    engine = make(script=STAYS)
    engine.queue.put(job())
    with engine:
        engine.advance(0.2)
    (left,) = engine.queue.jobs()
    assert left.state == "waiting" and left.seconds >= 0.2


@pytest.mark.parametrize(("code", "state"), [(1, "refused"), (2, "refused")])
def test_a_refusal_of_the_harness_is_the_jobs(make: Make, code: int, state: str) -> None:
    fault = {"rule": "patch-stale", "where": "patch.diff:3", "what": "does not fit", "fix": "rebase"}
    engine = make({"ok": False, "faults": [fault]}, code)
    engine.queue.put(job())
    (ended,) = drain(engine)
    assert ended.state == state and "does not fit" in ended.reason and ended.faults[0].rule == "patch-stale"


MISSING = {"rule": "machine", "where": "llm-tiny at 8M", "what": "no exchange rate", "fix": "blueberry baseline"}


def test_a_machine_that_fails_is_not_asked_again_in_one_breath(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make({"ok": False, "faults": [MISSING]}, 3)
    engine.queue.put(job())
    (left,) = drain(engine)
    assert (left.state, left.attempts, left.faults[0].fix) == ("waiting", 1, "blueberry baseline")
    assert "no exchange rate; tried again after" in left.reason
    monkeypatch.setattr(module, "stamp", lambda later_s=0.0: "9999" if later_s == 0 else "99999")
    (left,) = drain(engine)
    assert left.attempts == 2, "its pause is over"


def test_while_one_job_pauses_the_next_one_runs(make: Make) -> None:
    engine = make()
    engine.queue.put(job(pr=1, asked="2026-01-01", again="9999-01-01T00:00:00Z"))
    engine.queue.put(job(pr=2, asked="2026-01-02"))
    assert [(one.pr, one.state) for one in drain(engine)] == [(1, "waiting"), (2, "done")]


@pytest.mark.parametrize("code", [1, 2])
def test_a_harness_that_crashes_without_a_word_is_no_fault_of_the_submission(make: Make, code: int) -> None:
    engine = make("", code)
    engine.queue.put(job())
    assert [(one.state, one.attempts) for one in drain(engine)] == [("waiting", 1)]


def test_a_head_that_cannot_be_read_ends_its_own_job_and_no_other(make: Make) -> None:
    from harness.errors import SubmissionError
    from harness.rules import fault

    engine = make()
    good = engine._head_of

    def head_of(one: Job) -> Head:
        if one.pr == 1:
            raise SubmissionError(fault("pull-outside", "0123", "changes nothing"))
        return good(one)

    engine._head_of = head_of
    engine.queue.put(job(pr=1, asked="2026-01-01"))
    engine.queue.put(job(pr=2, asked="2026-01-02"))
    assert [(one.state, one.reason) for one in drain(engine)] == [("refused", "changes nothing"), ("done", "")]


def test_a_machine_that_fails_is_tried_a_few_times_and_then_given_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0))
    engine = make("", 3)
    engine.queue.put(job())
    (ended,) = drain(engine)
    assert (ended.state, ended.attempts) == ("failed", MAX_ATTEMPTS) and "pair 1" in ended.reason
    assert f"/bench 8M llm-tiny {ended.sha}" in ended.reason, "how it is ordered again"


def test_a_run_whose_faults_are_the_submissions_has_a_verdict(make: Make) -> None:
    fault = {"rule": "crashed", "where": "pair 1", "what": "it crashed", "fix": "look"}
    engine = make({**ANSWER, "ok": False, "verdict": "INVALID", "faults": [fault]}, 1)
    engine.queue.put(job())
    assert [(one.state, one.verdict) for one in drain(engine)] == [("done", "INVALID")]


def test_what_would_cost_more_than_is_left_pauses_and_names_the_cap(make: Make) -> None:
    engine = make(month_cost=1.0)
    engine.queue.put(job(seconds_expected=3_600.0))
    (paused,) = drain(engine)
    assert (paused.state, paused.reason) == ("paused", "the cap of a month in money is reached")


def test_a_paused_job_goes_on_when_there_is_room_again(make: Make) -> None:
    engine = make()
    engine.queue.put(job(state="paused", reason="the cap of a month in money is reached"))
    assert [one.state for one in drain(engine)] == ["done"]


def test_a_run_that_uses_up_the_budget_is_stopped_where_it_can_go_on(make: Make) -> None:
    engine = make(script=STAYS, pull_request_gpu_s=0.5)
    engine.queue.put(job())
    (paused,) = drain(engine)
    assert paused.state == "paused" and 0.5 <= paused.seconds < 60


def test_an_objection_refuses_before_anything_is_spent(make: Make) -> None:
    engine = make(objection="the head moved to ffff after 0123 was reviewed")
    engine.queue.put(job())
    (ended,) = drain(engine)
    assert ended.state == "refused" and "the head moved" in ended.reason and ended.seconds == 0


def test_a_limit_of_the_caller_stops_a_run_as_a_cap_does(make: Make) -> None:
    engine = make(script=STAYS)
    engine.queue.put(job())
    with engine:
        engine.advance(60, limit_s=0.3)
        assert [one.state for one in engine.queue.jobs()] == ["paused"]


def test_the_harness_sees_no_token(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "MY_SECRET", "AWS_ACCESS_KEY_ID", "HF_TOKEN"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("CI", "true")
    engine = make(script="import json, os, sys\nprint(json.dumps(dict(os.environ)))\nsys.exit(3)")
    engine.queue.put(job())
    drain(engine)
    seen = json.loads(next(engine.queue.folder.glob("work/*/answer.json")).read_text())
    assert seen["CI"] == "true" and not {name for name in seen if "TOKEN" in name or "SECRET" in name or "_KEY" in name}


def test_the_harness_ends_with_the_bot_however_the_bot_ends(tmp_path: Path) -> None:
    child = work.BOUND + "print('bound', flush=True); signal.pause()"
    bot = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}, str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", bot], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == -9
    until = time.monotonic() + 60
    while _alive(int(done.stdout)):
        assert time.monotonic() < until, "the harness outlives its bot"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_verb_of_the_harness_runs_in_the_root_of_the_job(tmp_path: Path) -> None:
    ending = work.start(tmp_path, tmp_path / "work", ["tracks", "--json"]).wait(600)
    assert ending is not None and ending.exit_code == 0
    assert ending.answer is not None and "llm-tiny" in [track["name"] for track in ending.answer["tracks"]]


def test_a_job_that_cannot_be_asked_about_holds_up_no_other(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def objection(one: Job) -> str:
        if one.pr == 1:
            raise MachineError("GitHub", "answers 404", "look there")
        return ""

    engine = make()
    monkeypatch.setattr(engine, "_objection", objection)
    for number in (1, 2):
        engine.queue.put(job(pr=number))
    with engine:
        while engine.queue.jobs()[1].state != "done":
            engine.advance(60)
        with pytest.raises(MachineError, match="404"):
            engine.advance(60)
    assert [one.state for one in engine.queue.jobs()] == ["waiting", "done"]


def test_a_loss_beyond_all_bounds_is_shown_as_the_largest(make: Make) -> None:
    cells = [{**CELL, "gain": -3.5e15, "interval": [-1e300, 1e15]}]
    engine = make({**ANSWER, "verdict": "REJECT_WORSE", "cells": cells})
    engine.queue.put(job())
    (ended,) = drain(engine)
    assert (ended.state, ended.cells[0].gain, ended.cells[0].interval) == ("done", -1e12, (-1e12, 1e12))
