"""Sizes, paths, conditioning and sampling of the flow matching model, and every defect that a published one had."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from model_core import flow, train

SMALL = dataclasses.replace(
    flow.PRESETS["tiny"], image_size=8, image_tokens=16, d_model=32, n_layers=2, n_heads=2, d_ff=64, batch_size=8
)


class Stream:
    """Serves the same few images until the budget is used up."""

    def __init__(self, batches: int, config=SMALL) -> None:
        self.left, self.losses = batches, []
        generator = torch.Generator().manual_seed(1)
        size = config.image_size
        self.images = torch.rand(config.batch_size, config.channels, size, size, generator=generator) * 2 - 1
        self.labels = torch.arange(config.batch_size) % config.n_classes

    def take(self, rows: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        self.left -= 1
        return (self.images[:rows], self.labels[:rows]) if self.left >= 0 else None

    def report(self, tokens_seen: int, loss: torch.Tensor) -> None:
        self.losses.append(loss.item())


def built(config=SMALL, seed=0) -> flow.DiT:
    return train.build(flow.DiT, config, seed, "cpu")


def trained(updates: int, **fields) -> train.Trainer:
    config = dataclasses.replace(SMALL, **fields)
    trainer = train.Trainer(built(config), updates * 8 * 16, precision="fp32")
    trainer.train(Stream(updates, config))
    return trainer


def with_random_weights(seed=0) -> flow.DiT:
    """A model in which nothing is zero, so that everything has an effect."""
    model = built()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    return model


def images(count: int, seed=0) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("48m", 48_155_916), ("129m", 129_461_008 + 768)],  # as published, and one row for "no class"
)
def test_presets_have_their_size_to_the_digit(preset, parameters):
    with torch.device("meta"):
        model = flow.DiT(flow.PRESETS[preset])
    assert model.parameter_count() == parameters


def test_the_129m_model_reads_and_answers_its_published_form():
    """Four channels of 32 x 32, as the latents that it was made for."""
    with torch.device("meta"):
        model = flow.DiT(flow.PRESETS["129m"])
        found = model(torch.empty(2, 4, 32, 32), torch.empty(2), torch.empty(2, dtype=torch.int64))
    assert found.shape == (2, 4, 32, 32)


def test_tokens_of_an_update_do_not_depend_on_the_patch():
    for patch in (1, 2, 4):
        assert built(dataclasses.replace(SMALL, patch=patch)).batch_tokens == 8 * 16


def test_constructor_draws_nothing():
    before = torch.get_rng_state()
    with torch.device("meta"):
        flow.DiT(SMALL)
    assert torch.equal(torch.get_rng_state(), before)


def test_adding_a_tensor_leaves_every_other_draw_as_it_was():
    class Wider(flow.DiT):
        def __init__(self, config):
            super().__init__(config)
            self.extra_norm = nn.Parameter(torch.empty(3))

    plain, wider = built().state_dict(), train.build(Wider, SMALL, 0, "cpu").state_dict()
    assert all(torch.equal(value, wider[name]) for name, value in plain.items())


def test_a_parameter_without_initialisation_is_named():
    class Odd(flow.DiT):
        def __init__(self, config):
            super().__init__(config)
            self.mystery = nn.Parameter(torch.empty(3, 3))

    with pytest.raises(ValueError, match=r"mystery.*Odd\.init_weights"):
        train.build(Odd, SMALL, 0, "cpu")


def test_the_model_starts_as_zero_velocity_and_its_loss_as_the_mean_square_of_the_target():
    model = built()
    x_t, t, labels = model.inputs(images(8), torch.arange(8))
    assert torch.equal(model(x_t, t, labels), torch.zeros_like(x_t))
    torch.manual_seed(0)
    many = images(500)
    assert model.loss(many, torch.zeros(500, dtype=torch.int64)).item() == pytest.approx(2.0, rel=0.03)


def test_gradient_reaches_every_parameter_once_the_gates_are_open():
    trainer = trained(3)
    trainer.model.loss(images(8), torch.arange(8)).backward()
    unreached = [name for name, p in trainer.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unreached == []


def test_patches_and_image_are_inverse_and_in_row_major_order():
    model, x = built(), images(3)
    patches = model.patches(x)
    assert patches.shape == (3, 16, 4)
    torch.testing.assert_close(patches[0, 5], x[0, 0, 2:4, 2:4].flatten())  # second row, second column
    assert torch.equal(model.image(patches), x)


def test_positions_are_those_of_the_published_sin_cos_grid():
    """The construction of He et al. 2022 (MAE), written out with numpy: sin, then cos, of each axis."""
    side, dim = 4, 32
    omega = 1.0 / 10_000 ** (np.arange(dim // 4) / (dim / 4))
    rows, columns = np.repeat(np.arange(side), side), np.tile(np.arange(side), side)
    parts = [f(np.outer(place, omega)) for place in (rows, columns) for f in (np.sin, np.cos)]
    np.testing.assert_allclose(flow.grid_positions(side, dim).numpy(), np.concatenate(parts, axis=1), atol=1e-12)


def rotated(x: Tensor) -> Tensor:
    """x (B, H, N, D): channels 2i and 2i + 1 of token n turned by n * 10000^(-2i/D), each pair by itself."""
    turned, dim = torch.empty_like(x), x.shape[-1]
    for i in range(dim // 2):
        angle = torch.arange(x.shape[2]) * 10_000.0 ** (-2 * i / dim)
        even, odd = x[..., 2 * i], x[..., 2 * i + 1]
        turned[..., 2 * i] = even * angle.cos() - odd * angle.sin()
        turned[..., 2 * i + 1] = even * angle.sin() + odd * angle.cos()
    return turned


def plain_block(block: flow.Block, x: Tensor, condition: Tensor, heads: int) -> Tensor:
    """The DiT block of Peebles and Xie with torch's own functions alone; x (B, N, D), condition (B, D)."""
    modulation = F.linear(F.silu(condition), block.modulation.weight, block.modulation.bias)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation[:, None].tensor_split(6, dim=-1)
    norm = nn.LayerNorm(x.shape[-1], eps=1e-6, elementwise_affine=False)
    attention, mlp = block.attention, block.mlp

    h = norm(x) * (1 + scale_a) + shift_a
    q, k, v = (
        F.linear(h, part.weight).unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, H, N, head)
        for part in (attention.q, attention.k, attention.v)
    )
    q = rotated(F.rms_norm(q, q.shape[-1:], attention.q_norm.weight, eps=1e-6))
    k = rotated(F.rms_norm(k, k.shape[-1:], attention.k_norm.weight, eps=1e-6))
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + gate_a * F.linear(y, attention.o.weight)
    h = F.relu(F.linear(norm(x) * (1 + scale_m) + shift_m, mlp.up.weight)) ** 2
    return x + gate_m * F.linear(h, mlp.down.weight)


def test_a_block_is_the_published_one_written_with_torch_alone():
    model = with_random_weights()
    generator = torch.Generator().manual_seed(4)
    x, condition = torch.randn(3, 16, 32, generator=generator), torch.randn(3, 32, generator=generator)
    for block in model.blocks:
        with torch.no_grad():
            expected = plain_block(block, x, condition, SMALL.n_heads)
            assert (expected - x).abs().mean() > 0.1, "a block that does nothing would tell nothing"
            torch.testing.assert_close(block(x, condition, model.rotary), expected, rtol=1e-4, atol=1e-4)


def plain_sinusoid(t: Tensor, dim: int) -> Tensor:
    """sin, then cos, of t times 10000^(-i / (dim/2)); t (B,) -> (B, dim)."""
    angles = t[:, None] * 10_000.0 ** (-torch.arange(dim // 2) / (dim // 2))
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def test_the_model_is_the_published_one_written_with_torch_alone():
    """Patches and positions in, time and class as the condition of every block and of the head, patches out."""
    model = with_random_weights(3)
    x_t, t, labels = images(3), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 4, SMALL.n_classes])
    time, head = model.time_embedding, model.head
    with torch.no_grad():
        waves = plain_sinusoid(1_000 * t, SMALL.time_dim)
        wide = F.silu(F.linear(waves, time.wide.weight, time.wide.bias))
        condition = F.linear(wide, time.out.weight, time.out.bias) + model.class_embedding.weight[labels]
        embedding = model.patch_embedding
        x = F.linear(F.unfold(x_t, 2, stride=2).mT, embedding.weight, embedding.bias) + flow.grid_positions(4, 32)
        x = x.float()
        for block in model.blocks:
            x = plain_block(block, x, condition, SMALL.n_heads)
        shift, scale = F.linear(F.silu(condition), head.modulation.weight, head.modulation.bias)[:, None].chunk(2, -1)
        x = nn.LayerNorm(32, eps=1e-6, elementwise_affine=False)(x) * (1 + scale) + shift
        expected = F.fold(F.linear(x, head.velocity.weight, head.velocity.bias).mT, 8, 2, stride=2)
        torch.testing.assert_close(model(x_t, t, labels), expected, rtol=1e-3, atol=1e-3)


def test_every_block_starts_as_the_identity():
    model, generator = built(), torch.Generator().manual_seed(4)
    x, condition = torch.randn(3, 16, 32, generator=generator), torch.randn(3, 32, generator=generator)
    assert all(torch.equal(block(x, condition, model.rotary), x) for block in model.blocks)


def test_path_goes_from_noise_to_image_at_constant_velocity():
    x_0, x_1 = images(4, 1), images(4, 2)
    start, velocity = flow.path(x_0, x_1, torch.zeros(4))
    end, _ = flow.path(x_0, x_1, torch.ones(4))
    assert torch.equal(start, x_0) and torch.equal(end, x_1)
    t = torch.tensor([0.1, 0.4, 0.6, 0.9])
    here, there = flow.path(x_0, x_1, t)[0], flow.path(x_0, x_1, t + 0.05)[0]
    torch.testing.assert_close((there - here) / 0.05, velocity, rtol=1e-4, atol=1e-4)


def test_time_is_told_apart_everywhere_between_noise_and_image():
    """A published model fed 0..1 into a sinusoid made for 0..1000, where most channels hardly move."""
    embedding, seen = built().time_embedding, []
    embedding.wide.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    embedding(torch.linspace(0, 1, 101))
    (waves,) = seen  # (101, time_dim), as the first layer gets them
    steps = (waves[1:] - waves[:-1]).norm(dim=-1) / waves.norm(dim=-1).mean()
    assert waves.shape == (101, SMALL.time_dim) and steps.min() > 0.3
    assert (waves.std(dim=0) > 0.2).float().mean() > 0.6, "most channels move"


def test_labels_are_dropped_image_by_image_and_go_to_a_row_of_their_own(monkeypatch):
    """A published model dropped whole batches, and to class 0, which is the aeroplane."""
    model, seen = built(), []
    monkeypatch.setattr(model, "forward", lambda x_t, t, labels: seen.append(labels) or x_t)
    torch.manual_seed(0)
    for _ in range(20):
        model.loss(images(500), torch.zeros(500, dtype=torch.int64))
    dropped = torch.stack(seen) == SMALL.n_classes
    assert dropped.float().mean() == pytest.approx(SMALL.class_drop, abs=0.01)
    assert set(torch.stack(seen).unique().tolist()) == {0, SMALL.n_classes}
    assert (dropped.float().mean(dim=1) < 0.2).all()  # never a whole batch


def test_noise_and_time_are_drawn_anew_for_every_image_and_every_update(monkeypatch):
    model, seen = built(), []
    monkeypatch.setattr(model, "forward", lambda x_t, t, labels: seen.append((x_t, t)) or x_t)
    for _ in range(2):
        model.loss(torch.zeros(8, 1, 8, 8), torch.arange(8))
    times = torch.cat([t for _, t in seen])
    noises = torch.cat([x for x, _ in seen]).flatten(1) / (1 - times)[:, None]
    assert len(times.unique()) == 16
    assert torch.corrcoef(noises).fill_diagonal_(0).abs().max() < 0.6


def test_the_class_and_the_time_change_the_velocity():
    model, x = with_random_weights(), images(1)
    t = torch.tensor([0.3])
    answers = [model(x, t, torch.tensor([label])) for label in (0, 1, SMALL.n_classes)]
    answers += [model(x, t + 0.2, torch.tensor([0]))]
    for i, a in enumerate(answers):
        assert all((a - b).abs().max() > 1e-3 for b in answers[:i])


def test_an_image_is_drawn_without_regard_to_the_others_in_its_batch():
    model, x, t, labels = with_random_weights(), images(5), torch.rand(5), torch.arange(5)
    whole = model(x, t, labels)
    for i in range(5):
        torch.testing.assert_close(model(x[i : i + 1], t[i : i + 1], labels[i : i + 1])[0], whole[i])


def test_training_learns_the_direction_to_few_images():
    trainer, stream = train.Trainer(built(), 100 * 128, precision="fp32"), Stream(100)
    trainer.train(stream)
    assert np.mean(stream.losses[-20:]) < 0.85 * np.mean(stream.losses[:5])


def test_averaged_weights_of_a_short_run_have_left_their_start():
    """With a decay of 0.9999 and no ramp, a published model's average was still zero at the end of a short run."""
    trainer = trained(30, ema=0.9999)
    average, last = trainer.state()["head.velocity.weight"], trainer.model.head.velocity.weight
    assert average.norm() > 0.3 * last.norm()


def test_two_trainings_are_equal_to_the_bit_and_can_be_resumed(tmp_path):
    whole, again = trained(6), trained(6)
    half = train.Trainer(built(), 6 * 128, precision="fp32")
    half.train(Stream(4))
    torch.save(half.snapshot(), tmp_path / "snapshot.pt")
    resumed = train.Trainer(built(seed=5), 6 * 128, precision="fp32")
    resumed.model.seed = 0
    resumed.resume(torch.load(tmp_path / "snapshot.pt", weights_only=True))
    resumed.train(Stream(2))
    for other in (again, resumed):
        assert all(torch.equal(a, b) for a, b in zip(whole.state().values(), other.state().values(), strict=True))


def test_eulers_method_follows_a_known_field():
    """x' = x has the solution e^t, which the method reaches from below as (1 + 1/n)^n."""
    noise, labels = images(2), torch.zeros(2, dtype=torch.int64)
    found = flow.sample(lambda x, t, y: x, noise, labels, steps=50, guidance=1, no_class=10)
    torch.testing.assert_close(found, noise * (1 + 1 / 50) ** 50)
    exact = solve_ivp(lambda t, x: x, (0, 1), noise.flatten().numpy(), rtol=1e-8).y[:, -1]
    fine = flow.sample(lambda x, t, y: x, noise, labels, steps=5_000, guidance=1, no_class=10)
    np.testing.assert_allclose(fine.flatten().numpy(), exact, rtol=2e-4)


def test_eulers_method_carries_noise_to_a_known_normal_law():
    """Data N(mu, s^2), of which the velocity is known: what is drawn along it must have that mean and spread."""
    mu, s = 1.5, 0.7

    def velocity(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        t = t[:, None, None, None]
        variance = (1 - t) ** 2 + t**2 * s**2
        return mu + (t * s**2 - (1 - t)) / variance * (x - t * mu)

    noise = torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(len(noise), dtype=torch.int64)
    found = flow.sample(velocity, noise, labels, steps=200, guidance=1, no_class=10)
    assert found.mean().item() == pytest.approx(mu, rel=0.02)
    assert found.std().item() == pytest.approx(s, rel=0.02)


def test_times_of_the_sampler_are_those_of_the_path():
    seen = []
    flow.sample(lambda x, t, y: seen.append(t) or x * 0, images(3), torch.zeros(3), steps=4, guidance=1, no_class=10)
    assert [t.tolist() for t in seen] == [[value] * 3 for value in (0.0, 0.25, 0.5, 0.75)]


@pytest.mark.parametrize("count", [1, 3, 4])  # a published sampler split batches so that none of these worked
def test_guidance_moves_along_the_difference_that_the_class_makes(count):
    model = with_random_weights()
    noise, labels = images(count), torch.arange(count)

    def one_step(guidance: float) -> torch.Tensor:
        with torch.no_grad():
            return flow.sample(model, noise, labels, 1, guidance, SMALL.n_classes) - noise

    without, with_class = one_step(0.0), one_step(1.0)
    t = torch.zeros(count)
    with torch.no_grad():
        torch.testing.assert_close(with_class, model(noise, t, labels))
        torch.testing.assert_close(without, model(noise, t, torch.full((count,), SMALL.n_classes)))
    torch.testing.assert_close(one_step(3.0), without + 3 * (with_class - without), rtol=1e-3, atol=1e-4)


def test_bf16_needs_no_scaler_and_stays_near_fp32():
    model, x = with_random_weights(), images(4)
    t, labels = torch.rand(4), torch.arange(4)
    a, b = (train.predictor(model, precision)(x, t, labels) for precision in ("fp32", "bf16"))
    assert b.dtype == torch.float32
    assert (a - b).norm() < 0.03 * a.norm()
    assert not train.Trainer(model, 1_000, precision="bf16").scaler.is_enabled()
    assert math.isfinite(model.loss(x, labels).item())
