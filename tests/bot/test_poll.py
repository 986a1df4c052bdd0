"""The pull bot against the emulated GitHub: who may give orders, moved heads, bad lines, restarts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.bot import connection, work
from harness.bot import engine as engine_module
from harness.bot import poll as poll_module
from harness.bot.caps import load
from harness.bot.comment import MARKER
from harness.bot.github import GitHub
from harness.bot.poll import Poll
from harness.bot.queue import Job
from harness.errors import MachineError
from tests.bot.conftest import TOKENS, Hub, git
from tests.bot.gateway import COMMENT, Answer
from tests.bot.test_engine import ANSWER, ENDS

MakePoll = Callable[[], Poll]
DEAD: Answer = (0, {}, b"")
REFUSED: Answer = (401, {}, b"{}")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def poll(hub: Hub, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Iterator[MakePoll]:
    """A bot as it starts; a second one is the first after a restart. Its harness is a script that ends at once."""
    for name, value in hub.environment().items():
        if name.startswith("GITHUB_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(work, "_START", ENDS)
    monkeypatch.setattr(engine_module, "run_arguments", lambda _: [json.dumps(ANSWER), "0"])
    yield lambda: Poll(hub.clone.root, GitHub(hub.repository), load(hub.clone.root), said.append)


@pytest.fixture
def number(hub: Hub) -> int:
    hub.submit()
    return hub.open_pull('"; rm -rf / #`id` $(id) ${{ github.token }} @everyone')


def own(hub: Hub, number: int) -> list[str]:
    return [one["body"] for one in hub.comments(number) if one["user"]["login"] == "blueberry-bot"]


def order(hub: Hub, number: int, login: str = "maintainer", sha: str | None = None) -> None:
    hub.say(login, number, f"/bench test {sha or hub.gateway.head_of(number)}")


def states(poll: Poll) -> list[str]:
    return [job.state for job in poll.queue.jobs()]


def test_a_new_pull_request_is_told_rules_patch_and_cost_before_anybody_asks(
    hub: Hub, poll: MakePoll, number: int
) -> None:
    poll().once(1)
    (body,) = own(hub, number)
    for shown in ("Every rule holds", "+        batch_size=4,", "What it would take"):
        assert shown in body
    assert "everyone" not in body, "the title is nobody's to show"
    assert hub.gateway.statuses[-1]["state"] == "success"


def test_an_order_of_a_maintainer_is_run_once_and_only_once(hub: Hub, poll: MakePoll, number: int) -> None:
    order(hub, number)
    order(hub, number)
    poll().once(1)
    again = poll()
    order(hub, number)
    again.once(1)
    assert states(again) == ["done"] and len(own(hub, number)) == 1
    assert "CONFIRMED" in own(hub, number)[0]


def test_nobody_else_gives_orders_whatever_they_write(hub: Hub, poll: MakePoll, number: int, said: list[str]) -> None:
    order(hub, number, "contributor")
    bot = poll()
    bot.once(1)
    assert states(bot) == [] and "may not give orders" in said[0]


def test_an_association_without_the_permission_is_not_enough(hub: Hub, poll: MakePoll, number: int) -> None:
    def demoted(method: str, path: str) -> Answer | None:
        reads = b'{"permission": "read", "role_name": "read"}'
        return (200, {"Content-Type": "application/json"}, reads) if path.endswith("/permission") else None

    hub.gateway.faults.append(demoted)
    order(hub, number)
    bot = poll()
    bot.once(1)
    assert states(bot) == []


def test_a_collaborator_who_may_write_gives_orders_and_one_who_may_read_does_not(
    hub: Hub, poll: MakePoll, number: int
) -> None:
    bot = poll()
    for permission, expected in (("pull", []), ("push", ["done"])):
        hub.call("maintainer", "PUT", "/collaborators/contributor", {"permission": permission})
        order(hub, number, "contributor")
        bot.once(1)
        assert states(bot) == expected


def test_a_head_that_moved_before_the_order_was_heard_is_not_run(hub: Hub, poll: MakePoll, number: int) -> None:
    reviewed = hub.gateway.head_of(number)
    order(hub, number, sha=reviewed)
    (hub.fork.root / "submissions" / "gain" / "README.md").write_text("changed after review\n")
    moved = hub.push(number)
    bot = poll()
    bot.once(1)
    assert states(bot) == []
    assert f"the head is now {moved[:12]}" in own(hub, number)[0]


def test_a_head_that_moves_while_a_job_waits_is_not_run(hub: Hub, poll: MakePoll, number: int) -> None:
    order(hub, number)
    bot = poll()
    with bot.queue.lock():
        bot.look()
    assert states(bot) == ["waiting"]
    (hub.fork.root / "submissions" / "gain" / "README.md").write_text("changed after review\n")
    hub.push(number)
    bot.once(1)
    assert states(bot) == ["refused"] and "moved" in bot.queue.jobs()[0].reason
    assert "refused" in own(hub, number)[0]


def test_a_marker_that_a_contributor_pastes_changes_nothing(hub: Hub, poll: MakePoll, number: int) -> None:
    forged = f"{MARKER}\n### Blueberry: accepted, merge at once"
    hub.say("contributor", number, forged)
    poll().once(1)
    assert hub.comments(number)[0]["body"] == forged
    assert len(own(hub, number)) == 1


def test_a_pull_request_of_the_harness_gets_no_comment(hub: Hub, poll: MakePoll) -> None:
    (hub.fork.root / "harness.txt").write_text("x\n")
    number = hub.open_pull()
    order(hub, number)
    bot = poll()
    bot.once(1)
    assert hub.comments(number)[1:] == [] and states(bot) == []


def test_a_submission_that_breaks_a_rule_is_told_which_and_is_not_run(hub: Hub, poll: MakePoll) -> None:
    hub.submit()
    (hub.fork.root / "model_core" / "lm.py").write_text("import os\n")
    number = hub.open_pull()
    order(hub, number)
    bot = poll()
    bot.once(1)
    assert states(bot) == [] and "`pull-outside`" in own(hub, number)[0]
    assert hub.gateway.statuses[-1]["state"] == "failure"


@pytest.mark.parametrize(("after", "answer"), [(0, DEAD), (2, REFUSED), (4, DEAD), (6, REFUSED), (8, DEAD)])
def test_wherever_the_line_breaks_the_next_look_finishes_the_work(
    hub: Hub, poll: MakePoll, number: int, after: int, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line or token are lost after so many requests; a new bot then does what was left, once."""
    monkeypatch.setattr(connection, "BACKOFF", 0.0)
    order(hub, number)
    left = [after]

    def dead(method: str, path: str) -> Answer | None:
        left[0] -= 1
        return None if left[0] >= 0 else answer

    hub.gateway.faults.append(dead)
    poll().once(1)
    hub.gateway.faults.clear()
    bot = poll()
    bot.once(1)
    assert states(bot) == ["done"]
    assert len(own(hub, number)) == 1 and "CONFIRMED" in own(hub, number)[0]


def test_an_answer_that_is_lost_on_its_way_back_makes_no_second_comment(hub: Hub, poll: MakePoll, number: int) -> None:
    def heard_but_lost(method: str, path: str) -> Answer | None:
        if method == "POST" and path.endswith("/comments"):
            hub.gateway.faults.clear()
            body = f"{MARKER}\nheard"
            hub.call("blueberry-bot", "POST", f"/issues/{number}/comments", {"body": body})
            return 0, {}, b""
        return None

    hub.gateway.faults.append(heard_but_lost)
    bot = poll()
    bot.once(1)
    bot.once(1)
    (body,) = own(hub, number)
    assert "Every rule holds" in body


def test_while_github_does_not_answer_nothing_is_started(hub: Hub, poll: MakePoll, number: int) -> None:
    order(hub, number)
    bot = poll()
    with bot.queue.lock():
        bot.look()
    hub.gateway.faults.append(lambda method, path: (401, {}, b"{}"))
    bot.once(1)
    assert states(bot) == ["waiting"], "whether the head moved cannot be known"


def test_a_job_over_the_budget_is_paused_and_says_so(hub: Hub, poll: MakePoll, number: int) -> None:
    text = (hub.clone.root / "blueberry.toml").read_text().replace("month_cost = 100", "month_cost = 0")
    (hub.clone.root / "blueberry.toml").write_text(text)
    order(hub, number)
    bot = poll()
    bot.once(1)
    assert states(bot) == ["paused"] and "paused (budget)" in own(hub, number)[0]


def test_a_verdict_stays_when_the_head_moves_on_and_says_of_what_it_speaks(
    hub: Hub, poll: MakePoll, number: int
) -> None:
    order(hub, number)
    bot = poll()
    bot.once(1)
    before = hub.gateway.head_of(number)
    (hub.fork.root / "submissions" / "gain" / "README.md").write_text("a later thought\n")
    after = hub.push(number)
    bot.once(1)
    (body,) = own(hub, number)
    assert f"at `{after[:12]}`" in body and f"(of `{before[:12]}`; the head has moved since)" in body


def test_the_check_run_of_an_apps_token_follows_the_work(
    hub: Hub, poll: MakePoll, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKENS["github-actions[bot]"])
    order(hub, number)
    poll().once(1)
    assert hub.gateway.statuses == []
    emulated = hub.gateway.commits[hub.gateway.head_of(number)]
    runs = hub.call("maintainer", "GET", f"/commits/{emulated}/check-runs")["check_runs"]
    assert [(run["name"], run["status"], run["conclusion"]) for run in runs] == [("blueberry", "completed", "success")]


def test_what_a_job_spent_is_known_after_a_restart(hub: Hub, poll: MakePoll, number: int, tmp_path: Path) -> None:
    order(hub, number)
    poll().once(1)
    jobs: list[Job] = poll().queue.jobs()
    assert jobs[0].seconds > 0 and jobs[0].asked_by == "maintainer"


def commit(hub: Hub) -> str:
    """A commit of the contributor that is not pushed yet."""
    (hub.fork.root / "submissions" / "gain" / "README.md").write_text("clearer words\n")
    git(hub.fork.root, "add", "-A")
    git(hub.fork.root, "commit", "--quiet", "-m", "clearer words")
    return git(hub.fork.root, "rev-parse", "HEAD")


def lists_none(method: str, path: str) -> Answer | None:
    """The list of open pull requests, without any."""
    return (200, {"Content-Type": "application/json"}, b"[]") if re.search(r"/pulls(\?|$)", path) else None


def look(bot: Poll) -> None:
    with bot.queue.lock():
        bot.look()


def test_an_order_that_is_seen_before_the_head_that_it_names_is_heard_at_the_next_look(
    hub: Hub, poll: MakePoll, number: int
) -> None:
    bot, sha = poll(), commit(hub)
    look(bot)
    order(hub, number, sha=sha)
    look(bot)
    known = bot.queue.pull(number)
    assert known is not None and known.notes == {} and bot.queue.behind.keys() == {number}
    git(hub.fork.root, "push", "--quiet", str(hub.remote), f"HEAD:refs/pull/{number}/head")
    look(bot)
    assert [(one.sha, one.state) for one in bot.queue.jobs()] == [(sha, "waiting")] and bot.queue.behind == {}


def test_an_order_on_a_commit_that_never_comes_is_answered(
    hub: Hub, poll: MakePoll, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_module, "PATIENCE_S", -60.0)
    order(hub, number, sha="e" * 40)
    bot = poll()
    bot.once(1)
    assert states(bot) == [] and "not eeeeeeeeeeee" in own(hub, number)[0]


def test_comments_are_read_before_heads(hub: Hub, poll: MakePoll, number: int) -> None:
    """A head and an order that come in between are then both new, instead of an order on an old head."""
    bot = poll()
    look(bot)
    hub.gateway.requests.clear()
    look(bot)
    paths = [path for _, path in hub.gateway.requests]
    comments = next(at for at, path in enumerate(paths) if "/issues/comments" in path)
    assert comments < next(at for at, path in enumerate(paths) if "/pulls" in path)


def test_a_head_that_finds_a_defect_in_the_bot_stops_no_look(
    hub: Hub, poll: MakePoll, number: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(*_: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    order(hub, number)
    bot = poll()
    with monkeypatch.context() as patched:
        patched.setattr(poll_module, "meet", stumbling)
        look(bot)
    assert bot.queue.pulls() == [] and f"#{number} cannot be looked at" in said[0] and "RecursionError" in said[0]
    look(bot)
    assert states(bot) == ["waiting"], "the order is not lost"


def test_an_order_that_slips_between_two_pages_is_heard_at_a_later_look(hub: Hub, poll: MakePoll, number: int) -> None:
    """While one list of comments is given out, an order is missing in it and a later word is not."""
    order(hub, number)
    time.sleep(1.1)  # GitHub's times are whole seconds
    hub.say("maintainer", number, "thank you")
    later = [{**COMMENT, **one} for one in hub.comments(number) if one["body"] == "thank you"]
    slipped: Answer = (200, {"Content-Type": "application/json"}, json.dumps(later).encode())
    hub.gateway.faults.append(lambda method, path: slipped if "/issues/comments" in path else None)
    bot = poll()
    look(bot)
    assert states(bot) == [] and (bot.queue.heard or "")[:19] == later[0]["updated_at"][:19]
    hub.gateway.faults.clear()
    look(bot)
    assert states(bot) == ["waiting"]


def test_an_order_on_a_pull_request_that_slips_from_the_list_is_heard(hub: Hub, poll: MakePoll, number: int) -> None:
    order(hub, number)
    hub.gateway.faults.append(lists_none)
    bot = poll()
    look(bot)
    assert states(bot) == ["waiting"]


def test_an_order_that_waits_for_its_head_is_kept_while_its_pull_request_slips_from_the_list(
    hub: Hub, poll: MakePoll, number: int
) -> None:
    bot, sha = poll(), commit(hub)
    look(bot)
    order(hub, number, sha=sha)
    look(bot)
    assert bot.queue.behind.keys() == {number}
    hub.gateway.faults.append(lists_none)
    look(bot)
    hub.gateway.faults.clear()
    git(hub.fork.root, "push", "--quiet", str(hub.remote), f"HEAD:refs/pull/{number}/head")
    look(bot)
    assert [(one.sha, one.state) for one in bot.queue.jobs()] == [(sha, "waiting")]


def test_an_order_is_not_taken_for_one_on_an_issue_because_github_refuses_to_answer(
    hub: Hub, poll: MakePoll, number: int, said: list[str]
) -> None:
    order(hub, number)
    refused: Answer = (403, {"Content-Type": "application/json"}, b'{"message": "slow down"}')
    hub.gateway.faults.append(lists_none)
    hub.gateway.faults.append(lambda method, path: refused if path.endswith(f"/pulls/{number}") else None)
    bot = poll()
    with bot.queue.lock():
        bot.survive(bot.look)
    assert states(bot) == [] and bot.queue.heard is None
    hub.gateway.faults.clear()
    look(bot)
    assert states(bot) == ["waiting"]


def test_an_order_that_was_done_is_not_answered_again_after_a_restart(hub: Hub, poll: MakePoll, number: int) -> None:
    order(hub, number)
    poll().once(1)
    hub.push(number)  # the commit that was ordered is not the head any more
    again = poll()
    again.once(1)
    known = again.queue.pull(number)
    assert known is not None and known.notes == {} and states(again) == ["done"]


def test_a_comment_is_answered_once_though_it_is_read_again(
    hub: Hub, poll: MakePoll, number: int, said: list[str]
) -> None:
    order(hub, number, "contributor")
    bot = poll()
    for _ in range(3):
        look(bot)
    assert len([line for line in said if "may not give orders" in line]) == 1


def test_an_order_that_is_mended_in_place_is_heard(hub: Hub, poll: MakePoll, number: int) -> None:
    said = hub.say("maintainer", number, "/bench tset")
    bot = poll()
    bot.once(1)
    assert "the form is" in own(hub, number)[0]
    time.sleep(1.1)  # GitHub's times are whole seconds
    body = f"/bench test {hub.gateway.head_of(number)}"
    hub.call("maintainer", "PATCH", f"/issues/comments/{said}", {"body": body})
    bot.once(1)
    assert states(bot) == ["done"]


def test_a_pull_request_that_cannot_be_met_keeps_no_other_waiting(
    hub: Hub, poll: MakePoll, number: int, said: list[str]
) -> None:
    order(hub, number)
    bot, fork = poll(), hub.fork.root
    look(bot)
    head = git(fork, "rev-parse", "HEAD")
    git(fork, "checkout", "--quiet", "--orphan", "alone")
    git(fork, "commit", "--quiet", "-m", "nothing in common with main")
    git(fork, "push", "--quiet", "--force", str(hub.remote), f"HEAD:refs/pull/{number}/head")
    order(hub, number)
    look(bot)
    assert "has no commit in common" in said[-1]
    assert bot.queue.heard is not None and bot.queue.behind.keys() == {number}
    heard = bot.queue.heard
    look(bot)
    assert bot.queue.heard >= heard and bot.queue.behind.keys() == {number}, "its own orders wait for it alone"
    git(fork, "push", "--quiet", "--force", str(hub.remote), f"{head}:refs/pull/{number}/head")
    look(bot)
    assert bot.queue.behind == {} and states(bot) == ["waiting"]


def test_a_fault_of_the_machine_is_shown_with_its_mend_and_a_later_order_begins_again(
    hub: Hub, poll: MakePoll, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"rule": "machine", "where": "llm-tiny at test", "what": "no exchange rate", "fix": "run the baseline"}
    answer = json.dumps({"ok": False, "faults": [fault]})
    monkeypatch.setattr(engine_module, "PAUSES_S", ())
    monkeypatch.setattr(engine_module, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(engine_module, "run_arguments", lambda _: [answer, "3"])
    order(hub, number)
    bot = poll()
    bot.once(1)
    assert states(bot) == ["failed"]
    (body,) = own(hub, number)
    assert "failed on this machine" in body and "no exchange rate" in body and "mend: run the baseline" in body
    monkeypatch.setattr(engine_module, "run_arguments", lambda _: [json.dumps(ANSWER), "0"])
    bot.once(1)
    assert states(bot) == ["failed"], "the order that it had is no new one"
    time.sleep(1.1)
    order(hub, number)
    bot.once(1)
    assert states(bot) == ["done"] and "CONFIRMED" in own(hub, number)[0]


def test_an_invalid_submission_has_a_red_check(
    hub: Hub, poll: MakePoll, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    invalid = json.dumps({**ANSWER, "ok": False, "verdict": "INVALID"})
    monkeypatch.setattr(engine_module, "run_arguments", lambda _: [invalid, "1"])
    order(hub, number)
    poll().once(1)
    assert hub.gateway.statuses[-1]["state"] == "failure"


def test_what_was_posted_is_written_down_only_once_it_counts_as_shown(
    hub: Hub, poll: MakePoll, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off in between, the other order would leave a word that can never be given."""
    bot = poll()
    order(hub, number)
    look(bot)
    bot.queue.put(bot.queue.jobs()[0].model_copy(update={"state": "needs word"}))
    with monkeypatch.context() as cut_off:
        cut_off.setattr(bot, "_shown", lambda _: (_ for _ in ()).throw(MachineError("x", "cut off", "x")))
        bot.tell()
    assert bot.queue.jobs()[0].shown == ""
    bot.tell()
    assert bot.queue.jobs()[0].shown != "" and len(own(hub, number)) == 1
