"""Every image and captioned track against the preset of the core that it names."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from harness.tracks import TRACKS, CaptionTrack, ImageTrack, Track

IMAGES = [track for track in TRACKS.values() if isinstance(track, ImageTrack)]
CAPTIONS = [track for track in TRACKS.values() if isinstance(track, CaptionTrack)]


def name_of(track: Track) -> str:
    return track.name


def config_of(track: Track) -> Any:
    return importlib.import_module(f"model_core.{track.module}").PRESETS[track.preset]


def allocated(track: Track) -> Any:
    """The track's model on the meta device, where nothing is computed but shapes."""
    with torch.device("meta"):
        return getattr(importlib.import_module(f"model_core.{track.module}"), track.model)(config_of(track))


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("track", IMAGES, ids=name_of)
def test_an_image_track_serves_what_its_preset_was_made_for(track: ImageTrack) -> None:
    config = config_of(track)
    assert (config.channels, config.image_size) == (track.channels, track.size)
    assert config.image_tokens == track.image_tokens
    assert getattr(config, "n_classes", 0) == track.n_classes
    assert getattr(config, "n_codes", 0) == track.n_codes


@pytest.mark.parametrize("track", IMAGES, ids=name_of)
def test_an_image_track_and_its_model_have_one_shape(track: ImageTrack) -> None:
    model, images = allocated(track), empty(2, track.channels, track.size, track.size)
    if track.metric == "velocity":
        assert model(images, empty(2), empty(2, dtype=torch.int64)).shape == images.shape
    else:
        z = model.encoder(images)  # one vector for each code
        assert z.shape[:-1].numel() == 2 * track.image_tokens and z.shape[1] == z.shape[2]
        assert model.decoder(z).shape == images.shape


@pytest.mark.parametrize("track", CAPTIONS, ids=name_of)
def test_a_captioned_track_and_its_model_have_one_shape(track: CaptionTrack) -> None:
    config = config_of(track)
    assert (config.image_codes, config.vocab_size) == (track.image_tokens, track.vocab_size)
    assert (config.text_vocab, config.sequence_tokens) == (track.text_vocab, track.row_tokens)
    ids = empty(2, track.row_tokens - 1, dtype=torch.int64)
    assert allocated(track)(ids).shape == (2, track.row_tokens - 1, track.vocab_size)


@pytest.mark.parametrize("track", CAPTIONS, ids=name_of)
def test_images_of_a_captioned_track_are_those_of_its_visual_tokenizer(track: CaptionTrack) -> None:
    made = TRACKS[track.visual]
    assert isinstance(made, ImageTrack)
    assert (made.channels, made.size, made.image_tokens, made.n_codes) == (
        track.channels,
        track.size,
        track.image_tokens,
        track.n_codes,
    )


@pytest.mark.parametrize("track", CAPTIONS, ids=name_of)
def test_a_photo_of_a_frog_is_a_caption_that_the_model_was_trained_on(track: CaptionTrack) -> None:
    assert "a photo of a frog" in {template.format("frog") for template in track.templates}
