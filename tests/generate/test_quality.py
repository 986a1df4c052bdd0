"""What generated images are judged by."""

import numpy as np
import pytest
from scipy import linalg

from harness.data.digits import CLASS_NAMES
from harness.data.image_form import ImageForm
from harness.data.image_stream import held_out_images
from harness.data.images import prepare_images
from harness.generate.classifier import classifier_of, judged
from harness.generate.quality import frechet_distance, quality


def test_the_frechet_distance_is_that_of_its_formula_in_scipy():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 0.5
    A, B = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(A + B - 2 * linalg.sqrtm(A @ B).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def digits():
    """From the cache of this machine, as `blueberry quality` finds them."""
    prepared = prepare_images(ImageForm(1, 16), "digits")
    return prepared, classifier_of(prepared, True, lambda line: None)


def test_the_classifier_reads_real_digits_that_it_was_not_trained_on(digits):
    prepared, model = digits
    pixels, labels = held_out_images(prepared, "test")
    assert (judged(model, pixels)[0] == labels).mean() > 0.95


def test_a_classifier_is_trained_once(digits):
    prepared, model = digits
    again = classifier_of(prepared, True, pytest.fail)
    pixels, _ = held_out_images(prepared, "test")
    assert np.array_equal(judged(again, pixels)[1], judged(model, pixels)[1])


def test_real_images_are_near_noise_is_far_and_wrong_classes_are_counted(digits):
    prepared, model = digits
    pixels, labels = held_out_images(prepared, "validation")
    labels = labels.astype(np.int64)
    real = quality(model, prepared, np.array(pixels), labels)
    assert real.accuracy > 0.95 and real.distance == pytest.approx(real.real_distance, rel=1e-6)
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape).astype(np.uint8)
    made = quality(model, prepared, noise, labels)
    assert made.accuracy < 0.5 and made.distance > 5 * real.distance
    shifted = quality(model, prepared, np.array(pixels), (labels + 1) % 10)
    assert shifted.accuracy < 0.05 and set(shifted.by_class) == set(CLASS_NAMES)
