"""A scratch origin with a pull request from a stranger, and recording stand-ins for what would need GitHub."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from harness.cli import ClickException, app
from tests.conftest import COMMAND, REPOSITORY
from tests.workflows.runner import REPO, TOKEN, Job, Runner, git, load

PR = 7
FOLDERS = (".ci", ".github", "model_core", "submissions")
BOARD = ("baselines", "leaderboard")  # what only the board reads, and most of the files
FILES = (".gitignore", "Makefile", "pyproject.toml", "requirements.lock")
TOOLS = ("python", "ruff", "mypy", "zizmor", "check-jsonschema")  # of the environment, as `make check` calls them
# A stand-in writes down how it was called, and does what the test has laid down for it. A verb that needs no GitHub is
# handed to the real command.
STAND_IN = """#!{python}
import json, os, subprocess, sys
from pathlib import Path
name, words, plan = Path(sys.argv[0]).name, sys.argv[1:], json.loads(Path({plan!r}).read_text())
with open({calls!r}, "a") as file:
    file.write(json.dumps([name, words, "GITHUB_TOKEN" in os.environ]) + "\\n")
act = plan.get(" ".join([name, *words[:2]]), plan.get(name))
if name == "blueberry" and words[0] != "bot" and act is None:
    sys.exit(subprocess.run([{command!r}, *words]).returncode)
act = act or {{}}
print(act.get("says", ""), flush=True)
if "--out" in words and "result" in act:
    Path(words[words.index("--out") + 1]).write_text(act["result"])
sys.exit(act.get("code", 0))
"""


@dataclass
class World:
    """Where a workflow runs in a test, and what came of it."""

    folder: Path
    runner: Runner
    head: str  # the commit of the pull request
    main: str
    plan: dict[str, dict[str, Any]] = field(default_factory=dict)

    def calls(self, name: str = "blueberry") -> list[list[str]]:
        """The words of every call of a stand-in, in order."""
        return [words for called, words, _ in self._calls() if called == name]

    def tools(self) -> list[str]:
        return [called for called, _, _ in self._calls()]

    def with_token(self) -> list[str]:
        """The verbs that saw a token."""
        return [" ".join(words[:2]) for _, words, token in self._calls() if token]

    def made_by_injection(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.name.startswith("pwned")]

    def pull_request(self, workflow: str, number: Any = PR, sha: str | None = None) -> dict[str, Job]:
        """Runs a workflow as GitHub does for a pull request whose every other string is hostile."""
        hostile = "$(touch pwned-a)`touch pwned-b`; touch pwned-c #\n::error::x"
        pull = {"number": number, "title": hostile, "body": hostile, "base": {"ref": "main", "sha": self.main}}
        pull["head"] = {"sha": self.head if sha is None else sha, "ref": hostile, "label": hostile}
        return self._run(workflow, "pull_request", f"refs/pull/{PR}/merge", {"pull_request": pull}, {})

    def dispatch(self, ref: str = "refs/heads/main", **inputs: str) -> dict[str, Job]:
        """Runs benchmark.yml as a maintainer starts it."""
        given = {"pr": str(PR), "sha": self.head, "budget": "smoke", "track": ""} | inputs
        return self._run("benchmark", "workflow_dispatch", ref, {"inputs": given}, given)

    def push(self, workflow: str, fork: bool = False) -> dict[str, Job]:
        before = git("rev-list", "--max-count=1", "--skip=1", self.main, cwd=self.runner.origin) or "0" * 40
        return self._run(workflow, "push", "refs/heads/main", {"repository": {"fork": fork}, "before": before}, {})

    def _run(self, workflow: str, name: str, ref: str, event: dict[str, Any], inputs: dict[str, str]) -> dict[str, Job]:
        (self.folder / "plan.json").write_text(json.dumps(self.plan))
        github = {"event_name": name, "event": event, "ref": ref, "sha": self.main, "repository": REPO, "token": TOKEN}
        return self.runner.run(load(REPOSITORY / ".github" / "workflows" / f"{workflow}.yml"), github, inputs)

    def not_understood(self) -> list[str]:
        """What the real command line would answer to the calls that it does not take."""
        return [said for words in self.calls() if (said := misread(words))]

    def _calls(self) -> list[tuple[str, list[str], bool]]:
        recorded = self.folder / "calls.jsonl"
        return [tuple(json.loads(line)) for line in recorded.read_text().splitlines()] if recorded.exists() else []


def _origin(folder: Path, folders: tuple[str, ...]) -> Path:
    """What a workflow needs of this repository, as it is in the working tree, with one commit on main."""
    work, origin = folder / "main", folder / "origin.git"
    ignored = shutil.ignore_patterns("node_modules", "__pycache__", "core", "site", ".lock")
    for name in folders:
        shutil.copytree(REPOSITORY / name, work / name, ignore=ignored)
    for name in FILES:
        shutil.copy(REPOSITORY / name, work / name)
    git("init", "--quiet", "--initial-branch=main", cwd=work)
    commit(work, "main")
    git("clone", "--quiet", "--bare", str(work), str(origin), cwd=folder)
    return origin


def commit(work: Path, message: str) -> str:
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "--message", message, cwd=work)
    return git("rev-parse", "HEAD", cwd=work)


def _strangers_head(folder: Path, origin: Path) -> str:
    """A pull request in which everything that could be run by mistake leaves a trace."""
    fork = folder / "fork"
    git("clone", "--quiet", str(origin), str(fork), cwd=folder)
    trap = "#!/bin/bash\ntouch pwned-by-the-pull-request\n"
    for name in (".ci/head", ".ci/muted", ".ci/run"):
        (fork / name).write_text(trap)
    (fork / "Makefile").write_text("setup:\n\ttouch pwned-by-the-pull-request\n")
    (fork / "sitecustomize.py").write_text("open('pwned-by-the-pull-request', 'w')\n")
    (fork / "submissions" / "idea").mkdir()
    (fork / "submissions" / "idea" / "submission.toml").write_text("title = 'x'\n")
    head = commit(fork, "$(touch pwned-by-the-message)")
    git("push", "--quiet", "origin", f"HEAD:refs/pull/{PR}/head", cwd=fork)
    shutil.rmtree(fork)
    return head


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The origin, which no test writes to, and the head of its pull request."""
    folder = tmp_path_factory.mktemp("upstream")
    origin = _origin(folder, FOLDERS)
    return origin, _strangers_head(folder, origin)


@pytest.fixture(scope="session")
def upstream_with_board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _origin(tmp_path_factory.mktemp("upstream-with-board"), FOLDERS + BOARD)


def misread(words: list[str]) -> str:
    """What the real application has against a call of `blueberry`; nothing is run. Empty: every word has its place."""
    command: Any = get_command(app)
    context = command.make_context("blueberry", ["--help"], resilient_parsing=True)
    try:
        while hasattr(command, "commands"):
            name, command, words = command.resolve_command(context, words)
            if command is None:
                return f"no command {words}"
        command.make_context(name, list(words), parent=context)
    except ClickException as error:
        return f"{' '.join(words)}: {error}"
    return ""


@pytest.fixture
def world(tmp_path: Path, upstream: tuple[Path, str]) -> Iterator[World]:
    made = _world(tmp_path, *upstream)
    yield made
    assert made.not_understood() == [], "a workflow calls what the command line does not have"


@pytest.fixture
def board_world(tmp_path: Path, upstream_with_board: Path) -> World:
    """Without a pull request: none of its files matter to the board."""
    return _world(tmp_path, upstream_with_board, "")


def _world(folder: Path, origin: Path, head: str) -> World:
    laid = {"plan": str(folder / "plan.json"), "calls": str(folder / "calls.jsonl"), "command": str(COMMAND)}
    text = STAND_IN.format(python=sys.executable, **laid)

    def stand_in(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def furnish(workspace: Path) -> None:
        """An environment that `make setup` finds ready: newer than what it is made from."""
        for name in ("blueberry", *TOOLS):
            stand_in(workspace / ".venv" / "bin" / name)
        ready = workspace / ".venv" / "ready"
        ready.touch()
        newest = max((workspace / name).stat().st_mtime for name in ("requirements.lock", "pyproject.toml"))
        os.utime(ready, (newest + 1, newest + 1))

    for name in ("apt-get", "sudo", "bwrap", "npm", "node"):
        stand_in(folder / "tools" / name)
    runner = Runner(folder / "jobs", origin, furnish, folder / "tools")
    return World(folder, runner, head, git("rev-parse", "main", cwd=origin))
