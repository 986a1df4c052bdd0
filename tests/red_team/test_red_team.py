"""Every attack of cases.py through the real command line and the real sandbox, and honest patches beside them.

All of them run in `make test-long`, in each backend that works here, and print caught / tried and wrongly refused /
honest; a few run in `make test`, in the better one. Root and an ordinary user are confined in different ways: whoever
changes a sandbox runs the suite as both.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

import harness
from harness.data.cache import cache_root
from harness.run import sandbox
from tests.conftest import COMMAND, REPOSITORY, Project, thin, workers_of
from tests.red_team.cases import CASES, Case, Outcome

HONEST = {
    "a-comment": ("lm.py", "import math\n", "import math  # honest\n"),
    "a-gain": ("lm.py", "        d_ff=512,\n", "        d_ff=512,\n        batch_size=4,\n"),
    "a-loss": ("lm.py", "        muon_lr=0.024,\n        muon_momentum=0.8,\n", "        muon_lr=0.0,\n"),
}
TOKEN = "GITHUB_TOKEN"
REFUSED = get_args(Outcome)[:8]
WON = 0.5  # of the core's time: so much less is not how runs of a second scatter


@dataclass(frozen=True)
class Found:
    """What came of a submission, in the words of cases.py, and what its author was told."""

    outcome: str
    told: str
    seconds: float


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    return thin(make_project("red-team"))


def outcome(project: Project, slug: str, track: str = "llm-tiny", path: str | None = None) -> Found:
    """Runs it, with programs found by `path`; also holds the harness to good manners."""
    command = [str(COMMAND), "run", slug, "--track", track, "--budget", "test", "--pairs", "3", "--json"]
    environment = os.environ | {TOKEN: "secret"} | ({"PATH": path} if path else {})
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=project.root, capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    seconds = time.monotonic() - started
    assert "Traceback" not in done.stderr and "\x1b[31m" not in done.stderr, done.stderr[-2_000:]
    assert not any(line.startswith("::") for line in done.stderr.splitlines()), "a command to a CI runner"
    assert done.returncode in (0, 1), done.stderr[-2_000:]
    answer = json.loads(done.stdout)
    assert all(len(fault["what"]) < 2_000 for fault in answer["faults"])
    return Found(_word(answer, done.stderr), " ".join(fault["what"] for fault in answer["faults"]), seconds)


def _word(answer: dict[str, Any], reason: str) -> str:
    if answer["verdict"] == "INVALID":
        return str(answer["faults"][0]["rule"])
    if answer["verdict"] == "REJECT_WORSE" and "diverged" in reason:
        return "unstable"
    if answer["cells"][0]["gain"] == 0.0:
        return "nothing" if answer["cells"][0]["time_ratio"] > WON else "time"
    return "no gain" if answer["verdict"] not in ("CONFIRMED", "ACCEPT_LOSS", "ACCEPT_SPEED") else "a record"


def attack(project: Project, case: Case, path: str | None = None) -> Found:
    places = {
        "{root}": REPOSITORY,
        "{project}": project.root,
        "{harness}": Path(harness.__file__ or "").parent,
        "{cache}": cache_root(),
    }
    edits = []
    for file, old, new in case.edits:
        for name, place in places.items():
            new = new.replace(name, str(place))
        edits.append((file, old, new))
    project.submit(case.name, *edits)
    found = outcome(project, case.name, case.track, path)
    assert workers_of(project) == [], "processes outlived their run"
    return found


def is_right(case: Case, found: Found) -> bool:
    says = case.says or (f"{case.outcome}: .* where at most" if case.outcome.startswith("audit") else "")
    return found.outcome == case.outcome and re.search(says, found.told) is not None


needs_sandbox = pytest.mark.skipif(sandbox.name() == "none", reason="no sandbox works here")


@needs_sandbox
@pytest.mark.parametrize("case", [case for case in CASES if case.quick], ids=lambda case: case.name)
def test_an_attack_comes_to_what_it_should(project: Project, case: Case) -> None:
    found = attack(project, case)
    assert is_right(case, found), found


def programs(folder: Path, but: str) -> str:
    """A PATH with every program that is on this one, but for the one: what the judge sees where it is not installed."""
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if os.access(place, os.R_OK) else ():
            if program.name != but and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return str(folder)


def backend_of(project: Project) -> str:
    """Where the runs of the honest comment were made, by their files."""
    (backend,) = {json.loads(path.read_text())["sandbox"] for path in project.run_files("a-comment")}
    return str(backend)


@pytest.mark.long
@pytest.mark.parametrize("backend", sandbox.BACKENDS)
def test_the_whole_suite(
    make_project: Callable[[str], Project],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    backend: sandbox.Backend,
) -> None:
    if trouble := sandbox.trouble(backend):
        pytest.skip(f"{backend}: {trouble}")
    project = thin(make_project(f"red-team-{backend}"))
    path = programs(tmp_path, "bwrap") if backend == "landlock" else None
    wrong, refused, tried = [], [], CASES
    for case in tried:
        try:
            found = attack(project, case, path)
        except AssertionError as error:  # the others are still to be tried
            found = Found("bad manners", str(error)[-1_000:], 0.0)
        wrong += [] if is_right(case, found) else [case.name]
        with capsys.disabled():
            print(f"\n{found.seconds:4.0f} s  {case.name}: {found.outcome}: {found.told}", end="")
    for slug, edit in HONEST.items():
        project.submit(slug, edit)
        found = outcome(project, slug, path=path)
        refused += [] if found.outcome in ("nothing", "no gain", "a record") else [slug]
    with capsys.disabled():
        caught = len(tried) - len(wrong)
        who = "root" if os.geteuid() == 0 else "an ordinary user"
        print(f"\n{backend} as {who}: caught {caught} of {len(tried)} tried, ", end="")
        print(f"{len(refused)} of {len(HONEST)} honest refused")
    assert backend_of(project) == backend
    assert wrong == [] and refused == []


@needs_sandbox
@pytest.mark.long
def test_no_example_is_refused_that_should_not_be(make_project: Callable[[str], Project]) -> None:
    project = make_project("examples")
    for folder in ("submissions", "baselines"):
        shutil.copytree(REPOSITORY / folder, project.root / folder, dirs_exist_ok=True)
    examples = {path.parent.name: tomllib.loads(path.read_text()) for path in project.root.glob("*/*/submission.toml")}
    refused = {
        slug
        for slug, manifest in sorted(examples.items())
        if outcome(project, slug, manifest["claims"][0]["track"]).outcome in REFUSED
    }
    assert len(examples) >= 16 and refused == {"centred-smear"}
