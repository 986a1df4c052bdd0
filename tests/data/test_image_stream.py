import hashlib
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from harness.data.image_augment import Augmenter, moved
from harness.data.image_form import ImageForm
from harness.data.image_store import ImageWriter
from harness.data.image_stream import ImageStream, check_image_budget, held_out_images
from harness.data.images import PreparedImages
from harness.errors import MachineError, UsageError

TOKENS = 64  # of an image
TRAIN = 37  # images
PLAIN = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = st.lists(st.integers(1, 50), min_size=1, max_size=8)


def numbered(numbers, size=8):
    """Images (n, 1, size, size) of one grey each, and labels that follow from it."""
    pixels = np.broadcast_to(np.array(numbers, np.uint8)[:, None, None, None], (len(numbers), 1, size, size))
    return pixels, pixels[:, 0, 0, 0] % 10


@pytest.fixture
def prepared(tmp_path):
    """Train images 1 to 37, validation 101 to 105, test 201 to 203."""
    splits = {"train": range(1, 1 + TRAIN), "validation": range(101, 106), "test": range(201, 204)}
    for split, numbers in splits.items():
        with ImageWriter(tmp_path, split, ImageForm(1, 8)) as writer:
            writer.add(*numbered(numbers))
    return PreparedImages(
        folder=tmp_path,
        data_id="made up",
        source="made up",
        form=ImageForm(1, 8),
        class_names=tuple("abcdefghij"),
        images={split: len(numbers) for split, numbers in splits.items()},
        near={},
        repeated=0,
        shared=0,
        dropped=0,
    )


def served(stream, shapes):
    """The numbers of the images in the order served."""
    batches = [stream.take(rows) for rows in shapes]
    for rows, (pixels, labels) in zip(shapes, batches, strict=True):
        assert pixels.shape == (rows, 1, 8, 8) and pixels.dtype == labels.dtype == np.uint8
        assert np.array_equal(labels, pixels[:, 0, 0, 0] % 10)
    return np.concatenate([pixels[:, 0, 0, 0] for pixels, _ in batches])


@PLAIN
@given(shapes=SHAPES, seed=st.integers(0, 2**70))
def test_the_order_does_not_depend_on_the_shape_of_the_batches(prepared, shapes, seed):
    count = sum(shapes)
    whole = served(ImageStream(prepared, seed, count * TOKENS, TOKENS, epochs=11), [count])
    stream = ImageStream(prepared, seed, count * TOKENS, TOKENS, epochs=11)
    assert np.array_equal(served(stream, shapes), whole)
    assert stream.served == count * TOKENS
    assert stream.take(1) is None


@PLAIN
@given(skipped=st.integers(0, 90), seed=st.integers(0, 2**70), augment=st.booleans())
def test_a_stream_that_skips_goes_on_where_one_that_served_would(prepared, skipped, seed, augment):
    one, resumed = (ImageStream(prepared, seed, 200 * TOKENS, TOKENS, epochs=11, augment=augment) for _ in range(2))
    if skipped:
        one.take(skipped)
    resumed.skip(skipped * TOKENS)
    for theirs, ours in zip(one.take(20), resumed.take(20), strict=True):
        assert np.array_equal(theirs, ours)
    assert one.served == resumed.served


@PLAIN
@given(shapes=SHAPES, seed=st.integers(0, 2**40))
def test_within_a_pass_every_train_image_is_served_once_and_no_held_out_one_ever(prepared, shapes, seed):
    order = served(ImageStream(prepared, seed, 10**9, TOKENS, epochs=10**6), [*shapes, TRAIN])
    for start in range(0, len(order), TRAIN):
        part = order[start : start + TRAIN]
        assert len(set(part)) == len(part) and set(part) <= set(range(1, 1 + TRAIN))


def test_every_further_pass_holds_the_same_images_in_another_order(prepared):
    passes = served(ImageStream(prepared, 3, 3 * TRAIN * TOKENS, TOKENS, epochs=3), [3 * TRAIN]).reshape(3, TRAIN)
    assert all(np.array_equal(np.sort(each), np.arange(1, 1 + TRAIN)) for each in passes)
    assert len({tuple(each) for each in passes}) == 3


def test_a_seed_is_an_order_and_is_pinned(prepared):
    first, again, other = (served(ImageStream(prepared, seed, 10**4, TOKENS, epochs=5), [12]) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.tolist() == [10, 37, 32, 17, 3, 29, 19, 20, 28, 22, 15, 5]


def test_the_budget_is_served_to_the_image_and_not_beyond(prepared):
    stream = ImageStream(prepared, 0, 10 * TOKENS + 63, TOKENS)
    assert len(stream.take(8)[1]) == 8
    assert stream.take(3) is None and stream.served == 8 * TOKENS
    assert len(stream.take(2)[1]) == 2 and stream.served == 10 * TOKENS
    assert stream.take(1) is None and stream.served == 10 * TOKENS


def test_a_batch_that_is_refused_moves_nothing(prepared):
    stream = ImageStream(prepared, 0, 10 * TOKENS, TOKENS, augment=True)
    stream.take(3)
    assert stream.take(9) is None
    pixels, labels = ImageStream(prepared, 0, 10 * TOKENS, TOKENS, augment=True).take(10)
    rest = stream.take(7)
    assert np.array_equal(rest[0], pixels[3:]) and np.array_equal(rest[1], labels[3:])


@pytest.mark.parametrize("rows", [0, -1])
def test_no_shape_turns_the_meter_back(prepared, rows):
    stream = ImageStream(prepared, 0, 10 * TOKENS, TOKENS)
    with pytest.raises(ValueError, match=f"a batch of {rows} images"):
        stream.take(rows)
    assert stream.served == 0
    with pytest.raises(ValueError, match=f"an image of {rows} tokens"):
        ImageStream(prepared, 0, 10 * TOKENS, rows)


def test_a_budget_above_one_pass_is_refused_unless_more_are_allowed(prepared):
    whole = TRAIN * TOKENS
    assert ImageStream(prepared, 0, whole - 5, TOKENS).unique_tokens == whole - 5
    assert ImageStream(prepared, 0, 2 * whole, TOKENS, epochs=2).unique_tokens == whole
    with pytest.raises(UsageError, match=rf"{whole + 1:,} training tokens, but 1 pass.*{whole:,}\s.*\n.*--epochs"):
        ImageStream(prepared, 0, whole + 1, TOKENS)
    with pytest.raises(UsageError, match="2 pass"):
        check_image_budget(prepared, 2 * whole + 1, TOKENS, 2)


def test_varied_images_may_be_served_in_any_number_of_passes_and_still_count_once(prepared):
    stream = ImageStream(prepared, 0, 50 * TRAIN * TOKENS, TOKENS, augment=True)
    assert len(stream.take(50 * TRAIN)[1]) == 50 * TRAIN
    assert stream.unique_tokens == TRAIN * TOKENS and stream.take(1) is None


@PLAIN
@given(shapes=SHAPES, seed=st.integers(0, 2**70))
def test_variations_do_not_depend_on_the_shape_of_the_batches(prepared, shapes, seed):
    count = sum(shapes)
    whole, labels = ImageStream(prepared, seed, 10**9, TOKENS, augment=True).take(count)
    stream = ImageStream(prepared, seed, 10**9, TOKENS, augment=True)
    parts = [stream.take(rows) for rows in shapes]
    assert np.array_equal(np.concatenate([pixels for pixels, _ in parts]), whole)
    assert np.array_equal(np.concatenate([part for _, part in parts]), labels)
    plain = ImageStream(prepared, seed, 10**9, TOKENS, epochs=10**6).take(count)
    assert np.array_equal(plain[1], labels)
    assert np.array_equal(plain[0][:, 0, 4, 4], whole[:, 0, 4, 4])  # near the middle an even image stays as it is


def test_every_pass_shows_other_pictures(prepared):
    pixels, _ = ImageStream(prepared, 0, 10**9, TOKENS, augment=True).take(20 * TRAIN)
    assert len({image.tobytes() for image in pixels}) == 20 * TRAIN


TEXTURE = np.random.default_rng(0).integers(0, 256, (300, 2, 16, 16), dtype=np.uint8)


def test_variations_follow_from_the_seed_and_are_pinned_to_the_bit():
    varied = Augmenter(5).vary(TEXTURE)
    assert not np.array_equal(varied, Augmenter(6).vary(TEXTURE))
    assert varied.dtype == np.uint8 and varied.shape == TEXTURE.shape
    assert hashlib.sha256(varied.tobytes()).hexdigest()[:16] == "e4c93f79a41e18c5"


def test_without_a_turn_whole_shifts_are_plain_shifts_and_the_border_is_background():
    zero = np.zeros(len(TEXTURE), np.int64)
    assert np.array_equal(moved(TEXTURE, zero, zero, zero), TEXTURE)
    shifted = moved(TEXTURE, zero, zero + 32, zero - 16)  # down by 2 pixels, left by 1
    assert np.array_equal(shifted[:, :, 2:, :-1], TEXTURE[:, :, :-2, 1:])
    assert not shifted[:, :, :2].any() and not shifted[:, :, :, -1].any()


@settings(deadline=None)
@given(angle=st.integers(-48, 48), down=st.integers(-32, 32), across=st.integers(-32, 32), size=st.integers(8, 33))
def test_turns_and_shifts_are_those_of_scipy(angle, down, across, size):
    image = np.random.default_rng(size).integers(0, 256, (1, 1, size, size), dtype=np.uint8)
    ours = moved(image, *(np.array([each]) for each in (angle, down, across)))[0, 0]
    turn = np.radians(angle / 4)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    middle = np.full(2, (size - 1) / 2)
    shift = np.array([down, across]) / 16
    offset = middle - matrix @ (middle + shift)
    theirs = ndimage.affine_transform(
        np.pad(image[0, 0].astype(float), 2), matrix, offset + 2 - matrix @ [2, 2], order=1, mode="constant"
    )[2:-2, 2:-2]
    assert np.abs(ours - theirs).max() < 4  # grey levels; the weights have 8 bits


def test_turns_and_shifts_reach_their_bounds_and_centre_on_nothing():
    draws = Augmenter(0)
    spot = np.zeros((20_000, 1, 17, 17), np.uint8)
    spot[:, 0, 8, 8] = 255  # turning leaves the middle where it is, so this shows the shift
    weights = draws.vary(spot)[:, 0] / 255.0
    places = np.arange(17) - 8
    for axis in (1, 2):
        shift = (weights.sum(3 - axis) * places).sum(1) / weights.sum((1, 2))
        assert shift.min() == pytest.approx(-2, abs=0.1) and shift.max() == pytest.approx(2, abs=0.1)
        assert abs(shift.mean()) < 0.03 and shift.std() == pytest.approx(4 / 12**0.5, rel=0.05)


def test_images_stay_on_disk(prepared):
    stream = ImageStream(prepared, 0, TOKENS, TOKENS)
    assert isinstance(stream._pixels, np.memmap)
    pixels, _ = stream.take(1)
    pixels[:] = 0  # what was served belongs to whoever took it
    assert ImageStream(prepared, 0, TOKENS, TOKENS).take(1)[0].any()


@pytest.mark.parametrize(("split", "numbers"), [("validation", range(101, 106)), ("test", range(201, 204))])
def test_held_out_images_come_in_stored_order(prepared, split, numbers):
    pixels, labels = held_out_images(prepared, split)
    wanted = numbered(numbers)
    assert np.array_equal(pixels, wanted[0]) and np.array_equal(labels, wanted[1])


def test_the_train_split_is_not_held_out(prepared):
    with pytest.raises(ValueError, match="train is not held out"):
        held_out_images(prepared, "train")


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00 cut off"])
def test_lost_or_damaged_images_are_a_fault_of_the_machine(prepared, content):
    file = prepared.folder / "train.pixels.npy"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(MachineError, match=r"train images cannot be read.*\n.*prepare again"):
        ImageStream(prepared, 0, TOKENS, TOKENS)


@pytest.mark.long
def test_twenty_thousand_varied_images_are_served_in_a_second(prepared, capsys):
    augmenter = Augmenter(0)
    pixels = np.zeros((4_096, 1, 16, 16), np.uint8)
    started = time.process_time()
    for _ in range(20):
        augmenter.vary(pixels)
    rate = 20 * len(pixels) / (time.process_time() - started)
    with capsys.disabled():
        print(f"\n{rate:,.0f} images of 16 x 16 varied in a second")
    assert rate > 20_000
