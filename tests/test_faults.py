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
from dataclasses import dataclass
from typing import Any

import pytest

from harness.confine import watch
from tests.conftest import COMMAND, Project, thin, workers_of

RUN = ("run", "idea", "--budget", "test", "--pairs", "3")
DISKS = [64, 600, 2_000]  # KiB: full at the start, while workers are set up, and when something has been trained

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None or subprocess.run(["bwrap", "--dev-bind", "/", "/", "true"]).returncode != 0,
    reason="another disk is mounted by bubblewrap",
)


def with_idea(project: Project) -> Project:
    """With a submission that changes no bit of any run."""
    project.submit("idea", ("lm.py", "import math\n", "import math  # an idea\n"))
    return project


@pytest.fixture(scope="module")
def killed_once(make_project: Callable[[str], Project]) -> Storm:
    return storm(make_project("a-kill"), kills=1, seed=0)


def test_an_interrupted_command_exits_130_and_says_so_to_programs_too(make_project: Callable[[str], Project]) -> None:
    project = with_idea(make_project("interrupted"))
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


def test_a_kill(killed_once: Storm) -> None:
    weathered(killed_once)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_kills(make_project: Callable[[str], Project], seed: int) -> None:
    weathered(storm(make_project(f"kills-{seed}"), kills=20, seed=seed))


def on_another_disk(project: Project, *mount: str) -> subprocess.CompletedProcess[str]:
    """The command with something else mounted as its store; what it leaves there is in the store afterwards."""
    store, kept = project.root / ".blueberry", project.root / "kept"
    kept.mkdir()
    script = f"{COMMAND} {' '.join(RUN)} --json; code=$?; cp -a {store}/. {kept}/; exit $code"
    command = ["bwrap", "--dev-bind", "/", "/", *mount, str(store), "sh", "-c", script]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=300, check=False)
    shutil.rmtree(store)
    kept.rename(store)
    return done


def told(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    """The faults of a command that the machine would not let finish."""
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    faults = json.loads(done.stdout)["faults"]
    assert [fault["rule"] for fault in faults] == ["machine"]
    return list(faults)


@needs_bubblewrap
@pytest.mark.long
@pytest.mark.parametrize("size", DISKS)
def test_on_a_full_disk_one_message_says_so_and_with_more_room_the_run_goes_on(
    make_project: Callable[[str], Project], size: int
) -> None:
    project = with_idea(thin(make_project(f"full-disk-{size}")))
    (project.root / ".blueberry").mkdir()
    done = on_another_disk(project, "--size", str(size << 10), "--tmpfs")
    assert "No space left on device" in told(done)[0]["what"]
    readable(project)
    assert project.json(*RUN)["cells"][0]["gain"] == 0.0
    assert not list((project.root / ".blueberry" / "runs").rglob("*.started"))


@needs_bubblewrap
def test_a_store_that_cannot_be_written_is_named(make_project: Callable[[str], Project]) -> None:
    project = with_idea(thin(make_project("read-only")))
    store = project.root / ".blueberry"
    store.mkdir()
    fault = told(on_another_disk(project, "--ro-bind", str(store)))[0]
    assert "Read-only file system" in fault["what"] and str(store) in fault["where"]


@pytest.mark.long
def test_a_clock_that_was_set_back_changes_no_verdict(make_project: Callable[[str], Project]) -> None:
    """What was begun tomorrow is resumed today, and no second draw of the same patch is opened beside it."""
    project = with_idea(thin(make_project("clock")))
    opened(project)
    [path] = (project.root / ".blueberry" / "evaluations").glob("*.json")
    begun = json.loads(path.read_text())
    path.write_text(json.dumps(begun | {"opened": "2099-01-01T00:00:00+00:00"}))
    assert project.json(*RUN)["cells"][0]["alpha"] == begun["alpha"]
    assert [*(project.root / ".blueberry" / "evaluations").glob("*.json")] == [path]
    assert project.json("plan", "idea", "--budget", "test")["ok"]


@pytest.mark.parametrize("kind", ["evaluations/*.json", "runs/*/*.json", "ledger.jsonl"])
def test_a_file_that_a_disk_promised_and_lost_is_named(killed_once: Storm, kind: str) -> None:
    """A disk that says that it has synced may hold a name with the beginning of what was written."""
    project = killed_once.project
    path = next((project.root / ".blueberry").glob(kind))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        done = project.call("leaderboard", "--local", "--check", "--json")
        assert any(path.stem in value for value in told(done)[0].values())
    finally:
        path.write_bytes(whole)
    assert project.json("leaderboard", "--local", "--check")["ok"]


@dataclass(frozen=True)
class Storm:
    """One evaluation, opened once, then finished twice: in peace, and under fire."""

    calm: Project
    expected: dict[str, Any]
    project: Project
    answer: dict[str, Any]


def storm(project: Project, kills: int, seed: int) -> Storm:
    with_idea(thin(project))
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
    assert project.json("leaderboard", "--local")["ok"]
    return Storm(calm, expected, project, answer)


def weathered(storm: Storm) -> None:
    project, cell = storm.project, storm.answer["cells"][0]
    assert storm.answer["verdict"] == storm.expected["verdict"] and cell["gain"] == 0.0, "a comment changes no bit"
    assert results(project) == results(storm.calm), "the same completed runs, none lost or doubled"
    assert not list((project.root / ".blueberry" / "runs").rglob("*.started"))
    assert {file["status"] for file in files(project)} <= {"completed", "killed"}
    attempts = [(*key(file["spec"]), file["spec"]["attempt"]) for file in files(project)]
    assert len(attempts) == len(set(attempts))
    assert project.json("leaderboard", "--local", "--check")["ok"]


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
