"""The parts of a block against torch's and transformers' own."""

import math

import pytest
import torch
import torch.nn.functional as F

from model_core import layers


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_rms_norm_equals_torchs_with_the_same_eps_in_value_and_gradient():
    norm = layers.RMSNorm(48)
    norm.weight.data = draw(48)
    x = (0.003 * draw(2, 5, 48, seed=1)).requires_grad_()  # so small that eps matters
    mine, reference = norm(x), F.rms_norm(x, (48,), norm.weight, eps=1e-6)
    torch.testing.assert_close(mine, reference)
    weight = draw(2, 5, 48, seed=2)
    for a, b in zip(
        torch.autograd.grad((mine * weight).sum(), (x, norm.weight)),
        torch.autograd.grad((reference * weight).sum(), (x, norm.weight)),
        strict=True,
    ):
        # sums in another order round differently: 1e-6 of the largest gradient, here about 1,000
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 * b.abs().max().item())


def test_rms_norm_of_small_inputs_does_not_change_with_the_dtype():
    """With the eps of the input's dtype, 7.8e-3 in bf16, this x would come out nine times smaller."""
    norm = layers.RMSNorm(64)
    norm.weight.data.fill_(1.0)
    x = 0.01 * draw(4, 64)
    torch.testing.assert_close(norm(x.bfloat16()), norm(x), rtol=0.02, atol=0.02)
    assert norm(x).square().mean().item() == pytest.approx(1.0, rel=0.02)


def test_rotation_turns_interleaved_pairs_by_position_times_frequency():
    x = draw(1, 6, 2, 8).double()
    turned = layers.rotate(x.float(), layers.rotary_table(6, 8, 10_000.0)).double()
    for t in range(6):
        for i in range(4):
            angle = t * 10_000 ** (-2 * i / 8)
            turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            expected = x[0, t, :, 2 * i : 2 * i + 2] @ turn.double().T
            torch.testing.assert_close(turned[0, t, :, 2 * i : 2 * i + 2], expected, atol=1e-5, rtol=1e-5)


def test_rotation_is_over_tokens_and_the_same_for_every_head():
    x = draw(1, 1, 1, 8).expand(1, 5, 3, 8)
    turned = layers.rotate(x.contiguous(), layers.rotary_table(5, 8, 10_000.0))
    assert torch.equal(turned[:, :, 0], turned[:, :, 2])
    assert not torch.allclose(turned[:, 1], turned[:, 2])


def test_rotated_products_depend_on_distance_only():
    table = layers.rotary_table(9, 16, 10_000.0)
    q = layers.rotate(draw(1, 1, 1, 16).repeat(1, 9, 1, 1), table)[0, :, 0]
    k = layers.rotate(draw(1, 1, 1, 16, seed=1).repeat(1, 9, 1, 1), table)[0, :, 0]
    scores = q @ k.T
    torch.testing.assert_close(scores.diagonal(-2), scores[2, 0].expand(7))
    assert not torch.isclose(scores[2, 0], scores[3, 0])


def test_rotation_compiles_to_the_same_numbers():
    x, table = draw(2, 5, 3, 8), layers.rotary_table(5, 8, 10_000.0)
    compiled = torch.compile(layers.rotate, backend="eager")
    torch.testing.assert_close(compiled(x, table), layers.rotate(x, table))


@pytest.mark.parametrize("mine", [layers.attend_plainly, layers.attend_fused])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(("queries", "causal"), [(7, True), (7, False), (3, True), (1, True)])
def test_attention_equals_torchs_reference_in_value_and_gradient(mine, kv_heads, queries, causal):
    q = draw(2, queries, 4, 8, seed=4).requires_grad_()
    k, v = (draw(2, 7, kv_heads, 8, seed=seed).requires_grad_() for seed in (5, 6))
    mask = torch.ones(queries, 7, dtype=torch.bool).tril(7 - queries) if causal else None
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        reference = F.scaled_dot_product_attention(
            *(x.transpose(1, 2) for x in (q, k, v)), attn_mask=mask, enable_gqa=True
        ).transpose(1, 2)
    found = mine(q, k, v, causal)
    torch.testing.assert_close(found, reference)
    weight = draw(*found.shape, seed=9)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((reference * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_attention_equals_transformers_qwen3_attention():
    """Qwen3 is Llama with QK-norm before the rotation; it pairs channel i with i + D/2 where ours pairs neighbours."""
    from transformers import Qwen3Config
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3RotaryEmbedding

    config = Qwen3Config(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_hidden_layers=1, vocab_size=16
    )
    config._attn_implementation = "eager"
    theirs = Qwen3Attention(config, layer_idx=0)
    mine = layers.Attention(64, 4, 2)
    halves = torch.arange(16).view(2, 8).T.flatten()  # our channel -> theirs
    with torch.no_grad():
        for index, ours in enumerate((mine.q, mine.k, mine.v, mine.o)):
            ours.weight.copy_(0.3 * draw(*ours.weight.shape, seed=index))
        mine.q_norm.weight.copy_(1 + 0.3 * draw(16, seed=5))
        mine.k_norm.weight.copy_(1 + 0.3 * draw(16, seed=6))
        for ours, other in ((mine.q, theirs.q_proj), (mine.k, theirs.k_proj)):
            other.weight.view(-1, 16, 64)[:, halves] = ours.weight.view(-1, 16, 64)
        theirs.v_proj.weight.copy_(mine.v.weight)
        theirs.o_proj.weight.copy_(mine.o.weight)
        theirs.q_norm.weight[halves] = mine.q_norm.weight
        theirs.k_norm.weight[halves] = mine.k_norm.weight
    x = draw(2, 11, 64, seed=7)
    cos_sin = Qwen3RotaryEmbedding(config)(x, torch.arange(11)[None])
    mask = torch.full((11, 11), -torch.inf).triu(1)[None, None]
    reference, _ = theirs(x, cos_sin, mask)
    torch.testing.assert_close(mine(x, layers.rotary_table(11, 16, config.rope_parameters["rope_theta"])), reference)


def test_swiglu_equals_transformers_llama_mlp():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    theirs = LlamaMLP(LlamaConfig(hidden_size=16, intermediate_size=40, num_attention_heads=2))
    mine = layers.SwiGLU(16, 40)
    mine.gate.weight, mine.up.weight = theirs.gate_proj.weight, theirs.up_proj.weight
    mine.down.weight = theirs.down_proj.weight
    torch.testing.assert_close(mine(draw(3, 16)), theirs(draw(3, 16)))


def test_squared_relu_is_the_square_of_the_positive_part():
    mlp = layers.SquaredReLU(2, 2)
    mlp.up.weight.data = torch.eye(2)
    mlp.down.weight.data = torch.eye(2)
    assert torch.equal(mlp(torch.tensor([-3.0, 3.0])), torch.tensor([0.0, 9.0]))


@pytest.mark.parametrize("rows", [1, 3, 512])
def test_fused_cross_entropy_equals_torchs_in_value_and_gradient(rows):
    x, weight = draw(2, 5, 8).requires_grad_(), draw(11, 8, seed=1).requires_grad_()
    targets = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(2))
    mine = layers.linear_cross_entropy(x, weight, targets, rows)
    reference = F.cross_entropy((x @ weight.T).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(mine, reference)
    mine_grads = torch.autograd.grad(3 * mine, (x, weight))
    for a, b in zip(mine_grads, torch.autograd.grad(3 * reference, (x, weight)), strict=True):
        torch.testing.assert_close(a, b)


def test_fused_cross_entropy_under_autocast_is_within_bf16_rounding():
    x, weight = draw(4, 64, 32).requires_grad_(), (0.2 * draw(500, 32, seed=1)).requires_grad_()
    targets = torch.randint(500, (4, 64), generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16):
        mine = layers.linear_cross_entropy(x, weight, targets)
    reference = F.cross_entropy((x @ weight.T).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(mine, reference, rtol=1e-3, atol=0)
    for a, b in zip(torch.autograd.grad(mine, (x, weight)), torch.autograd.grad(reference, (x, weight)), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.01 * b.norm()


def test_fused_cross_entropy_stays_finite_when_the_target_is_almost_impossible():
    x, weight = torch.tensor([[[300.0]]]), torch.tensor([[1.0], [-1.0]])
    assert layers.linear_cross_entropy(x, weight, torch.tensor([[1]])).item() == pytest.approx(87.5, abs=0.01)


def test_generators_depend_on_every_part_of_their_key():
    keys = [(0, "init", "a"), (1, "init", "a"), (0, "dropout", "a"), (0, "init", "b")]
    draws = [torch.rand((), generator=layers.generator(*key)).item() for key in keys]
    assert len(set(draws)) == 4
    assert torch.rand((), generator=layers.generator(*keys[0])).item() == draws[0]
