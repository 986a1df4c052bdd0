"""A GitHub to talk to: the emulator of `emulate` in a real process, and a bare repository for git's half of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.bot.gateway import Gateway
from tests.conftest import COMMAND, Project, thin

EMULATOR = Path(__file__).parent / "emulator" / "node_modules" / "emulate" / "dist" / "index.js"
REPOSITORY = "maintainer/blueberry"
TOKENS = {
    "maintainer": "maintainer-token-0000",
    "contributor": "contributor-token-000",
    "blueberry-bot": "ghp_emulatedpersonalaccess",
    "github-actions[bot]": "ghs_emulatedinstallation",
}
SETTINGS = """[bot]
price_per_hour = 2.5
currency = "USD"
[bot.caps]
pull_request_gpu_s = 36000
month_cost = 100
"""


def missing(what: str) -> NoReturn:
    """A person may do without; in CI a skipped test would pass for one that holds."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running emulator; each test gets a repository of its own in it."""
    if shutil.which("node") is None or not EMULATOR.exists():
        missing("the emulator of GitHub is not installed: `npm ci --prefix tests/bot/emulator` (.ci/run does it)")
    seed = tmp_path_factory.mktemp("emulator") / "seed.json"
    tokens = {token: {"login": login, "scopes": ["repo"]} for login, token in TOKENS.items()}
    seed.write_text(json.dumps({"tokens": tokens, "github": {"users": [{"login": login} for login in TOKENS]}}))
    port = _free_port()
    command = ["node", str(EMULATOR), "--service", "github", "--port", str(port), "--seed", str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _listening(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the emulator ended"
        time.sleep(0.05)
    raise AssertionError("the emulator does not listen")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Hub:
    """A project on the emulated GitHub: the clone that the bot works in, and a fork that opens pull requests."""

    gateway: Gateway
    repository: str
    clone: Project
    fork: Project
    remote: Path
    gain: Path  # a packed submission

    def environment(self, login: str = "blueberry-bot") -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")}
        return {
            **kept,
            "GITHUB_API_URL": self.gateway.url,
            "GITHUB_TOKEN": TOKENS[login],
            "GITHUB_REPOSITORY": self.repository,
        }

    def bot(self, *arguments: str, login: str = "blueberry-bot") -> subprocess.CompletedProcess[str]:
        command = [str(COMMAND), "bot", *arguments]
        return subprocess.run(
            command,
            cwd=self.clone.root,
            env=self.environment(login),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def call(self, login: str, method: str, path: str, body: object = None) -> Any:
        return self.gateway.call(TOKENS[login], method, f"/repos/{self.repository}{path}", body)

    def comments(self, number: int) -> list[dict[str, Any]]:
        found = self.call("maintainer", "GET", f"/issues/{number}/comments?per_page=100")
        assert isinstance(found, list)
        return found

    def say(self, login: str, number: int, body: str) -> int:
        return int(self.call(login, "POST", f"/issues/{number}/comments", {"body": body})["id"])

    def submit(self) -> None:
        """Puts a submission into the fork: it claims the tests' own budget, and gains far more than a pair scatters."""
        shutil.copytree(self.gain, self.fork.root / "submissions" / "gain")

    def open_pull(self, title: str = "an idea") -> int:
        """A pull request of the contributor, from what the fork has committed."""
        self.call("contributor", "POST", "/forks", {})
        made = self.call("contributor", "POST", "/pulls", {"title": title, "head": "contributor:main", "base": "main"})
        self.push(int(made["number"]))
        return int(made["number"])

    def push(self, number: int) -> str:
        """Commits everything in the fork and moves the head of the pull request there."""
        git(self.fork.root, "add", "-A")
        git(self.fork.root, "commit", "--quiet", "--allow-empty", "-m", "a change")
        git(self.fork.root, "push", "--quiet", "--force", str(self.remote), f"HEAD:refs/pull/{number}/head")
        return git(self.fork.root, "rev-parse", "HEAD")


@pytest.fixture(scope="session")
def upstream(make_project: Callable[[str], Project]) -> Project:
    """What lies on main: the thin core, and nothing submitted."""
    project = thin(make_project("upstream"))
    (project.root / "blueberry.toml").write_text(SETTINGS)
    (project.root / ".gitignore").write_text(".blueberry/\nsubmissions/*/core/\n__pycache__/\nleaderboard/.lock\n")
    for folder in ("submissions", "baselines", "leaderboard"):
        (project.root / folder / "README.md").write_text("\n")
    git(project.root, "init", "--quiet", "-b", "main")
    git(project.root, "add", "-A")
    git(project.root, "commit", "--quiet", "-m", "main")
    return project


@pytest.fixture(scope="session")
def gain(upstream: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A submission that is packed against main."""
    root = tmp_path_factory.mktemp("gain") / "clone"
    git(upstream.root, "clone", "--quiet", str(upstream.root), str(root))
    Project(root).submit("gain", ("lm.py", "        d_ff=512,\n", "        d_ff=512,\n        batch_size=4,\n"))
    folder = root / "submissions" / "gain"
    shutil.rmtree(folder / "core")
    manifest = folder / "submission.toml"
    manifest.write_text(manifest.read_text().replace('budget = "smoke"', 'budget = "test"'))
    return folder


@pytest.fixture
def repositories(upstream: Project, tmp_path: Path) -> tuple[Path, Project, Project]:
    """GitHub's bare copy of main, a clone of it for the bot, and one for the contributor."""
    remote = tmp_path / "remote.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(upstream.root), str(remote))
    for name in ("clone", "fork"):
        git(tmp_path, "clone", "--quiet", str(remote), str(tmp_path / name))
    return remote, Project(tmp_path / "clone"), Project(tmp_path / "fork")


@pytest.fixture
def hub(emulator: int, repositories: tuple[Path, Project, Project], gain: Path, tmp_path: Path) -> Iterator[Hub]:
    remote, clone, fork = repositories
    name = "blueberry-" + "".join(letter for letter in tmp_path.name if letter.isalnum())
    with Gateway(emulator, remote) as gateway:
        gateway.call(TOKENS["maintainer"], "POST", "/user/repos", {"name": name, "auto_init": True})
        yield Hub(gateway, f"maintainer/{name}", clone, fork, remote, gain)
