"""A visual tokenizer, trained once: the same command gives the same weights, and what is recorded is what is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from tests.conftest import Project


@pytest.mark.long
def test_freezing_again_gives_the_same_weights_and_their_digest_is_recorded(
    make_project: Callable[[str], Project],
) -> None:
    project = make_project("freeze")
    folder = project.root / "harness" / "data" / "frozen"
    told, digests = [], []
    for _ in range(2):
        told.append(project.json("data", "freeze", "--track", "vqvae-tiny", "--budget", "test"))
        digests.append(hashlib.sha256((folder / "vqvae-tiny.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1] == told[0]["sha256"] and told[0] == told[1]
    recorded = json.loads((folder / "vqvae-tiny.json").read_text())
    assert recorded == {key: value for key, value in told[1].items() if key != "ok"}
    assert recorded["tokens"] == 8_192 and 0 < recorded["codes_in_use"] <= 128


def test_only_a_visual_tokenizer_can_be_frozen(make_project: Callable[[str], Project]) -> None:
    (fault,) = make_project("freeze-text").json("data", "freeze", "--track", "llm-tiny", exit_code=2)["faults"]
    assert fault["fix"] == "choose vqvae-tiny or vqvae"


def test_a_harness_that_would_not_read_what_it_froze_is_named(make_project: Callable[[str], Project]) -> None:
    project = make_project("freeze-elsewhere")
    (project.root / "harness").mkdir()
    (project.root / "harness" / "__init__.py").touch()
    (fault,) = project.json("data", "freeze", "--track", "vqvae-tiny", exit_code=2)["faults"]
    assert fault["what"].startswith("the harness that runs is another clone's")
