"""What generated images are judged by."""

import numpy as np
import pytest
from scipy import linalg

from harness.data.digits import CLASS_NAMES
from harness.data.image_form import ImageForm
from harness.data.image_stream import held_out_images
from harness.data.images import prepare_images
from harness.generate import quality as module
from harness.generate.classifier import classifier_of, judged
from harness.generate.quality import Examiner, frechet_distance, quality


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


@pytest.mark.parametrize("varied", [False, True])
def test_real_images_are_near_noise_is_far_and_wrong_classes_are_counted(digits, varied):
    prepared, model = digits
    examiner = Examiner(model, prepared, varied)
    pixels, labels = examiner.held_out("validation")
    real = quality(examiner, pixels, labels)
    assert real.accuracy == real.real_accuracy > 0.9
    assert real.distance == pytest.approx(real.real_distance, rel=1e-6) and real.compared == len(pixels)
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape).astype(np.uint8)
    made = quality(examiner, noise, labels)
    assert made.accuracy < 0.5 and made.distance > 5 * real.distance
    shifted = quality(examiner, pixels, (labels + 1) % 10)
    assert shifted.accuracy < 0.05 and set(shifted.by_class) == set(CLASS_NAMES)


def test_held_out_images_are_varied_where_the_track_serves_varied_ones_and_always_alike(digits):
    prepared, model = digits
    as_they_are, labels = Examiner(model, prepared, False).held_out("test")
    varied, same = Examiner(model, prepared, True).held_out("test")
    assert np.array_equal(labels, same)
    assert (varied != as_they_are).any(axis=(1, 2, 3)).mean() > 0.95
    assert np.array_equal(varied, Examiner(model, prepared, True).held_out("test")[0])
    stored = {image.tobytes() for image in held_out_images(prepared, "test")[0]}
    assert {image.tobytes() for image in as_they_are} == stored


def test_distances_are_of_equally_many_images_taken_from_all_classes(digits, monkeypatch):
    """The distance falls as the number grows, and images come sorted by class."""
    prepared, model = digits
    compared = []
    monkeypatch.setattr(module, "frechet_distance", lambda a, b: compared.append((len(a), len(b))) or 0.0)
    pixels, labels = Examiner(model, prepared, False).held_out("validation")
    order = np.argsort(labels)
    for images, classes in ((pixels[:40], labels[:40]), (np.tile(pixels[order], (3, 1, 1, 1)), np.tile(labels, 3))):
        compared.clear()
        made = quality(Examiner(model, prepared, False), images, classes, rebuild=lambda real: real)
        assert len(compared) == 3 and set(compared) == {(made.compared, prepared.images["test"])}
        assert made.compared == min(len(images), len(pixels)) and made.images == len(images)


def test_the_ceiling_of_a_captioned_track_is_what_its_tokenizer_leaves_of_real_images(digits):
    prepared, model = digits
    examiner = Examiner(model, prepared, False)
    pixels, labels = examiner.held_out("validation")
    whole = quality(examiner, pixels, labels, rebuild=lambda real: real)
    assert (whole.rebuilt_accuracy, whole.rebuilt_distance) == (whole.real_accuracy, whole.real_distance)
    blank = quality(examiner, pixels, labels, rebuild=np.zeros_like)
    assert blank.rebuilt_accuracy < 0.3 and blank.rebuilt_distance > 5 * whole.real_distance
    assert quality(examiner, pixels, labels).rebuilt_accuracy is None


def test_a_classifier_of_another_torch_is_trained_anew(digits, monkeypatch):
    prepared, _ = digits
    asked = []
    monkeypatch.setattr("harness.generate.classifier.build_once", lambda key, *_: asked.append(key) or pytest.fail())
    for version in ("2.13.0", "2.14.0"):
        monkeypatch.setattr("torch.__version__", version)
        with pytest.raises(pytest.fail.Exception):
            classifier_of(prepared, True, lambda line: None)
    assert asked[0] != asked[1] and asked[0].replace("2.13.0", "2.14.0") == asked[1]
