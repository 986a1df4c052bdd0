"""The parameter band, on the sizes of the real cores."""

import dataclasses

import pytest
import torch

from harness.audit import band
from harness.records.record import ModelFacts
from harness.tracks import TRACKS
from model_core import flow, lm, moe, multimodal, vqvae

FACTS = {"steps": 1, "batch_tokens": 1, "micro_batch": 1, "precision": "fp32", "peak_memory_bytes": 0}


def facts(parameters, active):
    return ModelFacts(parameters=parameters, active_parameters=active, **FACTS)


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
    for found, own in ((0, facts(parameters, 2_000)), (1, facts(2_000, parameters))):
        both = band.size(own, facts(2_000, 2_000), embedding=1_000)
        assert [result.id for result in both] == ["band", "band-active"]
        assert both[found].ok == ok and both[1 - found].ok
        assert both[found].value == pytest.approx(abs(parameters - 2_000) / 1_000)


def test_a_core_smaller_than_the_embedding_that_its_track_was_given_is_still_a_size():
    assert not band.size(facts(3, 3), facts(800, 800), embedding=1_000)[0].ok
    assert band.size(facts(840, 840), facts(800, 800), embedding=1_000)[0].ok


def test_a_matrix_that_is_called_an_embedding_counts():
    assert not band.size(facts(2_500, 2_500), facts(2_000, 2_000), embedding=1_000)[0].ok


def test_more_experts_for_each_token_are_another_race_though_the_weights_are_as_many():
    with torch.device("meta"):
        core = moe.MoELM(moe.PRESETS["moe"])
        own = moe.MoELM(dataclasses.replace(moe.PRESETS["moe"], top_k=3))
    own, core = (facts(model.parameter_count(), model.active_parameter_count()) for model in (own, core))
    result = band.size(own, core, TRACKS["llm-moe"].embedding_parameters)
    assert [one.ok for one in result] == [True, False]
