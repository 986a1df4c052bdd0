"""`check --probe`: a leak is found in seconds, an honest patch is not refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Project

EMBEDDED = "        rotary = self.rotary[first : first + ids.shape[1]]\n"
LEAK = "        x = x + 0.5 * torch.cat((x[:, 1:], x[:, -1:]), 1)\n"


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    return make_project("probe")


def test_a_model_that_sees_the_next_token_scores_below_the_entropy_of_the_control_source(project: Project) -> None:
    project.submit("leak", ("lm.py", EMBEDDED, LEAK + EMBEDDED))
    answer = project.json("check", "leak", "--probe", exit_code=1)
    assert [fault["rule"] for fault in answer["faults"]] == ["too-good"]
    assert project.json("check", "leak")["ok"], "nothing is run without --probe"


@pytest.mark.long
def test_an_honest_patch_passes(project: Project) -> None:
    project.submit("honest", ("lm.py", "import math\n", "import math  # honest\n"))
    assert project.json("check", "honest", "--probe")["faults"] == []


def test_a_patch_that_crashes_is_told_before_anything_is_raced(project: Project) -> None:
    project.submit("crash", ("lm.py", EMBEDDED, "        raise ValueError('no such thing')\n" + EMBEDDED))
    answer = project.json("check", "crash", "--probe", exit_code=1)
    assert answer["faults"][0]["rule"] == "crashed" and "no such thing" in answer["faults"][0]["what"]
