"""Sizes, initialisation, causality and gradient flow of the dense model."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model_core import layers, lm, train

SMALL = dataclasses.replace(
    lm.PRESETS["tiny"], vocab_size=97, max_seq_len=16, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64
)


def built(config=SMALL, seed=0, kind=lm.LM):
    return train.build(kind, config, seed, "cpu")


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(SMALL.vocab_size, shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("88m", 88_630_528), ("151m", 151_032_320)],
)
def test_presets_have_their_published_size_to_the_digit(preset, parameters):
    with torch.device("meta"):
        model = lm.LM(lm.PRESETS[preset])
    assert model.parameter_count() == model.active_parameter_count() == parameters


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({"n_layers": 24, "mlp": "swiglu"}, 119_565_824),
        ({"mlp": "swiglu"}, 111_699_200),
        ({"vocab_size": 32_768}, 80_241_920),
    ],
)
def test_published_variants_of_the_88m_model_have_their_size(changes, parameters):
    with torch.device("meta"):
        model = lm.LM(dataclasses.replace(lm.PRESETS["88m"], **changes))
    assert model.parameter_count() == parameters


def test_tiny_has_about_two_and_a_half_million_parameters_and_2048_tokens_an_update():
    config = lm.PRESETS["tiny"]
    with torch.device("meta"):
        model = lm.LM(config)
    assert 2.3e6 < model.parameter_count() < 2.7e6
    assert (config.vocab_size, config.max_seq_len, config.batch_size * config.max_seq_len) == (4_096, 256, 2_048)
    assert not config.compile


def test_constructor_draws_nothing():
    before = torch.get_rng_state()
    lm.LM(SMALL)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mlp", ["relu2", "swiglu"])
def test_loss_at_initialisation_is_near_ln_of_the_vocabulary(mlp):
    model = built(dataclasses.replace(SMALL, mlp=mlp))
    assert model.loss(ids(8, 17)).item() == pytest.approx(math.log(97), abs=0.05)


def test_loss_equals_the_cross_entropy_of_forward():
    model, rows = built(), ids(3, 17)
    reference = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
    torch.testing.assert_close(model.loss(rows), reference)


@pytest.mark.parametrize("mlp", ["relu2", "swiglu"])
def test_gradient_reaches_every_parameter(mlp):
    """A layer of one published model was dead for ever, because it and its neighbours began at zero."""
    model = built(dataclasses.replace(SMALL, mlp=mlp))
    model.loss(ids(8, 17)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_no_prediction_sees_a_later_token():
    model, row = built(), ids(1, 16)
    changed = row.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % SMALL.vocab_size
    a, b = model(row), model(changed)
    assert torch.equal(a[:, :9], b[:, :9])
    assert not torch.allclose(a[:, 9], b[:, 9])


def test_the_order_of_tokens_matters():
    """One published model rotated by head instead of token and had no sense of position."""
    model = built()
    row = ids(1, 16)
    swapped = row.clone()
    swapped[:, [2, 5]] = row[:, [5, 2]]
    assert not torch.allclose(model(row)[:, -1], model(swapped)[:, -1], atol=1e-6)


@pytest.mark.parametrize("pieces", [(16,), (5, 11), (7, 1, 1, 7), (1,) * 16])
def test_reading_in_pieces_with_a_cache_gives_the_logits_of_the_whole(pieces):
    model, rows = built(), ids(2, 16)
    caches = [layers.Cache() for _ in model.blocks]
    with torch.no_grad():
        found = torch.cat([model(piece, caches) for piece in rows.split(pieces, dim=1)], dim=1)
        torch.testing.assert_close(found, model(rows))
    with pytest.raises(AssertionError, match="longer than max_seq_len"):
        model(rows[:, :1], caches)


def test_a_row_longer_than_the_context_is_refused():
    with pytest.raises(AssertionError, match="max_seq_len"):
        built()(ids(1, 17))


class WithGate(lm.LM):
    normal = lm.LM.normal | {"a_gate"}

    def __init__(self, config):
        super().__init__(config)
        self.blocks[0].a_gate = nn.Linear(8, 8, bias=False)


def test_adding_a_tensor_leaves_every_other_draw_as_it_was():
    plain, gated = built().state_dict(), built(kind=WithGate).state_dict()
    assert set(gated) - set(plain) == {"blocks.0.a_gate.weight"}
    assert all(torch.equal(gated[name], value) for name, value in plain.items())


class WithBias(lm.LM):
    def __init__(self, config):
        super().__init__(config)
        self.shift = nn.Parameter(torch.empty(3))


def test_a_parameter_without_initialisation_is_named():
    with pytest.raises(ValueError, match="no initialisation for shift"):
        built(kind=WithBias)


def test_equal_shapes_start_different_and_seeds_differ():
    """One published model reseeded for every module, so that equal shapes began identical."""
    first, again, other = (built(seed=seed).state_dict() for seed in (0, 0, 1))
    assert not torch.equal(first["blocks.0.mlp.up.weight"], first["blocks.1.mlp.up.weight"])
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_matrices_start_with_standard_deviation_002_and_gains_at_one():
    for name, value in built(lm.PRESETS["tiny"]).state_dict().items():
        if name.endswith("norm.weight"):
            assert torch.all(value == 1), name
        else:
            assert value.std().item() == pytest.approx(0.02, rel=0.03), name


def test_dropout_acts_in_training_only():
    model = built(dataclasses.replace(SMALL, dropout=0.5))
    row = ids(1, 16)
    model.eval()
    assert torch.equal(model(row), model(row))
    model.train()
    assert not torch.equal(model(row), model(row))
