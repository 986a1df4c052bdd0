"""Finished results on their way to main, and the clone on its way after it.

What was measured lies in the clone's leaderboard/ as files that main lacks. They are put on a branch of their own, made
from main and rendered by main's harness, as one pull request that is kept up to date until it is merged. The clone then
takes main's board for its own and adds what main still lacks.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from harness.board import leaderboard
from harness.board.report import refresh
from harness.bot.bundle import BOARD, files_of, finished, put_files, take_records
from harness.bot.connection import redact
from harness.bot.github import GitHub
from harness.bot.work import environment
from harness.decide.cells import overall_verdict
from harness.errors import MachineError
from harness.records import ledger
from harness.records.record import EvaluationRecord
from harness.records.store import Store
from harness.run import seeds
from harness.run.evaluate import outcome_of
from harness.submission.git import git

MAIN = "main"
BRANCH = "bot/results"
TITLE = "Official results"
MADE = (f"{BOARD}/ledger.jsonl", f"{BOARD}/LEADERBOARD.md", f"{BOARD}/reports")  # from the rest, by a harness
_MEASURED = (f"{BOARD}/evaluations", f"{BOARD}/runs")
_RENDER = "from pathlib import Path; from harness.bot.publish import render; render(Path.cwd())"
_AUTHOR = ("-c", "user.name=blueberry-bot", "-c", "user.email=blueberry-bot@users.noreply.github.com")


class Published(NamedTuple):
    """What a publication came to."""

    number: int | None  # of the pull request; None where nothing new goes to main
    left: str = ""  # what stays out of it and why, in words


def publish(root: Path, github: GitHub, login: str | None = None) -> Published:
    """One pull request with every finished evaluation that main lacks, and with those of other clones that it held.

    The clone stays as it is. What is half run stays here: without its salt nobody could finish it, and with it anybody
    would know its seeds. A second measurement of what is on main stays here too, as `take_records` has it.
    """
    missing = lacking(root, fetched(root))
    if not missing:
        return Published(None)
    known = _fetch(root, BRANCH) if _git(root, "ls-remote", "origin", f"refs/heads/{BRANCH}").split() else ""
    author = login or github.login()
    own = [pull.number for pull in github.open_pulls() if pull.head_sha == known and pull.author == author]
    work = root / ".blueberry" / "bot" / "publish"
    shutil.rmtree(work, ignore_errors=True)
    _git(root, "worktree", "prune")
    _git(root, "worktree", "add", "--detach", "--quiet", str(work), _ref(MAIN))
    try:
        files = {**(_files_on(work, known) if own else {}), **files_of(root, missing)}
        taken = take_records(work, files, None, BRANCH)
        if not taken.new:
            return Published(None, taken.said)
        _rendered(work)
        _git(work, "add", "--", BOARD)
        _git(work, *_AUTHOR, "commit", "--quiet", "-m", TITLE)
        if not own or git("diff", "--quiet", known, "HEAD", cwd=work, repository=True).returncode:
            lease = f"--force-with-lease=refs/heads/{BRANCH}:{known}"  # another bot may push at the same time
            _git(work, "push", "--quiet", lease, "origin", f"HEAD:refs/heads/{BRANCH}")
        number = own[0] if own else github.open_pull(TITLE, BRANCH, MAIN, _body(Store(work / BOARD), taken.new))
        return Published(number, taken.said)
    finally:
        _git(root, "worktree", "remove", "--force", str(work))


def _files_on(work: Path, commit: str) -> dict[str, bytes]:
    """The evaluations and runs that a commit has beside those of a work tree, which stays as it is."""
    _git(work, "checkout", "--quiet", commit, "--", *_MEASURED)
    added = _paths(work, "diff", "--cached", "--name-only", "--diff-filter=A", "-z", "HEAD", "--", *_MEASURED)
    files = {name: (work / name).read_bytes() for name in added}
    _git(work, "reset", "--quiet", "--hard", "HEAD")
    return files


def _body(store: Store, evaluations: Iterable[str]) -> str:
    found = [store.evaluation(one) for one in evaluations]
    lines = [f"- `{one.slug}`, {one.track} at {one.budget}: {_word(store, one)}" for one in found]
    return "\n".join(lines)[:60_000]


def follow(root: Path) -> str:
    """Brings the clone to main and answers that commit; what main lacks stays. The caller holds queue and store."""
    main = fetched(root)
    changed = _paths(root, "diff", "--name-only", "-z", "HEAD", "--", *_MEASURED)
    if changed:
        fix = f"bring that to {MAIN} by a pull request, or undo it: `git checkout -- {changed[0]}`"
        raise MachineError(changed[0], "is not what was committed", fix)
    if git("merge-base", "--is-ancestor", "HEAD", main, cwd=root, repository=True).returncode:
        fix = f"bring its commits to {MAIN} by a pull request, or `git reset --hard {main[:12]}` on a copy of it"
        raise MachineError(str(root), f"has commits that {MAIN} has not, so it cannot follow", fix)
    held = set(_paths(root, "ls-tree", "-r", "--name-only", "-z", main, "--", *_MEASURED, *MADE))
    own = held.intersection(_paths(root, "ls-files", "--others", "-z", "--", *_MEASURED, *MADE))
    kept = {name: (root / name).read_bytes() for name in own}
    for name in own:
        (root / name).unlink()  # main's takes its place
    made = _paths(root, "diff", "--name-only", "-z", "HEAD", "--", *MADE)
    if made:
        _git(root, "checkout", "--quiet", "HEAD", "--", *made)
    try:
        _git(root, "merge", "--quiet", "--ff-only", main)
    finally:  # with everything where it was, where git has refused
        put_files(root, {name: content for name, content in kept.items() if not (root / name).exists()})
        _chain(root, finished(root))
    ledger.verify(Store(root / BOARD))
    return main


def fetched(root: Path) -> str:
    """Main as the origin has it now."""
    return _fetch(root, MAIN)


def lacking(root: Path, commit: str) -> list[EvaluationRecord]:
    """The finished evaluations of this clone that a commit does not have."""
    held = set(_paths(root, "ls-tree", "-r", "--name-only", "-z", commit, "--", f"{BOARD}/evaluations"))
    return [one for one in finished(root) if f"{BOARD}/evaluations/{one.id}.json" not in held]


def half_run(root: Path) -> list[EvaluationRecord]:
    """Official evaluations that were begun here and are not decided: only this machine can go on with them."""
    evaluations = Store(root / BOARD).evaluations()
    return [one for one in evaluations if one.official and one.closed is None and seeds.is_here(root, one.id)]


def render(root: Path) -> None:
    """Board and reports from the run files."""
    store = Store(root / BOARD)
    ledger.verify(store)
    leaderboard.write(store, root)
    refresh(store)


def _rendered(work: Path) -> None:
    """By the harness that lies there, not by this one: main may have another, and its checks hold the board to it."""
    done = subprocess.run(
        [sys.executable, "-c", _RENDER], cwd=work, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1][:200]
        raise MachineError("the board", f"cannot be rendered on {MAIN}: {said}", "run `blueberry leaderboard` there")


def _chain(root: Path, evaluations: Iterable[EvaluationRecord]) -> None:
    store = Store(root / BOARD)
    for one in evaluations:
        ledger.append(store, one.id)


def _word(store: Store, one: EvaluationRecord) -> str:
    if one.kind == "calibration":
        return "calibrated"
    return str(overall_verdict(outcome_of(store, one).cells))


def _ref(branch: str) -> str:
    return f"refs/blueberry/{branch}"


def _fetch(root: Path, branch: str) -> str:
    refs = f"+refs/heads/{branch}:{_ref(branch)}"
    _git(root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "origin", refs)
    return _git(root, "rev-parse", "--verify", _ref(branch)).decode().strip()


def _paths(root: Path, *arguments: str) -> list[str]:
    """What git lists, by path from the root."""
    return [name for name in _git(root, *arguments).decode("utf-8", "surrogateescape").split("\0") if name]


def _git(folder: Path, *arguments: str) -> bytes:
    done = git(*arguments, cwd=folder, repository=True)
    if done.returncode:
        said = redact(done.stderr.decode("utf-8", "replace")).strip().split("\n")[-1][:200]
        verb = next(word for word in arguments if not word.startswith("-") and "=" not in word)
        raise MachineError(f"git {verb}", f"fails: {said}", "mend that, then run the same command again")
    return done.stdout
