"""From the clone of the bot to main and back: real git repositories, and of GitHub only its list of pull requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.bot import errand
from harness.bot.github import Pull
from harness.bot.publish import BRANCH, fetched, follow, half_run, publish
from harness.errors import MachineError
from harness.records import ledger
from harness.records.store import Store
from harness.run import seeds
from tests.bot.conftest import git
from tests.bot.jobs import job
from tests.bot.measured import measured
from tests.conftest import Project

PATCH = "a" * 64


@dataclass
class Hub:
    """Pull requests of one repository, whose heads are read off its branches."""

    remote: Path
    pulls: list[tuple[str, str, str]] = field(default_factory=list)  # (author, branch, body)
    repository: str = "o/n"

    def login(self) -> str:
        return "blueberry-bot"

    def open_pulls(self) -> list[Pull]:
        return [
            Pull(number, git(self.remote, "rev-parse", branch), author, "", True)
            for number, (author, branch, _) in enumerate(self.pulls, 1)
        ]

    def open_pull(self, title: str, head: str, base: str, body: str) -> int:
        assert base == "main"
        self.pulls.append((self.login(), head, body))
        return len(self.pulls)

    def merge(self) -> None:
        """As a maintainer does with the button."""
        git(self.remote, "update-ref", "refs/heads/main", f"refs/heads/{BRANCH}")
        self.pulls.clear()

    def board(self, branch: str = BRANCH) -> list[str]:
        return git(self.remote, "ls-tree", "-r", "--name-only", branch, "--", "leaderboard").splitlines()


@pytest.fixture
def clone(repositories: tuple[Path, Project, Project]) -> Path:
    return repositories[1].root


@pytest.fixture
def hub(repositories: tuple[Path, Project, Project]) -> Any:
    return Hub(repositories[0])


def test_what_is_finished_goes_into_one_pull_request_and_what_is_half_run_stays(clone: Path, hub: Any) -> None:
    done = measured(clone, "an-idea", PATCH)
    begun = measured(clone, "another", "b" * 64, close=False)
    assert publish(clone, hub).number == 1
    assert f"leaderboard/evaluations/{done.id}.json" in hub.board() and "leaderboard/reports/an-idea.md" in hub.board()
    assert not [name for name in hub.board() if begun.id in name]
    assert "another" not in git(hub.remote, "show", f"{BRANCH}:leaderboard/LEADERBOARD.md")
    assert "`an-idea`, llm-tiny at smoke: " in hub.pulls[0][2]
    assert [one.id for one in half_run(clone)] == [begun.id]
    assert seeds.recall(clone, begun.id, begun.salt_sha256), "it can still be finished here"


def test_the_next_result_joins_the_open_pull_request(clone: Path, hub: Any) -> None:
    first = measured(clone, "an-idea", PATCH)
    assert publish(clone, hub).number == 1
    pushed = git(hub.remote, "rev-parse", BRANCH)
    assert publish(clone, hub).number == 1 and git(hub.remote, "rev-parse", BRANCH) == pushed, "nothing is new"
    second = measured(clone, "another", "b" * 64, salt="other")
    assert publish(clone, hub).number == 1 and len(hub.pulls) == 1
    assert {f"leaderboard/evaluations/{one.id}.json" for one in (first, second)} < set(hub.board())


def test_what_another_clone_has_put_into_the_open_pull_request_stays_in_it(
    clone: Path, hub: Any, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    git(tmp_path, "clone", "--quiet", str(hub.remote), str(second))
    both = (measured(clone, "an-idea", PATCH), measured(second, "another", "b" * 64, salt="other"))
    expected = {f"leaderboard/evaluations/{one.id}.json" for one in both}
    for bot in (clone, second, clone):
        assert publish(bot, hub).number == 1
    assert expected < set(hub.board()) and not [name for name in hub.board() if "lock" in name.split("/")[-1]]
    assert len(git(hub.remote, "show", f"{BRANCH}:leaderboard/ledger.jsonl").splitlines()) == len(both)


def test_a_second_measurement_of_what_is_on_main_stays_here_and_is_named(clone: Path, hub: Any) -> None:
    """Two bots may draw for one contest; whoever draws again until it is luck would win in the end."""
    first = measured(clone, "an-idea", PATCH, revoked=True, provisional=False)
    publish(clone, hub)
    hub.merge()
    again = measured(clone, "an-idea", PATCH, salt="lucky", provisional=False)
    done = publish(clone, hub)
    assert done == (None, f"; NOT taken: {again.id} measures what {first.id} has measured")
    assert "nothing new goes to main; NOT taken" in errand.deliver(clone, hub, None).last


def test_a_pull_request_of_somebody_else_on_the_same_commit_is_not_taken_for_ours(clone: Path, hub: Any) -> None:
    measured(clone, "an-idea", PATCH)
    publish(clone, hub)
    hub.pulls[:] = [("stranger", BRANCH, "")]
    assert publish(clone, hub).number == 2


def test_the_clone_follows_main_once_main_holds_the_results(clone: Path, hub: Any) -> None:
    """With another line in the ledger than main's, which is where `git pull` gives up."""
    measured(clone, "an-idea", PATCH)
    publish(clone, hub)
    hub.merge()
    later = measured(clone, "another", "b" * 64, salt="other")
    assert follow(clone) == git(hub.remote, "rev-parse", "main") == git(clone, "rev-parse", "HEAD")
    store = Store(clone / "leaderboard")
    ledger.verify(store)
    assert {one.slug for one in store.evaluations()} == {"an-idea", "another"}
    untracked = git(clone, "ls-files", "--others", "--exclude-standard").splitlines()
    assert untracked and all(later.id in name for name in untracked)
    assert publish(clone, hub).number == 1, "what main still lacks comes with the next one"
    hub.merge()
    assert publish(clone, hub).number is None
    follow(clone)
    assert git(clone, "status", "--porcelain") == ""


def test_a_harness_that_moves_on_main_is_followed_too(clone: Path, hub: Any, tmp_path: Path) -> None:
    measured(clone, "an-idea", PATCH)
    git(tmp_path, "clone", "--quiet", str(hub.remote), "other")
    (tmp_path / "other" / "harness.txt").write_text("newer\n")
    git(tmp_path / "other", "add", "-A")
    git(tmp_path / "other", "commit", "--quiet", "-m", "newer")
    git(tmp_path / "other", "push", "--quiet", "origin", "main")
    publish(clone, hub)
    assert git(hub.remote, "merge-base", BRANCH, "main") == git(hub.remote, "rev-parse", "main"), "it is made from main"
    follow(clone)
    assert (clone / "harness.txt").exists() and len(Store(clone / "leaderboard").evaluations()) == 1
    assert fetched(clone) == git(clone, "rev-parse", "HEAD")


def test_a_row_that_was_changed_here_is_not_lost_without_a_word(clone: Path, hub: Any) -> None:
    one = measured(clone, "an-idea", PATCH)
    publish(clone, hub)
    hub.merge()
    follow(clone)
    ledger.invalidate(Store(clone / "leaderboard"), one.id, "a leak")
    with pytest.raises(MachineError, match="is not what was committed"):
        follow(clone)
    assert Store(clone / "leaderboard").evaluation(one.id).invalidated == "a leak"


@pytest.mark.parametrize("name", ["own.txt", "blueberry.toml"])
def test_where_git_refuses_nothing_that_was_measured_is_lost(
    clone: Path, hub: Any, repositories: tuple[Path, Project, Project], name: str
) -> None:
    """A commit of the clone's own, or a local change of a file that main has changed as well."""
    one = measured(clone, "an-idea", PATCH)
    publish(clone, hub)
    hub.merge()
    fork = repositories[2].root
    git(fork, "pull", "--quiet", "--ff-only", "origin", "main")
    (fork / "blueberry.toml").write_text("# by somebody else\n")
    git(fork, "commit", "--quiet", "-am", "caps")
    git(fork, "push", "--quiet", "origin", "HEAD:main")
    (clone / name).write_text("x\n")
    if name == "own.txt":
        git(clone, "add", name)
        git(clone, "commit", "--quiet", "-m", "not on main")
    with pytest.raises(MachineError, match=r"cannot follow|git merge"):
        follow(clone)
    store = Store(clone / "leaderboard")
    ledger.verify(store)
    assert [found.id for found in store.evaluations()] == [one.id] and store.run_digests(one.id) == one.runs


def test_a_machine_with_half_a_measurement_is_not_safe_to_destroy(clone: Path) -> None:
    measured(clone, "an-idea", PATCH, close=False)
    safe, last = errand._farewell(clone, (job(),), "the results are in #1", "run it again", "their orders stand")
    assert not safe and "NOT safe to destroy" in last
    assert "an-idea on llm-tiny at smoke" in last and "To finish: run it again" in last


def test_jobs_that_were_never_begun_do_not_hold_a_machine(clone: Path) -> None:
    measured(clone, "an-idea", PATCH)
    safe, last = errand._farewell(clone, (job(),), "the results are in #1", "run it again", "their orders stand")
    assert safe and last == "the results are in #1; 1 jobs were not begun, their orders stand; safe to destroy"


def test_a_half_run_of_another_machine_is_not_ours_to_finish(clone: Path) -> None:
    begun = measured(clone, "an-idea", PATCH, close=False)
    seeds.forget(clone, begun.id)
    assert half_run(clone) == []
    assert json.loads((clone / "leaderboard" / "evaluations" / f"{begun.id}.json").read_text())["closed"] is None
