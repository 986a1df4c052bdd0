"""How good generated images are, in numbers that need no download: what a classifier of the real ones makes of them.

- accuracy: how often it reads the class that was asked for
- Frechet distance: between its features of the generated and of real images (Heusel et al. 2017), each taken for a
  normal law

Both are also told for real held-out images, which is as good as it gets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.image_stream import held_out_images
from harness.data.images import PreparedImages
from harness.generate.classifier import Classifier, judged
from harness.generate.pictures import Pixels


@dataclass(frozen=True)
class Quality:
    """Generated images beside real ones."""

    images: int
    accuracy: float
    real_accuracy: float  # of images of the test split
    distance: float  # from the images of the test split
    real_distance: float  # of as many images of the validation split from them
    by_class: dict[str, float]  # accuracy for each class that was asked for


def quality(model: Classifier, prepared: PreparedImages, generated: Pixels, labels: NDArray[np.int64]) -> Quality:
    """Of images (n, C, S, S) that were to show the classes `labels` (n,)."""
    real, real_labels = held_out_images(prepared, "test")
    other, _ = held_out_images(prepared, "validation")
    found, features = judged(model, generated)
    real_found, real_features = judged(model, real)
    _, other_features = judged(model, other[: len(generated)])
    right = found == labels
    return Quality(
        images=len(generated),
        accuracy=float(right.mean()),
        real_accuracy=float((real_found == real_labels).mean()),
        distance=frechet_distance(features, real_features),
        real_distance=frechet_distance(other_features, real_features),
        by_class={
            name: float(right[labels == label].mean())
            for label, name in enumerate(prepared.class_names)
            if (labels == label).any()
        },
    )


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
