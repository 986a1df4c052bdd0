"""Jobs that leave in bundles: away until they are home, each on one machine, and none forgotten on the box."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.bot import drain, work
from harness.bot import engine as engine_module
from harness.bot.bundle import jobs_bundle, read_bundle, results_bundle
from harness.bot.caps import load, month_of
from harness.bot.drain import Limits, canary_budget, take_results
from harness.bot.errand import Done, Parcels, _spent_beside, errand
from harness.bot.github import GitHub
from harness.bot.head import Head
from harness.bot.queue import Job, Queue, now
from harness.errors import UsageError
from harness.records.store import sha256
from harness.run.arms import track_core_id
from harness.tracks import track_named
from tests.bot.jobs import job
from tests.bot.measured import REPOSITORY, measured
from tests.bot.test_engine import ANSWER, ENDS, STAYS
from tests.conftest import Project

ROOT = Path(__file__).parents[2]


@pytest.fixture
def box(repositories: tuple[Path, Project, Project], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a token, in front of a harness that is a script."""
    monkeypatch.setattr(drain, "_canary", lambda *_: None)
    monkeypatch.setattr(drain, "_require_fit", lambda *_: None)
    monkeypatch.setattr(work, "_START", ENDS)
    monkeypatch.setattr(engine_module, "run_arguments", lambda _: [json.dumps(ANSWER), "0"])
    return repositories[1].root


def bundle(path: Path, gain: Path, **changed: object) -> tuple[Path, Job]:
    """A bundle of one job on its way to a box."""
    files = {name: (gain / name).read_bytes() for name in ("submission.toml", "patch.diff")}
    one = job(slug="gain", budget="test", patch_sha=sha256(files["patch.diff"]), **changed)
    path.write_bytes(jobs_bundle("o/n", [(one, Head(one.sha, one.slug, files))]))
    return path, one


def drained(box: Path, jobs: Path, out: Path, hours: float = 1) -> Done:
    def no_token() -> GitHub:
        raise AssertionError("the box asks GitHub for nothing")

    return errand(box, load(box), Limits(hours, 1e6), Parcels(jobs, out), no_token, print)


def test_a_second_bundle_goes_on_with_what_the_first_left_and_takes_both_home(
    box: Path, gain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, one = bundle(tmp_path / "1.zip", gain, pr=1)
    second, two = bundle(tmp_path / "2.zip", gain, pr=2)
    with monkeypatch.context() as patched:
        patched.setattr(work, "_START", STAYS)
        left = drained(box, first, tmp_path / "out.zip", hours=1 / 3600)
    assert [(job.pr, job.state) for job in left.left] == [(1, "paused")]
    done = drained(box, second, tmp_path / "out.zip")
    assert {job.pr for job in done.ended} == {1, 2} and done.left == ()
    assert {job.key for job in read_bundle(tmp_path / "out.zip").jobs} == {one.key, two.key}


def test_a_job_that_was_ordered_again_is_begun_again_on_the_box(box: Path, gain: Path, tmp_path: Path) -> None:
    jobs, one = bundle(tmp_path / "1.zip", gain)
    Queue(box).put(one.model_copy(update={"state": "failed", "attempts": 3}))
    assert drained(box, jobs, tmp_path / "out.zip").ended == ()
    again, _ = bundle(tmp_path / "2.zip", gain, ordered="2026-02-01T00:00:00Z")
    assert [job.state for job in drained(box, again, tmp_path / "out.zip").ended] == ["done"]


def test_jobs_are_lost_only_where_some_are_packed(box: Path, gain: Path, tmp_path: Path) -> None:
    jobs, _ = bundle(tmp_path / "1.zip", gain)
    for parcels in (Parcels(lost=True), Parcels(jobs, lost=True), Parcels(jobs, tmp_path / "out.zip", lost=True)):
        with pytest.raises(UsageError, match=r"--lost: is for jobs that are packed.*\n.*--bundle-out FILE"):
            errand(box, load(box), Limits(1, 1), parcels, lambda: pytest.fail("GitHub is not asked"), print)


def test_a_box_holds_to_the_caps_with_what_was_spent_at_home(box: Path, gain: Path, tmp_path: Path) -> None:
    """An author whose month is used up gets no other purse with another machine."""
    settings = load(box)
    assert settings.caps.month_cost is not None and settings.price_per_hour is not None
    month = settings.caps.month_cost / settings.price_per_hour * 3600
    path, one = bundle(tmp_path / "1.zip", gain)
    spent = job(pr=99, state="done", spent={month_of(now()): month})
    old = job(pr=98, state="done", spent={"2025-01": month})
    assert _spent_beside([one, spent, old], [one]) == [spent.model_copy(update={"state": "away"})]
    head = read_bundle(path).heads[one.key]
    path.write_bytes(jobs_bundle("o/n", [(one, head)], _spent_beside([one, spent, old], [one])))
    done = drained(box, path, tmp_path / "out.zip")
    assert done.ended == () and [(job.pr, job.state) for job in done.left] == [(one.pr, "paused")]
    assert [job.key for job in read_bundle(tmp_path / "out.zip").jobs] == [one.key], "the other job has stayed at home"
    path.write_bytes(jobs_bundle("o/n", [(one, head)], [spent.model_copy(update={"spent": {month_of(now()): 0.0}})]))
    assert [job.pr for job in drained(box, path, tmp_path / "out.zip").ended] == [one.pr]


def test_a_box_with_results_that_no_bundle_takes_home_is_not_safe(box: Path, gain: Path, tmp_path: Path) -> None:
    jobs, one = bundle(tmp_path / "1.zip", gain)
    assert one.patch_sha is not None
    measured(box, "gain", one.patch_sha, "test")
    assert drained(box, jobs, tmp_path / "out.zip").safe
    other = measured(box, "another", "b" * 64, salt="other")
    done = drained(box, jobs, tmp_path / "out.zip")
    assert not done.safe and f"NOT safe to destroy: {other.id}" in done.last


def test_a_half_run_job_is_named_and_leaves_neither_its_runs_nor_its_salt(
    box: Path, gain: Path, tmp_path: Path
) -> None:
    jobs, one = bundle(tmp_path / "1.zip", gain)
    assert one.patch_sha is not None
    begun = measured(box, "gain", one.patch_sha, "test", close=False)
    done = drained(box, jobs, tmp_path / "out.zip")
    assert not done.safe and "gain on llm-tiny at test" in done.last and "run the same command again" in done.last
    assert not [name for name in read_bundle(tmp_path / "out.zip").records if begun.id in name]


def test_what_the_box_did_not_finish_stays_away_and_is_begun_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "leaderboard").mkdir()
    queue = Queue(tmp_path)
    queue.put(job(state="away"))
    back = job(state="paused", spent={"2026-11": 60.0}, reason="the budget is used up")
    (tmp_path / "r.zip").write_bytes(results_bundle("o/n", [back], tmp_path))
    assert take_results(tmp_path, queue, read_bundle(tmp_path / "r.zip"), "r.zip") == ([], "")
    assert [(one.state, one.seconds) for one in queue.jobs()] == [("away", 60.0)]


@pytest.mark.parametrize(
    ("here", "back"),
    [
        ({"state": "waiting", "ordered": "2026-02-01T00:00:00Z"}, {"state": "failed"}),  # and ordered again since
        ({"state": "waiting"}, {"state": "done", "verdict": "CONFIRMED"}),  # by the word of the box alone
    ],
)
def test_results_that_are_old_or_bring_no_record_leave_a_job_as_it_is(
    tmp_path: Path, here: dict[str, str], back: dict[str, str]
) -> None:
    (tmp_path / "leaderboard").mkdir()
    queue = Queue(tmp_path)
    queue.put(job(spent={"2026-11": 60.0}, **here))
    (tmp_path / "r.zip").write_bytes(results_bundle("o/n", [job(spent={"2026-10": 1.0}, **back)], tmp_path))
    assert take_results(tmp_path, queue, read_bundle(tmp_path / "r.zip"), "r.zip") == ([], "")
    assert [(one.state, one.seconds) for one in queue.jobs()] == [("waiting", 61.0)], "what it cost is booked"


def test_an_order_that_is_said_again_while_its_job_is_away_takes_no_verdict_from_it(
    tmp_path: Path,
) -> None:
    sha256_of_patch = "a" * 64
    box, home = tmp_path / "box", tmp_path / "home"
    (home / "leaderboard").mkdir(parents=True)
    measured(box, "an-idea", sha256_of_patch, "smoke", provisional=False, sandbox="landlock")
    queue = Queue(home)
    sent = job(budget="smoke", patch_sha=sha256_of_patch)
    queue.put(sent.model_copy(update={"state": "away", "ordered": "2026-02-01T00:00:00Z"}))
    back = sent.model_copy(update={"state": "done", "verdict": "CONFIRMED", "spent": {"2026-11": 60.0}})
    (tmp_path / "r.zip").write_bytes(results_bundle("o/n", [back], box))
    ((taken,), _) = take_results(home, queue, read_bundle(tmp_path / "r.zip"), "r.zip")
    assert (taken.state, taken.verdict, taken.seconds) == ("done", "CONFIRMED", 60.0)


def test_a_gain_that_is_left_out_is_said_to_have_failed_and_its_cost_is_booked(tmp_path: Path) -> None:
    """Held to too mild a rate: what is ordered again then runs where the earlier tries are known."""
    box, home, patch = tmp_path / "box", tmp_path / "home", "b" * 64
    (home / "leaderboard").mkdir(parents=True)
    (home / "model_core").symlink_to(ROOT / "model_core")
    fields = {"provisional": False, "sandbox": "landlock", "core_id": track_core_id(ROOT, track_named("llm-tiny"))}
    measured(home, "an-idea", "a" * 64, "smoke", salt="home", opened="2026-01-01T00:00:00+00:00", **fields)
    measured(box, "an-idea", patch, "smoke", salt="box", opened="2026-01-02T00:00:00+00:00", **fields)
    queue = Queue(home)
    sent = job(budget="smoke", patch_sha=patch)
    queue.put(sent.model_copy(update={"state": "away"}))
    back = sent.model_copy(update={"state": "done", "verdict": "CONFIRMED", "spent": {"2026-11": 60.0}})
    (tmp_path / "r.zip").write_bytes(results_bundle("o/n", [back], box))
    taken, said = take_results(home, queue, read_bundle(tmp_path / "r.zip"), "r.zip")
    (own,) = queue.jobs()
    assert taken == [] and "NOT taken" in said
    assert (own.state, own.seconds) == ("failed", 60.0) and "again: /bench smoke llm-tiny" in own.reason
    assert own.renewed_by("2026-03-01T00:00:00Z")


def test_what_was_spent_at_home_on_a_job_that_failed_on_the_box_changes_nothing_else_of_it(
    box: Path, gain: Path, tmp_path: Path
) -> None:
    path, one = bundle(tmp_path / "1.zip", gain)
    head = read_bundle(path).heads[one.key]
    queue = Queue(box)
    other = job(pr=99, state="failed", reason="no memory", spent={"2026-11": 5.0})
    queue.put(other)
    queue.put_head(other, head)  # its files came with an earlier bundle
    beside = other.model_copy(update={"state": "away", "reason": "", "spent": {"2026-11": 60.0}})
    path.write_bytes(jobs_bundle("o/n", [(one, head)], [beside]))
    drained(box, path, tmp_path / "out.zip")
    held = queue.find(other.key)
    assert held is not None and (held.state, held.reason, held.seconds) == ("failed", "no memory", 60.0)


def test_a_verdict_is_of_the_patch_that_was_reviewed_wherever_the_head_is_now(tmp_path: Path) -> None:
    home, box = tmp_path / "home", tmp_path / "box"
    (home / "leaderboard").mkdir(parents=True)
    queue, patch = Queue(home), "a" * 64
    queue.put(job(state="away", budget="smoke", patch_sha=patch))
    measured(box, "an-idea", patch)
    back = job(state="done", budget="smoke", patch_sha=patch, verdict="REJECT_WORSE")
    (tmp_path / "r.zip").write_bytes(results_bundle("o/n", [back], box))
    ((taken,), _) = take_results(home, queue, read_bundle(tmp_path / "r.zip"), "r.zip")
    assert (taken.state, taken.verdict) == ("done", "CONFIRMED"), "by the run files, not by the word of the box"


@pytest.mark.parametrize(
    ("track", "tokens", "budget"),
    [("llm-tiny", 2_048, "test"), ("llm-88m", 16_384, "smoke"), ("flow-48m", 32_768, "smoke"), ("vqvae", 65_536, "1M")],
)
def test_the_canary_makes_updates_on_every_track(
    track: str, tokens: int, budget: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.records.record import RunRecord

    path = next((REPOSITORY / "leaderboard" / "runs").glob("core-llm-tiny-smoke-*/calibrate-00-0-core-a1.json"))
    run = RunRecord.model_validate_json(path.read_bytes())
    assert run.model is not None
    run = run.model_copy(update={"model": run.model.model_copy(update={"batch_tokens": tokens})})
    monkeypatch.setattr(drain, "known_evaluations", lambda *_: [(None, (run,))])
    assert canary_budget(tmp_path, track) == budget
