"""The measures of image tracks against workers that are honest and workers that are not: real processes, no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.audit import repeats as auditing
from harness.errors import UsageError
from harness.run import arms, images, reconstruction, velocity
from harness.run.stage import Arm, StageError
from harness.tracks import TRACKS, ImageTrack, budget_named

FLOW, VQVAE = TRACKS["flow-tiny"], TRACKS["vqvae-tiny"]
assert isinstance(FLOW, ImageTrack) and isinstance(VQVAE, ImageTrack)
BUDGET = budget_named("test")
PREAMBLE = """
import json, os, sys
sys.path.insert(0, os.path.dirname(__file__))
import numpy as np
import wire
channel = wire.Channel(int(sys.argv[1]), int(sys.argv[2]))
job = channel.receive()
channel.send({"kind": "ready"})
def batches():
    while True:
        header = channel.receive()
        arrays, rows = [], header["rows"]
        kinds = [(np.dtype(name), shape) for name, shape in job["inputs"]]
        sizes = [rows * kind.itemsize * int(np.prod(shape)) for kind, shape in kinds]
        raw = channel.payload(header, sum(sizes))
        for (kind, shape), size in zip(kinds, sizes):
            arrays.append(np.frombuffer(raw[:size], kind).reshape(rows, *shape))
            raw = raw[size:]
        yield arrays
def answer(values): channel.send({"kind": "answers"}, np.ascontiguousarray(values, job["answer"]).tobytes())
def coarse(images): return images.reshape(len(images), 4, 4, 4, 4).mean((2, 4))
def codes_of(images): return np.clip((coarse(images) + 1) * 63.5, 0, 127).round()
def images_of(codes): return np.kron(codes[:, None] / 63.5 - 1, np.ones((1, 1, 4, 4)))
"""
HONEST_FLOW = "for x_t, t, labels in batches(): answer(-x_t * 0.9)\n"
HONEST_VQVAE = """
for (given,) in batches(): answer(codes_of(given) if job["method"] == "encode" else images_of(given))
"""


@pytest.fixture
def checkpoint() -> Iterator[int]:
    fd = os.memfd_create("checkpoint")
    os.write(fd, b"weights")
    yield fd
    os.close(fd)


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """Twenty held-out images of rough blocks, in the place of prepared ones."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 256, (20, 1, 4, 4)), np.ones((1, 1, 4, 4)))
    made = np.clip(blocks + rng.normal(0, 12, blocks.shape), 0, 255).astype(np.uint8)
    for module in (velocity, reconstruction):
        monkeypatch.setattr(module, "held_out_images", lambda *_: (made, np.arange(20, dtype=np.uint8) % 10))
    return made


def arm(tmp_path: Path, body: str) -> Arm:
    folder = tmp_path / "arm"
    folder.mkdir()
    shutil.copy(arms.HERE / "wire.py", folder)
    (folder / "worker.py").write_text(PREAMBLE + body)
    return Arm("idea", folder, "p")


def questions(secret: str = "salt", split: str = "validation") -> velocity.Questions:
    return velocity.held_out(None, FLOW, BUDGET, split, secret)


def test_questions_are_as_many_as_the_budget_scores_and_use_every_image_equally(pixels: NDArray[np.uint8]) -> None:
    asked = questions()
    assert len(asked.t) == 8_192 // 64
    x_1 = asked.x_t + (1 - asked.t)[:, None, None, None] * asked.velocity  # where the path ends
    found = np.rint((x_1 + 1) * 127.5).astype(np.uint8)
    counts = [(found == image).all(axis=(1, 2, 3)).sum() for image in pixels]
    assert sum(counts) == len(asked.t) and max(counts) - min(counts) <= 1


def test_times_are_stratified(pixels: NDArray[np.uint8]) -> None:
    t = np.sort(questions().t)
    edges = np.arange(len(t) + 1) / len(t)
    assert ((edges[:-1] <= t) & (t <= edges[1:])).all()


def test_noise_is_independent_from_question_to_question_and_from_evaluation_to_evaluation(
    pixels: NDArray[np.uint8],
) -> None:
    def noise(asked: velocity.Questions) -> NDArray[np.float64]:
        return (asked.x_t - asked.t[:, None, None, None] * asked.velocity).reshape(len(asked.t), -1)

    one = noise(questions())
    assert abs(one.mean()) < 0.03 and abs(one.std() - 1) < 0.03
    correlation = np.corrcoef(np.concatenate((one, noise(questions("pepper")), noise(questions(split="test")))))
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.4  # 256 pixels: a spread of 0.06
    assert np.array_equal(one, noise(questions())), "the same for both arms"


def test_the_error_is_that_of_the_velocity(tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8]) -> None:
    asked = questions()
    scored = velocity.score(arm(tmp_path, HONEST_FLOW), FLOW, checkpoint, asked, 1)
    assert scored.loss == pytest.approx(np.square(-0.9 * asked.x_t - asked.velocity).mean(), rel=1e-5)
    *bins, no_class = scored.metrics.details.values()
    assert len(bins) == velocity.TIME_BINS and np.mean(bins) == pytest.approx(scored.loss, rel=1e-3)
    assert no_class == pytest.approx(scored.errors[asked.labels == 10].mean())


def test_errors_are_told_by_time() -> None:
    t = np.random.default_rng(0).permutation(np.arange(1_000) / 1_000).astype(np.float32)
    scored = velocity.Scored(t.astype(float), t, np.zeros(1_000, bool))
    assert list(scored.metrics.details.values()) == pytest.approx([0.1245, 0.3745, 0.6245, 0.8745], abs=1e-4)


def test_a_tenth_of_the_questions_leaves_the_class_out(pixels: NDArray[np.uint8]) -> None:
    asked = velocity.held_out(None, FLOW, budget_named("1M"), "validation", "salt")
    assert 0.07 < (asked.labels == FLOW.n_classes).mean() < 0.13
    assert set(asked.labels) == set(range(FLOW.n_classes + 1))


def test_data_of_another_number_of_classes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(class_names=("cat", "dog"), source="files:pets")
    monkeypatch.setattr(images, "prepare", lambda *_: made)
    with pytest.raises(UsageError, match=r"files:pets has 2 classes, flow-tiny has 10"):
        velocity.prepare(FLOW, "files:pets", lambda line: None)
    made.class_names = tuple("0123456789")
    assert velocity.prepare(FLOW, "files:pets", lambda line: None) is made


def test_an_honest_flow_passes_its_audit(tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8]) -> None:
    idea, asked = arm(tmp_path, HONEST_FLOW), questions()
    scored = velocity.score(idea, FLOW, checkpoint, asked, 1)
    results = velocity.audit(idea, FLOW, checkpoint, asked, scored, scored.by_item - 0.01, 32, 1)
    assert all(result.ok for result in results)


@pytest.mark.parametrize(
    "cheat",
    [
        "for x_t, t, labels in batches(): answer(-x_t * 0.9 + (x_t - x_t.mean(0)) * 0.2)\n",  # reads its neighbours
        "seen = 0\nfor x_t, t, labels in batches():\n    seen += 1\n    answer(-x_t * (0.9 + 0.2 / seen))\n",  # state
    ],
)
def test_a_flow_that_depends_on_other_questions_is_found(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8], cheat: str
) -> None:
    idea, asked = arm(tmp_path, cheat), questions()
    scored = velocity.score(idea, replace(FLOW, score_rows=16), checkpoint, asked, 1)
    results = velocity.audit(idea, FLOW, checkpoint, asked, scored, None, 32, 1)
    assert not all(result.ok for result in results)


@pytest.mark.parametrize("factor", ["np.nan", "np.inf", "np.float32(1e30)"])
def test_a_velocity_that_is_not_finite_or_beyond_all_bounds_is_a_divergence(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8], factor: str
) -> None:
    """The square of 1e30 is a number to the judge, and none to what it keeps for the other arm's audit."""
    with pytest.raises(StageError, match="velocities") as caught:
        body = f"for x_t, t, labels in batches(): answer(x_t * {factor})\n"
        velocity.score(arm(tmp_path, body), FLOW, checkpoint, questions(), 1)
    assert caught.value.status == "diverged"


@pytest.mark.parametrize("value", ["np.nan", "1e30"])
def test_an_image_that_is_not_finite_or_beyond_all_bounds_is_a_divergence(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8], value: str
) -> None:
    body = f"""
for (given,) in batches():
    answer(codes_of(given) if job["method"] == "encode" else np.full((len(given), 1, 16, 16), {value}))
"""
    asked = reconstruction.held_out(None, VQVAE, BUDGET, "validation", "salt")
    with pytest.raises(StageError, match="images that are not finite") as caught:
        reconstruction.score(arm(tmp_path, body), VQVAE, checkpoint, asked, 1)
    assert caught.value.status == "diverged"


def test_the_worst_errors_that_are_taken_can_be_looked_for_by_the_other_arm() -> None:
    errors = images.bounded(np.array([0.1, images.LARGEST_ERROR]), "velocities")
    scores, rng = images.Errors(errors).by_item, np.random.default_rng(0)
    repeats = auditing.draw_repeats(images.Errors(np.array([0.1, 0.1])).by_item, scores, 100, rng)
    assert np.isfinite(repeats.weights).all() and (repeats.items == 1).sum() > 50


def test_images_are_rebuilt_from_codes_alone(tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8]) -> None:
    asked = reconstruction.held_out(None, VQVAE, BUDGET, "validation", "salt")
    idea = arm(tmp_path, HONEST_VQVAE)
    scored = reconstruction.score(idea, VQVAE, checkpoint, asked, 1)
    assert scored.codes.shape == (20, 16) and 0.005 < scored.loss < 0.05
    used = np.unique(scored.codes)
    assert scored.metrics.details["codes in use"] == len(used)
    assert 1 < scored.metrics.details["perplexity of the codes"] <= len(used)
    assert scored.metrics.details["scored tokens"] == 20 * 16
    assert all(result.ok for result in scored.checks)
    assert all(result.ok for result in reconstruction.audit(idea, VQVAE, checkpoint, asked, scored, None, 16, 1))


def test_a_decoder_gets_nothing_but_codes_even_from_an_encoder_that_would_tell_more(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8]
) -> None:
    """The encoder leaves the images in its home, where the decoder's process looks for them."""
    body = """
place = os.path.join(os.environ["HOME"], "images.npy")
for (given,) in batches():
    if job["method"] == "encode":
        np.save(place, given)
        answer(codes_of(given))
    else:
        answer(np.load(place)[:len(given)] if os.path.exists(place) else images_of(given))
"""
    asked = reconstruction.held_out(None, VQVAE, BUDGET, "validation", "salt")
    assert reconstruction.score(arm(tmp_path, body), VQVAE, checkpoint, asked, 1).loss > 0.005


def test_codes_beyond_the_track_s_are_refused_and_not_sent_on(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8]
) -> None:
    body = """
assert job["method"] == "encode"
for (given,) in batches(): answer(codes_of(given) + 65_000)
"""
    asked = reconstruction.held_out(None, VQVAE, BUDGET, "validation", "salt")
    scored = reconstruction.score(arm(tmp_path, body), VQVAE, checkpoint, asked, 1)
    assert [(result.id, result.ok) for result in scored.checks] == [("audit-codes", False)]


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ("np.repeat(codes_of(given), 2, axis=0).astype('<u2')", "a payload of 1280 bytes where 640 were asked for"),
        ("codes_of(given).astype('<f4')", "a payload of 1280 bytes where 640 were asked for"),
        ("codes_of(given).astype('<u2')[:, :3]", "a payload of 480 bytes where 640 were asked for"),
    ],
    ids=["twice-as-many", "floats", "fewer"],
)
def test_codes_of_another_shape_or_type_are_refused_whole(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8], codes: str, said: str
) -> None:
    """There is room for the stated number of 16-bit codes in an answer, and for nothing beside them."""
    body = f"""
assert job["method"] == "encode"
for (given,) in batches(): channel.send({{"kind": "answers"}}, np.ascontiguousarray({codes}).tobytes())
"""
    asked = reconstruction.held_out(None, VQVAE, BUDGET, "validation", "salt")
    with pytest.raises(StageError, match=said) as caught:
        reconstruction.score(arm(tmp_path, body), VQVAE, checkpoint, asked, 1)
    assert caught.value.status == "crashed"


def test_what_an_encoder_writes_beside_its_codes_never_reaches_the_decoder(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8]
) -> None:
    body = """
for (given,) in batches():
    if job["method"] == "encode":
        values = np.ascontiguousarray(codes_of(given), job["answer"]).tobytes()
        channel.send({"kind": "answers", "images": given[:, 0, ::4, ::4].tolist()}, values)
        channel.send({"kind": "answers"}, given.tobytes())  # one frame more than was asked for
    else:
        assert "images" not in job
        answer(images_of(given))
"""
    asked = reconstruction.held_out(None, VQVAE, BUDGET, "validation", "salt")
    scored = reconstruction.score(arm(tmp_path, body), VQVAE, checkpoint, asked, 1)
    assert scored.loss > 0.005, "it is codes alone that images are made of"


def test_an_encoder_that_reads_its_neighbours_is_found(
    tmp_path: Path, checkpoint: int, pixels: NDArray[np.uint8]
) -> None:
    body = """
for (given,) in batches():
    answer(codes_of(given + 0.3 * given.mean(0)) if job["method"] == "encode" else images_of(given))
"""
    asked = reconstruction.held_out(None, VQVAE, BUDGET, "validation", "salt")
    idea = arm(tmp_path, body)
    scored = reconstruction.score(idea, VQVAE, checkpoint, asked, 1)
    results = reconstruction.audit(idea, VQVAE, checkpoint, asked, scored, None, 16, 1)
    assert not all(result.ok for result in results)
