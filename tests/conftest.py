"""What the end-to-end tests share: a project of their own to work in, and the real command line in a real process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).parent.parent

settings.register_profile("blueberry", deadline=None)  # how long an example takes says more about the machine
settings.load_profile("blueberry")
COMMAND = Path(sys.executable).parent / "blueberry"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # gw0, gw1, ... where there are several

if WORKER and hasattr(os, "sched_setaffinity"):
    # A processor of its own: two trainings of two threads each would wait for one another most of the time, and a
    # harness holds every processor that it may use.
    _processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_processors[int(WORKER.removeprefix("gw")) % len(_processors)]})


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # what a shell starts in the background begins so, and hands it on to the commands that are interrupted here
    signal.signal(signal.SIGINT, signal.default_int_handler)


def edit(path: Path, *edits: tuple[str, str]) -> None:
    """Replaces `old`, which stands there once, by `new`, for each (old, new)."""
    text = path.read_text()
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
        text = text.replace(old, new)
    path.write_text(text)


@dataclass(frozen=True)
class Project:
    """A root with the real core and no submissions yet."""

    root: Path

    def call(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [str(COMMAND), *arguments]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=timeout, check=False)

    def json(self, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        done = self.call(*arguments, "--json")
        assert done.returncode == exit_code, done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def submit(self, slug: str, *edits: tuple[str, str, str]) -> None:
        """A packed submission that replaces `old` by `new` in a file of the core, for each (file, old, new)."""
        assert self.call("new", slug).returncode == 0
        for name, old, new in edits:
            edit(self.root / "submissions" / slug / "core" / name, (old, new))
        packed = self.call("pack", slug)
        assert packed.returncode == 0, packed.stderr

    def run_files(self, slug: str) -> list[Path]:
        return sorted((self.root / ".blueberry" / "runs").glob(f"{slug}-llm-tiny-*/*.json"))


def workers_of(project: Project) -> list[int]:
    """Processes that are workers by their command line and name the project's folder there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                if "worker.py" in line and str(project.root) in line:
                    found.append(int(entry.name))
    return found


# A core of one thin layer, with which a run is mostly the start of its workers
THIN = (("        n_layers=5,\n", "        n_layers=1,\n"), ("        d_model=192,\n", "        d_model=48,\n"))


def thin(project: Project) -> Project:
    """The same project with a core that trains in no time."""
    edit(project.root / "model_core" / "lm.py", *THIN)
    return project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests train come first: begun last, one would keep a processor waiting for the other for minutes."""
    trains = {item.path for item in items if "make_project" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in trains)


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    def make(name: str) -> Project:
        root = tmp_path_factory.mktemp(name)
        shutil.copytree(REPOSITORY / "model_core", root / "model_core", ignore=shutil.ignore_patterns("__pycache__"))
        for folder in ("submissions", "baselines", "leaderboard"):
            (root / folder).mkdir()
        return Project(root)

    return make
