"""How good images are, in numbers that need no download: what a classifier of the real ones makes of them.

- accuracy: how often it reads the class that was asked for
- Frechet distance: between its features of these and of real images (Heusel et al. 2017), each taken for a normal law

Both are also told for real held-out images, which is as good as it gets, and where images are made of codes for those
that went through the frozen tokenizer and back. The distance falls with the number of images, so every set is cut to
the same number. Where a track serves varied images, the held-out ones are varied too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.data.image_augment import Augmenter
from harness.data.image_stream import held_out_images
from harness.data.images import PreparedImages
from harness.data.visual import frozen_tokenizer
from harness.generate import pictures
from harness.generate.classifier import Classifier, classifier_of, judged
from harness.generate.pictures import Pixels
from harness.generate.samples import Labelled, Say, Source, is_varied
from harness.tracks import CaptionTrack, ImageTrack

MOST_IMAGES = 2_000  # of a held-out split; bounds time and memory
_SEEDS = {"validation": 1, "test": 2}  # of which are taken, and of their variations


@dataclass(frozen=True)
class Examiner:
    """A classifier and the real images that it compares others with: validation beside them, test as the measure."""

    model: Classifier
    prepared: PreparedImages
    varied: bool

    def held_out(self, split: str) -> tuple[Pixels, NDArray[np.int64]]:
        """At most so many images (n, C, S, S) of a split as the track would serve them, and their classes (n,)."""
        pixels, labels = held_out_images(self.prepared, split)
        chosen = np.random.default_rng(_SEEDS[split]).permutation(len(labels))[:MOST_IMAGES]
        taken: Pixels = pixels[chosen]
        return Augmenter(_SEEDS[split]).vary(taken) if self.varied else taken, labels[chosen].astype(np.int64)


@dataclass(frozen=True)
class Quality:
    """Images beside real ones. Distances are from the images of the test split."""

    images: int
    accuracy: float
    real_accuracy: float  # of images of the validation split
    compared: int  # images of each set that a distance is of
    distance: float
    real_distance: float  # of images of the validation split
    by_class: dict[str, float]  # accuracy for each class that was asked for
    rebuilt_accuracy: float | None = None  # of those real ones after the frozen tokenizer; None where there is none
    rebuilt_distance: float | None = None


def quality(
    examiner: Examiner, images: Pixels, labels: NDArray[np.int64], rebuild: Callable[[Pixels], Pixels] | None = None
) -> Quality:
    """Of images (n, C, S, S) that were to show the classes `labels` (n,).

    `rebuild` is what the frozen tokenizer of a captioned track makes of images.
    """
    real, real_labels = examiner.held_out("validation")
    _, measure = judged(examiner.model, examiner.held_out("test")[0])
    count = min(len(images), len(real))
    chosen = np.random.default_rng(0).permutation(len(images))[:count]

    def distance(features: NDArray[np.float64]) -> float:
        return frechet_distance(features, measure)

    found, features = judged(examiner.model, images)
    real_found, real_features = judged(examiner.model, real)
    right = found == labels
    names = enumerate(examiner.prepared.class_names)
    made = Quality(
        images=len(images),
        accuracy=float(right.mean()),
        real_accuracy=float((real_found == real_labels).mean()),
        compared=count,
        distance=distance(features[chosen]),
        real_distance=distance(real_features[:count]),
        by_class={name: float(right[labels == label].mean()) for label, name in names if (labels == label).any()},
    )
    if rebuild is None:
        return made
    again, again_features = judged(examiner.model, rebuild(real))
    rebuilt_accuracy = float((again == real_labels).mean())
    return replace(made, rebuilt_accuracy=rebuilt_accuracy, rebuilt_distance=distance(again_features[:count]))


def measured(source: Source, real: PreparedImages, drawn: Labelled | None, say: Say) -> Quality:
    """The quality of pictures that were drawn, or of those that a visual tokenizer rebuilds, beside held-out ones."""
    track = source.track
    examiner = Examiner(classifier_of(real, is_varied(track), say), real, is_varied(track))
    if drawn is not None:
        rebuild = frozen_tokenizer(track.visual).through if isinstance(track, CaptionTrack) else None
        return quality(examiner, drawn.pixels, drawn.labels, rebuild)
    assert isinstance(track, ImageTrack)
    pixels, labels = examiner.held_out("validation")
    return quality(examiner, pictures.rebuilt(source.root, source.kept, track, pixels), labels)


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)) of the means and covariances of features (n, F) and (m, F).

    tr (A B)^(1/2) is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
    """
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    crossed = np.linalg.eigvalsh(root @ second @ root)
    return float(mean + np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(crossed, 0)).sum())
