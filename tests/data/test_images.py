import io
import json
import resource
import socket
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data import digits, image_set, parquet
from harness.data.image_copies import NEAR, HeldOutImages, outlines_of
from harness.data.image_form import ImageForm, Picture, read_picture
from harness.data.image_rows import dataset_images, hub_images, local_images
from harness.data.image_set import ImageSet, with_held_out
from harness.data.image_sources import CIFAR10, ImageSource, find_image_source
from harness.data.image_store import digest_of, read_images
from harness.data.images import PreparedImages, describe_images, prepare_images
from harness.errors import MachineError, UsageError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COLOUR, GREY = ImageForm(3, 16), ImageForm(1, 16)
NAMES = ["cat", "dog", "frog"]
SPLITS = ("train", "validation", "test")
PLAIN = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

PEAK = """
import sys
from pathlib import Path
from harness.data.image_form import ImageForm
from harness.data.images import prepare_images

for folder in sys.argv[1:]:
    prepared = prepare_images(ImageForm(3, 128), "files:" + folder)
    status = Path("/proc/self/status").read_text()  # ru_maxrss would begin at the size of the process that started us
    print(prepared.images["train"], int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def noise(count, seed=0, size=16):
    """Images (count, size, size, 3) that resemble each other in nothing."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def encoded(pixels, file_format="PNG", **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, file_format, **options)
    return file.getvalue()


def picture(pixels, label=0, **options):
    return read_picture(encoded(pixels, **options), label)


def write(path, images, labels=None, names=NAMES, column="img", file_format="PNG", **options):
    """A parquet file of images as `datasets` writes it."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    cells = [
        {"bytes": each if isinstance(each, bytes) else encoded(each, file_format), "path": None} for each in images
    ]
    labels = [number % 3 for number in range(len(cells))] if labels is None else labels
    label = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    schema = datasets.Features({column: datasets.Image(), "label": label}).arrow_schema
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({column: cells, "label": labels}, schema=schema)
    pyarrow.parquet.write_table(table, path, row_group_size=100, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """A set with files for all three splits."""
    for seed, (split, count) in enumerate({"train": 150, "validation": 12, "test": 10}.items()):
        write(tmp_path / "set" / f"{split}.parquet", noise(count, seed))
    return tmp_path / "set"


def stored(prepared, split):
    """Images as (N, H, W, C), and labels."""
    pixels, labels = read_images(prepared.folder, split)
    return pixels.transpose(0, 2, 3, 1), labels


def in_set(images, split):
    return list(images.pictures(split))


# the form of an image


@PLAIN
@given(seed=st.integers(0, 1000), file_format=st.sampled_from(["PNG", "BMP", "WEBP"]))
def test_an_image_of_the_right_size_keeps_its_pixels_in_every_lossless_file_format(seed, file_format):
    pixels = noise(1, seed)[0]
    options = {"lossless": True} if file_format == "WEBP" else {}
    read = picture(pixels, file_format=file_format, **options)
    assert np.array_equal(read.pixels(COLOUR), pixels.transpose(2, 0, 1))
    assert read.key == picture(pixels).key != picture(pixels[::-1]).key


def test_colour_becomes_luma_and_grey_becomes_three_equal_channels():
    pixels = noise(1)[0]
    luma = (pixels @ [0.299, 0.587, 0.114])[None]
    assert np.abs(picture(pixels).pixels(GREY) - luma).max() <= 1
    grey = picture(pixels[:, :, 0])
    assert np.array_equal(grey.pixels(GREY)[0], pixels[:, :, 0])
    assert all(np.array_equal(channel, pixels[:, :, 0]) for channel in grey.pixels(COLOUR))


@pytest.mark.parametrize("turned", [False, True])
def test_an_oblong_image_gives_its_centred_square(turned):
    pixels = noise(1, size=48)[0]
    oblong, middle = pixels[:16], pixels[:16, 16:32]
    if turned:
        oblong, middle = (each.transpose(1, 0, 2) for each in (oblong, middle))
    assert np.array_equal(picture(oblong).pixels(COLOUR), middle.transpose(2, 0, 1))


@PLAIN
@given(side=st.integers(1, 80), size=st.integers(8, 70), grey=st.integers(0, 255))
def test_an_even_image_stays_even_in_any_size(side, size, grey):
    pixels = np.full((side, side), grey, np.uint8)
    assert np.array_equal(picture(pixels).pixels(ImageForm(3, size)), np.full((3, size, size), grey))


def test_an_image_is_turned_the_way_its_camera_was_held():
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation of a camera held upright
    pixels = noise(1)[0]
    turned = read_picture(encoded(pixels, exif=exif), 0)
    assert np.array_equal(turned.pixels(COLOUR), np.rot90(pixels, -1).transpose(2, 0, 1))


REFUSED = {
    "RGBA, with transparency": encoded(Image.new("RGBA", (16, 16))),
    "LA, with transparency": encoded(Image.new("LA", (16, 16))),
    "P, with transparency": encoded(Image.new("P", (16, 16)), transparency=0),
    "I;16": encoded(Image.new("I;16", (16, 16))),
    "CMYK": encoded(Image.new("CMYK", (16, 16)), "JPEG"),
    "not a PNG, JPEG, WebP or BMP file": encoded(Image.new("F", (16, 16)), "TIFF"),
    "damaged image file": encoded(noise(1)[0])[:-200],
    "pixels": encoded(Image.new("1", (20_000, 20_000))),  # small as a file, not so in memory
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_image_that_is_no_8_bit_grey_or_colour_is_refused(reason):
    with pytest.raises(ValueError, match=reason):
        read_picture(REFUSED[reason], 0)


GOOD = [encoded(noise(1)[0], each) for each in ("PNG", "JPEG", "WEBP", "BMP")]


@PLAIN
@given(content=st.sampled_from(GOOD), places=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=8))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(content, places):
    damaged = bytearray(content)
    for place, value in places:
        damaged[place % len(damaged)] = value
    try:
        assert read_picture(bytes(damaged), 0).pixels(COLOUR).shape == (3, 16, 16)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("form", [(2, 16), (4, 16), (3, 7), (1, 0)])
def test_a_form_that_no_image_can_have_is_refused(form):
    with pytest.raises(ValueError, match="1 or 3 of at least 8"):
        ImageForm(*form)


# sources


def test_the_digits_are_the_embedded_images():
    assert find_image_source("embedded").identity == find_image_source("digits").identity


@pytest.mark.parametrize("data", ["", "nonsense", "files", "files:", "hub", "embedded:x", "http://somewhere"])
def test_an_unknown_source_is_refused_with_the_known_ones(data):
    with pytest.raises(UsageError, match="choose embedded, cifar10, files:PATH or hub:NAME@COMMIT"):
        find_image_source(data)


@pytest.mark.parametrize("data", ["hub:some/set", "hub:some/set@main", f"hub:some/set@{COMMIT[:39]}"])
def test_the_hub_is_read_at_a_named_commit_only(data):
    with pytest.raises(UsageError, match=r"no commit is named.*\n.*@COMMIT"):
        find_image_source(data)


def test_a_commit_is_part_of_the_name_and_of_the_identity():
    source = find_image_source(f"hub:some/set@{COMMIT}")
    assert source.name == f"hub:some/set@{COMMIT}" and COMMIT in source.identity
    assert find_image_source("cifar10").name == find_image_source(CIFAR10).name == CIFAR10


def test_the_identity_changes_with_the_files(folder):
    before = find_image_source(f"files:{folder}").identity
    write(folder / "test.parquet", noise(9, 5))
    assert find_image_source(f"files:{folder}").identity != before
    with pytest.raises(UsageError, match="no such file or folder"):
        find_image_source(f"files:{folder / 'absent'}")


# rows


@pytest.mark.parametrize("column", ["img", "image"])
def test_rows_arrive_in_order_with_their_labels_and_class_names(tmp_path, column):
    pixels = noise(230)
    images = local_images(write(tmp_path / "set.parquet", pixels, column=column))
    read = in_set(images, "train")
    assert images.class_names == tuple(NAMES)
    assert np.array_equal([each.pixels(COLOUR) for each in read], pixels.transpose(0, 3, 1, 2))
    assert [each.label for each in read] == [number % 3 for number in range(230)]


def test_plain_columns_without_a_description_are_read_too(parquet, tmp_path):
    file = parquet(tmp_path / "set.parquet", image=[encoded(each) for each in noise(300)], label=[7, 200] * 150)
    assert local_images(file).class_names is None
    prepared = prepare_images(COLOUR, f"files:{file}")
    assert prepared.class_names == tuple(map(str, range(201)))
    assert set(stored(prepared, "train")[1]) == {7, 200}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"img": [encoded(noise(1)[0])]}, r"no columns img \(or image\) and label, only \['img'\].*\n.*rename"),
        ({"picture": [b""], "label": [0]}, "no columns img"),
        ({"img": [b""], "label": ["cat"]}, r"column label holds string.*\n.*number the classes"),
        ({"img": [b""], "label": [0]}, r"image 0 of train: not a PNG.*\n.*8-bit grey or RGB"),
        ({"img": [encoded(noise(1)[0]), b"GIF89a"], "label": [0, 0]}, "image 1 of train: not a PNG"),
        ({"img": [encoded(noise(1)[0])[:-200]], "label": [0]}, "image 0 of train: a damaged image file"),
        ({"img": [encoded(Image.new("RGBA", (9, 9)))], "label": [0]}, "image 0 of train: mode RGBA, with transparency"),
        ({"img": [[1, 2]], "label": [0]}, "image 0 of train: the content of an image file is missing"),
        ({"img": [{"bytes": None, "path": "a.png"}], "label": [0]}, "the content of an image file is missing"),
        ({"img": [encoded(noise(1)[0])], "label": [-1]}, "label -1, with 256 classes"),
        ({"img": [encoded(noise(1)[0])] * 2, "label": [0, None]}, "image 1 of train: label None"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(parquet, tmp_path, columns, message, capfd):
    file = parquet(tmp_path / "set.parquet", **columns)
    with pytest.raises(UsageError, match=message) as caught:
        prepare_images(COLOUR, f"files:{file}")
    assert f"--data files:{file}" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_label_beyond_the_named_classes_is_refused(tmp_path):
    file = write(tmp_path / "set.parquet", noise(3), [0, 2, 1], names=["cat", "dog"])
    with pytest.raises(UsageError, match="image 1 of train: label 2, with 2 classes"):
        in_set(local_images(file), "train")


def test_splits_of_different_classes_are_refused(folder):
    write(folder / "test.parquet", noise(10, 2), names=["frog", "dog", "cat"])
    with pytest.raises(UsageError, match="the class names of its splits differ"):
        local_images(folder)


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b"PAR1 and no more", lambda b: b[:-100], lambda b: b[:60]])
def test_a_file_that_is_no_whole_parquet_gets_one_message(folder, damage, cache, capfd):
    file = folder / "train.parquet"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UsageError, match=r"cannot be read: .*\n.*parquet files with the columns img and label"):
        prepare_images(COLOUR, f"files:{folder}")
    assert capfd.readouterr() == ("", "")
    assert not any(each.is_dir() for each in cache.glob("*"))


def test_a_damaged_page_is_refused(tmp_path):
    file = write(tmp_path / "set.parquet", noise(200), compression="none")
    content = bytearray(file.read_bytes())
    content[4:2000] = b"\xff" * 1996
    file.write_bytes(content)
    with pytest.raises((UsageError, MachineError), match="--data"):
        prepare_images(COLOUR, f"files:{file}")


def test_a_dataset_by_name_gives_what_its_files_give(tmp_path):
    write(tmp_path / "set" / "train-00000-of-00001.parquet", noise(60))
    write(tmp_path / "set" / "test-00000-of-00001.parquet", noise(10, 1))
    named, local = dataset_images(str(tmp_path / "set")), local_images(tmp_path / "set")
    assert named.class_names == local.class_names == tuple(NAMES)
    for split in SPLITS:
        assert [each.key for each in in_set(named, split)] == [each.key for each in in_set(local, split)], split


def test_a_dataset_without_train_split_is_refused(tmp_path):
    write(tmp_path / "set" / "test-00000-of-00001.parquet", noise(1))
    with pytest.raises(UsageError, match="has no train split"):
        dataset_images(str(tmp_path / "set"))


def test_without_a_network_the_hub_is_given_up_at_once(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(parquet, "HUB", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(MachineError, match=r"cannot be reached.*\n.*files:PATH"):
            prepare_images(COLOUR, f"hub:some/set@{COMMIT}")


def test_beyond_the_network_the_hub_is_a_dataset_by_name(monkeypatch, tmp_path):
    write(tmp_path / "set" / "train-00000-of-00001.parquet", noise(60))
    asked = []
    monkeypatch.setattr("harness.data.parquet.probe", lambda *named: asked.append(named))
    images = hub_images(str(tmp_path / "set"), COMMIT)
    assert asked == [(str(tmp_path / "set"), COMMIT)] and len(in_set(images, "train")) == 60


@pytest.mark.parametrize("function", ["get_dataset_split_names", "load_dataset"])
def test_the_commit_reaches_every_question_that_the_hub_is_asked(monkeypatch, tmp_path, function):
    import datasets

    write(tmp_path / "set" / "train-00000-of-00001.parquet", noise(60))
    real, commits = getattr(datasets, function), []

    def watched(*given, **options):
        commits.append(options.get("revision"))
        return real(*given, **options)

    monkeypatch.setattr("harness.data.parquet.probe", lambda *named: None)
    monkeypatch.setattr(datasets, function, watched)
    assert len(in_set(hub_images(str(tmp_path / "set"), COMMIT), "train")) == 60
    assert commits and set(commits) == {COMMIT}


# splits

PICTURES = [Picture(Image.fromarray(pixels), number % 3) for number, pixels in enumerate(noise(1000, size=2))]


def cut_of(pictures):
    images = with_held_out({"train": lambda: iter(pictures)}, None)
    assert images.cut == {"validation", "test"}
    return {split: [each.key for each in in_set(images, split)] for split in SPLITS}


def test_about_a_tenth_of_the_images_goes_to_each_held_out_split():
    cut = cut_of(PICTURES)
    assert all(70 < len(cut[split]) < 130 for split in ("validation", "test"))
    assert set(cut["validation"]).isdisjoint(cut["test"])


@settings(PLAIN, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_split_of_an_image_does_not_depend_on_its_place_and_equal_ones_share_it(shuffler):
    pictures = PICTURES[:200] + PICTURES[:50]
    shuffler.shuffle(pictures)
    cut, straight = cut_of(pictures), cut_of(PICTURES[:200])
    assert all(set(cut[split]) == set(straight[split]) for split in SPLITS)


def test_a_split_that_is_given_is_not_cut():
    given_splits = {"train": lambda: iter(PICTURES), "test": lambda: iter(PICTURES[:1])}
    images = with_held_out(given_splits, None)
    assert images.cut == {"validation"} and in_set(images, "test") == PICTURES[:1]
    assert 70 < len(in_set(images, "validation")) < 130


def test_a_cut_split_stops_growing_and_so_does_the_pass_over_train(monkeypatch):
    monkeypatch.setattr(image_set, "CUT_IMAGES", 20)
    read = []
    images = with_held_out({"train": lambda: (read.append(each) or each for each in PICTURES)}, None)
    assert len(in_set(images, "validation")) == 20 and len(read) < 500


def test_every_form_and_file_format_is_split_alike(tmp_path):
    images = noise(150)
    labels = {}
    for number, file_format in enumerate(("PNG", "BMP")):
        file = write(tmp_path / f"{number}.parquet", images, list(range(150)), names=None, file_format=file_format)
        prepared = prepare_images(ImageForm(1 + 2 * number, 16 + 8 * number), f"files:{file}")
        assert sum(prepared.images.values()) == 150 and prepared.repeated == 0
        labels[file_format] = {split: stored(prepared, split)[1].tolist() for split in SPLITS}
    assert labels["PNG"] == labels["BMP"]


# copies


def outline_by_hand(image):
    """The outline of one image (C, S, S), with loops."""
    size = image.shape[-1]
    edges = [-(-number * size // 8) for number in range(9)]
    grey = image.astype(float).sum(0)
    blocks = [[grey[a:b, c:d].mean() for c, d in pairwise(edges)] for a, b in pairwise(edges)]
    steps = [blocks[y + 1][x] - blocks[y][x] for y in range(7) for x in range(8)]
    steps += [blocks[y][x + 1] - blocks[y][x] for y in range(8) for x in range(7)]
    roots = np.array([np.sign(step) * abs(step) ** 0.5 for step in steps])
    return roots / (np.linalg.norm(roots) or 1)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16), (1, 28), (3, 33)])
def test_outlines_are_those_computed_by_hand(channels, size):
    images = np.random.default_rng(0).integers(0, 256, (3, channels, size, size), dtype=np.uint8)
    outlines = outlines_of(images)
    assert outlines.shape == (3, 112) and outlines.dtype == np.float32
    assert np.abs(outlines - [outline_by_hand(image) for image in images]).max() < 0.5 / 2048 + 1e-6


@PLAIN
@given(size=st.integers(8, 60), grey=st.integers(0, 255), channels=st.sampled_from([1, 3]))
def test_an_even_image_has_no_outline_and_is_near_to_nothing(size, grey, channels):
    assert not outlines_of(np.full((2, channels, size, size), grey, np.uint8)).any()


PHOTO = np.asarray(Image.fromarray(noise(1, 7, 8)[0]).resize((64, 64), Image.Resampling.BICUBIC))  # with soft edges


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda image: image, True),
        (lambda image: (image * 0.6 + 40).astype(np.uint8), True),
        (lambda image: np.repeat(image.mean(2, keepdims=True), 3, 2).astype(np.uint8), True),
        (lambda image: np.asarray(Image.open(io.BytesIO(encoded(image, "JPEG", quality=30)))), True),
        (lambda image: np.roll(image, 1, 0), True),
        (lambda image: image[:, ::-1], False),
        (lambda image: np.rot90(image), False),
        (lambda image: np.roll(image, 8, 1), False),
    ],
)
def test_near_copies_are_found_but_mirrored_turned_and_far_shifted_ones_are_not(change, found):
    outlines = outlines_of(np.stack([PHOTO, change(PHOTO)]).transpose(0, 3, 1, 2))
    assert (outlines[0] @ outlines[1] >= NEAR) == found


def test_different_images_are_not_near():
    outlines = outlines_of(noise(300).transpose(0, 3, 1, 2))
    products = outlines @ outlines.T
    assert (products - 2 * np.eye(300)).max() < 0.6


def test_near_copies_are_told_by_split_and_by_place():
    pixels = noise(9).transpose(0, 3, 1, 2)
    held_out = HeldOutImages()
    assert held_out.add("validation", pixels[:2]).all() and held_out.add("test", pixels[2:4]).all()
    assert held_out.add("test", pixels[1:5]).tolist() == [False, True, True, True] and held_out.shared == 1
    darker = (pixels * 0.5).astype(np.uint8)
    assert held_out.watch(np.stack([darker[0], pixels[2], darker[4], pixels[8]])).tolist() == [True, False, True, True]
    assert held_out.watch(pixels[7:8]).all() and held_out.repeated == 1
    assert held_out.near("validation").tolist() == [True, False]
    assert held_out.near("test").tolist() == [False, False, False, False, True]


def test_equal_images_across_splits_are_left_out_and_counted_and_those_within_a_split_stay(folder):
    train, validation, test = noise(150, 0), noise(12, 1), noise(10, 2)
    write(folder / "train.parquet", [*train, *train[:5], *validation[:3], *test[:2]])
    write(folder / "validation.parquet", [*validation, validation[0]])
    write(folder / "test.parquet", [validation[4], *test, test[0], validation[5]])
    prepared = prepare_images(COLOUR, f"files:{folder}")
    assert (prepared.repeated, prepared.shared, prepared.dropped) == (5, 2, 0)
    assert np.array_equal(stored(prepared, "train")[0], [*train, *train[:5]])
    assert np.array_equal(stored(prepared, "validation")[0], [*validation, validation[0]])
    assert np.array_equal(stored(prepared, "test")[0], [*test, test[0]])
    assert stored(prepared, "test")[1].tolist() == [(1 + number) % 3 for number in range(11)]


def test_images_that_become_equal_in_their_form_count_as_equal(folder):
    train, validation = noise(150, 0), noise(12, 1)
    grey = np.repeat(np.asarray(Image.fromarray(validation[0]).convert("L"))[:, :, None], 3, 2)
    write(folder / "train.parquet", [*train, grey])
    assert prepare_images(COLOUR, f"files:{folder}").repeated == 0
    assert prepare_images(GREY, f"files:{folder}").repeated == 1


def test_held_out_images_with_a_near_copy_in_train_are_left_out_and_counted(folder):
    train, validation, test = noise(150, 0), noise(12, 1), noise(10, 2)
    darker = [(each * 0.5).astype(np.uint8) for each in (validation[2], validation[7], test[9])]
    write(folder / "train.parquet", [*train, *darker])
    prepared = prepare_images(COLOUR, f"files:{folder}")
    assert (prepared.dropped, prepared.near, prepared.repeated) == (3, {"validation": 2, "test": 1}, 0)
    assert np.array_equal(stored(prepared, "train")[0], [*train, *darker])
    assert np.array_equal(stored(prepared, "validation")[0], np.delete(validation, [2, 7], axis=0))
    assert stored(prepared, "validation")[1].tolist() == [n % 3 for n in range(12) if n not in (2, 7)]
    assert np.array_equal(stored(prepared, "test")[0], test[:9])
    assert not any("kept" in file.name for file in prepared.folder.iterdir())


def test_a_cut_that_leaves_nothing_to_hold_out_is_refused(folder, cache):
    write(folder / "train.parquet", [*noise(150, 0), *((each * 0.5).astype(np.uint8) for each in noise(12, 1))])
    with pytest.raises(UsageError, match="no image is left for the validation split"):
        prepare_images(COLOUR, f"files:{folder}")
    assert not any(each.is_dir() for each in cache.iterdir())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_images_for_three_splits_are_refused(tmp_path, count, cache):
    file = write(tmp_path / "set.parquet", noise(count))
    with pytest.raises(UsageError, match=r"no image is left for the (validation|test) split"):
        prepare_images(COLOUR, f"files:{file}")
    assert not any(each.is_dir() for each in cache.iterdir())


# the prepared set


def test_the_digits_are_prepared_with_every_class_in_every_split():
    lines = []
    prepared = prepare_images(GREY, "embedded", lines.append)
    assert prepared.class_names == digits.CLASS_NAMES and sum(prepared.images.values()) == 1797
    for split in SPLITS:
        pixels, labels = read_images(prepared.folder, split)
        assert pixels.shape == (prepared.images[split], 1, 16, 16) and pixels.dtype == np.uint8
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert np.bincount(labels, minlength=10).min() > prepared.images[split] / 20
    assert min(prepared.images["validation"], prepared.images["test"]) > 240
    assert min(prepared.near.values()) > 100 and prepared.dropped == prepared.repeated == prepared.shared == 0
    assert any("a near copy in train: validation 1" in line for line in lines)


def test_the_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    given_digits = load_digits()
    read = in_set(digits.read(), "train")
    halves = [each.pixels(ImageForm(1, 8))[0] for each in read[:50]]
    assert np.abs(np.array(halves) / 255 * 16 - given_digits.images[:50]).max() < 0.05
    assert [each.label for each in read] == given_digits.target.tolist()


def test_arrays_are_memory_mapped_and_hold_the_images_in_order(folder):
    prepared = prepare_images(COLOUR, f"files:{folder}")
    for seed, split in enumerate(SPLITS):
        pixels, labels = read_images(prepared.folder, split)
        assert isinstance(pixels, np.memmap) and isinstance(labels, np.memmap) and labels.dtype == np.uint8
        assert np.array_equal(pixels, noise(prepared.images[split], seed).transpose(0, 3, 1, 2))


def test_equal_data_has_an_equal_id_wherever_it_is(folder, tmp_path):
    first = prepare_images(COLOUR, f"files:{folder}")
    folder.rename(tmp_path / "moved")
    again = prepare_images(COLOUR, f"files:{tmp_path / 'moved'}")
    assert again.folder != first.folder and again.data_id == first.data_id


@pytest.mark.parametrize(
    ("form", "change"),
    [
        (COLOUR, lambda folder: write(folder / "test.parquet", noise(9, 2))),
        (COLOUR, lambda folder: write(folder / "test.parquet", noise(10, 2), [1] * 10)),
        (COLOUR, lambda folder: write(folder / "test.parquet", noise(10, 3))),
        (
            COLOUR,
            lambda folder: [write(folder / f"{s}.parquet", noise(n, k), names=["a", "b", "c"]) for s, n, k in ALL],
        ),
        (GREY, lambda folder: None),
        (ImageForm(3, 17), lambda folder: None),
    ],
)
def test_other_pixels_labels_names_splits_or_forms_have_another_id(folder, form, change):
    first = prepare_images(COLOUR, f"files:{folder}")
    change(folder)
    assert prepare_images(form, f"files:{folder}").data_id != first.data_id


ALL = [("train", 150, 0), ("validation", 12, 1), ("test", 10, 2)]


def test_a_second_call_reads_the_cache_and_prepares_nothing(folder):
    lines = []
    first = prepare_images(COLOUR, f"files:{folder}", lines.append)
    assert len(lines) >= 6 and "data id" in lines[-1]
    lines.clear()
    assert prepare_images(COLOUR, f"files:{folder}", lines.append) == first == PreparedImages.load(first.folder)
    assert lines == []


def damaged(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["train.pixels.npy", "train.labels.npy", "test.pixels.npy"])
def test_damage_is_seen_by_describe(folder, name):
    prepared = prepare_images(COLOUR, f"files:{folder}")
    shown = describe_images(prepared)
    assert shown["intact"] and shown["images"] == prepared.images and json.dumps(shown)
    damaged(prepared.folder / name, -1)
    assert not describe_images(prepared)["intact"]


def test_other_class_names_are_seen_by_describe_and_a_broken_description_by_load(folder):
    prepared = prepare_images(COLOUR, f"files:{folder}")
    renamed = prepared.model_copy(update={"class_names": ("dog", "cat", "frog")})
    assert not describe_images(renamed)["intact"]
    (prepared.folder / "prepared.json").write_text("{}")
    with pytest.raises(MachineError, match=r"not a prepared image set.*(\n.*)*delete this folder"):
        PreparedImages.load(prepared.folder)


@pytest.mark.parametrize("name", ["test.pixels.npy", "test.labels.npy"])
@pytest.mark.parametrize("damage", [None, lambda b: b"", lambda b: b[:-1], lambda b: b[:20]])
def test_lost_or_shortened_arrays_are_a_fault_of_the_machine(folder, name, damage):
    prepared = prepare_images(COLOUR, f"files:{folder}")
    file = prepared.folder / name
    file.unlink() if damage is None else file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(MachineError, match=r"test images cannot be read.*\n.*prepare again"):
        digest_of(prepared.folder, "test")


def test_a_full_disk_gets_one_message_and_leaves_the_cache_whole(folder, cache):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # bytes; larger files fail as on a full disk
    try:
        with pytest.raises(MachineError, match="the prepared data cannot be written"):
            prepare_images(COLOUR, f"files:{folder}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [each.suffix for each in cache.iterdir()] == [".lock"]
    assert prepare_images(COLOUR, f"files:{folder}").images["train"] == 150


def test_memory_stays_flat_as_the_set_grows(tmp_path):
    small = noise(100, size=8)
    for count in (100, 600):
        content = [*noise(count - 100, 3, size=8), *small]
        write(tmp_path / str(count) / "train.parquet", content)
        write(tmp_path / str(count) / "validation.parquet", noise(5, 1, size=8))
        write(tmp_path / str(count) / "test.parquet", noise(5, 2, size=8))
    command = [sys.executable, "-c", PEAK, *(str(tmp_path / str(count)) for count in (100, 600))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    (few, before), (many, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == (100, 600)
    assert after - before < 16 * 2**20  # bytes; the images that were added take 23 MiB


def test_sets_whose_images_look_alike_keep_them(monkeypatch):
    pictures = [Picture(Image.fromarray(pixels), 0) for pixels in noise(50, size=8)]
    darker = [Picture(each.image.point(lambda value: value // 2), 0) for each in pictures[40:44]]
    splits = {"train": pictures[:40] + darker, "validation": pictures[40:45], "test": pictures[45:]}
    for alike, dropped in ((False, 4), (True, 0)):
        images = ImageSet(lambda split: iter(splits[split]), ("a", "b", "c"), alike=alike)
        named = ImageSource(f"made up:{alike}", ("made up", alike), lambda images=images: images)
        monkeypatch.setattr("harness.data.images.find_image_source", lambda data, named=named: named)
        prepared = prepare_images(ImageForm(3, 8), "made up")
        assert (prepared.dropped, prepared.near["validation"]) == (dropped, 4)
        assert prepared.images["validation"] == 5 - dropped
