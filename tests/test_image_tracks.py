"""Image and captioned tracks through the real command line; what leaks on them is in tests/red_team."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Project

PATCHED = "        x = self.patch_embedding(self.patches(x_t)) + self.positions  # (B, N, D)\n"
ENCODED = "        return nearest(self.encoder(images), self.codebook.weight)\n"


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    return make_project("image-tracks")


def raced(project: Project, slug: str, track: str, exit_code: int = 0) -> dict[str, Any]:
    return project.json("run", slug, "--track", track, "--budget", "test", "--pairs", "3", exit_code=exit_code)


def runs(project: Project, slug: str) -> list[dict[str, Any]]:
    files = (project.root / ".blueberry" / "runs").glob(f"{slug}-*/*.json")
    return [json.loads(path.read_text()) for path in files]


@pytest.mark.long
@pytest.mark.parametrize(
    ("track", "file", "line", "details"),
    [
        ("flow-tiny", "flow.py", PATCHED, "MSE, t 0–0.25"),
        ("vqvae-tiny", "vqvae.py", ENCODED, "codes in use"),
        (
            "multimodal-tiny",
            "multimodal.py",
            "        x = self.hidden(*self.inputs(sequences))  # (B, T, C)\n",
            "nats per image token",
        ),
    ],
)
def test_a_comment_changes_nothing_to_the_last_bit(
    project: Project, track: str, file: str, line: str, details: str
) -> None:
    slug = f"comment-{track}"
    project.submit(slug, (file, line, "        # nothing else\n" + line))
    answer = raced(project, slug, track)
    assert answer["ok"] and answer["cells"][0]["gain"] == 0.0
    files = runs(project, slug)
    assert {run["status"] for run in files} == {"completed"} and len({run["loss"] for run in files}) == len(files) / 2
    assert all(audit["ok"] for run in files for audit in run["audits"])
    assert all(details in run["metrics"]["details"] for run in files)
