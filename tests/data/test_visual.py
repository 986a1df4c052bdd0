"""The frozen tokenizers, read by numpy, against the model of the core that they were trained as."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness.data import visual
from harness.data.image_form import ImageForm
from harness.data.image_stream import held_out_images
from harness.data.images import prepare_images
from harness.data.visual import Frozen, VisualTokenizer, frozen_tokenizer
from harness.errors import MachineError, UsageError
from model_core import train, vqvae

FACTS = Frozen(
    track="made-up",
    core_id="c",
    data_id="d",
    tokens=1,
    seed=0,
    sha256="",
    loss=1.0,
    codes_in_use=1,
    perplexity=1.0,
)


def model(**changes):
    """An untrained model whose codes lie where the vectors are, so that different images get different ones."""
    config = replace(vqvae.PRESETS["tiny"], **changes)
    made = train.build(vqvae.VQVAE, config, 0, "cpu").eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:  # biases are born as zeros, which would hide a forgotten one
                parameter.normal_(std=0.1)
        made.codebook.weight.copy_(made.encoder(torch.from_numpy(pictures(config.channels, 1)) / 127.5 - 1)[:128, 1, 2])
    return made


def pictures(channels, seed):
    """Images (160, channels, 16, 16) of four by four flat blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (160, channels, 4, 4))
    return np.kron(blocks, np.ones((4, 4))).astype(np.uint8)


def frozen(made) -> VisualTokenizer:
    return VisualTokenizer(FACTS, {name: value.numpy() for name, value in made.state_dict().items()})


@pytest.fixture
def pixels():
    return pictures(1, 3)[:40]


@pytest.mark.parametrize("channels", [1, 3])
def test_codes_and_images_are_those_of_the_core(channels):
    made = model(channels=channels)
    pixels = pictures(channels, 2)
    with torch.no_grad():
        codes = made.encode(torch.from_numpy(pixels) / 127.5 - 1)
        images = made.decode(codes)
    found = frozen(made).codes(pixels)
    assert len(np.unique(found)) > 20, "a test on one code would tell nothing"
    assert found.dtype == np.uint16 and (found == codes.flatten(1).numpy()).mean() > 0.999  # ties of rounding
    rebuilt = frozen(made).images(codes.flatten(1).numpy())
    expected = ((images + 1) * 127.5).clamp(0, 255).numpy()
    assert rebuilt.shape == expected.shape and np.abs(rebuilt - expected).max() <= 0.51


def test_codes_of_an_image_do_not_depend_on_its_neighbours(pixels):
    tokenizer = frozen(model())
    assert np.array_equal(tokenizer.codes(pixels)[7:8], tokenizer.codes(pixels[7:8]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A frozen tokenizer on disk."""
    monkeypatch.setattr(visual, "FROZEN", tmp_path)
    save_file(model().state_dict(), tmp_path / "made-up.safetensors")
    digest = hashlib.sha256((tmp_path / "made-up.safetensors").read_bytes()).hexdigest()
    (tmp_path / "made-up.json").write_text(json.dumps({**FACTS.model_dump(), "sha256": digest}))
    return tmp_path


def test_a_frozen_tokenizer_is_read_from_its_two_files(folder, pixels):
    assert frozen_tokenizer("made-up").codes(pixels).shape == (40, 16)


def test_one_that_was_never_frozen_says_how_it_is_made(folder):
    with pytest.raises(UsageError) as error:
        frozen_tokenizer("other")
    assert "blueberry data freeze --track other" in str(error.value)


@pytest.mark.parametrize("name", ["made-up.safetensors", "made-up.json"])
def test_a_changed_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(MachineError, match=r"made-up\.safetensors"):
        frozen_tokenizer("made-up")


def test_the_committed_tokenizer_is_as_good_as_is_recorded_beside_it():
    tokenizer = frozen_tokenizer("vqvae-tiny")
    prepared = prepare_images(ImageForm(1, 16), "digits")
    assert prepared.data_id == tokenizer.facts.data_id
    pixels = held_out_images(prepared, "validation")[0]
    codes = tokenizer.codes(pixels)
    errors = (tokenizer.images(codes).astype(float) - pixels) / 127.5
    assert np.square(errors).mean() == pytest.approx(tokenizer.facts.loss, rel=0.02)
    shares = np.bincount(codes.ravel()) / codes.size
    shares = shares[shares > 0]
    assert len(shares) == pytest.approx(tokenizer.facts.codes_in_use, rel=0.02)
    assert np.exp(-(shares * np.log(shares)).sum()) == pytest.approx(tokenizer.facts.perplexity, rel=0.02)
