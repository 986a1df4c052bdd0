"""Jobs as files: found again after a restart, one for an order, and nowhere but in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.bot.head import Head
from harness.bot.queue import Queue
from harness.errors import MachineError
from tests.bot.jobs import job, known


def test_a_job_and_a_pull_request_come_back_as_they_were_put(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.put(job(spent={"2026-11": 1.5}))
    queue.put_pull(known(notes={"1": "hello"}))
    again = Queue(tmp_path)
    assert again.jobs() == [job(spent={"2026-11": 1.5})] and again.find(job().key) == again.jobs()[0]
    assert again.pulls() == [known(notes={"1": "hello"})]


def test_jobs_stand_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    for number, asked in ((1, "2026-01-03"), (2, "2026-01-01"), (3, "2026-01-02")):
        queue.put(job(pr=number, asked=asked))
    assert [one.pr for one in queue.jobs()] == [2, 3, 1]


def test_a_job_that_a_dead_bot_left_running_waits_again(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.put(job(state="running", spent={"2026-11": 7.0}))
    with Queue(tmp_path).lock():
        assert queue.jobs() == [job(state="waiting", spent={"2026-11": 7.0})]


def test_two_bots_never_work_in_one_folder(tmp_path: Path) -> None:
    with Queue(tmp_path).lock(), pytest.raises(MachineError, match="another harness"), Queue(tmp_path).lock():
        pass


@pytest.mark.parametrize(
    "changed", [{"sha": "../x"}, {"slug": "../../x"}, {"track": "../x"}, {"budget": "9M"}, {"pr": 0}, {"more": 1}]
)
def test_what_could_lead_a_file_name_elsewhere_is_no_job(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        job(**changed)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.put(job())
    path = next(tmp_path.rglob("jobs/*.json"))
    path.write_text(path.read_text()[:50])
    with pytest.raises(MachineError, match=path.name):
        queue.jobs()


def test_up_to_when_comments_were_heard_is_remembered(tmp_path: Path) -> None:
    assert Queue(tmp_path).heard is None
    Queue(tmp_path).hear("2026-01-01T00:00:00Z", {7: "2025-12-31T00:00:00Z"})
    assert Queue(tmp_path).heard == "2026-01-01T00:00:00Z"
    assert Queue(tmp_path).behind == {7: "2025-12-31T00:00:00Z"}
    Queue(tmp_path).hear(None)
    assert (Queue(tmp_path).heard, Queue(tmp_path).behind) == (None, {})


@pytest.mark.parametrize("damaged", ['{"until": "2026-01', "", "[]", '{"until": 7}', '{"behind": {"x": "y"}}'])
def test_a_damaged_memory_of_comments_is_named(tmp_path: Path, damaged: str) -> None:
    queue = Queue(tmp_path)
    queue.hear("2026-01-01T00:00:00Z")
    next(tmp_path.rglob("heard.json")).write_text(damaged)
    with pytest.raises(MachineError, match=r"heard\.json"):
        _ = queue.heard


def test_the_files_of_a_job_from_elsewhere_are_kept_with_it(tmp_path: Path) -> None:
    queue, one = Queue(tmp_path), job()
    assert queue.head(one) is None
    queue.put_head(one, Head(one.sha, one.slug, {"patch.diff": b"x"}))
    assert Queue(tmp_path).head(one) == Head(one.sha, one.slug, {"patch.diff": b"x"})
