"""From an order to a job: which commit, which cell, and what large budgets need first."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.bot import admit as module
from harness.bot.admit import Refusal, admit
from harness.bot.command import Command
from harness.bot.github import Comment, Pull
from harness.bot.queue import Known, Queue
from tests.bot.jobs import job, known
from tests.bot.measured import REPOSITORY, measured
from tests.bot.pages import SHA


def pull(sha: str = SHA) -> Pull:
    return Pull(7, sha, "contributor", "a title; rm -rf $HOME `id`", True)


def comment(created: str = "2026-01-02T00:00:00Z") -> Comment:
    return Comment(1, 7, "maintainer", "OWNER", "", created, created)


def asked(tmp_path: Path, budget: str, found: Known | None = None, **changed: Any) -> Any:
    command = Command(changed.get("verb", "bench"), budget, changed.get("track"), changed.get("sha", SHA))
    said = comment(changed.get("created", "2026-01-02T00:00:00Z"))
    return admit(tmp_path, Queue(tmp_path), command, said, changed.get("pull", pull()), found or known(budget))


def test_an_order_becomes_a_job_that_knows_its_time_and_cost(tmp_path: Path) -> None:
    made = asked(tmp_path, "8M")
    assert (made.state, made.track, made.seconds_expected, made.cost_expected) == ("waiting", "llm-tiny", 600.0, 1.0)
    assert (made.author, made.asked_by, made.sha) == ("contributor", "maintainer", SHA)


def test_the_same_order_a_second_time_is_the_same_job(tmp_path: Path) -> None:
    Queue(tmp_path).put(job(state="done"))
    assert asked(tmp_path, "8M") == job(state="done")


def test_a_commit_that_is_not_the_head_is_refused(tmp_path: Path) -> None:
    moved = asked(tmp_path, "8M", pull=pull("f" * 40))
    assert isinstance(moved, Refusal) and "the head is now ffffffffffff" in moved.why
    assert isinstance(asked(tmp_path, "8M", sha="e" * 40), Refusal)


def test_what_breaks_a_rule_is_not_run(tmp_path: Path) -> None:
    broken = known("8M").model_copy(update={"check": known().check.model_copy(update={"ok": False})})
    assert "breaks a rule" in asked(tmp_path, "8M", broken).why


def test_what_is_not_claimed_is_not_run(tmp_path: Path) -> None:
    assert "claims nothing at 8M" in asked(tmp_path, "8M", known("1M")).why
    assert "claims nothing on llm-88m" in asked(tmp_path, "8M", known("8M"), track="llm-88m").why


def test_100m_needs_a_confirmed_smaller_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "confirmed_below", lambda *_: False)
    assert "after a smaller budget" in asked(tmp_path, "100M").why
    monkeypatch.setattr(module, "confirmed_below", lambda *_: True)
    assert asked(tmp_path, "100M").state == "waiting"


def test_1b_waits_for_a_word_that_comes_after_its_cost_was_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "confirmed_below", lambda *_: True)
    queue = Queue(tmp_path)
    assert "nothing to approve" in asked(tmp_path, "1B", verb="approve").why
    made = asked(tmp_path, "1B")
    assert made.state == "needs word" and f"/bench-approve 1B llm-tiny {SHA}" in made.reason
    queue.put(made)
    assert "after the cost was shown" in asked(tmp_path, "1B", verb="approve").why
    queue.put(made.model_copy(update={"shown": "2026-01-02T00:00:00Z"}))
    assert "after the cost" in asked(tmp_path, "1B", verb="approve", created="2026-01-01T23:59:59Z").why
    approved = asked(tmp_path, "1B", verb="approve", created="2026-01-02T00:00:01Z")
    assert (approved.state, approved.approved_by) == ("waiting", "maintainer")


def test_a_word_for_what_already_runs_changes_nothing(tmp_path: Path) -> None:
    running = job(state="running")
    Queue(tmp_path).put(running)
    assert asked(tmp_path, "8M", verb="approve") == running


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_a_later_order_begins_anew_what_ended_without_a_verdict(tmp_path: Path, state: str) -> None:
    ended = job(state=state, attempts=3, reason="no exchange rate", spent={"2026-01": 7.0})
    Queue(tmp_path).put(ended)
    again = asked(tmp_path, "8M", created="2026-01-03T00:00:00Z")
    assert (again.state, again.attempts, again.reason, again.spent) == ("waiting", 0, "", {"2026-01": 7.0})
    assert asked(tmp_path, "8M", created=ended.asked) == ended, "the order that it had is no new one"


def test_an_order_that_was_given_twice_before_it_failed_does_not_begin_it_anew(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.put(job())
    queue.put(asked(tmp_path, "8M", created="2026-01-03T00:00:00Z"))
    failed = job(**{**queue.jobs()[0].model_dump(), "state": "failed"})
    queue.put(failed)
    assert asked(tmp_path, "8M", created="2026-01-03T00:00:00Z") == failed
    assert asked(tmp_path, "8M", created="2026-01-03T00:00:01Z").state == "waiting"


@pytest.mark.parametrize("changed", [{"state": "failed", "verdict": "REJECT_NO_GAIN"}, {"state": "done"}])
def test_what_has_a_verdict_is_never_measured_again(tmp_path: Path, changed: dict[str, str]) -> None:
    Queue(tmp_path).put(job(**changed))
    assert asked(tmp_path, "8M", created="2026-01-03T00:00:00Z") == job(**changed)


def test_what_is_on_another_machine_is_not_begun_here(tmp_path: Path) -> None:
    Queue(tmp_path).put(job(state="away"))
    assert asked(tmp_path, "8M", created="2026-01-03T00:00:00Z").state == "away"


@pytest.mark.parametrize(
    ("changed", "opens"),
    [
        ({}, True),
        ({"official": False}, False),
        ({"invalidated": "leaky"}, False),
        ({"core_id": "0" * 64}, False),
        ({"patch_sha": "b" * 64}, False),
        ({"slug": "another"}, False),
        ({"budget": "100M"}, False),
    ],
)
def test_only_an_official_confirmed_evaluation_of_this_very_patch_opens_larger_budgets(
    tmp_path: Path, changed: dict[str, Any], opens: bool
) -> None:
    from harness.run.arms import track_core_id
    from harness.tracks import TRACKS

    shutil.copytree(REPOSITORY / "model_core", tmp_path / "model_core", ignore=shutil.ignore_patterns("__pycache__"))
    core = track_core_id(tmp_path, TRACKS["llm-tiny"])
    values = {"slug": "an-idea", "patch_sha": "a" * 64, "core_id": core, **changed}
    measured(tmp_path, values.pop("slug"), values.pop("patch_sha"), **values)
    assert module.confirmed_below(tmp_path, "an-idea", "a" * 64, "llm-tiny", 10**8) is opens
    assert not module.confirmed_below(tmp_path, "an-idea", "a" * 64, "llm-tiny", 65_536), "no smaller budget"
