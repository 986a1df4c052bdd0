"""Every attack of cases.py through the real command line and the real sandbox, and honest patches beside them.

All of them run in `make test-long`, which prints caught / tried and wrongly refused / honest; a few in `make test`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

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
REFUSED = get_args(Outcome)[:6]


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    return thin(make_project("red-team"))


def outcome(project: Project, slug: str) -> str:
    """What came of a submission, in the words of cases.py; also holds the harness to good manners."""
    command = [str(COMMAND), "run", slug, "--budget", "test", "--pairs", "3", "--json"]
    environment = os.environ | {TOKEN: "secret"}
    done = subprocess.run(
        command, cwd=project.root, capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    assert "Traceback" not in done.stderr and "\x1b[31m" not in done.stderr, done.stderr[-2_000:]
    assert not any(line.startswith("::") for line in done.stderr.splitlines()), "a command to a CI runner"
    assert done.returncode in (0, 1), done.stderr[-2_000:]
    answer = json.loads(done.stdout)
    assert all(len(fault["what"]) < 2_000 for fault in answer["faults"])
    if answer["verdict"] == "INVALID":
        return str(answer["faults"][0]["rule"])
    reason = done.stderr
    if answer["verdict"] == "REJECT_WORSE" and "diverged" in reason:
        return "unstable"
    if answer["cells"][0]["gain"] == 0.0:
        return "nothing"
    return "no gain" if answer["verdict"] not in ("CONFIRMED", "ACCEPT_LOSS", "ACCEPT_SPEED") else "a record"


def attack(project: Project, case: Case) -> str:
    file, old, new = case.edit
    places = {"{root}": REPOSITORY, "{harness}": Path(harness.__file__ or "").parent, "{cache}": cache_root()}
    for name, place in places.items():
        new = new.replace(name, str(place))
    project.submit(case.name, (file, old, new))
    found = outcome(project, case.name)
    assert workers_of(project) == [], "processes outlived their run"
    return found


needs_sandbox = pytest.mark.skipif(sandbox.name() == "none", reason="no sandbox works here")


@needs_sandbox
@pytest.mark.parametrize("case", [case for case in CASES if case.quick], ids=lambda case: case.name)
def test_an_attack_comes_to_what_it_should(project: Project, case: Case) -> None:
    assert attack(project, case) == case.outcome


@needs_sandbox
@pytest.mark.long
def test_the_whole_suite(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    found = {case.name: attack(project, case) for case in CASES if not case.quick}
    wrong = {case.name: found[case.name] for case in CASES if not case.quick and found[case.name] != case.outcome}
    refused = {}
    for slug, edit in HONEST.items():
        project.submit(slug, edit)
        verdict = outcome(project, slug)
        if verdict not in ("nothing", "no gain", "a record"):
            refused[slug] = verdict
    with capsys.disabled():
        print(
            f"\ncaught {len(found) - len(wrong)} of {len(found)} tried, {len(refused)} of {len(HONEST)} honest refused"
        )
    assert wrong == {} and refused == {}


@needs_sandbox
@pytest.mark.long
def test_no_example_is_refused_that_should_not_be(make_project: Callable[[str], Project]) -> None:
    project = make_project("examples")
    for folder in ("submissions", "baselines"):
        shutil.copytree(REPOSITORY / folder, project.root / folder, dirs_exist_ok=True)
    examples = [path.parent for path in sorted(project.root.glob("*/*/submission.toml"))]
    refused = {path.name for path in examples if outcome(project, path.name) in REFUSED}
    assert len(examples) >= 9 and refused == {"centred-smear"}
