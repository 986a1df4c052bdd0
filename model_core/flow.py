"""A diffusion transformer that draws images by flow matching.

- patches of the image as tokens, fixed 2-D sin-cos positions, rotary embedding over the token index in attention
- adaLN-Zero blocks (Peebles and Xie 2023): time and class shift, scale and gate each branch, gates begin at zero
- attention as layers.py has it, over all tokens; squared-ReLU MLP
- straight paths (Lipman et al. 2023; Liu et al. 2023): x_t = (1 - t) x_0 + t x_1 from noise to image, and the model is
  asked for their velocity x_1 - x_0
- a class row for "no class", which a tenth of the training images get, so that sampling can be guided (Ho 2022)

Shapes: B images, C channels of an image, S its side, P side of a patch, N = (S/P)^2 tokens, D model width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_core import layers


@dataclass(frozen=True)
class FlowConfig:
    """Shape and training recipe of a flow matching model."""

    channels: int = 3
    image_size: int = 32
    image_tokens: int = 256  # what the meter counts for an image, whatever the size of a patch
    patch: int = 2
    n_classes: int = 10
    d_model: int = 512
    n_layers: int = 10
    n_heads: int = 8
    d_ff: int = 2_048
    rope_base: float = 10_000.0
    time_dim: int = 256  # channels of the sinusoid of the time
    time_scale: float = 1_000.0  # the sinusoid's periods go up to 10,000: on 0..1 most channels would be constant
    class_drop: float = 0.1  # share of the images that are trained on without their class
    batch_size: int = 128  # images per update
    optimizer: str = "adamw"  # or "muon" for matrices
    muon_lr: float = 0.02
    muon_momentum: float = 0.95
    orthogonaliser: str = "polar_express"
    up_lr_scale: float = 1.0
    adamw_lr: float = 1e-4
    adamw_beta1: float = 0.9
    adamw_beta2: float = 0.999
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    schedule: str = "constant"
    warmup: float = 0.05
    decay: float = 0.2
    lr_floor: float = 0.1
    ema: float = 0.9999
    compile: bool = True


PRESETS = {
    "tiny": FlowConfig(
        channels=1,
        image_size=16,
        image_tokens=64,
        d_model=128,
        n_layers=4,
        n_heads=4,
        d_ff=512,
        time_dim=64,
        batch_size=32,
        adamw_lr=4e-3,
        schedule="wsd",
        warmup=0.02,
        decay=0.5,
        lr_floor=0.0,
        ema=0.999,
        compile=False,
    ),
    "48m": FlowConfig(),
    "129m": FlowConfig(channels=4, d_model=768, n_layers=12, n_heads=12, d_ff=3_072),
}


def sinusoid(position: Tensor, dim: int) -> Tensor:
    """sin and cos of position * 10000^(-2i/dim), in float64: position (...) -> (..., dim/2) each, side by side."""
    frequency = 10_000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=position.device) / dim)
    angle = position.double()[..., None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def grid_positions(side: int, dim: int) -> Tensor:
    """Half of the channels for the row, half for the column: (side^2, dim) in row-major order, float64."""
    place = torch.arange(side)
    row, column = torch.meshgrid(place, place, indexing="ij")
    return torch.cat((sinusoid(row.flatten(), dim // 2), sinusoid(column.flatten(), dim // 2)), dim=-1)


class Affine(nn.Module):
    """x Wᵀ + b; unlike torch's, the constructor draws nothing."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class TimeEmbedding(nn.Module):
    """Time in 0..1 -> a vector of the model's width."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.dim, self.scale = config.time_dim, config.time_scale
        self.wide = Affine(config.time_dim, config.d_model)
        self.out = Affine(config.d_model, config.d_model)

    def forward(self, t: Tensor) -> Tensor:
        waves = sinusoid(t * self.scale, self.dim).float()  # (B, time_dim)
        return self.out(F.silu(self.wide(waves)))  # (B, D)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of x (B, N, D) without gains of its own, then scale and shift (B, D) of the condition."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.modulation = Affine(config.d_model, 6 * config.d_model)
        self.attention = layers.Attention(config.d_model, config.n_heads, config.n_heads, causal=False)
        self.mlp = layers.SquaredReLU(config.d_model, config.d_ff)

    def forward(self, x: Tensor, condition: Tensor, rotary: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        x = x + gate_a[:, None] * self.attention(modulate(x, shift_a, scale_a), rotary)
        x = x + gate_m[:, None] * self.mlp(modulate(x, shift_m, scale_m))
        return x


class Head(nn.Module):
    """Tokens -> the velocity of their patches."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.modulation = Affine(config.d_model, 2 * config.d_model)
        self.velocity = Affine(config.d_model, config.patch**2 * config.channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.modulation(F.silu(condition)).chunk(2, dim=-1)
        return self.velocity(modulate(x, shift, scale))  # (B, N, P*P*C)


class DiT(layers.Model):
    """The velocity at a point of a path, given the time and the class; a batch is images (B, C, S, S) and labels."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.side = config.image_size // config.patch  # of the grid of tokens
        self.patch_embedding = Affine(config.patch**2 * config.channels, config.d_model)
        self.time_embedding = TimeEmbedding(config)
        self.class_embedding = layers.Embedding(config.n_classes + 1, config.d_model)  # the last row is no class
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.head = Head(config)
        head_dim = config.d_model // config.n_heads
        self.register_buffer("positions", torch.empty(self.side**2, config.d_model), persistent=False)
        self.register_buffer("rotary", torch.empty(self.side**2, head_dim // 2, 2), persistent=False)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fills every tensor; each is drawn from its own generator, so adding one leaves the others as they were.

        | tensor                                | value          | why                                             |
        | biases                                | 0              |                                                 |
        | modulation, velocity                  | 0              | every block starts as the identity, v as 0      |
        | gain of an RMSNorm                    | 1              | starts as the plain norm                        |
        | class_embedding, wide and out of time | N(0, 0.02)     | the condition starts small                      |
        | every other matrix                    | Xavier uniform | keeps the variance from layer to layer          |
        | positions, rotary                     | the tables     | not learnt                                      |
        """
        self.seed = seed
        for name, parameter in self.named_parameters():
            kind = name.removesuffix(".weight").split(".")[-1]
            if kind == "bias" or kind in ("modulation", "velocity"):
                parameter.zero_()
            elif kind.endswith("norm"):
                parameter.fill_(1.0)
            elif kind in ("class_embedding", "wide", "out"):
                parameter.copy_(0.02 * self.draw(name, parameter.shape))
            elif kind in ("patch_embedding", "q", "k", "v", "o", "up", "down"):
                bound = math.sqrt(6 / sum(parameter.shape))
                parameter.copy_(bound * self.draw(name, parameter.shape, uniform=True))
            else:
                raise ValueError(f"no initialisation for {name}: add it to {type(self).__name__}.init_weights")
        self.positions.copy_(grid_positions(self.side, self.config.d_model))
        head_dim = self.config.d_model // self.config.n_heads
        self.rotary.copy_(layers.rotary_table(self.side**2, head_dim, self.config.rope_base))

    def draw(self, name: str, shape: torch.Size, uniform: bool = False) -> Tensor:
        """Standard normal, or uniform in -1..1, from the tensor's own generator."""
        generator, values = layers.generator(self.seed, "init", name), torch.empty(shape)
        return values.uniform_(-1, 1, generator=generator) if uniform else values.normal_(generator=generator)

    @property
    def batch_tokens(self) -> int:
        return self.config.batch_size * self.config.image_tokens

    def take(self, stream) -> tuple[Tensor, Tensor] | None:
        return stream.take(self.config.batch_size)

    def made_up(self) -> tuple[Tensor, Tensor]:
        config = self.config
        images = torch.rand(config.batch_size, config.channels, config.image_size, config.image_size) * 2 - 1
        return images, torch.randint(config.n_classes, (config.batch_size,))

    def inputs(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A point x_t on each image's path at the time t, and the class."""
        t = torch.rand(len(images), device=images.device)
        return path(torch.randn_like(images), images, t)[0], t, labels

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """x_t (B, C, S, S), t (B,), labels (B,), n_classes for none -> velocity (B, C, S, S)."""
        x = self.patch_embedding(self.patches(x_t)) + self.positions  # (B, N, D)
        condition = self.time_embedding(t) + self.class_embedding(labels)  # (B, D)
        for block in self.blocks:
            x = block(x, condition, self.rotary)
        return self.image(self.head(x, condition))

    def patches(self, image: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, N, C*P*P), row by row."""
        return F.unfold(image, self.config.patch, stride=self.config.patch).mT

    def image(self, patches: Tensor) -> Tensor:
        """The inverse of `patches`."""
        return F.fold(patches.mT, self.config.image_size, self.config.patch, stride=self.config.patch)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error of the velocity at random times of paths from random noise."""
        t = torch.rand(len(images), device=images.device)
        x_t, velocity = path(torch.randn_like(images), images, t)
        dropped = torch.rand(len(images), device=images.device) < self.config.class_drop
        found = self(x_t, t, labels.masked_fill(dropped, self.config.n_classes))
        return F.mse_loss(found.float(), velocity)


def path(x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The point at time t (B,) of the straight path from x_0 to x_1 (B, C, S, S), and its velocity."""
    t = t[:, None, None, None]
    return (1 - t) * x_0 + t * x_1, x_1 - x_0


def sample(velocity, noise: Tensor, labels: Tensor, steps: int, guidance: float, no_class: int) -> Tensor:
    """Images (B, C, S, S) from noise along the model's velocity, by Euler's method.

    `velocity(x_t, t, labels)` is the model. With a guidance s other than 1, the velocity is v_u + s (v_c - v_u) of the
    ones with and without class: 0 leaves the class out, above 1 exaggerates it (Ho and Salimans 2022).
    """
    x = noise
    for i in range(steps):
        t = torch.full((len(x),), i / steps, device=x.device)
        v = velocity(x, t, labels)
        if guidance != 1:
            without = velocity(x, t, torch.full_like(labels, no_class))
            v = without + guidance * (v - without)
        x = x + v / steps
    return x
