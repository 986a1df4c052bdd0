"""The orthogonalisers against the SVD, AdamW against torch's, and the split between them."""

import dataclasses

import pytest
import torch
from torch import nn

from model_core import lm, moe, muon, train

SMALL = dataclasses.replace(
    lm.PRESETS["tiny"], vocab_size=97, max_seq_len=16, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64
)
SHAPES = [(3, 64, 64), (2, 64, 192), (2, 192, 64)]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def polar_factor(g: torch.Tensor) -> torch.Tensor:
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    return u @ vh


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "low", "high"), [("polar_express", 0.8, 1.2), ("newton_schulz", 0.6, 1.3)])
def test_singular_values_end_near_one(name, low, high, shape):
    values = torch.linalg.svdvals(muon.ORTHOGONALISERS[name](draw(*shape)))
    assert (values > low).float().mean() > 0.98  # a square random matrix has a few values near zero
    assert values.max() < high


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "dtype"), [("polar_express", torch.bfloat16), ("newton_schulz", torch.float32)])
def test_result_points_where_the_polar_factor_of_the_svd_does(name, dtype, shape):
    g = draw(*shape)
    mine = muon.ORTHOGONALISERS[name](g.to(dtype)).float()
    cosine = nn.functional.cosine_similarity(mine.flatten(1), polar_factor(g).flatten(1))
    assert cosine.min() > 0.97


def test_polar_express_is_nearer_to_the_polar_factor_than_newton_schulz():
    g = draw(4, 64, 96)
    errors = [(muon.ORTHOGONALISERS[name](g) - polar_factor(g)).norm() for name in ("polar_express", "newton_schulz")]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("name", ["polar_express", "newton_schulz"])
def test_a_zero_gradient_stays_zero(name):
    assert torch.equal(muon.ORTHOGONALISERS[name](torch.zeros(1, 4, 8)), torch.zeros(1, 4, 8))


def test_each_matrix_of_a_batch_is_orthogonalised_by_itself():
    g = draw(3, 16, 24)
    alone = torch.cat([muon.polar_express(100.0**i * g[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, muon.polar_express(g), rtol=1e-3, atol=1e-4)


def test_direction_is_nesterov_on_an_ema_times_the_shape_scale():
    g1, g2 = draw(1, 8, 2), draw(1, 8, 2, seed=1)
    momentum = torch.zeros_like(g1)
    muon.muon_direction(g1, momentum, 0.95, torch.Tensor.clone, torch.float32)
    step = muon.muon_direction(g2, momentum, 0.95, torch.Tensor.clone, torch.float32)
    ema = 0.95 * 0.05 * g1 + 0.05 * g2
    torch.testing.assert_close(momentum, ema)
    torch.testing.assert_close(step, 2.0 * (0.05 * g2 + 0.95 * ema))  # sqrt(8 / 2) = 2


@pytest.mark.parametrize("switch", ["muon", "adamw"])
def test_adamw_half_equals_torchs_adamw(switch):
    config = dataclasses.replace(SMALL, optimizer=switch, adamw_beta1=0.9, adamw_beta2=0.999, weight_decay=0.2)
    model = train.build(lm.LM, config, 0, "cpu")
    optimizer = muon.MuonAdamW(model, torch.float32)
    (group,) = (group for group in optimizer.param_groups if group["kind"] == "adamw")
    copies = [nn.Parameter(p.detach().clone()) for p in group["params"]]
    reference = torch.optim.AdamW(copies, lr=config.adamw_lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.2)
    for step in range(5):
        for index, p in enumerate(model.parameters()):
            p.grad = draw(*p.shape, seed=100 * step + index)
        for p, copy in zip(group["params"], copies, strict=True):
            copy.grad = p.grad.clone()
        optimizer.step()
        reference.step()
    for p, copy in zip(group["params"], copies, strict=True):
        torch.testing.assert_close(p, copy, rtol=1e-5, atol=1e-7)


def test_muon_gets_the_inner_matrices_and_adamw_embedding_and_gains():
    model = train.build(lm.LM, SMALL, 0, "cpu")
    names = {id(p): name for name, p in model.named_parameters()}
    kinds = {names[id(p)]: group["kind"] for group in muon.groups(model) for p in group["params"]}
    assert kinds["token_embedding.weight"] == "adamw"
    assert all((kind == "adamw") == ("norm" in name or "embedding" in name) for name, kind in kinds.items())
    assert len(kinds) == len(list(model.parameters()))


def test_published_split_of_the_88m_model_to_the_digit():
    with torch.device("meta"):
        found = muon.groups(lm.LM(lm.PRESETS["88m"]))
    sizes = {
        kind: sum(p.numel() for g in found if g["kind"] == kind for p in g["params"]) for kind in ("muon", "adamw")
    }
    assert sizes == {"muon": 63_438_848, "adamw": 25_191_680}


def test_adamw_switch_leaves_nothing_to_muon():
    model = train.build(lm.LM, dataclasses.replace(SMALL, optimizer="adamw"), 0, "cpu")
    assert {group["kind"] for group in muon.groups(model)} == {"adamw"}


def test_up_projections_learn_at_their_own_rate():
    model = train.build(lm.LM, dataclasses.replace(SMALL, muon_lr=0.01, up_lr_scale=2.0), 0, "cpu")
    rates = {id(p): group["peak_lr"] for group in muon.groups(model) for p in group["params"]}
    assert rates[id(model.blocks[0].mlp.up.weight)] == 0.02
    assert rates[id(model.blocks[0].mlp.down.weight)] == rates[id(model.blocks[0].attention.q.weight)] == 0.01


class Hiding(lm.LM):
    """Keeps one of its parameters out of the list that the groups are made from."""

    def named_parameters(self, *args, **keywords):
        found = list(super().named_parameters(*args, **keywords))
        return found[:-1] if not args and not keywords else found


def test_a_parameter_that_no_group_holds_is_caught():
    model = Hiding(SMALL)
    with pytest.raises(AssertionError, match="exactly one group"):
        muon.groups(model)


def test_state_is_fp32_when_training_in_bf16():
    trainer = train.Trainer(train.build(lm.LM, SMALL, 0, "cpu"), 1_280, precision="bf16")
    trainer.update(torch.zeros(8, 17, dtype=torch.int64))
    tensors = []
    for state in trainer.optimizer.state.values():
        for value in state.values():
            tensors += value if isinstance(value, list) else [value] if torch.is_tensor(value) else []
    assert len(tensors) > 10
    assert {t.dtype for t in tensors} == {p.dtype for p in trainer.model.parameters()} == {torch.float32}


def test_experts_and_router_are_orthogonalised_matrix_by_matrix():
    config = dataclasses.replace(moe.PRESETS["debug"], vocab_size=97, max_seq_len=16, weight_decay=0.0)
    model = train.build(moe.MoELM, config, 0, "cpu")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for index, p in enumerate(model.parameters()):
        p.grad = draw(*p.shape, seed=index)
    muon.MuonAdamW(model, torch.float32).step()
    for name in ("blocks.0.mlp.up", "blocks.1.mlp.router.weight"):
        step = (before[name] - dict(model.named_parameters())[name].detach()) / config.muon_lr
        rows, cols = step.shape[-2:]
        values = torch.linalg.svdvals(step) / max(1, rows / cols) ** 0.5
        assert values.min() > 0.6 and values.max() < 1.3
