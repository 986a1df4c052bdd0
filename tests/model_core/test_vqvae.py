"""Sizes, quantiser, losses, use of the codebook and training of the visual tokenizer."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.cluster import vq
from torch import nn

from model_core import train, vqvae

SMALL = dataclasses.replace(
    vqvae.PRESETS["tiny"],
    image_size=8,
    image_tokens=4,
    width=16,
    residual_width=8,
    n_codes=16,
    code_dim=8,
    batch_size=8,
)
BATCH_TOKENS = 8 * 4


def blobs(count: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    """Images (count, 1, size, size) in -1..1 of one bright spot each."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, count, 1, 1, generator=generator) * size
    place = torch.arange(size)
    return (2 * torch.exp(-((place - x) ** 2 + (place[:, None] - y) ** 2) / 4) - 1)[:, None]


class Stream:
    """Serves spots with labels until the budget is used up."""

    def __init__(self, batches: int, skip: int = 0) -> None:
        self.left, self.served, self.losses = batches, skip, []

    def take(self, rows: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        if self.left == 0:
            return None
        self.left -= 1
        self.served += 1
        return blobs(rows, seed=self.served), torch.zeros(rows, dtype=torch.int64)

    def report(self, tokens_seen: int, loss: torch.Tensor) -> None:
        self.losses.append(loss.item())


def built(config=SMALL, seed=0, kind=vqvae.VQVAE) -> vqvae.VQVAE:
    return train.build(kind, config, seed, "cpu").eval()


def trainer(config=SMALL, updates=10, **keywords) -> train.Trainer:
    return train.Trainer(built(config), updates * BATCH_TOKENS, **{"precision": "fp32", **keywords})


def with_spread_codes(config=SMALL, seed=0) -> vqvae.VQVAE:
    """An untrained model whose codes lie where the vectors are, so that different images get different ones."""
    model = built(config, seed)
    with torch.no_grad():
        model.codebook.weight.copy_(model.encoder(blobs(config.n_codes, config.image_size, seed=9))[:, 0, 0])
    return model


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_full_has_its_published_size_to_the_digit():
    with torch.device("meta"):
        model = vqvae.VQVAE(vqvae.PRESETS["full"])
    assert model.parameter_count() == model.active_parameter_count() == 727_619


@pytest.mark.parametrize(("preset", "grid"), [("full", 32), ("tiny", 4)])
def test_an_image_has_one_code_for_four_by_four_pixels_and_the_meter_counts_them(preset, grid):
    config = vqvae.PRESETS[preset]
    model = built(config)
    codes = model.encode(torch.zeros(3, config.channels, config.image_size, config.image_size))
    assert codes.shape == (3, grid, grid) and codes.dtype == torch.int64
    assert config.image_tokens == grid * grid and model.batch_tokens == config.batch_size * grid * grid


def test_tokens_of_an_update_do_not_depend_on_the_network():
    assert built(dataclasses.replace(SMALL, image_size=16)).batch_tokens == BATCH_TOKENS


def test_constructor_draws_nothing():
    before = torch.get_rng_state()
    vqvae.VQVAE(SMALL)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_compute_what_the_published_ones_do():
    """Kernels, strides and paddings against the modules of torch that the published model was made of."""
    x, small = torch.randn(2, 3, 8, 8), torch.randn(2, 6, 4, 4)
    for ours, theirs, value in [
        (vqvae.Conv(3, 5, 4, stride=2), nn.Conv2d(3, 5, 4, 2, 1), x),
        (vqvae.Conv(3, 5, 3), nn.Conv2d(3, 5, 3, 1, 1), x),
        (vqvae.Conv(3, 5, 3, bias=False), nn.Conv2d(3, 5, 3, 1, 1, bias=False), x),
        (vqvae.Conv(3, 5, 1), nn.Conv2d(3, 5, 1), x),
        (vqvae.TransposedConv(6, 4), nn.ConvTranspose2d(6, 4, 4, 2, 1), small),
    ]:
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(value), theirs(value))


def test_a_residual_block_adds_to_what_it_was_given():
    """A ReLU in place, as in one widely copied block, would add to the positive part alone."""
    block = built().encoder.blocks[0]
    with torch.no_grad():
        block.mix.weight.zero_()
    x = torch.randn(2, SMALL.width, 4, 4)
    assert torch.equal(block(x.clone()), x)


def test_forward_is_decode_after_encode_and_has_the_shape_of_the_images():
    model, images = with_spread_codes(), blobs(5)
    codes = model.encode(images)
    assert codes.unique().numel() > 1
    assert torch.equal(model(images), model.decode(codes))
    assert model(images).shape == images.shape and model(images).dtype == torch.float32
    assert torch.equal(model(*model.inputs(images)), model(images))


def test_predictors_of_two_processes_meet_in_the_codes_alone():
    model, images = with_spread_codes(), blobs(5)
    codes = train.predictor(model, "fp32", "encode")(images)
    other = built(seed=1)
    other.load_state_dict(model.state_dict(), strict=True)
    found = train.predictor(other, "fp32", "decode")(codes)
    assert codes.dtype == torch.int64 and found.dtype == torch.float32
    assert torch.equal(found, train.predictor(model, "fp32")(images))


@pytest.mark.parametrize("batch", [1, 3])
def test_codes_of_an_image_do_not_depend_on_the_others_in_the_batch(batch):
    model, images = with_spread_codes(), blobs(12)
    together = model.encode(images)
    apart = torch.cat([model.encode(part) for part in images.split(batch)])
    assert torch.equal(apart, together)
    assert torch.equal(model.encode(images.flip(0)).flip(0), together)


@pytest.mark.parametrize("shape", [(50,), (2, 5, 5)])
def test_nearest_is_the_nearest_by_brute_force(shape):
    z, codebook = torch.randn(*shape, 6), torch.randn(40, 6)
    reference = torch.cdist(z.double().view(-1, 6), codebook.double()).argmin(-1)
    assert torch.equal(vqvae.nearest(z, codebook), reference.view(shape))


def test_nearest_agrees_with_scipy():
    z, codebook = torch.randn(200, 6), torch.randn(40, 6)
    assert np.array_equal(vqvae.nearest(z, codebook), vq.vq(z.numpy(), codebook.numpy())[0])


def test_nearest_is_computed_in_fp32_under_autocast():
    z, codebook = 10 + torch.randn(500, 6), 10 + torch.randn(40, 6)  # far from 0, where bf16 is coarse
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vqvae.nearest(z, codebook), vqvae.nearest(z.clone(), codebook.clone()))
        found = vqvae.nearest(z, codebook)
        rough = (codebook.square().sum(-1) - 2 * (z @ codebook.T)).argmin(-1)
    reference = torch.cdist(z.double(), codebook.double()).argmin(-1)
    assert (found == reference).float().mean() > 0.99
    assert (rough == reference).float().mean() < 0.9


def test_usage_counts_codes_and_equals_the_entropy_of_scipy():
    codes = torch.randint(10, (4, 8, 8), generator=torch.Generator().manual_seed(0)) ** 2 // 5
    counts = np.bincount(codes.flatten(), minlength=32)
    used, perplexity = vqvae.usage(codes, 32)
    assert used == np.count_nonzero(counts) < 32
    assert perplexity == pytest.approx(np.exp(stats.entropy(counts)), rel=1e-6)
    assert vqvae.usage(torch.arange(32), 32) == (32, pytest.approx(32))
    assert vqvae.usage(torch.full((9,), 3), 32) == (1, pytest.approx(1))


def test_loss_is_the_sum_of_three_squared_errors_with_a_quarter_of_the_commitment():
    model, images = with_spread_codes(), blobs(6)
    z, e = model.encoder(images), model.codebook(model.encode(images))
    expected = F.mse_loss(model.decoder(e), images) + F.mse_loss(e, z) + 0.25 * F.mse_loss(z, e)
    torch.testing.assert_close(model.loss(images), expected)


def test_each_part_of_the_loss_teaches_what_it_should():
    """Codebook: 2 (e - z) / elements of each vector that chose it. Encoder: straight through, 0.25 of commitment."""
    model, images = with_spread_codes(), blobs(6)
    kept = []
    model.encoder.register_forward_hook(lambda module, inputs, z: (z.retain_grad(), kept.append(z))[1])
    model.loss(images).backward()
    z, codes = kept[0].detach(), model.encode(images)
    e = model.codebook.weight.detach()[codes].requires_grad_()
    F.mse_loss(model.decoder(e), images).backward()  # what the decoder says to the code it was given
    torch.testing.assert_close(kept[0].grad, e.grad + 0.25 * 2 * (z - e.detach()) / z.numel())
    pull = torch.zeros_like(model.codebook.weight)
    pull.index_put_((codes,), 2 * (e.detach() - z) / z.numel(), accumulate=True)
    torch.testing.assert_close(model.codebook.weight.grad, pull)


def test_gradient_reaches_every_parameter():
    model = with_spread_codes()
    model.loss(blobs(16)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_evaluation_changes_nothing():
    model = with_spread_codes()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(blobs(6)), model.loss(blobs(6))
    assert equal(model.state_dict(), before)


def test_unused_codes_move_onto_vectors_of_the_batch_and_used_ones_stay():
    codebook, z = built().codebook, torch.randn(30, SMALL.code_dim)
    before = codebook.weight.detach().clone()
    codebook.frequency.fill_(1.0)
    codebook.frequency[[2, 5]] = 0.0
    codebook.restart(z)
    moved = (codebook.weight != before).any(-1).nonzero().flatten().tolist()
    assert moved == [2, 5]
    assert all((z == codebook.weight[k]).all(-1).any() for k in moved)
    assert torch.all(codebook.frequency == 1)


def test_a_code_that_started_again_is_still_there_after_the_update():
    """In one widely used library the average of the vectors overwrote it within the same update."""
    t = trainer(updates=3)
    t.model.train()
    t.update(blobs(8))
    vectors = t.model.encoder(blobs(8, seed=1)).detach().flatten(0, 2)
    t.model.codebook.frequency[3] = 0.0
    t.update(blobs(8, seed=1))
    distance = (t.model.codebook.weight[3] - vectors).norm(dim=-1).min().item()
    assert distance < 2 * SMALL.adamw_lr * SMALL.code_dim**0.5


def test_frequency_is_the_average_share_of_each_code():
    codebook = built().codebook
    codebook.frequency.fill_(1.0)
    codebook.count(torch.tensor([0, 0, 0, 1]), share=1.0)
    decay, share = SMALL.frequency_decay, torch.zeros(16)
    share[:2] = torch.tensor([3 / 4, 1 / 4])
    torch.testing.assert_close(codebook.frequency, decay + (1 - decay) * 16 * share)


def test_frequency_forgets_at_the_same_pace_in_micro_batches():
    whole, parts = built().codebook, built().codebook
    codes = torch.arange(16).repeat(2)
    for codebook in (whole, parts):
        codebook.frequency[0] = 5.0
    whole.count(codes, share=1.0)
    for _ in range(4):
        parts.count(codes, share=0.25)
    torch.testing.assert_close(parts.frequency, whole.frequency)


def test_the_first_update_starts_every_code_at_an_output_of_the_encoder():
    model, images = built(), blobs(16)
    z = model.encoder(images).detach().flatten(0, 2)
    model.train().loss(images)
    assert all((z == row).all(-1).any() for row in model.codebook.weight)


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_a_collapsed_codebook_recovers(micro_batch):
    """One code nearest to everything, the others far away: their gradient is zero, so nothing else could free them."""
    t = trainer(dataclasses.replace(SMALL, schedule="constant"), updates=40, micro_batch=micro_batch)
    with torch.no_grad():
        t.model.codebook.weight[1:] = 100.0
        t.model.codebook.frequency.fill_(1.0)
        t.model.codebook.frequency[0] = 16.0
    images = blobs(64, seed=99)
    assert vqvae.usage(t.model.encode(images), 16)[0] == 1
    t.train(Stream(40))
    t.model.eval()
    used, perplexity = vqvae.usage(t.model.encode(images), 16)
    assert used >= 14 and perplexity > 8


def test_training_lowers_the_error_of_images_that_were_not_seen():
    t, held_out = trainer(dataclasses.replace(SMALL, adamw_lr=0.01), updates=300), blobs(64, seed=99_999)
    t.train(Stream(300))
    found = train.predictor(t.model, "fp32")(held_out)
    assert F.mse_loss(found, held_out) < 0.25 * held_out.var()  # of answering with the mean image


def test_two_runs_are_equal_to_the_bit():
    runs = [trainer(precision="bf16", micro_batch=4) for _ in range(2)]
    for t in runs:
        t.train(Stream(10))
        torch.rand(7)  # what else draws random numbers in the process has no say
    assert equal(runs[0].state(), runs[1].state())


def test_warm_up_leaves_no_trace():
    t, fresh = trainer(), trainer()
    before = {name: value.clone() for name, value in t.model.state_dict().items()}
    t.warm_up()
    assert equal(t.model.state_dict(), before)
    for each in (t, fresh):
        each.train(Stream(10))
    assert equal(t.state(), fresh.state())


def test_a_run_resumed_from_a_snapshot_ends_where_an_undisturbed_one_does(tmp_path):
    whole, first, second = trainer(), trainer(), trainer()
    whole.train(Stream(10))
    first.train(Stream(6))
    torch.save(first.snapshot(), tmp_path / "snapshot.pt")
    second.warm_up()
    second.resume(torch.load(tmp_path / "snapshot.pt", weights_only=True))
    second.train(Stream(4, skip=6))
    assert equal(whole.state(), second.state())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own tracer does
def test_compiled_training_follows_the_eager_run(monkeypatch):
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compile(f, backend="aot_eager"))
    runs = [trainer(dataclasses.replace(SMALL, compile=flag)) for flag in (False, True)]
    for t in runs:
        t.warm_up()
        t.train(Stream(5))
    for (a_name, a), (b_name, b) in zip(*(t.state().items() for t in runs), strict=True):
        assert a_name == b_name
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


class WithGate(vqvae.VQVAE):
    def __init__(self, config):
        super().__init__(config)
        self.encoder.mix = vqvae.Conv(4, 4, 1)


def test_adding_a_tensor_leaves_every_other_draw_as_it_was():
    plain, gated = built().state_dict(), built(kind=WithGate).state_dict()
    assert set(gated) - set(plain) == {"encoder.mix.weight", "encoder.mix.bias"}
    assert all(torch.equal(gated[name], value) for name, value in plain.items())


class WithGain(vqvae.VQVAE):
    def __init__(self, config):
        super().__init__(config)
        self.gain = nn.Parameter(torch.empty(3))


def test_a_parameter_without_initialisation_is_named():
    with pytest.raises(ValueError, match="no initialisation for gain"):
        built(kind=WithGain)


def test_equal_shapes_start_different_and_seeds_differ():
    first, again, other = (built(seed=seed).state_dict() for seed in (0, 0, 1))
    assert not torch.equal(first["encoder.blocks.0.conv.weight"], first["encoder.blocks.1.conv.weight"])
    assert not torch.equal(first["codebook.weight"], other["codebook.weight"])
    assert equal(first, again)


def test_tensors_start_in_the_range_of_the_table():
    config = dataclasses.replace(vqvae.PRESETS["tiny"], width=32)
    bounds = {
        "encoder.down1.weight": (1 * 16) ** -0.5,
        "encoder.down2.weight": (16 * 16) ** -0.5,
        "encoder.conv.weight": (32 * 9) ** -0.5,
        "decoder.up1.weight": (32 * 4) ** -0.5,
        "decoder.up2.weight": (16 * 4) ** -0.5,
        "codebook.weight": 1 / 128,
        "codebook.frequency": 0.0,
        "decoder.up1.bias": 0.0,
    }
    state = built(config).state_dict()
    for name, bound in bounds.items():
        assert 0.95 * bound <= state[name].abs().max() <= bound, name


def test_a_batch_leaves_the_labels_out_and_made_up_ones_have_its_shapes():
    model = built()
    (images,), (made_up,) = model.take(Stream(1)), model.made_up()
    assert images.shape == made_up.shape and images.dtype == made_up.dtype
    assert made_up.min() >= -1 and made_up.max() <= 1
    assert model.take(Stream(0)) is None
