"""Killed at random moments, a small evaluation still ends where an undisturbed one does."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.confine import watch
from tests.conftest import COMMAND, Project, thin, workers_of

RUN = ("run", "idea", "--budget", "test", "--pairs", "3")


def test_an_interrupted_command_exits_130_and_says_so_to_programs_too(make_project: Callable[[str], Project]) -> None:
    project = make_project("interrupted")
    project.submit("idea", ("lm.py", "import math\n", "import math  # an idea\n"))
    command = [str(COMMAND), *RUN, "--json"]
    with subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as harness:
        while not list((project.root / ".blueberry" / "runs").glob("*/*.started")):
            time.sleep(0.05)
        harness.send_signal(signal.SIGINT)
        stdout, stderr = harness.communicate(timeout=60)
    assert harness.returncode == 130
    answer = json.loads(stdout)
    assert not answer["ok"] and [fault["rule"] for fault in answer["faults"]] == ["interrupted"]
    assert b"resume" in stderr and b"Traceback" not in stderr


def test_a_kill(make_project: Callable[[str], Project]) -> None:
    storm(make_project("a-kill"), kills=1, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_kills(make_project: Callable[[str], Project], seed: int) -> None:
    storm(make_project(f"kills-{seed}"), kills=20, seed=seed)


def storm(project: Project, kills: int, seed: int) -> None:
    """One evaluation, opened once, then finished twice: in peace, and under fire."""
    thin(project).submit("idea", ("lm.py", "import math\n", "import math  # an idea\n"))
    opened(project)
    calm = Project(project.root.with_name(project.root.name + "-calm"))
    shutil.copytree(project.root, calm.root)
    expected = calm.json(*RUN)
    rng = random.Random(seed)
    for _ in range(kills):
        disturbed(project, rng)
        readable(project)
        alone(project)

    answer = project.json(*RUN)

    assert answer["verdict"] == expected["verdict"] and answer["cells"][0]["gain"] == 0.0, "a comment changes no bit"
    assert results(project) == results(calm), "the same completed runs, none lost or doubled"
    assert not list((project.root / ".blueberry" / "runs").rglob("*.started"))
    assert {file["status"] for file in files(project)} <= {"completed", "killed"}
    attempts = [(*key(file["spec"]), file["spec"]["attempt"]) for file in files(project)]
    assert len(attempts) == len(set(attempts))
    assert project.json("leaderboard", "--local")["ok"] and project.json("leaderboard", "--local", "--check")["ok"]


def opened(project: Project) -> None:
    """Starts the evaluation and stops it before any run is finished."""
    with subprocess.Popen([str(COMMAND), *RUN], cwd=project.root, stderr=subprocess.DEVNULL) as harness:
        while not list((project.root / ".blueberry").glob("evaluations/*.json")):
            time.sleep(0.01)
        harness.send_signal(signal.SIGKILL)
    assert len(list((project.root / ".blueberry").glob("salts/*"))) == 1


def disturbed(project: Project, rng: random.Random) -> None:
    """Runs the command for a while, then kills its workers, itself, or first the ones and then the other."""
    with subprocess.Popen([str(COMMAND), *RUN], cwd=project.root, stderr=subprocess.DEVNULL) as harness:
        time.sleep(rng.uniform(0.2, 9.0))
        if rng.random() < 0.6:
            for process in watch.descendants(harness.pid)[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(rng.uniform(0.0, 1.0))
        harness.send_signal(signal.SIGKILL)


def readable(project: Project) -> None:
    """Whatever is on disk is whole."""
    for path in (project.root / ".blueberry").rglob("*.json"):
        json.loads(path.read_text())


def alone(project: Project) -> None:
    """The workers died with their harness; one that was just starting ends when it finds nobody to talk to."""
    deadline = time.monotonic() + 20
    while workers_of(project) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(project) == []


def files(project: Project) -> list[dict[str, Any]]:
    paths = sorted((project.root / ".blueberry" / "runs").glob("*/*.json"))
    return [json.loads(path.read_text()) for path in paths]


def key(spec: dict[str, Any]) -> tuple[Any, ...]:
    return spec["round"], spec["pair"], spec["arm"], spec["seed"], spec["order"]


def results(project: Project) -> list[tuple[Any, ...]]:
    """What was trained and what came of it, bit for bit."""
    done = [file for file in files(project) if file["status"] == "completed"]
    return sorted((*key(file["spec"]), file["loss"], file["checkpoint_sha256"], file["tokens_served"]) for file in done)
