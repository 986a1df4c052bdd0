"""The parameter band, on the sizes of the real cores."""

import pytest
import torch

from harness.audit import band
from harness.tracks import TRACKS
from model_core import flow, lm, moe, multimodal, vqvae

MODULES = {"lm": lm, "moe": moe, "flow": flow, "vqvae": vqvae, "multimodal": multimodal}


@pytest.mark.parametrize("name", TRACKS)
def test_the_embedding_that_a_track_leaves_out_is_that_of_its_core(name):
    track = TRACKS[name]
    module = MODULES[track.module]
    with torch.device("meta"):
        model = getattr(module, track.model)(module.PRESETS[track.preset])
    embedding = [p.numel() for n, p in model.named_parameters() if n == "token_embedding.weight"]
    assert track.embedding_parameters == sum(embedding)


@pytest.mark.parametrize(
    ("parameters", "ok"), [(2_000, True), (2_050, True), (1_950, True), (2_051, False), (1_949, False), (4_000, False)]
)
def test_five_per_cent_of_what_is_no_embedding(parameters, ok):
    result = band.size(parameters, core=2_000, embedding=1_000)
    assert (result.id, result.ok) == ("band", ok)
    assert result.value == pytest.approx(abs(parameters - 2_000) / 1_000)


def test_a_matrix_that_is_called_an_embedding_counts():
    assert not band.size(2_000 + 500, core=2_000, embedding=1_000).ok
