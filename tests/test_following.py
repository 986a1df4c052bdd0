"""Following the core through the real command line: two winners promoted one after the other, a third rebased over a
conflict and measured again, and one on top of another.

The quick walk writes the official records of its winners with known numbers, since a win that has to be trained takes
minutes, and leaves everything else to real processes. The long walk trains all of it at 8,192 tokens.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.records import ledger
from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.submission.patch import patch_sha
from harness.tracks import track_named
from tests.board.board_factory import Factory
from tests.conftest import Project, edit

MUON = "        muon_lr=0.024,\n"
LR = "        adamw_lr=0.006,\n"
REPORT = "            stream.report(self.steps * self.batch_tokens, loss)\n"
DECAY = "        decay=0.5,\n        lr_floor=0.0,\n"


def commit(project: Project) -> None:
    """What a maintainer does between two steps; the identity is the maintainer's, never the harness's."""
    identity = ["-c", "user.name=m", "-c", "user.email=m@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "step"]):
        subprocess.run(["git", *command], cwd=project.root, check=True)


def edited(project: Project, slug: str, old: str, new: str) -> None:
    """Another edit in the scratch copy."""
    edit(project.root / "submissions" / slug / "core" / "lm.py", (old, new))


def builds_on(project: Project, slug: str, parent: str) -> str:
    """Name a parent in the manifest."""
    name = f"{parent}@{patch_sha(project.root / 'submissions' / parent)}"
    manifest = project.root / "submissions" / slug / "submission.toml"
    manifest.write_text(manifest.read_text().replace("base =", f'builds_on = ["{name}"]\nbase ='))
    return name


def resolved(project: Project, slug: str, line: str) -> None:
    """Put `line` where the conflict of lm.py is."""
    lm = project.root / "submissions" / slug / "core" / "lm.py"
    before, _, rest = lm.read_text().partition(f"<<<<<<< {slug}\n")
    after = rest.partition(">>>>>>> today's core\n")[2]
    assert rest and after
    lm.write_text(before + line + after)


def states(project: Project) -> dict[str, tuple[str, bool]]:
    return {one["slug"]: (one["state"], one["applies"]) for one in project.json("status")["submissions"]}


@pytest.fixture(scope="module")
def confirm() -> Callable[..., str]:
    """A confirmed official record of a submission as it is, on today's core, closed into the ledger."""
    count = 0

    def write(project: Project, slug: str, **fields: Any) -> str:
        nonlocal count
        count += 1
        store = Store(project.root / "leaderboard")
        core = {
            "core_id": track_core_id(project.root, track_named("llm-tiny")),
            "patch_sha": patch_sha(project.root / "submissions" / slug),
        }
        factory = Factory(store, written=count, defaults={"provisional": False, "sandbox": "landlock"})
        record = factory.evaluation(slug, (0.031, 0.027), (0.03, 0.021, 0.02, 0.025), **core | fields)
        with store.lock():
            ledger.append(store, record.id)
        return record.id

    return write


def test_two_winners_become_core_one_after_the_other_and_a_third_follows_over_a_conflict(
    make_project: Callable[[str], Project], confirm: Callable[..., str]
) -> None:
    project = make_project("following")
    project.submit("first", ("lm.py", LR, LR.replace("0.006", "0.02")))
    project.submit("second", ("lm.py", DECAY, DECAY.replace("0.5", "0.25")))
    project.submit("third", ("lm.py", LR, LR.replace("0.006", "0.012")))
    commit(project)
    refused = project.json("promote", "first", "--by", "Ada", exit_code=2)
    assert "no official evaluation" in refused["faults"][0]["what"]
    assert states(project) == dict.fromkeys(("first", "second", "third"), ("checked", True))

    evaluation = confirm(project, "first")
    first = project.json("promote", "first", "--by", "Ada")
    assert first["promotion"]["patches"][0]["evaluations"] == [evaluation]
    assert {one["slug"]: (one["before"], one["after"]) for one in first["open"]} == {
        "second": (True, False),
        "third": (True, False),
    }
    commit(project)

    assert project.json("rebase", "second")["conflicts"] == []
    confirm(project, "second")
    second = project.json("promote", "second", "--by", "Bob")
    assert second["promotion"]["before"] == first["promotion"]["after"]
    lm = (project.root / "model_core" / "lm.py").read_text()
    assert "adamw_lr=0.02,\n" in lm and "decay=0.25,\n" in lm
    commit(project)

    conflict = project.json("rebase", "third", exit_code=1)
    assert conflict["conflicts"] == ["submissions/third/core/lm.py"]
    assert [fault["rule"] for fault in conflict["faults"]] == ["patch-conflict"]
    resolved(project, "third", LR.replace("0.006", "0.03"))
    assert project.json("pack", "third")["added"] == 1
    confirm(project, "third")
    promoted = dict.fromkeys(("first", "second"), ("promoted", False))
    assert states(project) == promoted | {"third": ("confirmed", True)}

    assert project.json("leaderboard", "--check", exit_code=1)["stale"], "a promotion leaves the board to be rendered"
    board = Path(project.json("leaderboard")["board"]).read_text()
    for slug, state in (("first", "promoted"), ("second", "promoted"), ("third", "confirmed")):
        (row,) = [line for line in board.splitlines() if f"[{slug}](reports/{slug}.md)" in line]
        assert row.endswith(f"| {state} |")
    history = (project.root / "model_core" / "HISTORY.md").read_text().split("|---|---|---|\n")[1].splitlines()
    assert "second (anonymous" in history[0] and "Promoted by Bob." in history[0]
    assert "first (anonymous" in history[1] and "Promoted by Ada." in history[1]


def test_a_patch_on_top_of_another_is_one_given_that_and_follows_it_into_the_core(
    make_project: Callable[[str], Project], confirm: Callable[..., str]
) -> None:
    project = make_project("given")
    project.submit("below", ("lm.py", LR, LR.replace("0.006", "0.02")))
    project.submit("above", ("lm.py", DECAY, DECAY.replace("0.5", "0.25")))
    parent = builds_on(project, "above", "below")
    assert project.json("rebase", "above")["moved"]
    commit(project)
    confirm(project, "below")
    confirm(project, "above", builds_on=(parent,))
    answer = project.json("verdict", "above")
    assert (answer["verdict"], answer["given"]) == ("CONFIRMED", ["below"])
    assert "above given below: CONFIRMED" in project.call("verdict", "above").stderr
    alone = project.json("promote", "above", "--by", "Ada", exit_code=2)
    assert "builds on below, which is not part of the core" in alone["faults"][0]["what"]

    done = project.json("promote", "below", "--by", "Ada")
    assert [(one["slug"], one["after"]) for one in done["open"]] == [("above", False)]
    assert states(project)["above"] == ("stale", False)
    rebased = project.json("rebase", "above")
    assert (rebased["dropped"], rebased["conflicts"]) == ([parent], [])
    assert project.json("check", "above")["warnings"] == []
    assert states(project)["above"] == ("checked", True)


@pytest.mark.long
def test_the_whole_ladder_trained_at_8192_tokens(make_project: Callable[[str], Project]) -> None:
    """Wins that no noise hides and that cost no time: over a core whose rates let it learn next to nothing, and that
    waits after every update, so that the machine's own noise is a small part of a run."""
    from harness.run import sandbox

    if sandbox.name() == "none":
        pytest.skip("official runs need a sandbox")
    project = make_project("ladder")
    muon, slow = MUON.replace("0.024", "0.001"), LR.replace("0.006", "0.0002")
    edit(project.root / "model_core" / "lm.py", (MUON, muon), (LR, slow))
    wait = (REPORT, f"{REPORT}            time.sleep(1.5)\n")
    edit(project.root / "model_core" / "train.py", ("import sys\n", "import sys\nimport time\n"), wait)
    project.submit("first", ("lm.py", muon, MUON))
    project.submit("third", ("lm.py", slow, slow.replace(",\n", ",  # slow\n")))
    project.submit("second", ("lm.py", "import math\n", "import math  # on top\n"))
    builds_on(project, "second", "first")
    assert project.json("rebase", "second")["moved"]
    edited(project, "second", "import math  # on top\n", "import math\n")
    edited(project, "second", slow, LR)
    project.json("pack", "second")
    for slug in ("first", "second", "third"):
        manifest = project.root / "submissions" / slug / "submission.toml"
        manifest.write_text(manifest.read_text().replace('"smoke"', '"test"'))
    commit(project)

    def confirmed(slug: str) -> dict[str, Any]:
        answer = project.json("run", slug, "--official")
        assert answer["verdict"] == "CONFIRMED", [(cell["verdict"], cell["reason"]) for cell in answer["cells"]]
        return answer

    confirmed("first")
    assert confirmed("second")["given"] == ["first"]
    project.json("promote", "first", "--by", "Ada")
    commit(project)
    assert len(project.json("rebase", "second")["dropped"]) == 1
    again = confirmed("second")
    assert again["given"] == [] and again["cells"][0]["alpha"] == 0.02, "it is no second try"
    project.json("promote", "second", "--by", "Bob")
    commit(project)

    project.json("rebase", "third", exit_code=1)
    resolved(project, "third", LR.replace(",\n", ",  # quick\n"))
    project.json("pack", "third")
    moved = project.json("run", "third", "--official")["cells"][0]
    assert (moved["verdict"], moved["alpha"]) == ("REJECT_NO_GAIN", 0.02)
    project.json("leaderboard")
    assert project.json("leaderboard", "--check")["stale"] == []
