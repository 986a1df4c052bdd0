"""Killed at random moments, a small evaluation still ends where an undisturbed one does."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.confine import watch
from harness.run import sandbox
from tests.conftest import COMMAND, Project, thin, workers_of

RUN = ("run", "idea", "--budget", "test", "--pairs", "3")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
# without a sandbox nobody can say who killed a worker, and it is blamed
WHOM = ("harness", "both") if sandbox.name() == "none" else ("worker", "harness", "both")
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
def killed(make_project: Callable[[str], Project]) -> Storm:
    return storm(make_project("kills"), kills=15, seed=0, longest=3.0)


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


def test_fifteen_kills(killed: Storm) -> None:
    weathered(killed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_kills(make_project: Callable[[str], Project], seed: int) -> None:
    weathered(storm(make_project(f"kills-{seed}"), kills=20, seed=seed, longest=9.0))


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


def ends_as_in_peace(project: Project) -> dict[str, Any]:
    """Finishes the evaluation here, and in a copy that has nothing of it but its beginning: they come to the same."""
    calm = Project(project.root.with_name(f"{project.root.name}-calm"))
    shutil.copytree(project.root, calm.root)
    shutil.rmtree(calm.root / ".blueberry" / "runs", ignore_errors=True)
    answer = project.json(*RUN)
    assert answer["cells"][0]["gain"] == 0.0, "a comment changes no bit"
    if list((calm.root / ".blueberry").glob("evaluations/*.json")):  # else it was not opened yet: it has other seeds
        assert calm.json(*RUN)["verdict"] == answer["verdict"]
        assert results(project) == results(calm)
    return answer


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
    ends_as_in_peace(project)
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
    assert ends_as_in_peace(project)["cells"][0]["alpha"] == begun["alpha"]
    assert [*(project.root / ".blueberry" / "evaluations").glob("*.json")] == [path]
    assert project.json("plan", "idea", "--budget", "test")["ok"]


@pytest.mark.long
@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")
def test_a_clock_that_jumps_while_runs_go_on_changes_no_verdict(make_project: Callable[[str], Project]) -> None:
    """The wall clock goes back by two days in the middle; times are taken from the one that cannot."""
    project = with_idea(thin(make_project("jump")))
    setting = project.root / "clock"
    setting.write_text("+0")
    environment = os.environ | {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    sleeps = [sys.executable, "-c", "import time; time.sleep(0.001)"]
    if subprocess.run(sleeps, env=environment, capture_output=True, check=False).returncode:
        pytest.skip("nobody can sleep under this libfaketime when it leaves the monotonic clock alone")
    with subprocess.Popen([str(COMMAND), *RUN], cwd=project.root, env=environment, stderr=subprocess.PIPE) as harness:
        while not list((project.root / ".blueberry" / "runs").glob("*/*.json")) and harness.poll() is None:
            time.sleep(0.05)
        setting.write_text("-2d")
        _, said = harness.communicate(timeout=300)
    assert harness.returncode == 0, said
    days = {file["started"][:10] for file in files(project)}
    assert len(days) == 2, "the clock did jump"
    assert {file["status"] for file in files(project)} == {"completed"}
    assert all(0 < file["train_seconds"] < 100 for file in files(project))
    assert project.json("leaderboard", "--local", "--check")["ok"]


@pytest.mark.long
@pytest.mark.parametrize("limit", [600 << 10, 400 << 10, 250 << 10])
def test_without_memory_one_message_says_so_and_with_it_the_run_goes_on(
    make_project: Callable[[str], Project], limit: int
) -> None:
    """An address space (KiB) too small for a worker, for what the judge holds, or for its own modules."""
    project = with_idea(thin(make_project(f"memory-{limit}")))
    script = f"ulimit -v {limit}; exec {COMMAND} {' '.join(RUN)} --json"
    command = ["sh", "-c", script]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=300, check=False)
    told(done)
    readable(project)
    assert project.json("leaderboard", "--local")["ok"]
    ends_as_in_peace(project)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
def test_whatever_a_lying_disk_forgot_the_run_ends_alike_or_names_the_file(killed: Storm, seed: int) -> None:
    """It said that everything was on disk; after the power failed, some files are gone or cut off."""
    rng = random.Random(seed)
    project = Project(killed.calm.root.with_name(f"forgot-{seed}"))
    shutil.copytree(killed.opened.root, project.root)
    with subprocess.Popen([str(COMMAND), *RUN], cwd=project.root, stderr=subprocess.DEVNULL) as harness:
        time.sleep(rng.uniform(4.0, 12.0))
        harness.send_signal(signal.SIGKILL)
    alone(project)
    paths = [path for path in (project.root / ".blueberry").rglob("*") if path.is_file() and path.name != ".lock"]
    paths.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in rng.sample(paths[:6], k=min(len(paths), rng.randint(1, 4))):
        whole = path.read_bytes()
        path.write_bytes(whole[: rng.randrange(len(whole) + 1)]) if rng.random() < 0.5 else path.unlink()
    done = project.call(*RUN, "--json")
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 0:
        assert json.loads(done.stdout)["verdict"] == killed.expected["verdict"]
        assert {one[:-1] for one in results(project)} >= {one[:-1] for one in results(killed.calm)}
    else:
        assert str(project.root / ".blueberry") in told(done)[0]["where"]


@pytest.mark.parametrize("kind", ["evaluations/*.json", "runs/*/*.json", "ledger.jsonl"])
def test_a_file_that_a_disk_promised_and_lost_is_named(killed: Storm, kind: str) -> None:
    """A disk that says that it has synced may hold a name with the beginning of what was written."""
    project = killed.project
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

    opened: Project  # as it was then
    calm: Project
    expected: dict[str, Any]
    project: Project
    answer: dict[str, Any]
    killed: list[str]


def storm(project: Project, kills: int, seed: int, longest: float) -> Storm:
    with_idea(thin(project))
    opened(project)
    begun, calm = (Project(project.root.with_name(f"{project.root.name}-{name}")) for name in ("opened", "calm"))
    for copy in (begun, calm):
        shutil.copytree(project.root, copy.root)
    expected = calm.json(*RUN)
    rng = random.Random(seed)
    killed = []
    for _ in range(kills):
        killed.append(disturbed(project, rng, longest))
        readable(project)
        alone(project)
    answer = project.json(*RUN)
    assert project.json("leaderboard", "--local")["ok"]
    return Storm(begun, calm, expected, project, answer, killed)


def weathered(storm: Storm) -> None:
    project, cell = storm.project, storm.answer["cells"][0]
    assert storm.answer["verdict"] == storm.expected["verdict"] and cell["gain"] == 0.0, "a comment changes no bit"
    assert results(project) == results(storm.calm), "the same completed runs, none lost or doubled"
    assert not list((project.root / ".blueberry" / "runs").rglob("*.started"))
    assert {file["status"] for file in files(project)} <= {"completed", "killed", "infrastructure"}
    assert set(storm.killed) == set(WHOM)
    assert lost(project) > 0 or "worker" not in WHOM, "a worker died and its harness went on"
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


def disturbed(project: Project, rng: random.Random, longest: float) -> str:
    """Runs the command for at most so many seconds, then kills a worker, itself, or all workers and then itself.

    A harness that lost a worker alone goes on, until it has written that down and a little longer. Says whom it killed.
    """
    whom = rng.choice(WHOM)
    with subprocess.Popen([str(COMMAND), *RUN], cwd=project.root, stderr=subprocess.DEVNULL) as harness:
        time.sleep(rng.uniform(0.2, longest))
        if whom == "worker":
            one_worker_killed(project, harness, rng)
        elif whom == "both":
            for process in watch.descendants(harness.pid)[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(rng.uniform(0.0, 1.0))
        harness.send_signal(signal.SIGINT if whom == "worker" else signal.SIGKILL)
    return whom


def one_worker_killed(project: Project, harness: subprocess.Popen[bytes], rng: random.Random) -> None:
    """Kills one of its workers as soon as there is one, and waits until its run has its file, or for a few seconds."""
    found: list[int] = []
    while not found and harness.poll() is None:
        found = sorted(set(watch.descendants(harness.pid)) & set(workers_of(project)))
        time.sleep(0.01)
    if not found:
        return  # all is done
    before = lost(project)
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(found), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while lost(project) == before and harness.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 2.0))


def lost(project: Project) -> int:
    """Runs whose worker died while their harness lived, by their files; such a run names its host."""
    return sum(file["status"] == "killed" and file["host"] is not None for file in files(project))


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
