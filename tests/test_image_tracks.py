"""Image and captioned tracks through the real command line: an honest patch passes, each kind of leak does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Project

EMBEDDED = "        rotary = self.rotary[first : first + ids.shape[1]]\n"
PATCHED = "        x = self.patch_embedding(self.patches(x_t)) + self.positions  # (B, N, D)\n"
ANSWERED = "        return self.image(self.head(x, condition))\n"
ENCODED = "        return nearest(self.encoder(images), self.codebook.weight)\n"
DECODED = "        return self.decoder(self.codebook(codes))\n"
# Every image is asked about at several times. At a late one it is nearly there to be seen, and with it the velocity at
# all the others: (x_1 - x_t) / (1 - t).
SMUGGLED = """        velocity = self.image(self.head(x, condition))
        if not torch.is_grad_enabled():
            late = self.__dict__.setdefault("late", [])
            late.extend(x_t[t > 0.9])
            for i in range(len(x_t) if late else 0):
                targets = (torch.stack(late) - x_t[i]) / (1 - t[i]).clamp_min(0.1)
                nearest = (targets - velocity[i]).square().mean((1, 2, 3)).argmin()
                velocity[i] = 0.5 * (velocity[i] + targets[nearest])
        return velocity
"""


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
        ("multimodal-tiny", "multimodal.py", "        targets = sequences[:, 1:]\n", "nats per image token"),
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


LEAKS = [
    (
        "neighbours",
        "flow-tiny",
        [("flow.py", ANSWERED, ANSWERED.replace("\n", " + 0.3 * x_t.mean(0)\n"))],
        "audit-alone",
    ),
    pytest.param(
        "smuggled-target",
        "flow-tiny",
        [("flow.py", ANSWERED, SMUGGLED)],
        "audit-alone",
        marks=pytest.mark.long,
        id="smuggled-target",
    ),
    (
        "more-codes",
        "vqvae-tiny",
        [
            ("vqvae.py", ENCODED, ENCODED.replace("return ", "return 500 + ")),
            ("vqvae.py", DECODED, DECODED.replace("(codes)", "(codes % 128)")),
        ],
        "audit-codes",
    ),
    pytest.param(
        "next-code",
        "multimodal-tiny",
        [("lm.py", EMBEDDED, "        x = x + 0.5 * torch.cat((x[:, 1:], x[:, -1:]), 1)\n" + EMBEDDED)],
        "audit-causality",
        marks=pytest.mark.long,
        id="next-code",
    ),
]


@pytest.mark.parametrize(("slug", "track", "edits", "rule"), LEAKS)
def test_a_leak_is_refused_by_its_rule(
    project: Project, slug: str, track: str, edits: list[tuple[str, str, str]], rule: str
) -> None:
    project.submit(slug, *edits)
    answer = raced(project, slug, track, exit_code=1)
    assert answer["verdict"] == "INVALID" and [fault["rule"] for fault in answer["faults"]] == [rule]


LEFT = """        import contextlib, os, pathlib
        place = {place}
        {leave}
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("slug", "place"),
    [
        ("in-tmp", "pathlib.Path('/tmp/left.pt')"),
        ("in-shared-memory", "pathlib.Path('/dev/shm/left.pt')"),
        ("at-home", "pathlib.Path(os.environ['HOME'], 'left.pt')"),
    ],
)
def test_a_decoder_finds_nothing_that_the_encoder_left_for_it(project: Project, slug: str, place: str) -> None:
    leave = LEFT.format(place=place, leave="with contextlib.suppress(OSError, RuntimeError): torch.save(images, place)")
    take = LEFT.format(place=place, leave="if place.exists(): return torch.load(place)")
    project.submit(slug, ("vqvae.py", ENCODED, leave + ENCODED), ("vqvae.py", DECODED, take + DECODED))
    answer = raced(project, slug, "vqvae-tiny")
    assert answer["cells"][0]["gain"] == 0.0, "it was the honest decoder that answered"


@pytest.mark.long
def test_codes_of_a_wider_form_are_refused_with_what_is_wrong_with_them(project: Project) -> None:
    """A second plane of codes beside the first, for the decoder to read."""
    wider = ENCODED.replace("return ", "codes = ").replace("\n", "\n        return torch.stack((codes, codes), 1)\n")
    narrower = DECODED.replace("(codes)", "(codes[:, 0] if codes.ndim == 4 else codes)")
    project.submit("two-planes", ("vqvae.py", ENCODED, wider), ("vqvae.py", DECODED, narrower))
    answer = raced(project, "two-planes", "vqvae-tiny", exit_code=1)
    assert answer["verdict"] == "INVALID" and len(answer["faults"]) == 1
    failed = [run for run in runs(project, "two-planes") if run["spec"]["arm"] == "two-planes"]
    assert failed and all("were asked for" in run["error"] for run in failed)
