"""Mean squared error of held-out images that were rebuilt from their codes alone: the measure of a visual tokenizer.

One worker is given images and answers with codes, another is given the codes and answers with images. The judge sees to
it that a code is one of the track's codes and that there are as many as the track allows, so nothing else gets through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.audit import repeats as auditing
from harness.data.image_stream import held_out_images
from harness.data.images import PreparedImages
from harness.records.record import AuditResult, Metrics
from harness.run import images, stage
from harness.run.images import check_budget, describe, feed, prepare
from harness.run.stage import Arm
from harness.tracks import Budget, ImageTrack

__all__ = ["audit", "check_budget", "describe", "feed", "held_out", "prepare", "score"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Scored(images.Errors):
    """The error of every image, and its codes (R, G)."""

    codes: NDArray[np.uint16]
    n_codes: int

    @property
    def codes_in_use(self) -> int:
        return len(self._shares)

    @property
    def perplexity(self) -> float:
        """How many equally frequent codes would say as much."""
        return float(np.exp(-(self._shares * np.log(self._shares)).sum()))

    @property
    def _shares(self) -> NDArray[np.float64]:
        counts = np.bincount(self.codes.ravel(), minlength=self.n_codes)
        return counts[counts > 0] / self.codes.size

    @property
    def metrics(self) -> Metrics:
        codes = {"codes in use": self.codes_in_use, "perplexity of the codes": self.perplexity}
        return Metrics(details={**codes, "scored tokens": self.codes.size})

    @property
    def checks(self) -> tuple[AuditResult, ...]:
        highest = float(self.codes.max())
        return (AuditResult(id="audit-codes", ok=highest < self.n_codes, value=highest, limit=self.n_codes - 1.0),)


def held_out(prepared: PreparedImages, track: ImageTrack, budget: Budget, split: str, secret: str) -> Array:
    """The first images of a split, as many as the budget scores tokens or as there are; nothing is drawn."""
    pixels, _ = held_out_images(prepared, split)
    return images.as_floats(pixels[: track.scored_tokens(budget) // track.image_tokens])


def score(arm: Arm, track: ImageTrack, fd: int, asked: Array, threads: int) -> Scored:
    """Codes of every image, then the images of the codes."""
    codes = encoded(arm, track, fd, asked, track.score_rows, threads)
    scored = Scored(np.zeros(len(codes)), codes, track.n_codes)
    if not scored.checks[0].ok:
        return scored  # refused for it; such codes are not sent on
    found = decoded(arm, track, fd, codes, track.score_rows, threads)
    return Scored(_errors(asked, found), codes, track.n_codes)


def audit(
    arm: Arm,
    track: ImageTrack,
    fd: int,
    asked: Array,
    scored: Scored,
    reference: Array | None,
    count: int,
    threads: int,
) -> tuple[AuditResult, ...]:
    """Encodes and decodes sampled images again, one at a time."""
    repeats = auditing.draw_repeats(scored.by_item, reference, count, np.random.default_rng())
    chosen = asked[repeats.items]
    codes = encoded(arm, track, fd, chosen, 1, threads)
    again = _errors(chosen, decoded(arm, track, fd, codes, 1, threads))
    return auditing.compare(scored.errors, repeats, again, track.audit_tolerance)


def encoded(arm: Arm, track: ImageTrack, fd: int, asked: Array, rows: int, threads: int) -> NDArray[np.uint16]:
    """The codes (n, G) that a fresh worker gives for images (n, C, S, S)."""
    job = {"method": "encode", "inputs": [["<f4", list(asked.shape[1:])]], "answer": "<u2"}
    codes = np.empty((len(asked), track.image_tokens), np.uint16)
    with stage.on_checkpoint("answer", arm, track, fd, threads, **job) as channel:
        for part in stage.batches(len(asked), rows):
            size = codes[part].nbytes
            raw = stage.exchange(channel, {"rows": len(codes[part])}, asked[part].tobytes(), "answers", size)
            codes[part] = np.frombuffer(raw, "<u2").reshape(-1, track.image_tokens)
    return codes


def decoded(arm: Arm, track: ImageTrack, fd: int, codes: NDArray[np.uint16], rows: int, threads: int) -> Array:
    """The images (n, C, S, S) that a fresh worker makes of codes (n, G)."""
    side = round(track.image_tokens**0.5)
    job = {"method": "decode", "inputs": [["<i8", [side, side]]], "answer": "<f4"}
    found = np.empty((len(codes), track.channels, track.size, track.size), np.float32)
    with stage.on_checkpoint("answer", arm, track, fd, threads, **job) as channel:
        for part in stage.batches(len(codes), rows):
            expected = found[part]
            raw = codes[part].astype("<i8").tobytes()
            answer = stage.exchange(channel, {"rows": len(expected)}, raw, "answers", expected.nbytes)
            found[part] = np.frombuffer(answer, "<f4").reshape(expected.shape)
    if not np.isfinite(found).all():
        raise stage.StageError("diverged", "score: the model gives images that are not finite")
    return found


def _errors(truth: Array, found: Array) -> NDArray[np.float64]:
    """Mean squared error (n,) of each image."""
    errors = np.array([np.square(a.astype(np.float64) - b).mean() for a, b in zip(truth, found, strict=True)])
    return images.bounded(errors, "images")
