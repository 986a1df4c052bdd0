"""Sizes, routing and balance of the mixture of experts."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from model_core import moe, train

SMALL = dataclasses.replace(
    moe.PRESETS["debug"], vocab_size=97, max_seq_len=16, d_model=32, n_heads=4, n_kv_heads=4, d_ff=24
)


def built(config=SMALL):
    return train.build(moe.MoELM, config, 0, "cpu")


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(SMALL.vocab_size, shape, generator=torch.Generator().manual_seed(3))


def test_moe_has_its_published_size_and_active_part_to_the_digit():
    with torch.device("meta"):
        model = moe.MoELM(moe.PRESETS["moe"])
    assert model.parameter_count() == 167_814_656
    assert model.active_parameter_count() == 67_151_360


def test_debug_has_its_published_size():
    with torch.device("meta"):
        model = moe.MoELM(moe.PRESETS["debug"])
    assert model.parameter_count() == 7_472_896


def test_balance_equals_the_sum_over_experts_counted_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4], [0.3, 0.6, 0.1]])
    chosen = torch.tensor([[0, 1], [0, 2], [1, 0]])
    by_hand = 3 * ((3 / 6) * (1.5 / 3) + (2 / 6) * (0.9 / 3) + (1 / 6) * (0.6 / 3))
    assert moe.load_balance(probabilities, chosen).item() == pytest.approx(by_hand)


def test_balance_is_one_when_even_and_the_number_of_experts_when_all_go_to_one():
    even = torch.eye(4).argmax(-1)[:, None]
    assert moe.load_balance(torch.full((4, 4), 0.25), even).item() == pytest.approx(1.0)
    assert moe.load_balance(torch.eye(4)[[2, 2]], torch.tensor([[2], [2]])).item() == pytest.approx(4.0)


def test_experts_equal_a_loop_over_tokens():
    layer = built().blocks[0].mlp.eval()
    layer.up.data *= 10
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    y = layer(x).flatten(0, 1)
    for n, token in enumerate(x.flatten(0, 1)):
        logits = layer.router.weight @ token
        best, chosen = logits.topk(2)
        expected = sum(
            weight * (layer.down[e] @ F.silu(layer.up[e] @ token))
            for weight, e in zip(best.softmax(-1), chosen.tolist(), strict=True)
        )
        torch.testing.assert_close(y[n], expected)


def test_loss_is_nats_plus_a_hundredth_of_each_layers_balance():
    model, rows = built().eval(), ids(4, 17)
    nats = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
    aux = model.loss(rows) - nats
    assert nats.item() == pytest.approx(math.log(97), abs=0.05)
    assert aux.item() == pytest.approx(0.01 * sum(block.mlp.balance.item() for block in model.blocks), rel=1e-3)
    assert aux.item() == pytest.approx(0.01 * 2, rel=0.1)  # nearly balanced at the start


def test_gradient_reaches_every_parameter_and_every_expert():
    model = built().train()
    model.loss(ids(16, 17)).backward()
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        grad = grad.flatten(1) if grad.ndim == 3 else grad[None].flatten(1)
        assert (grad.abs().amax(-1) > 0).all(), name


def test_no_prediction_sees_a_later_token():
    model, row = built().eval(), ids(1, 16)
    changed = row.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % SMALL.vocab_size
    torch.testing.assert_close(model(row)[:, :9], model(changed)[:, :9])
    assert not torch.allclose(model(row)[:, 9], model(changed)[:, 9])


def test_routing_is_noisy_in_training_only():
    layer = built().blocks[0].mlp
    tokens = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
    layer.train()
    assert not torch.equal(layer.route(tokens)[0], layer.route(tokens)[0])
    layer.eval()
    assert torch.equal(layer.route(tokens)[0], layer.route(tokens)[0])


def test_training_lowers_the_loss():
    config = dataclasses.replace(SMALL, compile=False, muon_lr=0.02, dropout=0.0)
    trainer = train.Trainer(built(config), 64 * config.batch_size * config.max_seq_len, precision="fp32")
    rows = ids(2, 17)
    losses = [trainer.update(rows).item() for _ in range(20)]
    assert losses[-1] < losses[0] - 0.5
