"""Claims on speed that are none, against a core with a burden that a submission may really put down.

Through the real command line and the real sandbox, at the exchange rate of a real calibration. The honest patch is
confirmed: what keeps an attack from a record has to do with the attack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.run import sandbox
from tests.conftest import Project, edit, thin, workers_of
from tests.red_team.cases import EMBEDDED, IMPORT, ONLY_SCORING, TRAIN, TRAINED, Case

pytestmark = [pytest.mark.long, pytest.mark.skipif(sandbox.name() == "none", reason="no sandbox works here")]

WORK = "for _ in range({}):\n{}    torch.mm(torch.ones(1024, 1024), torch.ones(1024, 1024))\n"
COLUMN = " " * 12
BURDEN = COLUMN + WORK.format(8, COLUMN)  # of each update: takes longer than all the rest of one of the thin core
LIGHTER = ("train.py", BURDEN, "")


@dataclass(frozen=True)
class Claim:
    """An attack, the verdicts that it may come to, and words of the reason."""

    case: Case
    verdicts: tuple[str, ...]
    says: str = ""


def case(name: str, place: tuple[str, str, str], code: str, second: tuple[str, str, str] | None = None) -> Case:
    return Case(name, place, code, "no gain", second=second)


NOT_FASTER = ("REJECT_NO_GAIN", "REJECT_WORSE", "INCONCLUSIVE")
CLAIMS = [
    Claim(
        case(
            "stops-the-clocks",
            IMPORT,
            "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0",
        ),
        NOT_FASTER,
    ),
    Claim(
        case(
            "leaves-its-load-to-the-core",
            TRAIN,
            """
import os
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        while True:
            pass
""",
        ),
        NOT_FASTER,
    ),
    Claim(
        case("learns-from-every-other-batch", TRAINED, "next_batch = self.model.take(stream)", LIGHTER),
        (*NOT_FASTER, "REVIEW_TRADEOFF"),
        "loss",
    ),
    Claim(
        case("works-while-it-is-scored", EMBEDDED, ONLY_SCORING + "    " + WORK.format(60, "    "), LIGHTER),
        ("REVIEW_TRADEOFF",),
        "scoring takes .* which no clock counts",
    ),
    Claim(
        case("works-before-it-is-ready", IMPORT, "import torch\n" + WORK.format(150, ""), LIGHTER),
        ("REVIEW_TRADEOFF",),
        "(set-up|scoring) takes .* which no clock counts",  # it is imported in each of them
    ),
]


def claim_speed(project: Project, slug: str, *edits: tuple[str, str, str]) -> tuple[dict[str, object], str]:
    """The cell of a claim on speed at the budget of the tests, and what people are told."""
    project.submit(slug, *edits)
    manifest = project.root / "submissions" / slug / "submission.toml"
    text = manifest.read_text().replace('metric = "loss"', 'metric = "speed"')
    manifest.write_text(text.replace('budget = "smoke"', 'budget = "test"'))
    done = project.call("run", slug, "--json")
    assert done.returncode == 0, done.stderr
    assert workers_of(project) == []
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["metric"] == "speed"
    return cell, done.stderr


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    project = thin(make_project("speed"))
    name, old, new = TRAINED
    edit(project.root / "model_core" / name, (old, new.replace("{}\n", BURDEN)))
    done = project.call("baseline", "--track", "llm-tiny", "--budget", "test", timeout=900)
    assert done.returncode == 0, done.stderr
    return project


def test_a_burden_that_is_put_down_is_a_record(project: Project) -> None:
    cell, told = claim_speed(project, "lighter", LIGHTER)
    assert cell["verdict"] == "ACCEPT_SPEED" and cell["confirm"]["confirmed"], told  # type: ignore[index]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.case.name)
def test_time_that_is_only_hidden_is_none(project: Project, claim: Claim) -> None:
    cell, told = claim_speed(project, claim.case.name, *claim.case.edits)
    assert cell["verdict"] in claim.verdicts, told
    assert re.search(claim.says, told), told
