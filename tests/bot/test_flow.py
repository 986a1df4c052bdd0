"""From a fork's pull request to a verdict in its one comment, through the emulator of GitHub, in real processes."""

from __future__ import annotations

import json

from harness.bot.comment import MARKER
from tests.bot.conftest import Hub


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
