"""From a fork's pull request to a verdict in its one comment, through the emulator of GitHub, in real processes."""

from __future__ import annotations

import json

import pytest

from harness.bot.comment import MARKER
from harness.bot.publish import BRANCH
from tests.bot.conftest import Hub, git


def test_a_pull_request_from_a_fork_gets_its_verdict_in_one_comment(hub: Hub) -> None:
    hub.submit()
    number = hub.open_pull()
    sha = hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")

    done = hub.bot("poll", "--once", "--interval", "5", "--json")

    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)["jobs"][0]
    assert (job["state"], job["sha"], job["slug"]) == ("done", sha, "gain"), job
    own = [one for one in hub.comments(number) if one["user"]["login"] == "blueberry-bot"]
    assert len(own) == 1 and own[0]["body"].startswith(MARKER)
    decided = hub.clone.root / "leaderboard" / "evaluations"
    assert len(list(decided.glob("gain-llm-tiny-test-*.json"))) == 1
    for shown in (job["verdict"], "+        batch_size=4,", "+1 −0", "llm-tiny at test", sha[:12]):
        assert shown in own[0]["body"]
    assert hub.gateway.statuses[-1]["state"] == "success"
    assert not (hub.clone.root / "submissions" / "gain").exists(), "the clone stays as it is"


@pytest.mark.long
def test_a_sunday_on_a_rented_box_ends_with_the_board_in_one_pull_request_and_a_box_that_may_go(hub: Hub) -> None:
    """Doctor, canary, queue, verdict, board: all of it here and for real, but for the size of the core."""
    hub.submit()
    number = hub.open_pull()
    hub.say("maintainer", number, f"/bench test {hub.gateway.head_of(number)}")

    done = hub.bot("drain", "--max-hours", "1", "--max-cost", "5", "--repo", hub.repository, "--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["safe_to_destroy"] and told["left"] == [], told
    assert [(one["slug"], one["state"]) for one in told["ended"]] == [("gain", "done")]
    assert "canary: the core against itself on llm-tiny" in done.stderr
    body = hub.comments(number)[-1]["body"]
    assert told["ended"][0]["verdict"] in body
    pull = hub.call("maintainer", "GET", f"/pulls/{told['pull_request']}")
    assert (pull["user"]["login"], pull["base"]["ref"], pull["state"]) == ("blueberry-bot", "main", "open")
    board = git(hub.remote, "ls-tree", "-r", "--name-only", BRANCH, "--", "leaderboard").splitlines()
    evaluations = [name for name in board if "/evaluations/" in name]
    assert [name.split("/")[-1].rsplit("-", 1)[0] for name in evaluations] == ["gain-llm-tiny-test"], "no canary"
    assert "gain" in git(hub.remote, "show", f"{BRANCH}:leaderboard/LEADERBOARD.md")
    assert git(hub.remote, "diff", "--name-only", f"main..{BRANCH}", "--", ":!leaderboard") == ""
