"""GitHub's own answers, as github3.py's authors recorded them, understood by the bot.

The cassettes are those of github3.py 4.0.1 (tests/cassettes of its source distribution, BSD licence beside them).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import betamax
import pytest

from harness.bot.github import GitHub

CASSETTES = Path(__file__).parent / "cassettes"
Replay = Callable[..., AbstractContextManager[GitHub]]


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replay:
    """A GitHub that answers from these recordings and from nothing else."""
    monkeypatch.delenv("GITHUB_API_URL", raising=False)

    @contextmanager
    def replayed(repository: str, *names: str, token: str = "x" * 20) -> Iterator[GitHub]:
        monkeypatch.setenv("GITHUB_TOKEN", token)
        parts = [json.loads((CASSETTES / f"{name}.json").read_text()) for name in names]
        whole = {**parts[0], "http_interactions": [one for part in parts for one in part["http_interactions"]]}
        (tmp_path / "whole.json").write_text(json.dumps(whole))
        github = GitHub(repository)
        recorder = betamax.Betamax(github.session, cassette_library_dir=str(tmp_path))
        with recorder.use_cassette("whole", record="none", match_requests_on=["method", "path"]):
            yield github

    return replayed


def test_a_recorded_pull_request_is_read(replay: Replay) -> None:
    with replay("sigmavirus24/github3.py", "Repository_pull_request") as github:
        pull = github.pull(546)
    assert (pull.number, pull.author, pull.open) == (546, "jmathai", False)
    assert len(pull.head_sha) == 40


def test_a_recorded_list_of_pull_requests_is_read(replay: Replay) -> None:
    with replay("sigmavirus24/github3.py", "Repository_pull_requests") as github:
        pulls = github.open_pulls()
    assert pulls and all(pull.open and len(pull.head_sha) == 40 for pull in pulls)


def test_recorded_comments_are_read(replay: Replay) -> None:
    with replay("sigmavirus24/github3.py", "GitHub_repository", "PullRequest_issue_comments") as github:
        comments = github.comments(235)
    assert comments and all(comment.number == 235 and comment.author and comment.association for comment in comments)
    assert all(comment.created.endswith("Z") for comment in comments)


def test_a_comment_is_written_as_the_recording_has_it(replay: Replay) -> None:
    with replay("sigmavirus24/github3.py", "GitHub_repository", "PullRequest_create_comment") as github:
        assert github.write_comment(423, "Testing pull request comment") > 0


def test_recorded_reviews_are_read(replay: Replay) -> None:
    with replay("sigmavirus24/github3.py", "Repository_pull_request", "PullRequest_pull_reviews") as github:
        reviews = github.reviews(671)
    assert {review.state for review in reviews} <= {"APPROVED", "COMMENTED", "CHANGES_REQUESTED", "DISMISSED"}
    assert reviews and all(review.sha for review in reviews)


def test_with_a_persons_token_a_state_is_a_commit_status(replay: Replay) -> None:
    sha = "24893ec07db2a12073703258f0089f105906d2e4"
    with replay("github3py/github3.py", "Repository_create_status") as github:
        assert github.set_state(sha, "blueberry", "success", "every rule holds") == "commit status"


def test_with_an_apps_token_a_state_is_a_check_run(replay: Replay) -> None:
    sha = "03eedbbe88bef1aaf38229a16184d32f1c603e89"
    recordings = ("CheckRun_check_runs_for_ref", "CheckRun_create_check_run")
    with replay("westphahl/github3.py", *recordings, token="ghs_" + "x" * 20) as github:
        assert github.set_state(sha, "blueberry", "running", "at work") == "check run"
        assert github.login() == "github-actions[bot]"


def test_what_the_recordings_lack_is_an_error_and_no_silence(replay: Replay) -> None:
    with replay("sigmavirus24/github3.py", "Repository_pull_request") as github, pytest.raises(Exception, match="235"):
        github.comments(235)
