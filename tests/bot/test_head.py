"""A pull request's head as git objects: what a submission may hold, and that nothing of it is ever checked out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.bot import head as module
from harness.bot.head import fetch, full_sha, read_head, touches_submissions, write
from harness.bot.tree import checked, planted
from harness.errors import MachineError, SubmissionError, UsageError
from harness.submission import git as programs
from tests.bot.conftest import git
from tests.conftest import Project

Repositories = tuple[Path, Project, Project]
PATCH = "--- a/model_core/lm.py\n"


def fill(fork: Project, slug: str = "gain") -> Path:
    folder = fork.root / "submissions" / slug
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("submission.toml", "patch.diff", "README.md"):
        (folder / name).write_text(f"{name}\n")
    return folder


def pushed(repositories: Repositories, number: int = 1) -> tuple[Path, str]:
    """The clone of the bot with the fork's head fetched."""
    remote, clone, fork = repositories
    git(fork.root, "add", "-A", "--force")
    git(fork.root, "commit", "--quiet", "--allow-empty", "-m", "x")
    git(fork.root, "push", "--quiet", "--force", str(remote), f"HEAD:refs/pull/{number}/head")
    return clone.root, fetch(clone.root, number)


def refused(repositories: Repositories) -> str:
    clone, sha = pushed(repositories)
    with pytest.raises(SubmissionError) as caught:
        read_head(clone, sha)
    return f"{caught.value.faults[0].rule}: {caught.value}"


def test_a_submission_is_read_without_being_checked_out(repositories: Repositories) -> None:
    fill(repositories[2])
    clone, sha = pushed(repositories)

    head = read_head(clone, sha)

    assert (head.sha, head.slug, head.patch) == (sha, "gain", "patch.diff\n")
    assert sorted(head.files) == ["README.md", "patch.diff", "submission.toml"]
    assert git(clone, "status", "--porcelain") == "" and not (clone / "submissions" / "gain").exists()
    assert git(clone, "rev-parse", "HEAD") != sha


def test_a_head_is_compared_with_where_it_left_main(repositories: Repositories) -> None:
    _, clone, fork = repositories
    fill(fork)
    (clone.root / "harness.txt").write_text("main went on\n")
    git(clone.root, "add", "-A")
    git(clone.root, "commit", "--quiet", "-m", "main goes on")
    root, sha = pushed(repositories)
    assert read_head(root, sha).slug == "gain"


@pytest.mark.parametrize(
    "path",
    [
        "model_core/lm.py",
        "harness/cli/__init__.py",
        ".github/workflows/ci.yml",
        "conftest.py",
        "submissions/new.txt",
        "submissions/UPPER/patch.diff",
        "submissions/core/patch.diff",
        "leaderboard/runs/x.json",
    ],
)
def test_a_path_outside_the_one_folder_is_refused(repositories: Repositories, path: str) -> None:
    fill(repositories[2])
    target = repositories[2].root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("x\n")
    said = refused(repositories)
    assert said.startswith("pull-outside") and path in said


def test_a_deletion_outside_is_refused_as_well(repositories: Repositories) -> None:
    fill(repositories[2])
    (repositories[2].root / "model_core" / "lm.py").unlink()
    assert refused(repositories).startswith("pull-outside")


def test_a_rename_out_of_the_folder_shows_both_paths(repositories: Repositories) -> None:
    fork = repositories[2].root
    fill(repositories[2])
    os.rename(fork / "model_core" / "muon.py", fork / "submissions" / "gain" / "muon.py")
    said = refused(repositories)
    assert "model_core/muon.py" in said and "submissions/gain/muon.py" in said


def test_two_submissions_at_once_are_refused(repositories: Repositories) -> None:
    fill(repositories[2], "one-idea")
    fill(repositories[2], "two-idea")
    assert "2 submissions" in refused(repositories)


def test_nothing_at_all_is_refused(repositories: Repositories) -> None:
    assert "changes nothing" in refused(repositories)


@pytest.mark.parametrize("name", ["sitecustomize.py", "core/lm.py", "patch.diff.bak", ".gitattributes", "x\ny"])
def test_a_file_that_no_submission_has_is_refused(repositories: Repositories, name: str) -> None:
    target = fill(repositories[2]) / name
    target.parent.mkdir(exist_ok=True)
    target.write_text("x\n")
    assert refused(repositories).startswith("pull-file")


def test_a_link_and_an_executable_are_refused(repositories: Repositories) -> None:
    folder = fill(repositories[2])
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("/etc/passwd")
    assert "120000" in refused(repositories)
    (folder / "README.md").unlink()
    (folder / "README.md").write_text("x")
    (folder / "README.md").chmod(0o755)
    assert "100755" in refused(repositories)


def test_a_submodule_is_refused(repositories: Repositories) -> None:
    fork = repositories[2].root
    fill(repositories[2])
    commit = git(fork, "rev-parse", "HEAD")
    git(fork, "update-index", "--add", "--cacheinfo", f"160000,{commit},submissions/gain/README.md")
    git(fork, "commit", "--quiet", "-m", "x")
    git(fork, "push", "--quiet", str(repositories[0]), "HEAD:refs/pull/1/head")
    sha = fetch(repositories[1].root, 1)
    with pytest.raises(SubmissionError, match="160000"):
        read_head(repositories[1].root, sha)


def test_a_file_beyond_its_limit_is_refused_unread(repositories: Repositories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.LIMITS, "README.md", 5)
    fill(repositories[2])
    assert "bytes" in refused(repositories)


def test_a_thousand_paths_are_one_fault(repositories: Repositories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PATHS", 2)
    fill(repositories[2])
    assert "touches more than 2 paths" in refused(repositories)


@pytest.mark.parametrize("place", ["", "submissions/"])
@pytest.mark.parametrize(("leaf", "patience_s"), [("a file", 300.0), ("nothing", 2.0)])
def test_a_few_kilobytes_of_trees_with_ten_thousand_million_paths_are_one_fault(
    repositories: Repositories, monkeypatch: pytest.MonkeyPatch, leaf: str, patience_s: float, place: str
) -> None:
    """Listed, they would fill any memory; with empty trees at the ends they are walked for ever and list nothing."""
    monkeypatch.setattr(module, "PATIENCE_S", patience_s)
    monkeypatch.setattr(programs, "MEMORY", 1 << 26)
    clone = repositories[1].root
    (clone / "x").write_text("x")
    entry = f"100644 blob {git(clone, 'hash-object', '-w', 'x').strip()}\tx" if leaf == "a file" else ""
    tree = made_tree(clone, entry)
    for _ in range(10):
        tree = made_tree(clone, "\n".join(f"040000 tree {tree}\t{name}" for name in range(10)))
    if place:
        tree = made_tree(clone, f"040000 tree {tree}\tsubmissions")
    sha = git(clone, "commit-tree", "-p", "HEAD", "-m", "bomb", tree).strip()
    with pytest.raises(SubmissionError, match="touches more than 1000 paths"):
        read_head(clone, sha)
    assert touches_submissions(clone, sha)


def made_tree(clone: Path, entries: str) -> str:
    made = subprocess.run(["git", "mktree"], cwd=clone, input=entries, capture_output=True, text=True, check=True)
    return made.stdout.strip()


def test_a_head_of_any_size_fills_no_disk(repositories: Repositories, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, _ = pushed(repositories)
    pack = Path(git(clone, "rev-parse", "--path-format=absolute", "--git-path", "objects/pack"))
    before = {path.name for path in pack.iterdir()}
    fill(repositories[2])
    (repositories[2].root / "submissions" / "gain" / "README.md").write_bytes(os.urandom(1 << 20))
    monkeypatch.setattr(module, "FETCHED", 1 << 18)
    for _ in range(2):
        with pytest.raises(SubmissionError, match="brings more than"):
            pushed(repositories)
    assert {path.name for path in pack.iterdir()} == before


@pytest.mark.long
def test_a_small_head_that_is_long_to_unpack_is_given_up_in_time(
    repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack of a thousandth of its size: within its limit, it could hold a worker for an hour."""
    clone, _ = pushed(repositories)
    fill(repositories[2])
    git(repositories[2].root, "config", "core.compression", "1")
    git(Path(repositories[0]), "config", "receive.unpackLimit", "1")  # that it has little to do itself
    with open(repositories[2].root / "submissions" / "gain" / "README.md", "wb") as file:
        file.truncate(900 << 20)
    monkeypatch.setattr(module, "UNPACKED_S", 1)
    with pytest.raises(SubmissionError, match="takes more than 1 s to unpack"):
        pushed(repositories)
    pack = Path(git(clone, "rev-parse", "--path-format=absolute", "--git-path", "objects/pack"))
    assert not list(pack.glob("tmp_*"))


def test_a_head_that_git_does_not_know_is_said(repositories: Repositories) -> None:
    clone = repositories[1].root
    with pytest.raises(MachineError, match="git fetch"):
        fetch(clone, 99)
    with pytest.raises(MachineError, match="no commit in common"):
        read_head(clone, "0" * 40)


@pytest.mark.parametrize("text", ["HEAD", "abc", "A" * 40, "--upload-pack=x", "0" * 39, "0" * 40 + "\n"])
def test_a_commit_is_named_in_full_or_not_at_all(text: str) -> None:
    with pytest.raises(UsageError):
        full_sha(text)


def test_a_pull_request_of_the_harness_is_told_from_a_submission(repositories: Repositories) -> None:
    (repositories[2].root / "harness.txt").write_text("x\n")
    clone, sha = pushed(repositories)
    assert not touches_submissions(clone, sha)
    fill(repositories[2])
    clone, sha = pushed(repositories)
    assert touches_submissions(clone, sha)


def test_the_root_of_a_job_holds_the_reviewed_files_and_the_clones_own_core(repositories: Repositories) -> None:
    fill(repositories[2])
    clone, sha = pushed(repositories)
    head = read_head(clone, sha)
    with planted(clone, head) as tree:
        assert (tree / "submissions" / "gain" / "patch.diff").read_text() == "patch.diff\n"
        assert (tree / "model_core").resolve() == clone / "model_core"
        assert (tree / "leaderboard").resolve() == clone / "leaderboard"
    assert not tree.exists() and (clone / "model_core" / "lm.py").exists()


def test_every_rule_of_the_harness_is_held_against_a_head(repositories: Repositories) -> None:
    fill(repositories[2])
    clone, sha = pushed(repositories)
    check = checked(clone, read_head(clone, sha))
    assert not check.ok and {fault.rule for fault in check.faults} >= {"manifest-toml", "patch-format"}


def test_the_verb_says_what_is_wrong_and_exits_with_one(repositories: Repositories, gain: Path) -> None:
    _, clone, fork = repositories
    shutil.copytree(gain, fork.root / "submissions" / "gain")
    pushed(repositories, 4)
    answer = clone.json("bot", "check", "--pr", "4")
    assert answer["ok"] and answer["slug"] == "gain" and answer["added"] == 1

    (fork.root / "model_core" / "lm.py").write_text("import os\n")
    pushed(repositories, 4)
    answer = clone.json("bot", "check", "--pr", "4", exit_code=1)
    assert [fault["rule"] for fault in answer["faults"]] == ["pull-outside"]


def test_writing_a_head_makes_its_files_and_no_others(repositories: Repositories, tmp_path: Path) -> None:
    fill(repositories[2])
    clone, sha = pushed(repositories)
    folder = write(read_head(clone, sha), tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "patch.diff", "submission.toml"]
