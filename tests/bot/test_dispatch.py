"""The workflow's way: reviewed or not run; an artifact out, a comment from it, in real processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bot import engine as engine_module
from harness.bot import work
from harness.bot.bundle import read_bundle
from harness.bot.caps import load
from harness.bot.command import Command
from harness.bot.dispatch import dispatch, ending, write
from harness.bot.drain import Limits
from harness.bot.errand import errand
from harness.bot.github import GitHub
from harness.bot.page import Page, read_page
from harness.errors import SubmissionError, UsageError
from tests.bot.conftest import Hub, git
from tests.bot.test_engine import ANSWER, ENDS

Dispatch = Callable[[str], Page]


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

    packed = errand(home, load(home), Limits(0, 0), None, jobs, connect, print)
    assert len(packed.left) == 1 and not packed.safe

    box = tmp_path / "box"
    git(tmp_path, "clone", "--quiet", str(hub.remote), str(box))
    monkeypatch.delenv("GITHUB_TOKEN")

    def no_token() -> GitHub:
        raise AssertionError("the box asks GitHub for nothing")

    measured = errand(box, load(box), Limits(1, 10), jobs, back, no_token, print)
    assert measured.safe and "safe to destroy" in measured.last
    assert [one.verdict for one in measured.ended] == ["CONFIRMED"]
    assert read_bundle(back).kind == "results"

    monkeypatch.setenv("GITHUB_TOKEN", hub.environment()["GITHUB_TOKEN"])
    (home / "leaderboard" / "evaluations").mkdir(exist_ok=True)
    published = errand(home, load(home), Limits(0, 0), back, None, connect, print)
    assert published.pull_request is not None and "safe to destroy" in published.last
    branch = git(hub.remote, "for-each-ref", "--format=%(refname)", "refs/heads/bot/").splitlines()[-1]
    changed = git(hub.remote, "diff", "--name-only", "main", branch).splitlines()
    assert changed and all(path.startswith("leaderboard/") for path in changed)
    assert git(home, "status", "--porcelain", "--", "submissions", "model_core") == ""


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
    errand(
        hub.clone.root,
        load(hub.clone.root),
        Limits(0, 0),
        tmp_path / "r.zip",
        None,
        lambda: GitHub(hub.repository),
        print,
    )
    assert poll.queue.jobs()[0].verdict is None


def test_a_bundle_of_another_repository_is_refused(hub: Hub, number: int, tmp_path: Path) -> None:
    from harness.bot.bundle import results_bundle

    (tmp_path / "r.zip").write_bytes(results_bundle("other/name", [], hub.clone.root))
    root = hub.clone.root
    with pytest.raises(UsageError, match="other/name"):
        errand(root, load(root), Limits(0, 0), tmp_path / "r.zip", None, lambda: GitHub(hub.repository), print)


def test_a_damaged_artifact_reaches_no_comment(hub: Hub, number: int, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": 1, "gain": NaN}')
    with pytest.raises(SubmissionError):
        read_page(tmp_path / "a.json", number, hub.gateway.head_of(number))
    assert hub.comments(number) == []
