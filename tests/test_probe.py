"""`check --probe`: a leak is found in seconds, an honest patch is not refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.run.probe import CONTROL_TOKENS, PROBED
from harness.tracks import TRACKS, Track
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


@pytest.mark.parametrize("track", TRACKS.values(), ids=lambda track: track.name)
def test_every_track_has_a_small_model_that_a_probe_trains(track: Track) -> None:
    small = PROBED[track.module]
    assert (small.module, small.model, small.metric) == (track.module, track.model, track.metric) and not small.full
    assert track.metric != "nll" or track.module in CONTROL_TOKENS


@pytest.mark.long
def test_experts_that_see_the_next_token_are_refused_and_honest_ones_are_not(project: Project) -> None:
    for slug, line in (("moe-leak", LEAK), ("moe-honest", "        # honest\n")):
        project.submit(slug, ("lm.py", EMBEDDED, line + EMBEDDED))
        manifest = project.root / "submissions" / slug / "submission.toml"
        text = manifest.read_text()
        claim = 'track = "llm-moe"\nbudget = "8M"'
        manifest.write_text(text.replace('track = "llm-tiny"\nbudget = "smoke"', claim))
        assert claim in manifest.read_text()
    answer = project.json("check", "moe-leak", "--probe", exit_code=1)
    assert {fault["rule"] for fault in answer["faults"]} <= {"too-good", "audit-causality", "audit-mean"}
    assert project.json("check", "moe-honest", "--probe")["faults"] == []
