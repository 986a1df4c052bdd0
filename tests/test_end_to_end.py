"""From a patch to a verdict through the real command line, real processes and real text, at 8,192 tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project, edit

RATE, SLOW = "        muon_lr=0.024,\n", "        muon_lr=0.001,\n"
EMBEDDED = "        rotary = self.rotary[first : first + ids.shape[1]]\n"


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    """The core with two layers of its five, for a third of the time, and with a rate that learns next to nothing."""
    project = make_project("end-to-end")
    edit(project.root / "model_core" / "lm.py", ("n_layers=5", "n_layers=2"), (RATE, SLOW))
    return project


def runs(project: Project, slug: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in project.run_files(slug)]


def test_a_gain_is_accepted_confirmed_on_fresh_seeds_and_rendered(project: Project) -> None:
    project.submit("gain", ("lm.py", SLOW, RATE))

    answer = project.json("run", "gain", "--budget", "test")

    assert (answer["verdict"], answer["confirmed"], answer["ok"]) == ("CONFIRMED", True, True)
    cell = answer["cells"][0]
    assert cell["gain"] > 0.1 and cell["p"] <= cell["alpha"] == 0.02
    files = runs(project, "gain")
    assert {file["status"] for file in files} == {"completed"}
    decide = {file["spec"]["seed"] for file in files if file["spec"]["round"] == "decide"}
    confirm = {file["spec"]["seed"] for file in files if file["spec"]["round"] == "confirm"}
    assert len(confirm) == 1 and not decide & confirm
    assert all(file["tokens_served"] == 8_192 for file in files)
    assert all(audit["ok"] for file in files for audit in file["audits"])

    board = project.json("leaderboard", "--local")
    assert "gain" in Path(board["board"]).read_text()
    assert project.json("leaderboard", "--local", "--check")["stale"] == []


def test_running_a_finished_evaluation_again_changes_nothing(project: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in (project.root / ".blueberry").rglob("*.json")}
    answer = project.json("run", "gain", "--budget", "test")
    assert answer["verdict"] == "CONFIRMED"
    assert {path: path.stat().st_mtime_ns for path in (project.root / ".blueberry").rglob("*.json")} == before


def test_the_salt_is_published_when_it_closes_and_gives_the_seeds(project: Project) -> None:
    from harness.run import seeds

    evaluation = json.loads(next((project.root / ".blueberry/evaluations").glob("gain-*.json")).read_text())
    assert seeds.digest(evaluation["salt"]) == evaluation["salt_sha256"]
    for file in runs(project, "gain"):
        spec = file["spec"]
        drawn = seeds.seed(evaluation["salt"], "llm-tiny", "test", evaluation["patch_sha"], spec["round"], spec["pair"])
        assert spec["seed"] == drawn


def test_a_verdict_is_read_off_the_files_alone(project: Project) -> None:
    answer = project.json("verdict", "gain")
    assert answer == project.json("run", "gain", "--budget", "test")


@pytest.mark.long
def test_a_comment_changes_nothing_to_the_last_bit_and_is_never_accepted(project: Project) -> None:
    project.submit("comment", ("lm.py", EMBEDDED, "        # one angle for each position\n" + EMBEDDED))
    answer = project.json("run", "comment", "--budget", "test")
    assert answer["verdict"] == "REJECT_NO_GAIN"
    assert answer["cells"][0]["gain"] == 0.0
    by_pair: dict[int, set[tuple[float, str]]] = {}
    for file in runs(project, "comment"):
        by_pair.setdefault(file["spec"]["pair"], set()).add((file["loss"], file["checkpoint_sha256"]))
    assert by_pair and all(len(results) == 1 for results in by_pair.values())


@pytest.mark.long  # as a case of the red team is
def test_a_model_that_reads_the_next_token_is_refused_by_the_audit(project: Project) -> None:
    leak = "        x = x + 0.5 * torch.cat((x[:, 1:], x[:, -1:]), 1)\n"
    project.submit("leak", ("lm.py", EMBEDDED, leak + EMBEDDED))
    answer = project.json("run", "leak", "--budget", "test", exit_code=1)
    assert answer["verdict"] == "INVALID" and not answer["ok"]
    assert [fault["rule"] for fault in answer["faults"]] == ["audit-causality"]
    refused = [file for file in runs(project, "leak") if file["spec"]["arm"] == "leak"]
    assert [file["status"] for file in refused] == ["refused"]
    assert refused[0]["loss"] is None, "the number of a refused run is not published"
    core = [file for file in runs(project, "leak") if file["spec"]["arm"] == "core"]
    assert all(file["status"] == "completed" for file in core), "the honest arm is not blamed"


@pytest.mark.long
def test_a_patch_that_diverges_where_the_core_does_not_is_worse(project: Project) -> None:
    project.submit("diverges", ("lm.py", EMBEDDED, "        x = x * 1e30 * 1e30\n" + EMBEDDED))
    answer = project.json("run", "diverges", "--budget", "test")
    assert answer["verdict"] == "REJECT_WORSE"
    statuses = sorted((file["spec"]["arm"], file["status"]) for file in runs(project, "diverges"))
    assert statuses == [("core", "completed"), ("diverges", "diverged"), ("diverges", "diverged")]


def test_a_patch_that_raises_is_named_by_file_and_line_without_a_traceback(project: Project) -> None:
    project.submit("crash", ("lm.py", EMBEDDED, "        raise ValueError('no such thing')\n" + EMBEDDED))
    done = project.call("run", "crash", "--budget", "test")
    assert done.returncode == 1
    assert "ValueError: no such thing at model_core/lm.py:" in done.stderr
    assert "Traceback" not in done.stderr
    statuses = [(file["spec"]["arm"], file["status"]) for file in runs(project, "crash")]
    assert statuses.count(("crash", "crashed")) == 2, "one retry"
    assert len(statuses) <= 3, "the core is trained at most once, if the coin put it first"


def test_a_claim_on_speed_needs_an_exchange_rate_and_says_how_to_get_it(project: Project) -> None:
    project.submit("faster", ("lm.py", EMBEDDED, "        # faster\n" + EMBEDDED))
    manifest = project.root / "submissions/faster/submission.toml"
    manifest.write_text(manifest.read_text().replace('metric = "loss"', 'metric = "speed"'))
    answer = project.json("run", "faster", exit_code=3)
    assert "blueberry baseline" in answer["faults"][0]["fix"]
    assert project.run_files("faster") == [], "nothing is spent before it can be decided"


def test_an_evaluation_that_closed_just_before_a_kill_still_enters_the_ledger(project: Project) -> None:
    ledger = project.root / ".blueberry" / "ledger.jsonl"
    whole = ledger.read_text()
    *earlier, last = whole.splitlines(keepends=True)
    slug = json.loads(last)["evaluation"].split("-llm-tiny-")[0]
    ledger.write_text("".join(earlier))  # what is left when the harness dies between closing and this line
    project.call("run", slug, "--budget", "test")
    assert ledger.read_text() == whole
