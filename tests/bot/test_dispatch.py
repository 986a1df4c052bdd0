"""The workflow's way: reviewed or not run; an artifact out, a comment from it, in real processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.bot import engine as engine_module
from harness.bot import work
from harness.bot.bundle import read_bundle
from harness.bot.caps import load
from harness.bot.command import Command
from harness.bot.comment import contest, put, render
from harness.bot.comment import measured as told_of
from harness.bot.dispatch import _is_word, _require_review, dispatch, ending, write
from harness.bot.drain import Limits
from harness.bot.errand import Parcels, errand
from harness.bot.github import Comment, GitHub, Pull, Review
from harness.bot.page import ENTRY, Page, PlanPart, read_page
from harness.bot.publish import BRANCH
from harness.bot.queue import Queue
from harness.bot.zipped import unzip, zipped
from harness.errors import SubmissionError, UsageError
from harness.records.store import sha256
from tests.bot import jobs, pages
from tests.bot.conftest import Hub, git
from tests.bot.gateway import Answer
from tests.bot.measured import measured
from tests.bot.test_engine import ANSWER, ENDS

Change = Callable[[dict[str, Any], dict[str, bytes]], None]


@pytest.fixture
def number(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> int:
    """A pull request, in front of a harness that is a script."""
    for name, value in hub.environment().items():
        if name.startswith("GITHUB_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(work, "_START", ENDS)
    monkeypatch.setattr(engine_module, "run_arguments", lambda _: [json.dumps(ANSWER), "0"])
    hub.submit()
    return hub.open_pull()


def dispatched(hub: Hub, number: int, sha: str, budget: str = "test") -> tuple[Page, Command]:
    command = Command("bench", budget, None, sha)
    github = GitHub(hub.repository)
    root = hub.clone.root
    return dispatch(root, github, load(root), github.pull(number), command, lambda line: None), command


def test_what_no_maintainer_has_reviewed_is_not_run(hub: Hub, number: int) -> None:
    sha = hub.gateway.head_of(number)
    hub.say("contributor", number, f"/bench test {sha}")
    with pytest.raises(UsageError, match="no maintainer has reviewed"):
        dispatched(hub, number, sha)


def test_what_is_not_the_head_is_not_run(hub: Hub, number: int) -> None:
    sha = hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")
    hub.push(number)
    with pytest.raises(UsageError, match="the head of"):
        dispatched(hub, number, sha)


def test_a_named_commit_is_run_and_its_artifact_becomes_the_comment(hub: Hub, number: int, tmp_path: Path) -> None:
    sha = hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")
    page, command = dispatched(hub, number, sha)
    assert ending(page, command)[0] == 0 and page.jobs[0].verdict == "CONFIRMED"
    for name in ("result.json", "result.zip"):
        write(page, hub.clone.root, tmp_path / name)
        assert read_page(tmp_path / name, number, sha) == page

    arguments = ("comment", "--pr", str(number), "--sha", sha, "--artifact", str(tmp_path / "result.zip"))
    for _ in range(2):
        done = hub.bot(*arguments, login="github-actions[bot]")
        assert done.returncode == 0, done.stderr
    own = [one for one in hub.comments(number) if one["user"]["login"] == "github-actions[bot]"]
    assert len(own) == 1 and "CONFIRMED" in own[0]["body"]

    other = hub.bot("comment", "--pr", str(number), "--sha", "f" * 40, "--artifact", str(tmp_path / "result.zip"))
    assert other.returncode == 1 and "pull-artifact" in other.stderr


def test_a_commit_that_was_measured_is_not_drawn_again_by_a_machine_that_has_forgotten_it(
    hub: Hub, number: int, tmp_path: Path
) -> None:
    """A workflow's checkout is empty each time; what its comment has told is what is left of the first draw."""
    sha = hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")
    page, _ = dispatched(hub, number, sha)
    write(page, hub.clone.root, tmp_path / "result.zip")
    arguments = ("comment", "--pr", str(number), "--sha", sha, "--artifact", str(tmp_path / "result.zip"))
    assert hub.bot(*arguments).returncode == 0
    shutil.rmtree(hub.clone.root / ".blueberry" / "bot")
    with pytest.raises(UsageError, match="there is no second draw"):
        dispatched(hub, number, sha)
    (hub.fork.root / "submissions" / "gain" / "README.md").write_text("clearer words\n")
    moved = hub.push(number)
    hub.say("maintainer", number, f"/bench test {moved}")
    with pytest.raises(UsageError, match="there is no second draw"):
        dispatched(hub, number, moved)  # another commit, the same patch
    other = page.model_copy(update={"jobs": (page.jobs[0].model_copy(update={"budget": "smoke"}),)})
    put(GitHub(hub.repository), number, render(other, hub.repository))  # a later measurement's own page
    github = GitHub(hub.repository)
    told = told_of(github.comments(number), github.login())
    assert told == {(contest(page.check), "llm-tiny", budget) for budget in ("test", "smoke")}
    (body,) = [one.body for one in github.comments(number) if one.author == github.login()]
    assert "Measured before, of this patch or an earlier one: llm-tiny at test: CONFIRMED." in body
    assert body.index("### Blueberry") < body.index("Measured before") < body.index("**Every rule holds.**")


def test_a_word_is_for_one_cell(hub: Hub, number: int) -> None:
    plan = {"metric": "loss", "pairs_at_most": 14, "budget": "1B"}
    pull = jobs.known(
        plans=tuple(PlanPart.model_validate({**plan, "track": track}) for track in ("llm-88m", "llm-tiny"))
    )
    asked = jobs.job(budget="1B", track="llm-88m")

    def word(body: str) -> bool:
        return _is_word(Comment(1, 7, "maintainer", "OWNER", body, "", ""), asked, pull)

    assert word(f"/bench-approve 1B llm-88m {asked.sha}")
    assert not word(f"/bench-approve 1B llm-tiny {asked.sha}")
    assert not word(f"/bench-approve 1B {asked.sha}"), "of two claims, which?"
    assert not word(f"/bench 1B llm-88m {asked.sha}")


def test_an_unclaimed_cell_is_refused_with_a_reason(hub: Hub, number: int) -> None:
    sha = hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")
    page, command = dispatched(hub, number, sha, "8M")
    code, text = ending(page, command)
    assert code == 1 and "claims nothing at 8M" in text


def test_jobs_and_results_travel_in_bundles_and_end_in_one_pull_request(
    hub: Hub, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At home: hear and pack. On the box, which has no token: measure. At home: verdicts, board, pull request."""
    from harness.bot import drain

    monkeypatch.setattr(drain, "_canary", lambda *_: None)
    monkeypatch.setattr(drain, "_require_fit", lambda *_: None)
    home, sha = hub.clone.root, hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")
    jobs, back = tmp_path / "jobs.zip", tmp_path / "back.zip"

    def connect() -> GitHub:
        return GitHub(hub.repository)

    packed = errand(home, load(home), Limits(0, 0), Parcels(None, jobs), connect, print)
    assert len(packed.left) == 1 and not packed.safe
    assert [one.state for one in Queue(home).jobs()] == ["away"]

    box = tmp_path / "box"
    git(tmp_path, "clone", "--quiet", str(hub.remote), str(box))
    monkeypatch.delenv("GITHUB_TOKEN")

    def no_token() -> GitHub:
        raise AssertionError("the box asks GitHub for nothing")

    measured(box, "gain", packed.left[0].patch_sha or "", "test")
    drained = errand(box, load(box), Limits(1, 10), Parcels(jobs, back), no_token, print)
    assert drained.safe and drained.last.endswith("; safe to destroy")
    assert [one.verdict for one in drained.ended] == ["CONFIRMED"]
    assert read_bundle(back).kind == "results"

    monkeypatch.setenv("GITHUB_TOKEN", hub.environment()["GITHUB_TOKEN"])
    published = errand(home, load(home), Limits(0, 0), Parcels(back), connect, print)
    assert published.pull_request is not None and f"in #{published.pull_request}" in published.last
    assert [(one.state, one.verdict) for one in Queue(home).jobs()] == [("done", "CONFIRMED")]
    changed = git(hub.remote, "diff", "--name-only", "main", BRANCH).splitlines()
    assert changed and all(path.startswith("leaderboard/") for path in changed)
    assert git(home, "status", "--porcelain", "--", "submissions", "model_core") == ""


def test_what_the_caps_leave_nothing_for_is_not_packed(hub: Hub, number: int, tmp_path: Path) -> None:
    home, sha = hub.clone.root, hub.gateway.head_of(number)
    text = (home / "blueberry.toml").read_text()
    (home / "blueberry.toml").write_text(text.replace("month_cost = 100", "month_cost = 0"))
    hub.say("maintainer", number, f"/bench test {sha}")
    parcels = Parcels(outgoing=tmp_path / "jobs.zip")
    done = errand(home, load(home), Limits(0, 0), parcels, lambda: GitHub(hub.repository), print)
    assert done.last.startswith("0 jobs") and read_bundle(tmp_path / "jobs.zip").jobs == ()
    assert [job.state for job in Queue(home).jobs()] == ["waiting"], "until there is a month with room"


def test_what_is_half_run_at_home_is_not_begun_on_a_box(hub: Hub, number: int, tmp_path: Path) -> None:
    sha, root = hub.gateway.head_of(number), hub.clone.root
    hub.say("maintainer", number, f"/bench test {sha}")
    patch = sha256((hub.gain / "patch.diff").read_bytes())
    measured(root, "gain", patch, "test", close=False)
    parcels = Parcels(None, tmp_path / "jobs.zip")
    packed = errand(root, load(root), Limits(0, 0), parcels, lambda: GitHub(hub.repository), print)
    assert packed.last.startswith("0 jobs are in") and "1 stay here, where they are half run" in packed.last
    assert [one.state for one in Queue(root).jobs()] == ["waiting"]


def test_a_word_of_the_box_without_run_files_is_no_verdict(
    hub: Hub, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in harness writes no run files: at home its verdict is therefore not believed."""
    from harness.bot.bundle import results_bundle
    from harness.bot.poll import Poll

    poll = Poll(hub.clone.root, GitHub(hub.repository), load(hub.clone.root), print)
    hub.say("maintainer", number, f"/bench test {hub.gateway.head_of(number)}")
    with poll.queue.lock():
        poll.look()
    job = poll.queue.jobs()[0].model_copy(update={"state": "done", "verdict": "CONFIRMED"})
    (tmp_path / "r.zip").write_bytes(results_bundle(hub.repository, [job], hub.clone.root))
    root, parcels = hub.clone.root, Parcels(tmp_path / "r.zip")
    errand(root, load(root), Limits(0, 0), parcels, lambda: GitHub(hub.repository), print)
    assert poll.queue.jobs()[0].verdict is None


def test_a_bundle_of_another_repository_is_refused(hub: Hub, number: int, tmp_path: Path) -> None:
    from harness.bot.bundle import results_bundle

    (tmp_path / "r.zip").write_bytes(results_bundle("other/name", [], hub.clone.root))
    root, parcels = hub.clone.root, Parcels(tmp_path / "r.zip")
    with pytest.raises(UsageError, match="other/name"):
        errand(root, load(root), Limits(0, 0), parcels, lambda: GitHub(hub.repository), print)


def test_a_damaged_artifact_reaches_no_comment(hub: Hub, number: int, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": 1, "gain": NaN}')
    with pytest.raises(SubmissionError):
        read_page(tmp_path / "a.json", number, hub.gateway.head_of(number))
    assert hub.comments(number) == []


def artifact(hub: Hub, number: int, out: Path, change: Change = lambda page, files: None) -> Path:
    """What a workflow's machine hands back after a confirmed measurement, changed on its way."""
    sha = hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")
    page, _ = dispatched(hub, number, sha)
    runner = out.parent / "runner"
    measured(runner, "gain", page.check.patch_sha or "", "test")
    write(page, runner, out)
    files = unzip(out.read_bytes(), out.name)
    told = json.loads(files[ENTRY])
    change(told, files)
    out.write_bytes(zipped({**files, ENTRY: json.dumps(told).encode()}))
    return out


def test_what_a_workflow_measured_reaches_the_board(hub: Hub, number: int, tmp_path: Path) -> None:
    path, root = artifact(hub, number, tmp_path / "result.zip"), hub.clone.root
    done = errand(root, load(root), Limits(0, 0), Parcels(path), lambda: GitHub(hub.repository), print)
    assert (
        done.pull_request is not None
        and "1 new evaluations of #" in done.last
        and "; the results are in #" in done.last
    )
    changed = git(hub.remote, "diff", "--name-only", "main", BRANCH).splitlines()
    assert [name for name in changed if name.startswith("leaderboard/evaluations/gain-llm-tiny-test-")]


def another_slug(page: dict[str, Any], files: dict[str, bytes]) -> None:
    page["slug"] = "another"


def another_patch(page: dict[str, Any], files: dict[str, bytes]) -> None:
    page |= {"patch": pages.PATCH, "check": pages.values()["check"]}


def another_budget(page: dict[str, Any], files: dict[str, bytes]) -> None:
    page["jobs"][0]["budget"] = "smoke"


def another_track(page: dict[str, Any], files: dict[str, bytes]) -> None:
    page["jobs"][0]["track"] = "llm-88m"


def another_commit(page: dict[str, Any], files: dict[str, bytes]) -> None:
    page["sha"] = page["jobs"][0]["sha"] = "f" * 40


def unfinished(page: dict[str, Any], files: dict[str, bytes]) -> None:
    page["jobs"][0]["state"] = "running"


def another_salt(page: dict[str, Any], files: dict[str, bytes]) -> None:
    name = next(name for name in files if "/evaluations/" in name)
    files[name] = files[name].replace(b'"salt": "5a17"', b'"salt": "5a18"')


def another_file(page: dict[str, Any], files: dict[str, bytes]) -> None:
    files["leaderboard/LEADERBOARD.md"] = b"we won"


def a_stranger(page: dict[str, Any], files: dict[str, bytes]) -> None:
    files["sitecustomize.py"] = b"x"


@pytest.mark.parametrize(
    "change",
    [
        another_slug,
        another_patch,
        another_budget,
        another_track,
        another_commit,
        unfinished,
        another_salt,
        another_file,
        a_stranger,
    ],
    ids=lambda one: one.__name__,
)
def test_an_artifact_that_git_does_not_bear_out_reaches_no_board(
    hub: Hub, number: int, tmp_path: Path, change: Change
) -> None:
    path, root = artifact(hub, number, tmp_path / "result.zip", change), hub.clone.root
    with pytest.raises(SubmissionError) as caught:
        errand(root, load(root), Limits(0, 0), Parcels(path), lambda: GitHub(hub.repository), print)
    assert {fault.rule for fault in caught.value.faults} == {"pull-artifact"}
    assert git(root, "status", "--porcelain", "--", "leaderboard") == ""


SHA = "0" * 40


def reviewed(*reviews: Review) -> bool:
    """Whether these reviews, oldest first, let a commit be measured; maintainers are whom the association calls so."""
    hub: Any = SimpleNamespace(reviews=lambda _: list(reviews))
    try:
        _require_review(hub, Pull(7, SHA, "contributor", "", True), [], lambda _, association: association == "OWNER")
    except UsageError:
        return False
    return True


def review(state: str, author: str = "ada", sha: str = SHA, association: str = "OWNER") -> Review:
    return Review(author, association, state, sha)


def test_the_last_word_of_a_reviewer_holds() -> None:
    assert reviewed(review("APPROVED")) and reviewed(review("CHANGES_REQUESTED"), review("APPROVED"))
    assert reviewed(review("APPROVED"), review("COMMENTED")), "a remark takes nothing back"
    for later in ("CHANGES_REQUESTED", "DISMISSED"):
        assert not reviewed(review("APPROVED"), review(later))
        assert reviewed(review("APPROVED"), review(later, "eve", association="NONE"))
    assert not reviewed(review("APPROVED", sha="1" * 40)) and not reviewed(review("APPROVED", association="NONE"))


def test_a_review_of_an_account_that_is_gone_is_read_and_counts_for_nothing(hub: Hub, number: int) -> None:
    sha = hub.gateway.head_of(number)
    gone = {"id": 1, "author_association": "OWNER", "body": "", "body_html": "", "body_text": "", "commit_id": sha}
    gone |= {"html_url": "", "user": None, "state": "APPROVED", "submitted_at": "2026-01-01T00:00:00Z"}
    gone |= {"pull_request_url": "", "_links": {}}

    def answer(method: str, path: str) -> Answer | None:
        told = json.dumps([gone]).encode()
        return (200, {"Content-Type": "application/json"}, told) if "/reviews" in path else None

    hub.gateway.faults.append(answer)
    assert [(one.author, one.state) for one in GitHub(hub.repository).reviews(number)] == [("", "APPROVED")]
    with pytest.raises(UsageError, match="no maintainer has reviewed"):
        dispatched(hub, number, sha)


def test_an_invalid_submission_fails_in_a_workflow_as_it_does_with_the_pull_bot() -> None:
    from harness.bot.poll import _stated
    from tests.bot.jobs import job, known

    invalid = job(state="done", verdict="INVALID", budget="8M")
    told = pages.page(jobs=[pages.done(verdict="INVALID")])
    assert ending(told, Command("bench", "8M", None, told.sha))[0] == 1
    assert _stated(known(), [invalid])[0] == "failure"
    fine = pages.page(jobs=[pages.done(verdict="REJECT_WORSE")])
    assert ending(fine, Command("bench", "8M", None, fine.sha))[0] == 0
    assert _stated(known(), [job(state="done", verdict="REJECT_WORSE")])[0] == "success"


def test_one_broken_rule_is_told_as_one_and_two_as_two() -> None:
    from harness.bot.poll import _stated
    from tests.bot.jobs import known

    fault = {"rule": "band", "where": "x", "what": "y", "fix": "z"}
    for faults, said in (([fault], "1 rule is broken"), ([fault] * 2, "2 rules are broken")):
        told = pages.page(check={**pages.values()["check"], "ok": False, "faults": faults})
        assert ending(told, Command("bench", "8M", None, told.sha)) == (1, f"#7: {said}")
        assert _stated(known(check=told.check), []) == ("failure", said)
