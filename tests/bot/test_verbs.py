"""The verbs of the bot through the real command line, each as a maintainer or a workflow writes it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.bot.conftest import Hub


@pytest.fixture
def number(hub: Hub) -> int:
    hub.submit()
    return hub.open_pull()


def where(hub: Hub, number: int) -> list[str]:
    return ["--pr", str(number), "--sha", hub.gateway.head_of(number), "--repo", hub.repository]


def test_a_state_is_set_by_its_name_and_another_is_wrong_usage(hub: Hub, number: int) -> None:
    done = hub.bot("status", *where(hub, number), "--state", "pending", "--text", "at work\n::error::x", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["kind"] == "commit status", done.stderr
    assert (hub.gateway.statuses[-1]["state"], hub.gateway.statuses[-1]["context"]) == ("pending", "blueberry")
    assert "\n" not in hub.gateway.statuses[-1]["description"]
    wrong = hub.bot("status", *where(hub, number), "--state", "splendid")
    assert wrong.returncode == 2 and "pending, running, success" in wrong.stderr


def test_dispatch_runs_nothing_that_nobody_has_reviewed(hub: Hub, number: int, tmp_path: Path) -> None:
    words = ["dispatch", *where(hub, number), "--budget", "test", "--out", str(tmp_path / "result.zip")]
    done = hub.bot(*words)
    assert done.returncode == 2 and "no maintainer has reviewed" in done.stderr
    assert not (tmp_path / "result.zip").exists()


def test_dispatch_writes_an_artifact_also_where_it_refuses(hub: Hub, number: int, tmp_path: Path) -> None:
    hub.say("maintainer", number, f"/bench 8M {hub.gateway.head_of(number)}")
    words = ["dispatch", *where(hub, number), "--budget", "8M", "--track", "llm-tiny"]
    done = hub.bot(*words, "--out", str(tmp_path / "result.zip"), "--json")
    assert done.returncode == 1, done.stderr
    assert "claims nothing on llm-tiny at 8M" in json.loads(done.stdout)["notes"][0]
    assert zipfile.ZipFile(tmp_path / "result.zip").namelist() == ["result.json"]


def test_an_empty_queue_is_drained_and_the_box_is_safe_to_destroy(hub: Hub) -> None:
    done = hub.bot("drain", "--max-hours", "1", "--max-cost", "1", "--repo", hub.repository, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["safe_to_destroy"], told["ended"], told["left"], told["pull_request"]) == (True, [], [], None)


def test_jobs_that_are_packed_are_away_and_are_packed_again_only_when_they_are_lost(
    hub: Hub, number: int, tmp_path: Path
) -> None:
    sha = hub.gateway.head_of(number)
    hub.say("maintainer", number, f"/bench test {sha}")
    nothing = ("--max-hours", "0", "--max-cost", "0", "--json")
    for more, packed in (((), 1), ((), 0), (("--lost",), 1)):
        done = hub.bot("drain", *nothing, "--bundle-out", str(tmp_path / "jobs.zip"), *more)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["left"]) == packed
    polled = hub.bot("poll", "--once", "--json")
    assert [job["state"] for job in json.loads(polled.stdout)["jobs"]] == ["away"], "it is measured once, and not here"
    assert "taken to another machine" in hub.comments(number)[-1]["body"]


def test_publishing_nothing_opens_nothing_and_leaves_the_clone_at_main(hub: Hub) -> None:
    done = hub.bot("publish", "--repo", hub.repository, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["pull_request"] is None, done.stderr
