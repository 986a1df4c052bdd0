"""Mean squared error of the velocity on straight paths from noise to held-out images: the measure of flow matching.

The worker is given a point x_t, the time and the class, and never what the velocity there is. Times are stratified and
noise is independent for every (image, time), both drawn from the evaluation's secret: with noise that is known, or used
at two times, the velocity could be computed. A tenth of the questions leaves the class out, as guidance does: a model
that never learnt to do without would lose there what it gains elsewhere. Both arms of a pair are asked the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.audit import repeats as auditing
from harness.data.image_stream import held_out_images
from harness.data.images import PreparedImages
from harness.data.prepare import Progress
from harness.errors import UsageError
from harness.records.record import AuditResult, Metrics
from harness.run import images, seeds, stage
from harness.run.images import check_budget, describe, feed
from harness.run.stage import Arm
from harness.tracks import Budget, ImageTrack

__all__ = ["audit", "check_budget", "describe", "feed", "held_out", "prepare", "score"]

TIME_BINS = 4
WITHOUT_CLASS = 0.1  # share of the questions
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Questions:
    """Points on paths, and what is not told: their velocity."""

    x_t: Array  # (R, C, S, S)
    t: Array  # (R,)
    labels: NDArray[np.int64]  # (R,), the number of classes where the class is left out
    velocity: Array  # (R, C, S, S)


@dataclass(frozen=True)
class Scored(images.Errors):
    """The error of every question, the times (R,) that they were asked at, and whether the class was left out."""

    t: Array
    without_class: NDArray[np.bool_]  # (R,)

    @property
    def metrics(self) -> Metrics:
        place = np.minimum((self.t * TIME_BINS).astype(int), TIME_BINS - 1)
        parts = {f"MSE, t {i / TIME_BINS:g}–{(i + 1) / TIME_BINS:g}": place == i for i in range(TIME_BINS)}
        parts["MSE, no class"] = self.without_class
        return Metrics(details={name: float(self.errors[part].mean()) for name, part in parts.items() if part.any()})

    @property
    def checks(self) -> tuple[AuditResult, ...]:
        return ()


def prepare(track: ImageTrack, data: str | None, progress: Progress) -> PreparedImages:
    """As for all images; raises UsageError for data of more or fewer classes than the model has."""
    prepared = images.prepare(track, data, progress)
    found = len(prepared.class_names)
    if found != track.n_classes:
        what = f"{prepared.source} has {found} classes, {track.name} has {track.n_classes}"
        raise UsageError("--data", what, f"choose images of {track.n_classes} classes")
    return prepared


def held_out(prepared: Any, track: ImageTrack, budget: Budget, split: str, secret: str) -> Questions:
    """As many questions as the budget scores tokens, every image equally often."""
    pixels, labels = held_out_images(prepared, split)
    count = track.scored_tokens(budget) // track.image_tokens
    rng = np.random.Generator(np.random.PCG64(seeds.stream_of(secret, f"questions|{split}|{budget.name}")))
    order = np.concatenate([rng.permutation(len(pixels)) for _ in range(-(-count // len(pixels)))])[:count]
    t = ((rng.permutation(count) + rng.random(count)) / count).astype(np.float32)  # one time in each of `count` strata
    x_1 = images.as_floats(pixels[order])
    x_0 = rng.standard_normal(x_1.shape, dtype=np.float32)
    share = t[:, None, None, None]
    asked = np.where(rng.random(count) < WITHOUT_CLASS, track.n_classes, labels[order].astype(np.int64))
    return Questions((1 - share) * x_0 + share * x_1, t, asked, x_1 - x_0)


def score(arm: Arm, track: ImageTrack, fd: int, asked: Questions, threads: int) -> Scored:
    """The error of the velocity at every question."""
    errors = _errors(arm, track, fd, asked, np.arange(len(asked.t)), track.score_rows, threads)
    return Scored(errors, asked.t, asked.labels == track.n_classes)


def audit(
    arm: Arm,
    track: ImageTrack,
    fd: int,
    asked: Questions,
    scored: Scored,
    reference: Array | None,
    count: int,
    threads: int,
) -> tuple[AuditResult, ...]:
    """Asks for sampled velocities again, one at a time."""
    repeats = auditing.draw_repeats(scored.by_item, reference, count, np.random.default_rng())
    again = _errors(arm, track, fd, asked, repeats.items, 1, threads)
    return auditing.compare(scored.errors, repeats, again, track.audit_tolerance)


def _errors(
    arm: Arm, track: ImageTrack, fd: int, asked: Questions, items: NDArray[np.int64], rows: int, threads: int
) -> NDArray[np.float64]:
    """Mean squared error (n,) of the velocity at these questions, asked in batches of `rows`."""
    shape = list(asked.x_t.shape[1:])
    job = {"inputs": [["<f4", shape], ["<f4", []], ["<i8", []]], "answer": "<f4"}
    errors = np.empty(len(items))
    with stage.on_checkpoint("answer", arm, track, fd, threads, **job) as channel:
        for part in stage.batches(len(items), rows):
            chosen = items[part]
            truth = asked.velocity[chosen]
            raw = b"".join(value[chosen].tobytes() for value in (asked.x_t, asked.t, asked.labels))
            answer = stage.exchange(channel, {"rows": len(chosen)}, raw, "answers", truth.nbytes)
            found = np.frombuffer(answer, "<f4").reshape(truth.shape)
            errors[part] = np.square(found.astype(np.float64) - truth).mean(axis=(1, 2, 3))
    return images.bounded(errors, "velocities")
